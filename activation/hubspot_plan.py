"""What is to stand on HubSpot's contacts, and which of it was dealt with already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from activation.crm_ledger import Settled, Values
from activation.crm_outbox import CrmRecord, Lead
from activation.hubspot_contacts import moment, text
from ingestion.hubspot_properties import FIRST_TOUCH_AT, LEAD_ID


@dataclass(frozen=True, slots=True)
class Target:
    """A contact and what is to stand on it."""

    key: str
    seq: int
    lead: Lead

    @property
    def desired(self) -> Values:
        """Values by property, as HubSpot keeps them."""
        return _desired(self.lead)


def targets_of(
    leads: dict[str, Lead], records: Iterable[CrmRecord], skipped: Counter[str]
) -> list[Target]:
    """What is to stand on every contact; of two leads of one contact the older."""
    found: dict[str, Target] = {}
    for record in records:
        lead = leads.get(record.lead_id)
        if lead is None:
            continue
        if lead.is_erased or lead.is_excluded:
            skipped["erased" if lead.is_erased else "excluded"] += 1
            continue
        before = found.get(record.crm_record_key)
        if before is None or lead.first_touch_us < before.lead.first_touch_us:
            found[record.crm_record_key] = Target(record.crm_record_key, record.seq, lead)
    return list(found.values())


def _desired(lead: Lead) -> Values:
    given = {
        LEAD_ID: lead.lead_id,
        "ctwa_source": lead.source,
        "ctwa_channel": lead.channel,
        "ctwa_basis": lead.basis,
        "ctwa_campaign": lead.campaign_name,
        "ctwa_campaign_id": lead.campaign_id,
        "ctwa_adset": lead.adset_name,
        "ctwa_ad": lead.ad_name,
        "ctwa_ad_id": lead.ad_id,
        "ctwa_headline": lead.headline,
    }
    values = {name: text(value) for name, value in given.items()}
    return {**values, FIRST_TOUCH_AT: moment(lead.first_touch_us)}


def is_settled(target: Target, before: Settled, edits: str) -> bool:
    """Whether this was dealt with, so that HubSpot need not be asked."""
    if before.content != target.lead.content:
        return False
    if before.skipped:  # until the contact shows up in a newer envelope: out of the bin again
        return before.seq >= target.seq
    return not (before.kept and edits == "overwrite")


__all__ = ["Target", "is_settled", "targets_of"]
