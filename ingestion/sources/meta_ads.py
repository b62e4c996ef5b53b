"""Ad accounts, campaigns, ad sets, ads and creatives of Meta, in every status.

| Graph API | lake | disposition |
|---|---|---|
| `act_<id>` | `meta_ads/accounts` | append, new and changed |
| `act_<id>/campaigns`, `/adsets`, `/ads` | `meta_ads/campaigns`, `adsets`, `ads` | the same |
| `creative{…}` of each ad | `meta_ads/creatives` | the same |
| `?ids=…`, `<ad id>` | `meta_ads/ad_lookups` and the tables above | append, one row per attempt |

Every run lists everything, because date filters on objects do not work; only what is new or has
changed is written, so the rows of an object are the history of its names. An object that has
left the lists is read by id once more, to learn that it was deleted. Nothing is ever removed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
from dlt.extract import DltSource

from ctwa.settings import Settings
from ingestion.errors import SourceError, SourceIncompleteError
from ingestion.graph import GraphClient
from ingestion.graph_errors import GraphError, GraphStopError, GraphTooMuchDataError
from ingestion.lake import Lake
from ingestion.parser.schema import EVENT_LOG
from ingestion.sources.meta_account import (
    DATASET,
    Row,
    next_read_no,
    open_lake,
    read_account,
    to_table,
)
from ingestion.sources.meta_lookups import due_lookups, earlier_lookups, look_up, read_by_id
from ingestion.sources.meta_objects import ADS, KEYS, KINDS, Kind, Objects
from ingestion.sources.meta_schema import META_ADS
from ingestion.sources.tables import arrow_source, current

log = logging.getLogger(__name__)

TABLES = (*KEYS, "ad_lookups")
MIN_PAGE_ROWS = 10

# Signed and short-lived: another one at each read, though nothing has changed.
_VOLATILE = {"read_no", "read_at", "thumbnail_url"}

Clock = Callable[[], datetime]


@dataclass
class MetaAdsCounts:
    """What one call landed: `rows` by table, `lookups` by status."""

    read_no: int = 0
    accounts: int = 0
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    lookups: dict[str, int] = field(default_factory=dict)


def meta_ads_source(tables: Mapping[str, pa.Table] | None = None) -> DltSource:
    """The source `meta_ads`: a resource for each table of objects, and `ad_lookups`."""
    return arrow_source("meta_ads", TABLES, tables)


def land_meta_ads(
    settings: Settings,
    referral_ad_ids: set[str] | None = None,
    now: Clock = lambda: datetime.now(UTC),
    *,
    client: GraphClient | None = None,
) -> MetaAdsCounts:
    """Read all objects of all configured accounts into the lake; the caller holds the lock.

    `referral_ad_ids`: ids to look up if no list has them; default: those of the event log's
    referrals. Raises `GraphStopError` when no account can be read (nothing has landed then),
    `SourceIncompleteError` when some could not, after the others have landed.
    """
    counts = MetaAdsCounts()
    if not settings.meta_is_on:
        log.info("Meta is off: META_ACCESS_TOKEN and META_AD_ACCOUNT_IDS are not both set")
        return counts
    lake = open_lake(settings)
    counts.read_no = next_read_no(lake)
    if referral_ad_ids is None:
        referral_ad_ids = _referral_ad_ids(lake)
    pull = _Pull(lake, client or GraphClient.from_settings(settings), now())
    for account_id in settings.meta_accounts:
        pull.attempt(account_id, partial(pull.account, account_id))
    counts.accounts = len(settings.meta_accounts) - len(pull.failures)
    pull.attempt("look-ups by id", partial(pull.lookups, referral_ad_ids))
    pull.land(counts)
    if pull.failures:
        raise SourceIncompleteError("Meta ads", counts, pull.failures)
    return counts


def _referral_ad_ids(lake: Lake) -> set[str]:
    """Ids that may be ads: in referrals all but posts', whatever type Meta thinks of next; and
    those that a macro of Meta's put into the address of a page."""
    lake.ensure("event_log", EVENT_LOG)
    rows = lake.query(
        "select referral_source_id as ad_id from {messages} "
        "where referral_source_id <> '' and coalesce(lower(referral_source_type), '') <> 'post' "
        "union select ad_id from {forms} where ad_platform = 'meta' and ad_id <> '' "
        "union select ad_id from {clicks} where ad_platform = 'meta' and ad_id <> ''",
        messages="event_log/messages",
        forms="event_log/web_leads",
        clicks="event_log/link_clicks",
    )
    return set(rows["ad_id"].to_pylist())


