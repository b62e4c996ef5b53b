"""Objects that no list shows, read by their ids, in few calls.

| asked | for |
|---|---|
| `act_<id>/ads`, `/adsets`, `/campaigns`, filtered by ids | accounts we know, `GROUP` at once |
| `<id>` | what no account's edge shows: `MAX_SINGLES` a night, the others wait |

Many ids in one call of the root (`GET /?ids=`) were refused by Meta from v26 on (October 2026).

`resolved`: read, and now in the tables. `foreign`: the API says that it is not ours to see.
`gone`: there is no such object. `error`: it could not be found out. All but the first are tried
again for about a month, less and less often, and then no more.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ingestion.ads.meta.errors import (
    GraphError,
    GraphNotFoundError,
    GraphPermissionError,
    GraphRequestError,
    GraphStopError,
    GraphThrottledError,
    GraphTooMuchDataError,
    GraphUnavailableError,
    MetaShapeError,
)
from ingestion.ads.meta.graph import GraphClient
from ingestion.ads.meta.objects import ADS, LOOKUP_FIELDS, Kind, Objects
from ingestion.ads.tables import AdsTables, Row

log = logging.getLogger(__name__)

GROUP = 150
"""Ids in one filter, which is a URL of about 5 kB. 500 ids of four accounts are 16 calls."""
MAX_LOOKUPS = 2000  # in one run; the others wait for the next
MAX_SINGLES = 200
"""The most objects that a run asks for one by one, over all accounts and kinds."""
MAX_ACCOUNTS = 5
"""The most accounts that are known but not configured, e.g. an agency's, to be asked as well."""
RETRY_AFTER_DAYS = (1, 1, 2, 4, 7, 14)
"""Days from the first, second … failed attempt to the next; after the last one there is none."""

_SLACK = timedelta(hours=1)  # it is still due if a nightly run starts a little earlier
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


def earlier_lookups(tables: AdsTables) -> dict[str, Earlier]:
    """The newest look-up of every ad, by ad id."""
    rows = tables.query(
        "select ad_id, lookup_status, attempts, next_attempt_at from {lookups} "
        "qualify row_number() over (partition by ad_id order by read_no desc) = 1",
        lookups="ad_lookups",
    )
    return {
        r["ad_id"]: Earlier(r["lookup_status"], r["attempts"], r["next_attempt_at"]) for r in rows
    }


def due_lookups(wanted: Iterable[str], earlier: dict[str, Earlier], now: datetime) -> list[str]:
    """Ids to ask for now, never more than `MAX_LOOKUPS`: those never asked for first, in the order
    of `wanted` (of a set, by id), then those that have waited longest."""
    listed = sorted(wanted) if isinstance(wanted, set | frozenset) else list(wanted)
    due = [i for i in dict.fromkeys(listed) if i not in earlier or earlier[i].is_due(now)]
    due.sort(key=lambda i: _waiting(earlier.get(i)))
    if len(due) > MAX_LOOKUPS:
        log.warning("%d ads to look up, %d wait for the next run", len(due), len(due) - MAX_LOOKUPS)
    return due[:MAX_LOOKUPS]


def _waiting(before: Earlier | None) -> tuple[int, datetime]:
    if before is None or before.next_attempt_at is None:
        return (0, datetime.min.replace(tzinfo=UTC))
    return (1, before.next_attempt_at)


def look_up(
    reader: ReaderById,
    ad_ids: Sequence[str],
    earlier: dict[str, Earlier],
    now: datetime,
    objects: Objects,
    accounts: Sequence[str] = (),
) -> Iterator[Row]:
    """Rows of `ad_lookups`, as they become known; what was resolved goes into `objects`.

    `accounts`: whose edges are asked first. Ids that the budget has no room for give no row: they
    are due again in the next run.
    """
    askable = [i for i in ad_ids if _AD_ID.fullmatch(i)]
    for ad_id in sorted(set(ad_ids) - set(askable)):
        # Not a number: no ad has such an id, and it must not become part of a URL.
        yield _row(ad_id, "gone", 0, None, None)
    for ad_id, answer in reader.read(ADS, askable, LOOKUP_FIELDS, accounts):
        attempts = 1 + (earlier[ad_id].attempts if ad_id in earlier else 0)
        if isinstance(answer, GraphError):
            yield _row(ad_id, _status_of(answer), attempts, _next(now, attempts), answer)
            continue
        try:
            objects.add_body(ADS, answer)
        except MetaShapeError as error:
            log.warning("ad %s cannot be read: %s", ad_id, error)
            yield _row(ad_id, "error", attempts, _next(now, attempts), None)
            continue
        yield _row(ad_id, "resolved", attempts, None, None)


