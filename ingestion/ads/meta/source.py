"""Ad accounts, campaigns, ad sets, ads and creatives of Meta, in every status.

| Graph API | lake |
|---|---|
| `act_<id>` | `accounts` |
| `act_<id>/campaigns`, `/adsets`, `/ads` | `campaigns`, `adsets`, `ads` |
| `creative{…}` of each ad | `creatives` |
| edges filtered by ids, `<id>` | `ad_lookups`, one row per attempt; the tables above |

Every run lists everything, because date filters on objects do not work; only what is new or has
changed is written, so the rows of an object are the history of its names. An object that has
left the lists is read by id once more, to learn that it was deleted. Nothing is ever removed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ctwa.settings import Settings
from ingestion.ads.meta.accounts import read_account, read_account_or_finished
from ingestion.ads.meta.errors import (
    GraphError,
    GraphStopError,
    GraphTooMuchDataError,
    MetaShapeError,
)
from ingestion.ads.meta.graph import GraphClient
from ingestion.ads.meta.lookups import (
    MAX_ACCOUNTS,
    MAX_SINGLES,
    ReaderById,
    due_lookups,
    earlier_lookups,
    look_up,
)
from ingestion.ads.meta.objects import ADS, KINDS, Kind, Objects
from ingestion.ads.meta.spend import land_insights
from ingestion.ads.schema import KEYS, META_ADS, OBJECT_TABLES
from ingestion.ads.tables import AdsTables, Clock, Row, utc_now
from ingestion.apis.client import Parts
from ingestion.lake.lake import Lake, read_alone
from ingestion.lake.pipeline import Batch, typed_source
from ingestion.parser.schema import EVENT_LOG
from ingestion.source import SourceError

if TYPE_CHECKING:
    from dlt.extract import DltSource

log = logging.getLogger(__name__)

MIN_PAGE_ROWS = 10


@dataclass
class MetaAdsCounts:
    """What one call landed: `rows` by table, `lookups` by status.

    `lookups_waiting`: ids left for the next run. `objects_refused`: objects that cannot be read.
    """

    read_no: int = 0
    accounts: int = 0
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OBJECT_TABLES, 0))
    lookups: dict[str, int] = field(default_factory=dict)
    lookups_waiting: int = 0
    objects_refused: int = 0


def meta_ads_source(settings: Settings) -> DltSource:
    """The dlt source `meta_ads`: objects and spend of the accounts in `settings`, the back-fill of
    days included, for any dlt pipeline (docs/dlt.md).

    Raises `SourceIncompleteError` if an account could not be read, `GraphStopError` if none could.
    """

    def land(lake: Lake) -> None:
        land_meta_ads(settings, (), lake=lake)
        land_insights(settings, lake=lake)

    def read() -> Iterator[Batch]:
        return read_alone("meta_ads", META_ADS, land)

    return typed_source("meta_ads", META_ADS, read, write_disposition="replace")


def land_meta_ads(
    settings: Settings,
    referral_ad_ids: Iterable[str] | None = None,
    now: Clock = utc_now,
    *,
    client: GraphClient | None = None,
    lake: Lake | None = None,
) -> MetaAdsCounts:
    """Read all objects of all configured accounts into the lake; the caller holds the lock.

    `referral_ad_ids`: ids to look up if no list has them, in this order; default: those of the
    event log's referrals, oldest first. Raises `GraphStopError` when no account can be read
    (nothing has landed then), `SourceIncompleteError` when some could not, after the others have
    landed.
    """
    counts = MetaAdsCounts()
    if not settings.meta_is_on:
        log.info("Meta is off: META_ACCESS_TOKEN and META_AD_ACCOUNT_IDS are not both set")
        return counts
    at = now()
    tables = AdsTables.open(lake or Lake.from_settings(settings), "meta", META_ADS, lambda: at)
    counts.read_no = tables.read_no
    if referral_ad_ids is None:
        referral_ad_ids = _referral_ad_ids(tables.lake)
    reader = client or GraphClient.from_settings(settings)
    pull = _Pull(tables, reader, settings.meta_lookback_days)
    parts = Parts("Meta ads")
    for account_id in settings.meta_ad_account_ids:
        reader.renew_patience()
        with parts.part(account_id):
            pull.account(account_id)
    counts.accounts = len(pull.accounts)
    reader.renew_patience()
    with parts.part("look-ups by id"):
        pull.lookups(referral_ad_ids)
    pull.land(counts)
    parts.finish(counts)
    return counts


def _referral_ad_ids(lake: Lake) -> list[str]:
    """Ids that may be ads: those of referrals of any type but posts, types of the future included,
    and those that Meta's macros put into the address of a page."""
    lake.ensure("event_log", EVENT_LOG)
    rows = lake.query(
        "select ad_id from ("
        "select referral_source_id as ad_id, seq from {messages} "
        "where referral_source_id <> '' and coalesce(lower(referral_source_type), '') <> 'post' "
        "union all select ad_id, seq from {forms} where ad_platform = 'meta' and ad_id <> '' "
        "union all select ad_id, seq from {clicks} where ad_platform = 'meta' and ad_id <> ''"
        ") group by ad_id order by min(seq), ad_id",
        messages="event_log/messages",
        forms="event_log/web_leads",
        clicks="event_log/link_clicks",
    )
    ids: list[str] = rows["ad_id"].to_pylist()
    return ids


