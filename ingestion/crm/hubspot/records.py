"""Records of HubSpot: which changed, their content as the parser takes it, their stages.

| call | gives |
|---|---|
| `POST crm/objects/<version>/<type>/search` | ids of what changed, in the order of ids |
| `GET crm/objects/<version>/<type>?archived=true` | ids and times of what was deleted |
| `POST crm/objects/<version>/<type>/batch/read` | properties, and the history of stage and amount |
| `POST crm/associations/<version>/deals/contacts/batch/read` | contacts of deals |
| `GET crm/properties/<version>/contacts/lifecyclestage` | stages of contacts |
| `GET crm/pipelines/<version>/deals` | stages of deals |
| `GET account-info/<version>/details` | the account's currency |

Only the properties that the parser uses are asked for; of a deal's contacts the one with the
lowest id, the oldest record, is kept: buyer and spouse on one deal are two people.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ingestion.crm.hubspot.client import (
    API_VERSION,
    HubspotClient,
    HubspotProblem,
    HubspotRequestError,
    HubspotScopeError,
    HubspotShapeError,
    Row,
)
from ingestion.parser.hubspot import EMAILS, ENTERED, PHONES

log = logging.getLogger(__name__)

PAGE = 200
OLD_PAGE = 100  # the most that a search returned before the current version of the API
LIST_PAGE = 100
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
    amount: str = ""

    @property
    def histories(self) -> tuple[str, ...]:
        """Properties whose history is read."""
        return tuple(filter(None, (self.stage, self.amount)))


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
    amount="amount",
)


def changed_ids(
    client: HubspotClient, kind: Kind, since: datetime | None, until: datetime
) -> Iterator[list[str]]:
    """Ids of records changed in `[since, until)`, page by page, each page a search of its own.

    Every search starts after the last id seen, so that no search ever has a second page and the
    limit of 10,000 results of one search is never reached.
    """
    window = [_filter(kind.modified, "LT", _millis(until))]
    if since is not None:
        window.append(_filter(kind.modified, "GTE", _millis(since)))
    last, limit = 0, PAGE
    while True:
        body = {
            "filterGroups": [{"filters": [*window, _filter("hs_object_id", "GT", str(last))]}],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "properties": ["hs_object_id"],
            "limit": limit,
        }
        try:
            answer = client.search(kind.name, body)
        except HubspotRequestError:
            if limit == OLD_PAGE:
                raise
            limit = OLD_PAGE
            continue
        ids = [i for i, _ in identified(rows_of(answer, "results"), kind)]
        if ids:
            yield ids
        if not ids or "next" not in (answer.get("paging") or {}):
            return
        highest = max(map(int, ids))
        if highest <= last:
            raise misshapen(kind, "searches form a loop")
        last = highest


def deleted_records(client: HubspotClient, kind: Kind) -> Iterator[tuple[str, str]]:
    """Id and time of deletion of everything in the bin, which HubSpot keeps for 90 days."""
    after: str | None = None
    seen: set[str] = set()
    while True:
        page = {"after": after} if after else {}
        answer = client.get(
            f"crm/objects/{API_VERSION}/{kind.name}",
            archived="true",
            limit=LIST_PAGE,
            properties="createdate",
            **page,
        )
        for found, row in identified(rows_of(answer, "results"), kind):
            yield found, str(row.get("archivedAt") or "")
        after = ((answer.get("paging") or {}).get("next") or {}).get("after")
        if not after:
            return
        if after in seen:
            raise misshapen(kind, "pages form a loop")
        seen.add(after)


@dataclass(frozen=True)
class Stages:
    """The account's labels of stages, and the names of the properties with their dates."""

    labels: dict[str, str]
    entered: tuple[str, ...] = ()


def read_stages(client: HubspotClient, kind: Kind) -> Stages:
    """Stages of contacts (options of the lifecycle stage) or of deals (all pipelines)."""
    if kind is CONTACTS:
        path = f"crm/properties/{API_VERSION}/contacts/lifecyclestage"
        options = rows_of(client.get(path), "options")
        labels = {str(o.get("value")): str(o.get("label") or "") for o in options}
        return Stages(labels, tuple(ENTERED + name for name in labels if _STAGE.fullmatch(name)))
    return Stages(
        {
            str(stage.get("id")): f"{pipeline.get('label')} / {stage.get('label')}"
            for pipeline in rows_of(client.get(f"crm/pipelines/{API_VERSION}/deals"), "results")
            for stage in rows_of(pipeline, "stages")
        }
    )


