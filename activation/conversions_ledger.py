"""The ledger of conversion events: what was sent, so that nothing is sent twice.

One row per event that is or was to be sent. Its state is written before and after each request:

pending   to be sent; no request with it is out
sending   a request with it may be out; found at start: the process died meanwhile
sent      Meta acknowledged it
rejected  never accepted: refused by Meta, or wrong before it was sent
unknown   a request ended without a clear answer: Meta has it or not

Partial unique indexes keep what must not be told twice apart from what the outbox calls it today:
a lead's stage, an outcome that moved to another lead (leads that merged), a purchase, a click that
qualified already. No raw identity and no click id stands in it; `lead_id` begins with an identity
key of the person (`ingestion.erasure.outbound` makes such rows nobody's).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from decimal import Decimal

from activation.ledger import open_ledger, transaction
from ctwa.settings import Settings
from ingestion.backup import RESTORED

SCHEMA = """
create table if not exists conversions (
    conversion_event_id text primary key,  -- Meta gets it as event_id
    lead_id text,                          -- null: somebody erased
    funnel_stage text not null,
    occurrence text,
    outcome_key text,
    click_key text,                        -- keyed hash of the click id
    event_name text not null,
    dataset_id text not null,
    occurred_at_us integer not null,       -- event_time is its whole second
    value text,                            -- decimal
    currency text,
    mode text not null,                    -- test | live
    state text not null check (state in ('pending', 'sending', 'sent', 'rejected', 'unknown')),
    reason text,
    attempts integer not null default 0,   -- requests that held it
    planned_at_us integer not null,
    tried_at_us integer,                   -- begin of the last request
    settled_at_us integer,                 -- when the state became what it is
    fbtrace_id text
) without rowid;
create unique index if not exists conversions_of_lead
    on conversions (funnel_stage, lead_id, occurrence) where state <> 'rejected';
create unique index if not exists conversions_of_outcome
    on conversions (funnel_stage, outcome_key) where state <> 'rejected';
create unique index if not exists conversions_of_purchase
    on conversions (funnel_stage, occurrence) where occurrence <> 'first' and state <> 'rejected';
create unique index if not exists conversions_of_click
    on conversions (funnel_stage, click_key) where occurrence = 'first' and state <> 'rejected';
create index if not exists conversions_open
    on conversions (state) where state in ('pending', 'sending');
create table if not exists conversions_switch (
    id integer primary key check (id = 1),
    on_since_us integer not null           -- no row: sending is not switched on
);
create table if not exists conversions_refused_names (
    dataset_id text not null,
    event_name text not null,
    refused_at_us integer not null,
    primary key (dataset_id, event_name)
) without rowid;
"""


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
    """The events' part of the ledger. One writer: the caller holds the refresh lock."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[ConversionsLedger]:
        """The installation's ledger; a restored one has its activation ended first."""
        with open_ledger(settings, SCHEMA) as connection:
            ledger = cls(connection)
            marker = settings.activation_dir / RESTORED
            if marker.exists():
                ledger.end_activation()
                marker.unlink()
            yield ledger

    # ---- since when it is switched on ----------------------------------------------------

    def begin_activation(self, now_us: int) -> int:
        """Since when events are sent; from now on where they were not."""
        self._run("insert or ignore into conversions_switch values (1, ?)", now_us)
        return int(self._run("select on_since_us from conversions_switch").fetchone()[0])

    def end_activation(self) -> None:
        """What happens until it begins again is never sent."""
        self._run("delete from conversions_switch")

    # ---- a run ----------------------------------------------------------------------------

    def settle_interrupted(self, now_us: int) -> int:
        """What was `sending` when a process died is `unknown`; their number."""
        sql = (
            "update conversions set state = 'unknown', reason = 'interrupted', settled_at_us = ? "
            "where state = 'sending'"
        )
        return self._run(sql, now_us).rowcount

    def plan(self, events: Sequence[Row]) -> set[str]:
        """Make `events` the pending ones; ids of those that are kept out as already told.

        Pending ones of before that are not among them go: no request with them was ever out.
        """
        kept_out: set[str] = set()
        with transaction(self._connection):
            before = {row.conversion_event_id: row for row in self.rows("pending")}
            self._run_many(
                "delete from conversions where conversion_event_id = ? and state = 'pending'",
                ((gone,) for gone in before),
            )
            for event in events:
                old = before.get(event.conversion_event_id)
                values = {field.name: getattr(event, field.name) for field in fields(Row)}
                if old is not None:  # what is known of its tries stays
                    values |= {"attempts": old.attempts, "planned_at_us": old.planned_at_us,
                               "tried_at_us": old.tried_at_us, "reason": old.reason}  # fmt: skip
                values["value"] = None if event.value is None else str(event.value)
                added = self._run(
                    f"insert into conversions ({_COLUMNS}) values ({_PLACES}) "  # noqa: S608
                    "on conflict do nothing",
                    *values.values(),
                )
                if not added.rowcount:
                    kept_out.add(event.conversion_event_id)
        return kept_out

    def start(self, ids: Collection[str], event_name: str, now_us: int) -> None:
        """Durable before any byte goes out: a request with these is under way."""
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
        """What became of them."""
        with transaction(self._connection):
            self._run_many(
                "update conversions set state = ?, reason = ?, settled_at_us = ?, "
                "fbtrace_id = coalesce(?, fbtrace_id) where conversion_event_id = ?",
                ((state, reason, now_us, fbtrace_id, one) for one in ids),
            )

    # ---- names that Meta refuses ------------------------------------------------------------

    def refuse_name(self, dataset_id: str, event_name: str, now_us: int) -> None:
        """Remember that Meta does not take this name in this dataset."""
        sql = "insert or ignore into conversions_refused_names values (?, ?, ?)"
        self._run(sql, dataset_id, event_name, now_us)

    def refused_names(self) -> set[tuple[str, str]]:
        """(dataset, event name) pairs that Meta refused."""
        found = self._run("select dataset_id, event_name from conversions_refused_names")
        return {(row[0], row[1]) for row in found}

    # ---- reading ------------------------------------------------------------------------------

    def rows(self, *states: str) -> list[Row]:
        """Events in these states (none named: all), by their ids."""
        places = ", ".join("?" for _ in states)
        where = f"where state in ({places}) " if states else ""
        sql = f"select {_COLUMNS} from conversions {where}order by 1"  # noqa: S608
        return [_row(found) for found in self._run(sql, *states)]

    def _run(self, sql: str, *values: object) -> sqlite3.Cursor:
        return self._connection.execute(sql, values)

    def _run_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._connection.executemany(sql, rows)


def _row(found: sqlite3.Row) -> Row:
    values = dict(found)
    values["value"] = None if values["value"] is None else Decimal(values["value"])
    return Row(**values)


__all__ = ["SCHEMA", "ConversionsLedger", "Row"]