class _Pull:
    """One pull over all accounts: what was read, and what is already known."""

    def __init__(self, tables: AdsTables, client: GraphClient, lookback_days: int) -> None:
        self._tables, self._client, self._lookback_days = tables, client, lookback_days
        self._read = Objects()
        self._lookup_rows: list[Row] = []
        self._by_id = ReaderById(client)
        self.accounts: list[str] = []
        self._known = {table: tables.newest(table) for table in KEYS}

    def account(self, account_id: str) -> None:
        """All objects of one account: every list to its end, then what has left the lists."""
        objects = Objects()
        account = read_account_or_finished(
            self._client, self._tables, account_id, self._lookback_days
        )
        if account is None:
            log.info("ad account %s is closed, and all of it was read", account_id)
            return
        objects.add("accounts", account.row())
        self.accounts.append(account_id)
        for kind in KINDS:
            objects.add_all(kind, self._list(account_id, kind))
        for kind in KINDS:
            self._read_vanished(account_id, kind, objects)
        self._read.merge(objects)

    def lookups(self, referral_ad_ids: Iterable[str]) -> None:
        """Ads of referrals and insights that no list has ever shown."""
        ids = dict.fromkeys([*referral_ad_ids, *self._insight_ad_ids()])
        known = self._known["ads"].keys() | self._read.tables["ads"].keys()
        earlier, now = earlier_lookups(self._tables), self._tables.now()
        due = due_lookups([i for i in ids if i not in known], earlier, now)
        others = sorted(self._known["accounts"].keys() - set(self.accounts))
        accounts = [*self.accounts, *others[:MAX_ACCOUNTS]]
        try:
            for row in look_up(self._by_id, due, earlier, now, self._read, accounts):
                self._lookup_rows.append(row)
        finally:
            self._read_accounts_of_lookups()

    def land(self, counts: MetaAdsCounts) -> None:
        """Write what is new or has changed, as one complete load."""
        rows = {
            table: self._tables.changed(table, list(read.values()), self._known[table])
            for table, read in self._read.tables.items()
        }
        rows["ad_lookups"] = self._lookup_rows
        counts.lookups_waiting, counts.objects_refused = self._by_id.waiting, self._read.refused
        counts.lookups = dict(Counter(r["lookup_status"] for r in self._lookup_rows))
        counts.rows |= self._tables.load(rows)

    # ---- details -------------------------------------------------------------------------

    def _list(self, account_id: str, kind: Kind) -> list[Row]:
        """All of an edge; with smaller pages if Meta says that a page is too much."""
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
        vanished = [
            object_id
            for object_id, row in self._known[kind.table].items()
            if object_id not in objects.tables[kind.table]
            and row["account_id"] == account_id
            and row["effective_status"] != "DELETED"
        ]
        if not vanished:
            return
        # Each run starts elsewhere: what cannot be read must not always use up the budget.
        vanished.sort()
        start = self._tables.read_no * MAX_SINGLES % len(vanished)
        ids = vanished[start:] + vanished[:start]
        for object_id, answer in self._by_id.read(kind, ids, kind.fields, [account_id]):
            if isinstance(answer, GraphError):
                log.info("%s %s has left the lists: %s", kind.table, object_id, answer)
                continue
            try:
                objects.add_body(kind, answer)
            except MetaShapeError as error:
                log.warning("%s %s cannot be read: %s", kind.table, object_id, error)

    def _insight_ad_ids(self) -> list[str]:
        rows = self._tables.query(
            "select ad_id from {spend} where ad_id <> '' group by ad_id "
            "order by min(spend_date), ad_id",
            spend="spend_rows",
        )
        return [row["ad_id"] for row in rows]

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
