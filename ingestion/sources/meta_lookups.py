"""Ads that no list shows, read by their own id: in groups, one by one where a group fails.

`resolved`: read, and now in the tables. `foreign`: the API says that it is not ours to see.
`gone`: there is no such object. `error`: could not be told. All but the first are tried again
over about a month, less and less often, then left.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ingestion.graph import GraphClient
from ingestion.graph_errors import (
    GraphError,
    GraphNotFoundError,
    GraphPermissionError,
    GraphStopError,
    GraphThrottledError,
    GraphUnavailableError,
)
from ingestion.lake import Lake
from ingestion.sources.meta_account import DATASET, Row
from ingestion.sources.meta_objects import ADS, LOOKUP_FIELDS, Objects

log = logging.getLogger(__name__)

GROUP = 50
MAX_LOOKUPS = 2000  # in one run; the others wait for the next
RETRY_AFTER_DAYS = (1, 1, 2, 4, 7, 14)
"""Days from the first, second … failed attempt to the next; after the last there is none."""

_SLACK = timedelta(hours=1)  # a nightly run that starts a little earlier is still due
_UNAVAILABLE_IN_A_ROW = 3
_AD_ID = re.compile(r"[0-9]{1,30}")


@dataclass(frozen=True, slots=True)
class Earlier:
    """The last look-up of an ad."""

    status: str
    attempts: int
    next_attempt_at: datetime | None

    def is_due(self, now: datetime) -> bool:
        """Whether it is time to ask again."""
        return self.next_attempt_at is not None and self.next_attempt_at <= now


def earlier_lookups(lake: Lake) -> dict[str, Earlier]:
    """The newest look-up of every ad, by ad id."""
    rows = lake.query(
        "select ad_id, status, attempts, next_attempt_at from {lookups} "
        "qualify row_number() over (partition by ad_id order by read_no desc) = 1",
        lookups=f"{DATASET}/ad_lookups",
    ).to_pylist()
    return {r["ad_id"]: Earlier(r["status"], r["attempts"], r["next_attempt_at"]) for r in rows}


def due_lookups(wanted: set[str], earlier: dict[str, Earlier], now: datetime) -> list[str]:
    """Ids to ask for now: new ones first, never more than `MAX_LOOKUPS`."""
    due = [i for i in wanted if i not in earlier or earlier[i].is_due(now)]
    due.sort(key=lambda i: (earlier[i].attempts if i in earlier else 0, i))
    if len(due) > MAX_LOOKUPS:
        log.warning("%d ads to look up, %d wait for the next run", len(due), len(due) - MAX_LOOKUPS)
    return due[:MAX_LOOKUPS]


def look_up(
    client: GraphClient,
    ad_ids: list[str],
    earlier: dict[str, Earlier],
    now: datetime,
    objects: Objects,
) -> Iterator[Row]:
    """Rows of `ad_lookups`, as they become known; what was resolved goes into `objects`."""
    askable = [i for i in ad_ids if _AD_ID.fullmatch(i)]
    for ad_id in sorted(set(ad_ids) - set(askable)):
        # Not a number: no ad has such an id, and no URL is made of it.
        yield _row(ad_id, "gone", 0, None, None)
    for ad_id, answer in read_by_id(client, askable, LOOKUP_FIELDS):
        attempts = 1 + (earlier[ad_id].attempts if ad_id in earlier else 0)
        if isinstance(answer, GraphError):
            yield _row(ad_id, _status_of(answer), attempts, _next(now, attempts), answer)
        else:
            objects.add_body(ADS, answer)
            yield _row(ad_id, "resolved", attempts, None, None)


def read_by_id(
    client: GraphClient, ids: list[str], fields: str
) -> Iterator[tuple[str, Row | GraphError]]:
    """Each id with its object or the reason why there is none.

    Raises what concerns all: a dead token, a limit, an API that does not answer.
    """
    unavailable = 0
    for start in range(0, len(ids), GROUP):
        group = ids[start : start + GROUP]
        found = _read_group(client, group, fields) if len(group) > 1 else {}
        for object_id in group:
            answer = found.get(object_id) or _read_one(client, object_id, fields)
            if isinstance(answer, GraphUnavailableError):
                unavailable += 1
                if unavailable == _UNAVAILABLE_IN_A_ROW:
                    raise answer
            else:
                unavailable = 0
            yield object_id, answer


def _read_group(client: GraphClient, ids: list[str], fields: str) -> dict[str, Row]:
    """What one call gives; nothing when it fails, as it does for a single bad id among good."""
    try:
        answer = client.get("/", ids=",".join(ids), fields=fields)
    except (GraphStopError, GraphThrottledError):
        raise
    except GraphError as error:
        log.debug("%d ids one by one: %s", len(ids), error)
        return {}
    return {i: b for i, b in answer.items() if isinstance(b, dict) and "id" in b}


def _read_one(client: GraphClient, object_id: str, fields: str) -> Row | GraphError:
    try:
        return client.get(object_id, fields=fields)
    except (GraphStopError, GraphThrottledError):
        raise
    except GraphError as error:
        return error


def _status_of(error: GraphError) -> str:
    """100/33 says "does not exist or no permission"; as deleted ads stay readable: not ours."""
    if isinstance(error, GraphNotFoundError):
        return "gone" if error.problem.code == 803 else "foreign"
    return "foreign" if isinstance(error, GraphPermissionError) else "error"


def _next(now: datetime, attempts: int) -> datetime | None:
    if attempts > len(RETRY_AFTER_DAYS):
        return None
    return now + timedelta(days=RETRY_AFTER_DAYS[attempts - 1]) - _SLACK


def _row(
    ad_id: str, status: str, attempts: int, following: datetime | None, error: GraphError | None
) -> Row:
    return {
        "ad_id": ad_id,
        "status": status,
        "attempts": attempts,
        "next_attempt_at": following,
        "error_code": error.problem.code if error else None,
        "error_subcode": error.problem.subcode if error else None,
    }
