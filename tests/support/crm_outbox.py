"""The CRM's outbox as dbt builds it, written by hand into a real warehouse file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import duckdb

from ctwa.settings import Settings

BORN = datetime(2026, 5, 11, 8, 30, 0, 123_000, tzinfo=UTC)

_OUTBOX = """
    create or replace table activation.crm_outbox (
        lead_id varchar, source varchar, channel varchar, basis varchar, campaign_id varchar,
        campaign_name varchar, adset_id varchar, adset_name varchar, ad_id varchar,
        ad_name varchar, headline varchar, first_touch_at timestamp with time zone,
        is_excluded boolean, is_erased boolean, evidence_seq bigint, phone_key varchar,
        bsuid_key varchar, email_key varchar, web_lead_key varchar
    )
"""
_RECORDS = """
    create or replace table activation.crm_records (
        lead_id varchar, crm_record_key varchar, seq bigint
    )
"""


@dataclass
class OutboxLead:
    """A row of `crm_outbox`: Ana of a Meta ad, unless said otherwise."""

    lead_id: str
    source: str | None = "meta"
    channel: str | None = "click_to_whatsapp"
    basis: str | None = "ctwa_click"
    campaign_id: str | None = "120200000000000001"
    campaign_name: str | None = "Winter"
    adset_id: str | None = "120200000000000002"
    adset_name: str | None = "Women 25-40"
    ad_id: str | None = "120200000000000003"
    ad_name: str | None = "Video 1"
    headline: str | None = "Chat with us"
    first_touch_at: datetime = BORN
    is_excluded: bool = False
    is_erased: bool = False
    evidence_seq: int | None = None
    phone_key: str | None = None
    bsuid_key: str | None = None
    email_key: str | None = None
    web_lead_key: str | None = None


@dataclass
class Outbox:
    """Leads by their ids, and the contacts (lead id, key, seq); `build` writes the warehouse."""

    settings: Settings
    leads: dict[str, OutboxLead] = field(default_factory=dict)
    records: list[tuple[str, str, int]] = field(default_factory=list)

    def add(self, lead_id: str, **values: Any) -> OutboxLead:
        self.leads[lead_id] = OutboxLead(lead_id, **values)
        return self.leads[lead_id]

    def build(self) -> None:
        path = self.settings.warehouse_path
        path.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(str(path)) as warehouse:
            warehouse.execute("create schema if not exists activation")
            warehouse.execute(_OUTBOX)
            warehouse.execute(_RECORDS)
            for lead in self.leads.values():
                values = list(asdict(lead).values())
                marks = ", ".join("?" * len(values))
                warehouse.execute(f"insert into activation.crm_outbox values ({marks})", values)
            for record in self.records:
                warehouse.execute("insert into activation.crm_records values (?, ?, ?)", record)
