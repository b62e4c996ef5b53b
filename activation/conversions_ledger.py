"""The ledger of conversion events, and the file of their states that the marts read.

The ledger has one row per event that is or was to be sent, so that nothing is sent twice. Its state
is written before and after each request:

pending   to be sent; no request with it is under way
sending   a request with it may be under way; if found at start, the process died during it
sent      Meta acknowledged it
rejected  never accepted: refused by Meta, or invalid before it was sent
unknown   a request ended without a clear answer: Meta has it or not

Partial unique indexes hold what must not be sent twice, whatever id the outbox gives it today: a
lead's stage, an outcome that moved to another lead (leads that merged), a purchase, a click that
qualified already. The ledger holds no raw identity and no click id; `lead_id` begins with an
identity key of the person (`keeping.erasure.anonymous` removes the person from such rows).

`<data>/activation/conversions.parquet` has one row per event: what the ledger knows, and what the
last run decided about the rows of the outbox. The view `marts.conversion_events` reads it when it
is published, which is after sending. The ledger is the record of truth: if the file is deleted, the
next sending writes it again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from activation.ledger import (
    RESTORED,
    Connection,
    Cursor,
    is_restored_database,
    open_ledger,
    transaction,
)
from activation.outbox import Candidate
from ctwa.files import replacing
from ctwa.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """One event of the ledger; times are microseconds since 1970, UTC."""

    conversion_event_id: str
    lead_id: str | None
    funnel_stage: str
    occurrence: str | None
    outcome_key: str | None
    click_key: str | None
    event_name: str
    dataset_id: str
    occurred_at_us: int
    value: Decimal | None
    currency: str | None
    mode: str
    state: str = "pending"
    reason: str | None = None
    attempts: int = 0
    planned_at_us: int = 0
    tried_at_us: int | None = None
    settled_at_us: int | None = None
    fbtrace_id: str | None = None


_COLUMNS = ", ".join(field.name for field in fields(Row))
_PLACES = ", ".join("?" for _ in fields(Row))


class ConversionsLedger:
    """The ledger's tables of conversion events. One writer: the caller holds the refresh lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[ConversionsLedger]:
        """The installation's ledger; if it was restored, its activation ends first."""
        with open_ledger(settings) as connection:
            ledger = cls(connection)
            marker = settings.activation_dir / RESTORED
            if marker.exists():
                ledger.end_activation()
                marker.unlink()
            with transaction(connection):
                if is_restored_database(settings, connection):
                    log.warning(
                        "the vault's database was restored, or a replica was promoted: outcomes "
                        "until now are not sent, as those may be missing that were sent since"
                    )
                    ledger.end_activation()
            yield ledger

    # ---- since when it is switched on ----------------------------------------------------

    def begin_activation(self, now_us: int) -> int:
        """Since when events are sent; where they were not, from now on."""
        self._run("insert into conversions_switch values (1, ?) on conflict do nothing", now_us)
        return int(self._run("select on_since_us from conversions_switch").fetchone()[0])

    def end_activation(self) -> None:
        """What happens until it begins again is never sent."""
        self._run("delete from conversions_switch")

    # ---- a run ----------------------------------------------------------------------------

    def settle_interrupted(self, now_us: int) -> int:
        """Mark what was `sending` when a process died as `unknown`; returns the number."""
        sql = (
            "update conversions set state = 'unknown', reason = 'interrupted', settled_at_us = ? "
            "where state = 'sending'"
        )
        return self._run(sql, now_us).rowcount

    def plan(self, events: Sequence[Row]) -> set[str]:
        """Make `events` the pending ones; returns the ids of those left out as sent already.

        Earlier pending events that are not among them are deleted: no request processed them.
        """
        already_sent: set[str] = set()
        with transaction(self._connection):
            before = {row.conversion_event_id: row for row in self.rows("pending")}
            self._run_many(
                "delete from conversions where conversion_event_id = ? and state = 'pending'",
                ((gone,) for gone in before),
            )
            for event in events:
                old = before.get(event.conversion_event_id)
                values = {field.name: getattr(event, field.name) for field in fields(Row)}
                if old is not None:  # its attempts are kept
                    values |= {"attempts": old.attempts, "planned_at_us": old.planned_at_us,
                               "tried_at_us": old.tried_at_us, "reason": old.reason}  # fmt: skip
                values["value"] = None if event.value is None else str(event.value)
                added = self._run(
                    f"insert into conversions ({_COLUMNS}) values ({_PLACES}) "  # noqa: S608
                    "on conflict do nothing",
                    *values.values(),
                )
                if not added.rowcount:
                    already_sent.add(event.conversion_event_id)
        return already_sent

    def start(self, ids: Collection[str], event_name: str, now_us: int) -> None:
        """Record, durably before any byte is sent, that a request with these is under way."""
        with transaction(self._connection):
            self._run_many(
                "update conversions set state = 'sending', event_name = ?, "
                "attempts = attempts + 1, tried_at_us = ? where conversion_event_id = ?",
                ((event_name, now_us, one) for one in ids),
            )

    def settle(
        self,
        ids: Collection[str],
        state: str,
        reason: str | None,
        now_us: int,
        fbtrace_id: str | None = None,
    ) -> None:
        """Record what became of them."""
        with transaction(self._connection):
            self._run_many(
                "update conversions set state = ?, reason = ?, settled_at_us = ?, "
                "fbtrace_id = coalesce(?, fbtrace_id) where conversion_event_id = ?",
                ((state, reason, now_us, fbtrace_id, one) for one in ids),
            )

    # ---- names that Meta refuses ------------------------------------------------------------

    def refuse_name(self, dataset_id: str, event_name: str, now_us: int) -> None:
        """Remember that Meta does not accept this event name in this dataset."""
        sql = "insert into conversions_refused_names values (?, ?, ?) on conflict do nothing"
        self._run(sql, dataset_id, event_name, now_us)

    def refused_names(self) -> set[tuple[str, str]]:
        """(dataset, event name) pairs that Meta refused."""
        found = self._run("select dataset_id, event_name from conversions_refused_names")
        return {(row[0], row[1]) for row in found}

    # ---- reading ------------------------------------------------------------------------------

    def rows(self, *states: str) -> list[Row]:
        """Events in these states (none given: all), ordered by id."""
        places = ", ".join("?" for _ in states)
        where = f"where state in ({places}) " if states else ""
        sql = f"select {_COLUMNS} from conversions {where}order by 1"  # noqa: S608
        return [_row(found) for found in self._run(sql, *states)]

    def _run(self, sql: str, *values: object) -> Cursor:
        return self._connection.execute(sql, values)

    def _run_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._connection.executemany(sql, rows)


