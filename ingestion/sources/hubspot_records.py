"""Records of HubSpot's by their ids, as the parser takes them, and the names of their stages.

| call | gives |
|---|---|
| `POST crm/v3/objects/<type>/batch/read` | properties, and the history of the stage |
| `POST crm/v4/associations/deals/contacts/batch/read` | contacts of deals |
| `GET crm/v3/properties/contacts/lifecyclestage`, `crm/v3/pipelines/deals` | names of stages |
| `GET account-info/v3/details` | the account's currency |

Only the properties that the parser uses are asked for; of a deal's contacts the one with the
lowest id, the oldest record, is kept: buyer and spouse on one deal are two people.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ingestion.hubspot_api import HubspotClient, Row
from ingestion.hubspot_errors import (
    HubspotRequestError,
    HubspotScopeError,
    HubspotShapeError,
    Problem,
)
from ingestion.parser.hubspot import EMAILS, PHONES
from ingestion.parser.hubspot_stages import ENTERED

log = logging.getLogger(__name__)

BATCH = 25
"""Records in one read with history; HubSpot allows fewer of these than of plain ones."""
ASSOCIATIONS = 100

_DIGITS = re.compile(r"[0-9]{1,20}")
_STAGE = re.compile(r"[a-z0-9_]{1,80}")


@dataclass(frozen=True)
class Kind:
    """A kind of record: its name in paths, and its properties."""

    name: str
    modified: str
    stage: str
    properties: tuple[str, ...]


CONTACTS = Kind(
    "contacts",
    "lastmodifieddate",
    "lifecyclestage",
    (*PHONES, *EMAILS, "lifecyclestage", "hs_merged_object_ids", "createdate"),
)
DEALS = Kind(
    "deals",
    "hs_lastmodifieddate",
    "dealstage",
    ("dealstage", "amount", "deal_currency_code", "hs_merged_object_ids", "createdate"),
)


@dataclass(frozen=True)
class Stages:
    """The account's words for stages, and what the properties with their dates are called."""

    labels: dict[str, str]
    entered: tuple[str, ...] = ()


def read_stages(client: HubspotClient, kind: Kind) -> Stages:
    """Stages of contacts (options of the lifecycle stage) or of deals (all pipelines)."""
    if kind is CONTACTS:
        options = rows_of(client.get("crm/v3/properties/contacts/lifecyclestage"), "options")
        labels = {str(o.get("value")): str(o.get("label") or "") for o in options}
        return Stages(labels, tuple(ENTERED + name for name in labels if _STAGE.fullmatch(name)))
    return Stages(
        {
            str(stage.get("id")): f"{pipeline.get('label')} / {stage.get('label')}"
            for pipeline in rows_of(client.get("crm/v3/pipelines/deals"), "results")
            for stage in rows_of(pipeline, "stages")
        }
    )


def read_currency(client: HubspotClient) -> str | None:
    """Currency of deals that name none; None where the token may not know it."""
    try:
        currency = client.get("account-info/v3/details").get("companyCurrency")
    except (HubspotScopeError, HubspotRequestError) as error:
        log.warning("amounts of deals without a currency code stay unconverted: %s", error)
        return None
    return currency if isinstance(currency, str) else None


def read_records(
    client: HubspotClient, kind: Kind, ids: Sequence[str], stages: Stages, *, archived: bool = False
) -> list[Row]:
    """Records as the parser takes them. Ids that are gone meanwhile are left out; one that was
    merged into another record gives that record."""
    found: dict[str, Row] = {}
    for start in range(0, len(ids), BATCH):
        body = {
            "inputs": [{"id": i} for i in ids[start : start + BATCH]],
            "properties": [*kind.properties, kind.modified, *stages.entered],
            "propertiesWithHistory": [kind.stage],
        }
        params = {"archived": "true"} if archived else {}
        answer = client.post(f"crm/v3/objects/{kind.name}/batch/read", body, **params)
        _tolerate(answer, kind)
        for row in rows_of(answer, "results"):
            record = _record(row, kind)
            found[record["id"]] = record
    return list(found.values())


def _record(row: Row, kind: Kind) -> Row:
    given = row.get("properties") or {}
    history = [
        {"value": e.get("value"), "timestamp": e.get("timestamp")}
        for e in rows_of(row.get("propertiesWithHistory") or {}, kind.stage)
    ]
    record = {
        "id": record_id(row, kind),
        "updated_at": given.get(kind.modified) or row.get("updatedAt"),
        "history": history,
        "properties": {
            name: given[name]
            for name in sorted(given)
            if (name in kind.properties or (name.startswith(ENTERED) and not history))
            and given[name] not in (None, "")
        },
    }
    if row.get("archived"):
        record["archived_at"] = row.get("archivedAt")
    return record


def oldest_contacts(client: HubspotClient, deal_ids: Sequence[str]) -> dict[str, str]:
    """Deal id to the lowest id of its contacts; deals without any are left out."""
    oldest: dict[str, str] = {}
    waiting: list[dict[str, str]] = [{"id": i} for i in deal_ids]
    while waiting:
        inputs, waiting = waiting[:ASSOCIATIONS], waiting[ASSOCIATIONS:]
        path = "crm/v4/associations/deals/contacts/batch/read"
        answer = client.post(path, {"inputs": inputs})
        _tolerate(answer, DEALS)
        for row in rows_of(answer, "results"):
            deal = str((row.get("from") or {}).get("id"))
            ids = [str(to.get("toObjectId")) for to in rows_of(row, "to")]
            known = [oldest[deal]] if deal in oldest else []
            numbers = [int(i) for i in (*known, *ids) if _DIGITS.fullmatch(i)]
            if numbers:
                oldest[deal] = str(min(numbers))
            after = ((row.get("paging") or {}).get("next") or {}).get("after")
            if after and {"id": deal, "after": after} not in inputs:
                waiting.append({"id": deal, "after": str(after)})
    return oldest


# ---- details -----------------------------------------------------------------------------


def _tolerate(answer: Row, kind: Kind) -> None:
    """A batch tells of records that are gone, and of deals without contacts, as errors (207)."""
    for error in rows_of(answer, "errors"):
        if error.get("category") != "OBJECT_NOT_FOUND":
            raise misshapen(kind, "a batch has errors of another kind than missing records")


def rows_of(body: Row, field: str) -> list[Row]:
    """Objects of a list in an answer; none where it is missing."""
    found = body.get(field)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def record_id(row: Row, kind: Kind) -> str:
    """The id of a record; raises `HubspotShapeError` where it has none."""
    found = str(row.get("id"))
    if not _DIGITS.fullmatch(found):
        raise misshapen(kind, "a record without an id of digits")
    return found


def misshapen(kind: Kind, note: str) -> HubspotShapeError:
    """The error for answers that cannot be used."""
    return HubspotShapeError(Problem(f"the reading of {kind.name}", note=note))


__all__ = [
    "CONTACTS",
    "DEALS",
    "Kind",
    "Stages",
    "misshapen",
    "oldest_contacts",
    "read_currency",
    "read_records",
    "read_stages",
    "record_id",
    "rows_of",
]
