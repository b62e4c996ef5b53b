"""The outbox of the warehouse, each row with the reason why it is not sent now, if there is one.

Read in one go through a read-only connection that is closed before anything is sent. What only
the moment of sending can say is decided here; what the models know (`ineligible_reason`) stands.

| reason | when |
|---|---|
| `activation_off` | the mode is off |
| `stage_off` | `META_CONVERSION_EVENTS` does not name the stage (any more) |
| `before_activation` | it happened before sending was switched on (E71) |
| `too_old` | Meta takes seven days (E67) |
| `no_waba`, `no_dataset` | nobody said whose click it was, or no dataset is set for that account |
| `in_the_future` | by our clock it has not happened yet: pending until it has |
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from activation.events import AGE_MARGIN_SECONDS, MAX_AGE_SECONDS
from activation.states import STATES
from ctwa.settings import Settings
from ingestion.errors import SourceError

TABLE = "activation.conversion_outbox"


class OutboxError(SourceError):
    """There is no outbox to send from."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that may be sent now; times are microseconds since 1970, UTC."""

    conversion_event_id: str
    lead_id: str
    funnel_stage: str
    occurrence: str
    outcome_key: str | None
    occurred_at_us: int
    value: Decimal | None
    currency: str | None
    ctwa_clid: str
    waba_id: str
    phone_key: str | None
    bsuid_key: str | None

    def keys(self) -> set[str]:
        """Identity keys of the person that the row shows."""
        return {key for key in (self.phone_key, self.bsuid_key, identity_of(self.lead_id)) if key}


@dataclass(frozen=True, slots=True)
class Outbox:
    """What the outbox holds, of events that the ledger does not know as told or tried."""

    candidates: list[Candidate]
    states: pa.Table
    """Rows for the states file (`activation.states.STATES`): skipped, or not due yet."""
    skipped: dict[str, int]
    """Reason to number, of the models' reasons, too."""
    waiting: int
    """Not due yet: in the future."""


def identity_of(lead_id: str) -> str:
    """The identity key that a lead's id begins with (`int_leads__sourced`)."""
    return lead_id.partition("#")[0].partition(":")[0]


def read_outbox(
    settings: Settings, *, now_us: int, on_since_us: int | None, known: Collection[str]
) -> Outbox:
    """Read it. `on_since_us`: when sending was switched on, None where nothing is sent (a dry run
    shows what would be); `known`: ids that the ledger has as told or tried.

    Raises `OutboxError` where the models were never built.
    """
    values = {
        "off": settings.meta_conversions_mode == "off",
        "now_us": now_us,
        "since_us": on_since_us,
        "oldest_us": now_us - (MAX_AGE_SECONDS - AGE_MARGIN_SECONDS) * 1_000_000,
    }
    path = settings.warehouse_path
    if not path.exists():
        raise OutboxError(f"{path} is not there: run `ctwa refresh`, it builds the outbox")
    with duckdb.connect(str(path), read_only=True) as connection:
        connection.register("known", pa.table({"id": pa.array(sorted(known), pa.string())}))
        connection.register("datasets", _pairs("waba_id", "dataset_id", settings.datasets))
        names = {stage: names[0] for stage, names in settings.conversion_names.items()}
        connection.register("names", _pairs("funnel_stage", "event_name", names))
        try:
            judged = _table(connection.sql(_JUDGED, params=values))
        except duckdb.CatalogException:
            raise OutboxError(
                f"{path} has no {TABLE}: run `ctwa refresh`, it builds the outbox"
            ) from None
        connection.register("judged", judged)
        columns = ", ".join(Candidate.__slots__)
        due = _table(
            connection.sql(
                f"select {columns} from judged where reason is null "  # noqa: S608
                "order by occurred_at_us, conversion_event_id"
            )
        )
        states = _table(connection.sql(_STATES))
        counted = connection.execute(_COUNTED).fetchall()
    skipped = dict(counted)
    waiting = skipped.pop("in_the_future", 0)
    candidates = [Candidate(**row) for row in due.to_pylist()]
    return Outbox(candidates, states.cast(STATES), skipped, waiting)


_JUDGED = f"""
    select
        outbox.* exclude (occurred_at),
        epoch_us(outbox.occurred_at) as occurred_at_us,
        datasets.dataset_id,
        names.event_name,
        outbox.ineligible_reason is null as is_judged_here,
        case
            when outbox.ineligible_reason is not null then outbox.ineligible_reason
            when $off then 'activation_off'
            when names.event_name is null then 'stage_off'
            when epoch_us(outbox.occurred_at) < cast($since_us as bigint)
                then 'before_activation'
            when epoch_us(outbox.occurred_at) < $oldest_us then 'too_old'
            when outbox.waba_id is null then 'no_waba'
            when datasets.dataset_id is null then 'no_dataset'
            when epoch_us(outbox.occurred_at) > $now_us then 'in_the_future'
        end as reason
    from {TABLE} as outbox
    left join datasets using (waba_id)
    left join names using (funnel_stage)
    where outbox.conversion_event_id not in (select known.id from known)
"""  # noqa: S608

_STATES = """
    select
        conversion_event_id,
        lead_id,
        funnel_stage,
        event_name,
        dataset_id,
        case reason when 'in_the_future' then 'pending' else 'skipped' end as status,
        reason,
        make_timestamp(occurred_at_us) as occurred_at,
        cast(null as timestamp) as sent_at,
        cast("value" as decimal(18, 6)) as "value",
        currency
    from judged
    where is_judged_here and reason is not null
    order by conversion_event_id
"""

_COUNTED = """
    select reason, count(*) from judged where reason is not null group by reason order by reason
"""


def _table(result: duckdb.DuckDBPyRelation) -> pa.Table:
    found: Any = result.to_arrow_table()
    table: pa.Table = found
    return table


def _pairs(left: str, right: str, pairs: dict[str, Any]) -> pa.Table:
    texts = pa.string()
    return pa.table({left: pa.array(pairs.keys(), texts), right: pa.array(pairs.values(), texts)})


__all__ = ["TABLE", "Candidate", "Outbox", "OutboxError", "identity_of", "read_outbox"]