def _row(found: Sequence[Any]) -> Row:
    row = Row(*found)
    return row if row.value is None else replace(row, value=Decimal(row.value))


FILE = "conversions.parquet"

_TS = pa.timestamp("us", tz="UTC")

STATES = pa.schema(
    [
        pa.field("conversion_event_id", pa.string(), nullable=False),
        pa.field("lead_id", pa.string()),
        pa.field("funnel_stage", pa.string(), nullable=False),
        pa.field("event_name", pa.string()),  # as it was or will be sent; null: never
        pa.field("dataset_id", pa.string()),
        pa.field("status", pa.string(), nullable=False),  # pending sent rejected unknown skipped
        pa.field("reason", pa.string()),
        pa.field("occurred_at", _TS, nullable=False),
        pa.field("sent_at", _TS),
        pa.field("value", pa.decimal128(18, 6)),
        pa.field("currency", pa.string()),
    ]
)
"""Columns of the file; one row per `conversion_event_id`."""


Decision = tuple[Candidate, str, str]
"""A row of the outbox, its status and the reason."""


def states_path(settings: Settings) -> Path:
    """Path of the file."""
    return settings.activation_dir / FILE


def ensure_states(settings: Settings) -> None:
    """Write an empty file where there is none, or a damaged one: the marts are built before
    anything is sent, and the next sending writes the whole file."""
    try:
        pq.read_schema(states_path(settings))
    except (OSError, pa.ArrowInvalid):
        write_states(settings, STATES.empty_table())


def write_states(settings: Settings, table: pa.Table) -> None:
    """Replace the file by `table`, in one step; the caller holds the lock.

    Raises `ValueError` where the columns are not those of `STATES`.
    """
    if table.schema != STATES:
        raise ValueError(f"states have the columns {table.schema}, expected {STATES}")
    final = states_path(settings)
    final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with replacing(final) as draft:
        pq.write_table(table, draft)


def states_of(
    settings: Settings, ledger: Sequence[Row], decided: Sequence[Decision], others: pa.Table
) -> pa.Table:
    """One row per event: the ledger's if it has one, else the decision, else that of `others`."""
    found = {row.conversion_event_id: _of_ledger(row) for row in ledger}
    for one, status, reason in decided:
        found.setdefault(one.conversion_event_id, _of_outbox(settings, one, status, reason))
    known = pa.Table.from_pylist(list(found.values()), schema=STATES)
    ids = known["conversion_event_id"].combine_chunks()
    others = others.filter(pc.invert(pc.is_in(others["conversion_event_id"], ids)))
    return pa.concat_tables([known, others.cast(STATES)])


def _of_ledger(row: Row) -> dict[str, Any]:
    # `sending` while the states are written: an error interrupted the request.
    is_interrupted = row.state == "sending"
    return {
        "conversion_event_id": row.conversion_event_id,
        "lead_id": row.lead_id,
        "funnel_stage": row.funnel_stage,
        "event_name": row.event_name,
        "dataset_id": row.dataset_id,
        "status": "unknown" if is_interrupted else row.state,
        "reason": "interrupted" if is_interrupted else row.reason,
        "occurred_at": row.occurred_at_us,
        "sent_at": row.settled_at_us if row.state == "sent" else None,
        "value": _money(row.value),
        "currency": row.currency,
    }


def _of_outbox(settings: Settings, one: Candidate, status: str, reason: str) -> dict[str, Any]:
    return {
        "conversion_event_id": one.conversion_event_id,
        "lead_id": one.lead_id,
        "funnel_stage": one.funnel_stage,
        "event_name": one.name(settings),
        "dataset_id": settings.meta_dataset_ids[one.owner_id],
        "status": status,
        "reason": reason,
        "occurred_at": one.occurred_at_us,
        "sent_at": None,
        "value": _money(one.value),
        "currency": one.currency,
    }


def _money(value: Decimal | None) -> Decimal | None:
    return None if value is None else value.quantize(Decimal("0.000001"))


__all__ = [
    "FILE",
    "STATES",
    "ConversionsLedger",
    "Decision",
    "Row",
    "ensure_states",
    "states_of",
    "states_path",
    "write_states",
]
