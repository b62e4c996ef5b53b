"""What the warehouse has to send: conversion events for Meta, leads and contacts for CRMs.

Each outbox is read in one go through a read-only connection, which is closed before anything is
sent. Of conversion events, the reasons that depend on the moment of sending are decided here; the
reasons that the models know (`ineligible_reason`) are kept.

| reason | when |
|---|---|
| `activation_off` | the mode is off |
| `stage_off` | `META_CONVERSION_EVENTS` does not, or no longer, name the stage |
| `before_activation` | it happened before sending was switched on (E71) |
| `too_old` | Meta accepts events of the last seven days (E67) |
| `no_waba`, `no_dataset` | WhatsApp account (or page) unknown, or no dataset set for it |
| `in_the_future` | by our clock it has not happened yet: pending until it has |
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import duckdb
import pyarrow as pa

from ctwa.settings import Settings
from ingestion.source import SourceError

TABLE = "activation.conversion_outbox"

MAX_AGE_SECONDS = 7 * 86_400
"""Older events make Meta refuse the whole request (100/2804003)."""

AGE_MARGIN_SECONDS = 900
"""How much earlier we treat an event as too old: clocks differ, and a run may wait for minutes."""

_COUNTED = """
    select reason, count(*) from judged where reason is not null group by reason order by reason
"""
CONTENT_VERSION = 1
"""Raised when more is sent about a lead: every lead is then compared and posted again."""
_LEAD = """
    select
        lead_id, source, channel, basis, campaign_id, campaign_name, adset_id, adset_name, ad_id,
        ad_name, headline, epoch_us(first_touch_at), is_excluded, is_erased, evidence_seq,
        phone_key, bsuid_key, email_key, web_lead_key
    from activation.crm_outbox
    order by lead_id
"""
_RECORDS = """
    select lead_id, crm_record_key, seq from activation.crm_records order by lead_id, crm_record_key
"""


class OutboxError(SourceError):
    """The warehouse has no outbox to send from."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A conversion event that may be sent now; times are microseconds since 1970, UTC.

    `leadgen_id` and `page_id`: of an instant form; else there is a click with its `waba_id`.
    """

    conversion_event_id: str
    lead_id: str
    funnel_stage: str
    occurrence: str
    outcome_key: str | None
    occurred_at_us: int
    value: Decimal | None
    currency: str | None
    ctwa_clid: str | None
    waba_id: str | None
    leadgen_id: str | None
    page_id: str | None
    phone_key: str | None
    bsuid_key: str | None
    email_key: str | None

    def keys(self) -> set[str]:
        """Identity keys of the person that the row shows."""
        keys = (self.phone_key, self.bsuid_key, self.email_key, identity_of(self.lead_id))
        return {key for key in keys if key}

    @property
    def owner_id(self) -> str:
        """What META_DATASET_IDS gives a dataset: the form's page, or the WhatsApp account."""
        return (self.page_id if self.leadgen_id else self.waba_id) or ""

    def name(self, settings: Settings) -> str:
        """The event's name: of a form's the stage, else the preferred one of the settings."""
        if self.leadgen_id:
            return self.funnel_stage
        return settings.conversion_names[self.funnel_stage][0]


@dataclass(frozen=True, slots=True)
class Outbox:
    """The rows of the outbox whose events the ledger does not have as sent or tried."""

    candidates: list[Candidate]
    states: pa.Table
    """Skipped, or not due yet: rows with the columns of `activation.conversions_ledger.STATES`."""
    skipped: dict[str, int]
    """Number of events by reason, the models' reasons included."""
    waiting: int
    """Not due yet: in the future."""


def identity_of(lead_id: str) -> str:
    """The identity key that a lead's id begins with (`int_leads__sourced`)."""
    return lead_id.partition("#")[0].partition(":")[0]