def read_currency(client: HubspotClient) -> str | None:
    """Currency of deals that name none; None if the token may not read it."""
    try:
        currency = client.get(f"account-info/{API_VERSION}/details").get("companyCurrency")
    except (HubspotScopeError, HubspotRequestError) as error:
        log.warning("amounts of deals without a currency code stay unconverted: %s", error)
        return None
    return currency if isinstance(currency, str) else None


def read_records(
    client: HubspotClient, kind: Kind, ids: Sequence[str], stages: Stages, *, archived: bool = False
) -> list[Row]:
    """Records as the parser takes them. Ids that are gone by now are left out; the id of one that
    was merged into another record gives that record."""
    found: dict[str, Row] = {}
    for start in range(0, len(ids), BATCH):
        body = {
            "inputs": [{"id": i} for i in ids[start : start + BATCH]],
            "properties": [*kind.properties, kind.modified, *stages.entered],
            "propertiesWithHistory": list(kind.histories),
        }
        params = {"archived": "true"} if archived else {}
        answer = client.post(f"crm/objects/{API_VERSION}/{kind.name}/batch/read", body, **params)
        _tolerate(answer, kind)
        for _, row in identified(rows_of(answer, "results"), kind):
            record = _record(row, kind)
            found[record["id"]] = record
    return list(found.values())


def _record(row: Row, kind: Kind) -> Row:
    given = row.get("properties") or {}
    history = _history(row, kind.stage)
    # The date of entering the current stage is needed only if the history does not say it.
    lacking = not history or history[0]["value"] != given.get(kind.stage)
    entered = "" if history else ENTERED
    if history and lacking:
        entered = f"{ENTERED}{given.get(kind.stage)}"
    record: Row = {
        "id": record_id(row, kind),
        "updated_at": given.get(kind.modified) or row.get("updatedAt"),
        "history": history,
        "properties": {
            name: given[name]
            for name in sorted(given)
            if (name in kind.properties or (entered and name.startswith(entered)))
            and given[name] not in (None, "")
        },
    }
    if kind.amount and (amounts := _history(row, kind.amount)):
        record["amounts"] = amounts
    if row.get("archived"):
        record["archived_at"] = row.get("archivedAt")
    return record


def _history(row: Row, name: str) -> list[Row]:
    """Values of a property with their times, the latest first."""
    return [
        {"value": e.get("value"), "timestamp": e.get("timestamp")}
        for e in rows_of(row.get("propertiesWithHistory") or {}, name)
    ]


def oldest_contacts(client: HubspotClient, deal_ids: Sequence[str]) -> dict[str, str]:
    """Deal id to the lowest id of its contacts; deals without any are left out."""
    oldest: dict[str, str] = {}
    waiting: list[dict[str, str]] = [{"id": i} for i in deal_ids]
    while waiting:
        inputs, waiting = waiting[:ASSOCIATIONS], waiting[ASSOCIATIONS:]
        path = f"crm/associations/{API_VERSION}/deals/contacts/batch/read"
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


def _filter(name: str, operator: str, value: str) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": value}


def _millis(moment: datetime) -> str:
    return str(int(moment.astimezone(UTC).timestamp() * 1000))


def _tolerate(answer: Row, kind: Kind) -> None:
    """A batch reports missing records, and deals without contacts, as errors (207)."""
    for error in rows_of(answer, "errors"):
        if error.get("category") != "OBJECT_NOT_FOUND":
            raise misshapen(kind, "a batch has other errors than missing records")


def rows_of(body: Row, field: str) -> list[Row]:
    """Objects of a list in an answer; none if it is missing."""
    found = body.get(field)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def record_id(row: Row, kind: Kind) -> str:
    """The id of a record; raises `HubspotShapeError` if it has none."""
    found = str(row.get("id"))
    if not _DIGITS.fullmatch(found):
        raise misshapen(kind, "a record without an id of digits")
    return found


def identified(rows: Sequence[Row], kind: Kind) -> list[tuple[str, Row]]:
    """Records with their ids; only those with an unreadable id are left out.

    Raises `HubspotShapeError` if none of them has one.
    """
    found: list[tuple[str, Row]] = []
    for row in rows:
        try:
            found.append((record_id(row, kind), row))
        except HubspotShapeError as error:
            log.warning("HubSpot: one of %d %s is left out: %s", len(rows), kind.name, error)
            if len(rows) == 1:
                raise
    if rows and not found:
        raise misshapen(kind, "records without ids of digits")
    return found


def misshapen(kind: Kind, note: str) -> HubspotShapeError:
    """The error for answers that cannot be used."""
    return HubspotShapeError(HubspotProblem(f"the reading of {kind.name}", note=note))
