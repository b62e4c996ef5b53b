"""Which records of HubSpot's changed in a window of time, and which were deleted.

| call | gives |
|---|---|
| `POST crm/v3/objects/<type>/search` | ids of what changed, in the order of ids |
| `GET crm/v3/objects/<type>?archived=true` | ids and times of what was deleted |
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from ingestion.hubspot_api import HubspotClient
from ingestion.hubspot_errors import HubspotRequestError
from ingestion.sources.hubspot_records import Kind, misshapen, record_id, rows_of

PAGE = 200
OLD_PAGE = 100  # what searches allowed before
LIST_PAGE = 100


def changed_ids(
    client: HubspotClient, kind: Kind, since: datetime | None, until: datetime
) -> Iterator[list[str]]:
    """Ids of records changed in `[since, until)`, page by page, each page a search of its own.

    Every search starts behind the last id seen, so that no search ever has a second page and
    the limit of 10,000 results of one search is never met.
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
        ids = [record_id(row, kind) for row in rows_of(answer, "results")]
        if ids:
            yield ids
        if not ids or "next" not in (answer.get("paging") or {}):
            return
        highest = max(map(int, ids))
        if highest <= last:
            raise misshapen(kind, "searches run in a circle")
        last = highest


def deleted_records(client: HubspotClient, kind: Kind) -> Iterator[tuple[str, str]]:
    """Id and time of deletion of everything in the bin, which HubSpot keeps for 90 days."""
    after: str | None = None
    seen: set[str] = set()
    while True:
        page = {"after": after} if after else {}
        answer = client.get(
            f"crm/v3/objects/{kind.name}",
            archived="true",
            limit=LIST_PAGE,
            properties="createdate",
            **page,
        )
        for row in rows_of(answer, "results"):
            yield record_id(row, kind), str(row.get("archivedAt") or "")
        after = ((answer.get("paging") or {}).get("next") or {}).get("after")
        if not after:
            return
        if after in seen:
            raise misshapen(kind, "pages run in a circle")
        seen.add(after)


def _filter(name: str, operator: str, value: str) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": value}


def _millis(moment: datetime) -> str:
    return str(int(moment.astimezone(UTC).timestamp() * 1000))


__all__ = ["changed_ids", "deleted_records"]
