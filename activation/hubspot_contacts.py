"""HubSpot's contacts as the write-back sees them: what should stand on them, and how it is written.

| call | does |
|---|---|
| `POST crm/objects/<version>/contacts/batch/read` | values of our properties, and merged ids |
| `POST crm/objects/<version>/contacts/search` | contacts that already carry a lead's id |
| `POST crm/objects/<version>/contacts/batch/update` | writes; each contact on its own |

Only our own properties are read and written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from activation.crm_ledger import ContactStatus, Refusal, Values
from activation.outbox import CrmRecord, Lead
from ingestion.crm.hubspot.account import FIRST_TOUCH_AT, LEAD_ID, PROPERTIES
from ingestion.crm.hubspot.client import (
    API_VERSION,
    HubspotClient,
    HubspotRequestError,
    Row,
    refused_values,
)
from ingestion.crm.hubspot.records import CONTACTS, record_id, rows_of

BATCH = 100
"""Inputs of one batch, and values of one search."""
TEXT_UNITS = 65_536
"""HubSpot's longest text, in UTF-16 units."""
GONE = "gone"
"""Why nothing was written: deleted in HubSpot, or never there."""
POSTPONED = "postponed"
"""Why nothing was written: this run has used up its requests for splitting refused batches."""
SPLITS = 400
"""Requests per run for halves of refused batches: if a rule of the account refuses every contact,
that is found out over several runs, not in one that never ends."""
_NAMES = [p.name for p in PROPERTIES]
_MERGED = "hs_merged_object_ids"
_ID = re.compile(r"[0-9]{1,20}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Target:
    """A contact and what should stand on it."""

    key: str
    seq: int
    lead: Lead

    @property
    def desired(self) -> Values:
        """Values by property, as HubSpot stores them."""
        return _desired(self.lead)


def targets_of(
    leads: dict[str, Lead], records: Iterable[CrmRecord], skipped: Counter[str]
) -> list[Target]:
    """What should stand on each contact; of two leads of one contact, the older one's."""
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
    return {**values, FIRST_TOUCH_AT: lead.first_touch_at}


def is_up_to_date(target: Target, before: ContactStatus, edits: str, now_us: int) -> bool:
    """Whether there is nothing to do, by the ledger alone."""
    if before.content != target.lead.content:
        return False
    if refusal := Refusal.read(before.skipped):
        return before.seq >= target.seq and refusal.is_given_up(before.noted_us, now_us)
    if before.skipped:  # until a newer envelope shows the contact: it may have been restored
        return before.seq >= target.seq
    return not (before.kept and edits == "overwrite")


class Fate(NamedTuple):
    """What became of a write. `reason`: empty where it was done, else HubSpot's category;
    `property` and `rule`: what HubSpot refused and why, where it says so."""

    reason: str = ""
    property: str = ""
    rule: str = ""


@dataclass(slots=True)
class Splits:
    """How many requests are `left` for halves of refused batches."""

    left: int


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact as HubSpot has it. `ids`: its own first, then those merged into it."""

    ids: tuple[str, ...]
    values: dict[str, str]

    @property
    def id(self) -> str:
        """The id that it is written by."""
        return self.ids[0]


def read_contacts(client: HubspotClient, ids: Sequence[str]) -> list[Contact]:
    """These contacts, at most `BATCH`. A merged id gives the contact it was merged into, a deleted
    one gives none."""
    body = {
        "inputs": [{"id": i} for i in ids],
        "properties": [*_NAMES, _MERGED],
        "propertiesWithHistory": [],
    }
    answer = client.post(f"crm/objects/{API_VERSION}/contacts/batch/read", body)
    found = {c.id: c for c in map(_contact, rows_of(answer, "results"))}
    return list(found.values())


def contacts_of_leads(client: HubspotClient, lead_ids: Sequence[str]) -> Iterator[Contact]:
    """Contacts that carry one of these lead ids (each search takes at most `BATCH`)."""
    for start in range(0, len(lead_ids), BATCH):
        last = "0"
        while True:
            # HubSpot compares text case-insensitively, and IN accepts lower case only.
            some = [lead_id.lower() for lead_id in lead_ids[start : start + BATCH]]
            body = {
                "filterGroups": [
                    {
                        "filters": [
                            {"propertyName": LEAD_ID, "operator": "IN", "values": some},
                            {"propertyName": "hs_object_id", "operator": "GT", "value": last},
                        ]
                    }
                ],
                "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
                "properties": [*_NAMES, _MERGED],
                "limit": BATCH,
            }
            answer = client.search("contacts", body)
            found = [_contact(row) for row in rows_of(answer, "results")]
            yield from found
            highest = max((int(c.id) for c in found), default=0)
            if "next" not in (answer.get("paging") or {}) or highest <= int(last):
                break
            last = str(highest)


def update_contacts(
    client: HubspotClient, changes: Mapping[str, Mapping[str, str]], splits: Splits
) -> dict[str, Fate]:
    """Write each contact's properties, at most `BATCH`; what became of each, by its id.

    HubSpot refuses a whole batch for one value that breaks a rule of the account, or one contact
    that lacks a required property. Its halves are tried then, down to the contact at fault.
    """
    body = {"inputs": [{"id": i, "properties": dict(values)} for i, values in changes.items()]}
    try:
        answer = client.post(f"crm/objects/{API_VERSION}/contacts/batch/update", body)
    except HubspotRequestError as error:
        ids = list(changes)
        if len(ids) == 1:
            return {ids[0]: _fate(error.problem.category, error.problem.values)}
        if splits.left < 2:
            return dict.fromkeys(ids, Fate(POSTPONED))
        splits.left -= 2
        half = len(ids) // 2
        parts = ({i: changes[i] for i in some} for some in (ids[:half], ids[half:]))
        return {i: f for p in parts for i, f in update_contacts(client, p, splits).items()}
    fates = dict.fromkeys(changes, Fate("no_answer"))
    fates |= {str(row.get("id")): Fate() for row in rows_of(answer, "results")}
    for error_row in rows_of(answer, "errors"):
        ids_of = (error_row.get("context") or {}).get("ids")
        fate = _fate(str(error_row.get("category") or ""), tuple(refused_values(error_row)))
        fates |= {str(i): fate for i in (ids_of if isinstance(ids_of, list) else ())}
    return {i: fates[i] for i in changes}


def _fate(category: str, values: Sequence[tuple[str, str]]) -> Fate:
    if category == "OBJECT_NOT_FOUND":
        return Fate(GONE)
    return Fate(_word(category), *(values[0] if values else ()))


# ---- values --------------------------------------------------------------------------------------


def text(value: str | None) -> str:
    """A value as HubSpot stores it: one line, trimmed, at most `TEXT_UNITS` long."""
    line = _CONTROL.sub(" ", value or "").strip()
    if len(line) <= TEXT_UNITS // 2:
        return line
    units = line.encode("utf-16-le", "replace")[: 2 * TEXT_UNITS]
    return units.decode("utf-16-le", "ignore").strip()


def same(name: str, one: str, other: str) -> bool:
    """Whether two values mean the same: HubSpot writes times in several ways."""
    if name != FIRST_TOUCH_AT:
        return text(one) == text(other)
    return one == other or (_millis(one) is not None and _millis(one) == _millis(other))


def _millis(value: str) -> int | None:
    if value.lstrip("-").isdigit():
        return int(value)
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return round(at.timestamp() * 1000)


def _contact(row: Row) -> Contact:
    given = row.get("properties")
    values = given if isinstance(given, dict) else {}
    own = record_id(row, CONTACTS)
    merged = _ID.findall(str(values.get(_MERGED) or ""))
    ids = tuple(dict.fromkeys((own, *merged)))
    return Contact(ids, {name: str(values.get(name) or "") for name in _NAMES})


def _word(category: str) -> str:
    return category if re.fullmatch(r"[A-Z0-9_]{1,60}", category) else "refused"


__all__ = [
    "BATCH",
    "GONE",
    "POSTPONED",
    "SPLITS",
    "Contact",
    "Fate",
    "Splits",
    "Target",
    "contacts_of_leads",
    "is_up_to_date",
    "read_contacts",
    "same",
    "targets_of",
    "update_contacts",
]