def read_outbox(
    settings: Settings, *, now_us: int, on_since_us: int | None, known: Collection[str]
) -> Outbox:
    """Conversion events to send, and why the others are not sent. Times: microseconds, UTC.

    `on_since_us`: when sending was switched on; None in a dry run, which shows what would be sent.
    `known`: ids that the ledger has as sent or tried. Raises `OutboxError` where the models were
    never built.
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
        connection.register("datasets", _pairs("owner_id", "dataset_id", settings.meta_dataset_ids))
        names = {stage: names[0] for stage, names in settings.conversion_names.items()}
        connection.register("names", _pairs("funnel_stage", "event_name", names))
        try:
            judged = _table(connection.sql(_JUDGED, params=values))
        except (duckdb.CatalogException, duckdb.BinderException):  # none, or of an older version
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
    return Outbox(candidates, states, skipped, waiting)


_JUDGED = f"""
    select
        outbox.* exclude (occurred_at),
        epoch_us(outbox.occurred_at) as occurred_at_us,
        datasets.dataset_id,
        case when outbox.leadgen_id is null then names.event_name else outbox.funnel_stage end
            as event_name,
        outbox.ineligible_reason is null as is_judged_here,
        case
            when outbox.ineligible_reason is not null then outbox.ineligible_reason
            when $off then 'activation_off'
            when outbox.leadgen_id is null and names.event_name is null then 'stage_off'
            when epoch_us(outbox.occurred_at) < cast($since_us as bigint)
                then 'before_activation'
            when epoch_us(outbox.occurred_at) < $oldest_us then 'too_old'
            when coalesce(outbox.page_id, outbox.waba_id) is null then 'no_waba'
            when datasets.dataset_id is null then 'no_dataset'
            when epoch_us(outbox.occurred_at) > $now_us then 'in_the_future'
        end as reason
    from {TABLE} as outbox
    left join datasets on datasets.owner_id = coalesce(outbox.page_id, outbox.waba_id)
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


def _table(result: duckdb.DuckDBPyRelation) -> pa.Table:
    found: Any = result.to_arrow_table()
    table: pa.Table = found
    return table


def _pairs(left: str, right: str, pairs: dict[str, Any]) -> pa.Table:
    texts = pa.string()
    return pa.table({left: pa.array(pairs.keys(), texts), right: pa.array(pairs.values(), texts)})


@dataclass(frozen=True, slots=True)
class Lead:
    """A person's first lead and its source. `first_touch_us`: microseconds since 1970, UTC."""

    lead_id: str
    source: str | None
    channel: str | None
    basis: str | None
    campaign_id: str | None
    campaign_name: str | None
    adset_id: str | None
    adset_name: str | None
    ad_id: str | None
    ad_name: str | None
    headline: str | None
    first_touch_us: int
    is_excluded: bool
    is_erased: bool
    evidence_seq: int | None
    """The envelope that shows who the person is; the keys below are those that it shows."""
    phone_key: str | None
    bsuid_key: str | None
    email_key: str | None
    web_lead_key: str | None

    @property
    def first_touch_at(self) -> str:
        """The first touch as HubSpot and the webhook write times: ISO 8601, milliseconds, UTC."""
        seconds, us = divmod(self.first_touch_us, 1_000_000)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{us // 1000:03d}Z"

    @property
    def content(self) -> str:
        """Digest of what a CRM is sent: while it is the same, there is nothing new to send."""
        content = (CONTENT_VERSION, self.lead_id, self.source, self.channel, self.basis,
                self.campaign_id, self.campaign_name, self.adset_id, self.adset_name, self.ad_id,
                self.ad_name, self.headline, self.first_touch_us)  # fmt: skip
        return blake2b(repr(content).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class CrmRecord:
    """A HubSpot contact of a person, and the latest envelope that shows it."""

    lead_id: str
    crm_record_key: str
    seq: int


def read_leads(settings: Settings) -> dict[str, Lead]:
    """Every lead of the outbox by its id."""
    return {row[0]: Lead(*row) for row in _rows(settings, _LEAD)}


def read_records(settings: Settings) -> list[CrmRecord]:
    """Every contact that belongs to a lead."""
    return [CrmRecord(*row) for row in _rows(settings, _RECORDS)]


def _rows(settings: Settings, sql: str) -> list[tuple[Any, ...]]:
    path = settings.warehouse_path
    try:
        with duckdb.connect(str(path), read_only=True) as warehouse:
            return warehouse.execute(sql).fetchall()
    except (duckdb.CatalogException, duckdb.BinderException, duckdb.IOException) as error:
        raise OutboxError(
            f"{path} has no outbox for the CRM ({type(error).__name__}): run `ctwa refresh`"
        ) from None


__all__ = [
    "Candidate",
    "CrmRecord",
    "Lead",
    "Outbox",
    "OutboxError",
    "read_leads",
    "read_outbox",
    "read_records",
]