class _Pull:
    """One pull over all accounts: what was read, what is already known, what failed."""

    def __init__(self, lake: Lake, client: GraphClient, at: datetime) -> None:
        self.failures: dict[str, SourceError] = {}
        self._lake, self._client, self._at = lake, client, at
        self._read = Objects()
        self._lookup_rows: list[Row] = []
        self._known = {table: _current(lake, table, key) for table, key in KEYS.items()}

    def attempt(self, name: str, work: Callable[[], None]) -> None:
        """Do one part; its failure is kept and does not stop the others, a dead token does."""
        self._client.renew_patience()
        try:
            work()
        except GraphStopError:
            raise
        except SourceError as error:
            log.error("Meta ads, %s: %s", name, error)
            self.failures[name] = error

    def account(self, account_id: str) -> None:
        """All objects of one account: every list to its end, then what has left the lists."""
        objects = Objects()
        objects.add("accounts", read_account(self._client, account_id).row())
        for kind in KINDS:
            for body in self._list(account_id, kind):
                objects.add_body(kind, body)
        for kind in KINDS:
            self._read_vanished(account_id, kind, objects)
        self._read.merge(objects)

    def lookups(self, referral_ad_ids: set[str]) -> None:
        """Ads of referrals and insights that no list has ever shown."""
        wanted = (referral_ad_ids | self._insight_ad_ids()) - set(self._known["ads"])
        wanted -= set(self._read.tables["ads"])
        earlier = earlier_lookups(self._lake)
        due = due_lookups(wanted, earlier, self._at)
        try:
            for row in look_up(self._client, due, earlier, self._at, self._read):
                self._lookup_rows.append(row)
        finally:
            self._read_accounts_of_lookups()

    def land(self, counts: MetaAdsCounts) -> None:
        """Write what is new or has changed, as one complete load."""
        rows = {
            table: [r for i, r in read.items() if _content(table, r) != self._known[table].get(i)]
            for table, read in self._read.tables.items()
        }
        rows["ad_lookups"] = self._lookup_rows
        counts.lookups = dict(Counter(r["status"] for r in self._lookup_rows))
        if not any(rows.values()):
            return
        tables = {n: to_table(n, r, counts.read_no, self._at) for n, r in rows.items()}
        landed = self._lake.load(DATASET, meta_ads_source(tables), META_ADS)
        counts.rows = {table: landed[table] for table in TABLES}

    # ---- details -------------------------------------------------------------------------

    def _list(self, account_id: str, kind: Kind) -> list[Row]:
        """An edge to its end; with smaller pages where Meta says that a page is too much."""
        page_rows = kind.page_rows
        while True:
            try:
                pages: list[list[Row]] = self._client.read_whole(
                    f"act_{account_id}/{kind.table}",
                    lambda page: page,
                    fields=kind.fields,
                    effective_status=list(kind.statuses),
                    limit=page_rows,
                )
                return [body for page in pages for body in page]
            except GraphTooMuchDataError:
                if page_rows <= MIN_PAGE_ROWS:
                    raise
                page_rows = max(page_rows // 4, MIN_PAGE_ROWS)
                log.info("ad account %s: %s in pages of %d", account_id, kind.table, page_rows)

    def _read_vanished(self, account_id: str, kind: Kind, objects: Objects) -> None:
        columns = _columns(kind.table)
        account, status = columns.index("account_id"), columns.index("effective_status")
        vanished = [
            object_id
            for object_id, content in self._known[kind.table].items()
            if object_id not in objects.tables[kind.table]
            and content[account] == account_id
            and content[status] != "DELETED"
        ]
        for object_id, answer in read_by_id(self._client, sorted(vanished), kind.fields):
            if isinstance(answer, GraphError):
                log.info("%s %s has left the lists: %s", kind.table, object_id, answer)
            else:
                objects.add_body(kind, answer)

    def _insight_ad_ids(self) -> set[str]:
        rows = self._lake.query(
            "select distinct ad_id from {insights}", insights=f"{DATASET}/insights"
        )
        return set(rows["ad_id"].to_pylist())

    def _read_accounts_of_lookups(self) -> None:
        """Time zone and currency of accounts that are not configured but whose ads we see."""
        seen = {r["account_id"] for r in self._read.tables[ADS.table].values() if r["account_id"]}
        known = set(self._known["accounts"]) | set(self._read.tables["accounts"])
        for account_id in sorted(seen - known):
            try:
                self._read.add("accounts", read_account(self._client, account_id).row())
            except GraphStopError:
                raise
            except SourceError as error:
                log.info("ad account %s of an ad looked up by id: %s", account_id, error)


def _columns(table: str) -> list[str]:
    return [n for n in META_ADS[table].names if n not in _VOLATILE]


def _content(table: str, row: Row) -> tuple[Any, ...]:
    """What of a row counts as its content, in the order of its table's columns."""
    return tuple(row.get(n) for n in _columns(table))


def _current(lake: Lake, table: str, key: str) -> dict[str, tuple[Any, ...]]:
    """Content of the newest row of every object, by id."""
    newest = current(lake, f"{DATASET}/{table}", [key], _columns(table))
    return {object_id: content for (object_id,), content in newest.items()}
