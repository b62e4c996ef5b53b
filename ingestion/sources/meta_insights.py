"""Spend and results of ads by account day, from Meta's insights.

| Graph API | lake | disposition |
|---|---|---|
| `act_<id>/insights?level=ad` | `meta_ads/insights` | append, days that changed |
| `<ad id>/insights` of deleted ads | the same rows | the same |
| `act_<id>/insights?level=account` | `meta_ads/insight_days` | append, one row per day read whole |
| | `meta_ads/insight_reads` | append, one row per account and range read to the end |

Meta restates figures for 28 days. Each run reads again the last `META_LOOKBACK_DAYS`, and every
day back to the start that was never read, or not since it settled: so a first run back-fills, a
killed one goes on where it stopped, and after weeks of standstill nothing is missing. A day is a
new set of rows under a higher `read_no`; rows withdrawn by Meta are simply not in it. A settled
day is read again when an ad turns out to be deleted that may have spent what no ad row explains.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
from dlt.extract import DltSource

from ctwa.settings import Settings
from ingestion.errors import SourceError, SourceIncompleteError
from ingestion.graph import GraphClient
from ingestion.graph_errors import GraphStopError
from ingestion.lake import Lake
from ingestion.sources.meta_account import (
    DATASET,
    AdAccount,
    next_read_no,
    open_lake,
    read_account,
    to_table,
)
from ingestion.sources.meta_days import DayRead
from ingestion.sources.meta_deleted import DeletedAds
from ingestion.sources.meta_reports import InsightsReader, Range
from ingestion.sources.meta_schema import META_ADS
from ingestion.sources.tables import arrow_source

log = logging.getLogger(__name__)

TABLES = ("insights", "insight_days", "insight_reads")
PIECE_DAYS = 30
MANY_DAYS = 92  # from here on report runs are used from the start
SETTLED_AFTER_DAYS = 28
RETENTION_MONTHS = 37

Clock = Callable[[], datetime]


@dataclass
class InsightsCounts:
    """What one call read and landed. `rows`: by table of the lake.

    `deleted_ads_read`: ads asked for by their own id. `rows_not_fitting`: rows of theirs that
    would have exceeded the account's total.
    """

    read_no: int = 0
    accounts: int = 0
    days_read: int = 0
    days_changed: int = 0
    deleted_ads_read: int = 0
    rows_not_fitting: int = 0
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))


def meta_insights_source(tables: Mapping[str, pa.Table] | None = None) -> DltSource:
    """The source `meta_insights`: resources `insights`, `insight_days`, `insight_reads`."""
    return arrow_source("meta_insights", TABLES, tables)


def land_insights(
    settings: Settings,
    *,
    since: date | None = None,
    until: date | None = None,
    now: Clock = lambda: datetime.now(UTC),
    client: GraphClient | None = None,
) -> InsightsCounts:
    """Read insights of every configured account into the lake; the caller holds the lock.

    `since`, `until` (account days, both included): read exactly these, for a back-fill; without,
    the look-back and whatever is missing. Raises `GraphStopError` when no account can be read,
    `SourceIncompleteError` when some could not, after the others have landed.
    """
    counts = InsightsCounts()
    if not settings.meta_is_on:
        log.info("Meta is off: META_ACCESS_TOKEN and META_AD_ACCOUNT_IDS are not both set")
        return counts
    if since and until and since > until:
        raise SourceError(f"insights: {since} is after {until}; give the earlier day first")
    lake = open_lake(settings)
    counts.read_no = next_read_no(lake)
    landing = _Landing(settings, lake, client or GraphClient.from_settings(settings), now, counts)
    failures: dict[str, SourceError] = {}
    for account_id in settings.meta_accounts:
        try:
            landing.account(account_id, since, until)
        except GraphStopError:
            raise
        except SourceError as error:
            log.error("insights of ad account %s: %s", account_id, error)
            failures[account_id] = error
        else:
            counts.accounts += 1
    if failures:
        raise SourceIncompleteError("Meta insights", counts, failures)
    return counts


@dataclass
class _Landing:
    """One call of `land_insights`."""

    settings: Settings
    lake: Lake
    client: GraphClient
    now: Clock
    counts: InsightsCounts

    def account(self, account_id: str, since: date | None, until: date | None) -> None:
        """Read and land one account, piece by piece, newest first."""
        self.client.renew_patience()
        account = read_account(self.client, account_id)
        known = _known_days(self.lake, account)
        deleted = DeletedAds(self.client, self.lake, account)
        days = self._days_to_read(account, known, since, until, deleted)
        pieces = _pieces(days)
        reader = InsightsReader(self.client, account, many_days=len(days) >= MANY_DAYS)
        for number, (piece, read) in enumerate(reader.read_pieces(pieces), 1):
            read = deleted.complete(read)
            changed = [d for d in read if known.hashes.get(d.day) != d.content_hash]
            done = _ranges(days) if number == len(pieces) else []
            self._land(account_id, changed, done)
            self.counts.days_read += len(read)
            self.counts.days_changed += len(changed)
            log.info(
                "ad account %s, %s to %s: %d of %d days changed",
                *(account_id, *piece, len(changed), len(read)),
            )
        self.counts.deleted_ads_read += deleted.ads_read
        self.counts.rows_not_fitting += deleted.rows_left_out

    def _days_to_read(
        self,
        account: AdAccount,
        known: _Known,
        since: date | None,
        until: date | None,
        deleted: DeletedAds,
    ) -> list[date]:
        today = account.day_of(self.now())
        oldest = oldest_kept_day(today)
        if since or until:
            last = min(until or today, today)
            first = since or last - timedelta(days=self.settings.meta_lookback_days - 1)
            days = _span(max(first, oldest), last)
        else:
            first = today - timedelta(days=self.settings.meta_backfill_days - 1)
            fresh = today - timedelta(days=self.settings.meta_lookback_days - 1)
            if known.hashes:
                first = min(first, *known.hashes)
            start = max(min(first, fresh), oldest)
            settle = min(SETTLED_AFTER_DAYS, self.settings.meta_lookback_days - 1)
            explained = set(deleted.days_worth_reading())
            days = [
                d
                for d in _span(start, today)
                if d >= fresh or d in explained or not known.settled(d, settle)
            ]
        if first < oldest:
            log.warning(
                "ad account %s: Meta keeps %d months; reading from %s instead of %s",
                *(account.account_id, RETENTION_MONTHS, oldest, first),
            )
        return days

    def _land(self, account_id: str, days: list[DayRead], done: list[Range]) -> None:
        """One complete load: rows of the days together with their day rows, or nothing."""
        rows = {
            "insights": [row for day in days for row in day.ads],
            "insight_days": [day.row() for day in days],
            "insight_reads": [
                {"account_id": account_id, "since": first, "until": last} for first, last in done
            ],
        }
        if not any(rows.values()):
            return
        at = self.now()
        tables = {n: to_table(n, r, self.counts.read_no, at) for n, r in rows.items()}
        landed = self.lake.load(DATASET, meta_insights_source(tables), META_ADS)
        for name in TABLES:
            self.counts.rows[name] += landed[name]


@dataclass(frozen=True)
class _Known:
    """What the lake has of an account: hash of each day, and the last account day it was read."""

    hashes: dict[date, str]
    read_on: dict[date, date]
    reads: list[tuple[date, date, date]]  # since, until, read on

    def settled(self, day: date, after_days: int) -> bool:
        """Whether the day was read at least so many days after it."""
        if day not in self.hashes:
            return False
        enough = day + timedelta(days=after_days)
        return self.read_on[day] >= enough or any(
            since <= day <= until and on >= enough for since, until, on in self.reads
        )


def _known_days(lake: Lake, account: AdAccount) -> _Known:
    days = lake.query(
        "select account_id, spend_date, arg_max(content_hash, read_no) as content_hash, "
        "max(read_at) as read_at from {days} group by all",
        days=f"{DATASET}/insight_days",
    ).to_pylist()
    reads = lake.query(
        "select account_id, since, until, max(read_at) as read_at from {reads} group by all",
        reads=f"{DATASET}/insight_reads",
    ).to_pylist()
    own = [r for r in days if r["account_id"] == account.account_id]
    return _Known(
        {r["spend_date"]: r["content_hash"] for r in own},
        {r["spend_date"]: account.day_of(r["read_at"]) for r in own},
        [
            (r["since"], r["until"], account.day_of(r["read_at"]))
            for r in reads
            if r["account_id"] == account.account_id
        ],
    )


def oldest_kept_day(today: date) -> date:
    """The first day that Meta still gives: 37 months back (a day late at the end of a month)."""
    months = today.year * 12 + today.month - 1 - RETENTION_MONTHS
    return date(months // 12, months % 12 + 1, min(today.day, 28))


def _span(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _ranges(days: Iterable[date]) -> list[Range]:
    """Unbroken ranges of ascending days, ascending."""
    ranges: list[Range] = []
    for day in days:
        if ranges and ranges[-1][1] == day - timedelta(days=1):
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return ranges


def _pieces(days: list[date]) -> list[Range]:
    """Ranges of at most `PIECE_DAYS` days, newest first: recent figures are worth the most."""
    pieces: list[Range] = []
    for first, last in reversed(_ranges(days)):
        while first <= last:
            start = max(first, last - timedelta(days=PIECE_DAYS - 1))
            pieces.append((start, last))
            last = start - timedelta(days=1)
    return pieces
