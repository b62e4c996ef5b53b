"""Contacts of HubSpot's, as the write-back reads and writes them: our own properties alone.

| call | does |
|---|---|
| `POST crm/v3/objects/contacts/batch/read` | values of our properties, and merged ids |
| `POST crm/v3/objects/contacts/search` | contacts that bear a lead's id already |
| `POST crm/v3/objects/contacts/batch/update` | writes; one that is refused holds back no other |
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ingestion.hubspot_api import HubspotClient, Row
from ingestion.hubspot_errors import HubspotRequestError
from ingestion.hubspot_properties import FIRST_TOUCH_AT, LEAD_ID, PROPERTIES
from ingestion.sources.hubspot_records import CONTACTS, record_id, rows_of

BATCH = 100
"""Inputs of one batch, and values of one search."""
TEXT_UNITS = 65_536
"""HubSpot's longest text, in UTF-16 units."""
GONE = "gone"
"""Why nothing was written: deleted in HubSpot, or never there."""

_NAMES = [p.name for p in PROPERTIES]
_MERGED = "hs_merged_object_ids"
_ID = re.compile(r"[0-9]{1,20}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact as it is now. `ids`: its own first, then those merged into it."""

    ids: tuple[str, ...]
    values: dict[str, str]

    @property
    def id(self) -> str:
        """The id that it is written by."""
        return self.ids[0]


def read_contacts(client: HubspotClient, ids: Sequence[str]) -> list[Contact]:
    """These contacts, at most `BATCH`; an id that was merged gives the contact it went into, one
    that is gone gives none."""
    body = {
        "inputs": [{"id": i} for i in ids],
        "properties": [*_NAMES, _MERGED],
        "propertiesWithHistory": [],
    }
    answer = client.post("crm/v3/objects/contacts/batch/read", body)
    found = {c.id: c for c in map(_contact, rows_of(answer, "results"))}
    return list(found.values())


def contacts_of_leads(client: HubspotClient, lead_ids: Sequence[str]) -> Iterator[Contact]:
    """Contacts that bear one of these lead ids (each search takes at most `BATCH`)."""
    for start in range(0, len(lead_ids), BATCH):
        last = "0"
        while True:
            # HubSpot compares text without case, and takes lower case only for IN.
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
    client: HubspotClient, changes: Mapping[str, Mapping[str, str]]
) -> dict[str, str]:
    """Write each contact's properties, at most `BATCH`: id to the reason why not; empty: written.

    HubSpot refuses a batch as a whole for one value that it does not take: halves are tried then,
    down to the one contact that is to blame.
    """
    body = {"inputs": [{"id": i, "properties": dict(values)} for i, values in changes.items()]}
    try:
        answer = client.post("crm/v3/objects/contacts/batch/update", body)
    except HubspotRequestError as error:
        ids = list(changes)
        if len(ids) == 1:
            category = error.problem.category
            return {ids[0]: GONE if category == "OBJECT_NOT_FOUND" else category or "refused"}
        half = len(ids) // 2
        parts = ({i: changes[i] for i in some} for some in (ids[:half], ids[half:]))
        return {i: reason for part in parts for i, reason in update_contacts(client, part).items()}
    fates = dict.fromkeys(changes, "no_answer")
    fates |= {str(row.get("id")): "" for row in rows_of(answer, "results")}
    for error_row in rows_of(answer, "errors"):
        reason = str(error_row.get("category") or "refused")
        ids_of = (error_row.get("context") or {}).get("ids")
        for i in ids_of if isinstance(ids_of, list) else ():
            fates[str(i)] = GONE if reason == "OBJECT_NOT_FOUND" else _word(reason)
    return {i: fates[i] for i in changes}


# ---- values --------------------------------------------------------------------------------------


def text(value: str | None) -> str:
    """A value as HubSpot keeps it: one line, without space around it, not too long."""
    line = _CONTROL.sub(" ", value or "").strip()
    if len(line) <= TEXT_UNITS // 2:
        return line
    units = line.encode("utf-16-le", "replace")[: 2 * TEXT_UNITS]
    return units.decode("utf-16-le", "ignore").strip()


def moment(us: int) -> str:
    """A time (microseconds since 1970) as HubSpot writes it."""
    at = datetime.fromtimestamp(us // 1_000_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{us % 1_000_000 // 1000:03d}Z"


def same(name: str, one: str, other: str) -> bool:
    """Whether two values say the same: times may be written in several ways."""
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
    "Contact",
    "contacts_of_leads",
    "moment",
    "read_contacts",
    "same",
    "text",
    "update_contacts",
]