@dataclass
class ReaderById:
    """Reads objects by their ids; one for each run, as all of a run shares its budget.

    `singles_left`: objects that may still be asked for one by one. `waiting`: ids left for the next
    run, because the budget was used up.
    """

    client: GraphClient
    singles_left: int = field(default_factory=lambda: MAX_SINGLES)
    waiting: int = 0
    _unavailable: int = field(default=0, init=False)
    _edges_show_deleted: bool = field(default=True, init=False)

    def read(
        self, kind: Kind, ids: Sequence[str], fields: str, accounts: Sequence[str]
    ) -> Iterator[tuple[str, Row | GraphError]]:
        """Each id with its object or the reason why there is none; ids without budget are left out.

        Raises errors that concern all ids: a dead token, a limit, an API that does not answer.
        """
        rest = list(dict.fromkeys(ids))
        for number, account_id in enumerate(accounts):
            if len(rest) <= len(accounts) - number:  # asking one by one takes no more calls
                break
            found: dict[str, Row] = {}
            for start in range(0, len(rest), GROUP):
                found |= self._of_edge(kind, account_id, rest[start : start + GROUP], fields)
            yield from ((i, found[i]) for i in rest if i in found)
            rest = [i for i in rest if i not in found]
        asked, left = rest[: self.singles_left], rest[self.singles_left :]
        for object_id in asked:
            self.singles_left -= 1
            yield object_id, self._checked(self._single(object_id, fields))
        if left:
            self.waiting += len(left)
            log.warning(
                "%d of %d %s are in no account that we read and wait for the next run: %d are "
                "asked for one by one in one run",
                *(len(left), len(ids), kind.table, MAX_SINGLES),
            )

    def _of_edge(self, kind: Kind, account_id: str, ids: list[str], fields: str) -> dict[str, Row]:
        """Those of these objects that one account's edge shows; none if it cannot be read."""
        statuses = [*kind.statuses, *(["DELETED"] if self._edges_show_deleted else [])]
        params: Row = {
            "fields": fields,
            "filtering": [
                {"field": f"{kind.word}.id", "operator": "IN", "value": ids},
                # Without it archived objects are left out.
                {"field": f"{kind.word}.effective_status", "operator": "IN", "value": statuses},
            ],
            "limit": len(ids),
        }
        try:
            pages = self.client.read_whole(f"act_{account_id}/{kind.table}", list, **params)
        except (GraphStopError, GraphThrottledError):
            raise
        except GraphTooMuchDataError:
            if len(ids) == 1:
                return {}
            half = len(ids) // 2
            first = self._of_edge(kind, account_id, ids[:half], fields)
            return first | self._of_edge(kind, account_id, ids[half:], fields)
        except GraphError as error:
            if isinstance(error, GraphRequestError) and self._edges_show_deleted:
                # Meta's documentation says that edges show no deleted objects, but some do.
                self._edges_show_deleted = False
                return self._of_edge(kind, account_id, ids, fields)
            log.info("%s of ad account %s by id: %s", kind.table, account_id, error)
            self._checked(error)
            return {}
        self._unavailable = 0
        wanted = set(ids)
        bodies = (body for page in pages for body in page)
        return {str(b["id"]): b for b in bodies if str(b.get("id")) in wanted}

    def _single(self, object_id: str, fields: str) -> Row | GraphError:
        try:
            return self.client.get(object_id, fields=fields)
        except (GraphStopError, GraphThrottledError):
            raise
        except GraphError as error:
            return error

    def _checked(self, answer: Row | GraphError) -> Row | GraphError:
        """The answer itself; raises it if the API was unavailable too often in a row."""
        if not isinstance(answer, GraphUnavailableError):
            self._unavailable = 0
            return answer
        self._unavailable += 1
        if self._unavailable >= _UNAVAILABLE_IN_A_ROW:
            raise answer
        return answer


def _status_of(error: GraphError) -> str:
    """100/33 means "does not exist or no permission". Deleted ads stay readable: it is not ours."""
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
        "lookup_status": status,
        "attempts": attempts,
        "next_attempt_at": following,
        "error_code": error.problem.code if error else None,
        "error_subcode": error.problem.subcode if error else None,
    }
