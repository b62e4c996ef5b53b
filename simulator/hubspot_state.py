"""A synthetic HubSpot account: contacts and deals with their histories, on a clock of its own.

A write is found by searches `index_lag` after it was made. Merging makes a new record, as HubSpot
does since 2025: both old ids lead to it, and it names them in `hs_merged_object_ids`. Deleted
records go to the bin, and may come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

MODIFIED = {"contacts": "lastmodifieddate", "deals": "hs_lastmodifieddate"}
STAGE = {"contacts": "lifecyclestage", "deals": "dealstage"}
LIFECYCLE = {
    "subscriber": "Subscriber",
    "lead": "Lead",
    "marketingqualifiedlead": "Marketing Qualified Lead",
    "salesqualifiedlead": "Sales Qualified Lead",
    "opportunity": "Opportunity",
    "customer": "Customer",
    "evangelist": "Evangelist",
    "other": "Other",
}
SALES_PIPELINE = {
    "appointmentscheduled": "Appointment Scheduled",
    "qualifiedtobuy": "Qualified To Buy",
    "presentationscheduled": "Presentation Scheduled",
    "decisionmakerboughtin": "Decision Maker Bought-In",
    "contractsent": "Contract Sent",
    "closedwon": "Closed Won",
    "closedlost": "Closed Lost",
}
_COMMON = {"createdate", "hs_object_id", "hs_merged_object_ids"}
KNOWN = {
    "contacts": _COMMON
    | {"lastmodifieddate", "email", "hs_additional_emails", "firstname", "lastname", "phone"}
    | {"mobilephone", "hs_whatsapp_phone_number", "lifecyclestage", "hs_lead_status"},
    "deals": _COMMON
    | {"hs_lastmodifieddate", "dealname", "dealstage", "pipeline", "amount"}
    | {"deal_currency_code", "closedate"},
}


@dataclass
class Record:
    """One contact or deal. `history`: property to its values, the latest first."""

    id: int
    created_at: datetime
    properties: dict[str, str] = field(default_factory=dict)
    history: dict[str, list[tuple[str, datetime]]] = field(default_factory=dict)
    writes: list[datetime] = field(default_factory=list)
    archived_at: datetime | None = None
    merged_ids: list[int] = field(default_factory=list)
    contacts: list[int] = field(default_factory=list)

    def set(self, at: datetime, values: dict[str, str]) -> None:
        """Write properties; only differences make history, but any write counts as a change."""
        for name, value in values.items():
            if self.properties.get(name) != value:
                self.properties[name] = value
                self.history.setdefault(name, []).insert(0, (value, at))
        self.writes.append(at)

    def indexed_at(self, now: datetime, lag: timedelta) -> datetime | None:
        """The time of change that searches know by now; None if they do not know the record."""
        return max((at for at in self.writes if at + lag <= now), default=None)


@dataclass
class HubspotState:
    """The account. `now` is its clock, which tests move. `custom`: contact properties that were
    created, by name; `groups`: their groups."""

    now: datetime
    index_lag: timedelta = timedelta()
    currency: str = "BRL"
    lifecycle: dict[str, str] = field(default_factory=lambda: dict(LIFECYCLE))
    pipelines: dict[str, tuple[str, dict[str, str]]] = field(
        default_factory=lambda: {"default": ("Sales Pipeline", dict(SALES_PIPELINE))}
    )
    records: dict[str, dict[int, Record]] = field(
        default_factory=lambda: {"contacts": {}, "deals": {}}
    )
    aliases: dict[str, dict[int, int]] = field(
        default_factory=lambda: {"contacts": {}, "deals": {}}
    )
    custom: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: count(101))

    def contact(self, **properties: str) -> int:
        """A new contact; its id."""
        return self._new("contacts", properties)

    def deal(self, dealstage: str, *contacts: int, **properties: str) -> int:
        """A new deal in a stage, with these contacts; its id."""
        found = self._new("deals", {"pipeline": "default", "dealstage": dealstage, **properties})
        self.records["deals"][found].contacts = list(contacts)
        return found

    def update(self, kind: str, record_id: int, **properties: str) -> None:
        """Write properties at the account's `now`; without any, only the time of change moves."""
        self.find(kind, record_id).set(self.now, properties)

    def associate(self, deal_id: int, *contacts: int, quietly: bool = False) -> None:
        """Give a deal these contacts in place of its own; `quietly`: without updating its time of
        change, as HubSpot does for some ways of adding a contact to a deal."""
        deal = self.find("deals", deal_id)
        deal.contacts = list(contacts)
        if not quietly:
            deal.writes.append(self.now)

    def delete(self, kind: str, record_id: int) -> None:
        """Move it to the recycle bin."""
        self.find(kind, record_id).archived_at = self.now

    def restore(self, kind: str, record_id: int) -> None:
        """Restore it from the recycle bin, which is a change as well."""
        record = self.find(kind, record_id)
        record.archived_at = None
        record.writes.append(self.now)

    def merge(self, kind: str, primary_id: int, other_id: int) -> int:
        """Merge two records into a new one; its id."""
        primary, other = self.find(kind, primary_id), self.find(kind, other_id)
        merged = Record(next(self._ids), min(primary.created_at, other.created_at))
        merged.properties = {**other.properties, **primary.properties}
        for name in {*primary.history, *other.history}:
            both = primary.history.get(name, []) + other.history.get(name, [])
            merged.history[name] = sorted(both, key=lambda entry: entry[1], reverse=True)
        emails = [r.properties[n] for r in (other,) for n in ("email",) if n in r.properties]
        if kind == "contacts" and emails:
            merged.properties["hs_additional_emails"] = ";".join(emails)
        ids = [*primary.merged_ids, *other.merged_ids, primary.id, other.id]
        merged.merged_ids = list(dict.fromkeys(ids))
        merged.contacts = list(dict.fromkeys(primary.contacts + other.contacts))
        merged.writes.append(self.now)
        self.records[kind][merged.id] = merged
        for old in (primary.id, other.id):
            del self.records[kind][old]
        for old in merged.merged_ids:
            self.aliases[kind][old] = merged.id
        if kind == "contacts":
            for deal in self.records["deals"].values():
                deal.contacts = [self.resolve(kind, i) for i in deal.contacts]
        return merged.id

    def resolve(self, kind: str, record_id: int) -> int:
        """The id of the record that an id leads to."""
        return self.aliases[kind].get(record_id, record_id)

    def find(self, kind: str, record_id: int) -> Record:
        """The record that an id leads to; `KeyError` where there is none."""
        return self.records[kind][self.resolve(kind, record_id)]

    def known(self, kind: str) -> set[str]:
        """Names of the properties of a kind."""
        stages = self.lifecycle if kind == "contacts" else self.pipelines["default"][1]
        made = set(self.custom) if kind == "contacts" else set()
        return KNOWN[kind] | {f"hs_v2_date_entered_{stage}" for stage in stages} | made

    def value(self, kind: str, record: Record, name: str) -> str | None:
        """A property as the API gives it: text, or null."""
        if name == "createdate":
            return iso(record.created_at)
        if name == MODIFIED[kind]:
            return iso(max(record.writes))
        if name == "hs_object_id":
            return str(record.id)
        if name == "hs_merged_object_ids":
            return ";".join(map(str, record.merged_ids)) or None
        if name.startswith("hs_v2_date_entered_"):
            stage = name.removeprefix("hs_v2_date_entered_")
            entered = [at for value, at in record.history.get(STAGE[kind], ()) if value == stage]
            return iso(max(entered)) if entered else None
        return record.properties.get(name)

    def _new(self, kind: str, properties: dict[str, str]) -> int:
        unknown = set(properties) - self.known(kind)
        if unknown:
            raise ValueError(f"{kind} have no property {', '.join(sorted(unknown))}")
        record = Record(next(self._ids), self.now)
        record.set(self.now, properties)
        self.records[kind][record.id] = record
        return record.id


def iso(at: datetime) -> str:
    """A time as HubSpot writes it."""
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
