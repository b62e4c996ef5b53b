"""What the warehouse has for CRMs: `activation.crm_outbox` and `activation.crm_records`."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import duckdb

from ctwa.settings import Settings
from ingestion.errors import SourceError

CONTENT_VERSION = 1
"""Another number when more is told of a lead: then every one is looked at anew."""

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


class OutboxMissingError(SourceError):
    """The warehouse has nothing to write back from."""


@dataclass(frozen=True, slots=True)
class Lead:
    """A person's first lead, and where they came from. `first_touch_us`: since 1970, UTC."""

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
    """The envelope that shows who the person is, and below it their keys as it shows them."""
    phone_key: str | None
    bsuid_key: str | None
    email_key: str | None
    web_lead_key: str | None

    @property
    def content(self) -> str:
        """Digest of what a CRM is told: equal digests, nothing new to be said."""
        told = (CONTENT_VERSION, self.lead_id, self.source, self.channel, self.basis,
                self.campaign_id, self.campaign_name, self.adset_id, self.adset_name, self.ad_id,
                self.ad_name, self.headline, self.first_touch_us)  # fmt: skip
        return blake2b(repr(told).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class CrmRecord:
    """A HubSpot contact of a person, and the latest envelope in which it stands."""

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
        raise OutboxMissingError(
            f"{path} has no outbox for the CRM ({type(error).__name__}): run `ctwa refresh`"
        ) from None


__all__ = ["CrmRecord", "Lead", "OutboxMissingError", "read_leads", "read_records"]
