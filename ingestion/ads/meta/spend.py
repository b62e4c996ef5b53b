"""Spend and results of ads by account day, from Meta's insights.

| Graph API | lake |
|---|---|
| `act_<id>/insights?level=ad`, of deleted ads `<ad id>/insights` | `spend_rows`, changed days |
| `act_<id>/insights?level=account` | `spend_days`, one row per day read whole |
| | `spend_reads`, one row per account and range read to the end |

Meta corrects figures for 28 days. Each run reads the last `META_LOOKBACK_DAYS` again, a first run
`META_BACKFILL_DAYS`, and all days that have not settled (`ingestion.ads.accounts`). A settled day
is read again if an ad turns out to be deleted that may have spent what no ad row explains.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import date, timedelta

from ctwa.settings import Settings
from ingestion.ads.accounts import (
    Account,
    KnownDays,
    days_to_read,
    known_days,
    land_days,
    pieces,
    span,
)
from ingestion.ads.meta.accounts import SETTLED_AFTER_DAYS, read_account_or_finished, taken_out
from ingestion.ads.meta.deleted import DeletedAds
from ingestion.ads.meta.graph import GraphClient
from ingestion.ads.meta.insights import InsightsReader
from ingestion.ads.schema import META_ADS, SPEND_TABLES
from ingestion.ads.tables import AdsTables, Clock, utc_now
from ingestion.apis.client import Parts
from ingestion.lake.lake import Lake
from ingestion.source import SourceError

log = logging.getLogger(__name__)

MANY_DAYS = 92  # from this number on report runs are used from the start
RETENTION_MONTHS = 37


@dataclass
class InsightsCounts:
    """What one call read and landed. `rows`: by table of the lake.

    `deleted_ads_read`: ads asked for by their own id. `rows_not_fitting`: rows of theirs that
    would have exceeded the account's total. `rows_refused`: rows of ads that cannot be read.
    `accounts_over`, `accounts_taken_out`: accounts that were read before and of which nothing is
    missing, and those whose id was removed from the settings (`accounts.py`).
    """

    read_no: int = 0
    accounts: int = 0
    days_read: int = 0
    days_changed: int = 0
    deleted_ads_read: int = 0
    rows_not_fitting: int = 0
    rows_refused: int = 0
    accounts_over: str | None = None
    accounts_taken_out: str | None = None
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SPEND_TABLES, 0))


def land_insights(
    settings: Settings,
    *,
    since: date | None = None,
    until: date | None = None,
    now: Clock = utc_now,
    client: GraphClient | None = None,
    lake: Lake | None = None,
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
    tables = AdsTables.open(lake or Lake.from_settings(settings), "meta", META_ADS, now)
    counts.read_no = tables.read_no
    landing = _Landing(settings, tables, client or GraphClient.from_settings(settings), counts)
    counts.accounts_taken_out = taken_out(tables, settings.meta_ad_account_ids)
    parts = Parts("Meta insights")
    for account_id in settings.meta_ad_account_ids:
        with parts.part(account_id):
            landing.account(account_id, since, until)
    parts.finish(counts)
    return counts


@dataclass
class _Landing:
    """One call of `land_insights`."""

    settings: Settings
    tables: AdsTables
    client: GraphClient
    counts: InsightsCounts

    def account(self, account_id: str, since: date | None, until: date | None) -> None:
        """Read and land one account, piece by piece, newest first."""
        self.client.renew_patience()
        lookback = self.settings.meta_lookback_days
        account = read_account_or_finished(self.client, self.tables, account_id, lookback)
        if account is None:
            over = (self.counts.accounts_over, account_id)
            self.counts.accounts_over = ", ".join(filter(None, over))
            return
        known = known_days(self.tables, account)
        deleted = DeletedAds(self.client, self.tables, account)
        days = self._days_to_read(account, known, since, until, deleted)
        reader = InsightsReader(self.client, account, many_days=len(days) >= MANY_DAYS)
        read = ((p, deleted.complete(found)) for p, found in reader.read_pieces(pieces(days)))
        unreadable = reader.damage.days
        try:
            land_days(self.tables, account, known, days, read, self.counts, unreadable)
        finally:
            self.counts.rows_refused += reader.damage.rows
            self.counts.deleted_ads_read += deleted.ads_read
            self.counts.rows_not_fitting += deleted.rows_left_out
        if unread := sorted(unreadable & set(days)):
            raise SourceError(
                f"ad account {account_id}: the account's total of {len(unread)} day(s), such as "
                f"{unread[0]}, is not a number in Meta's answer: those days stay as they were read "
                "before, the others have landed; if it stays so for days, report it to us"
            )
        self.counts.accounts += 1

    def _days_to_read(
        self,
        account: Account,
        known: KnownDays,
        since: date | None,
        until: date | None,
        deleted: DeletedAds,
    ) -> list[date]:
        today = account.day_of(self.tables.now())
        oldest = oldest_kept_day(today)
        lookback = self.settings.meta_lookback_days
        if since or until:
            last = min(until or today, today)
            first = since or last - timedelta(days=lookback - 1)
            days = span(max(first, oldest), last)
        else:
            first = today - timedelta(days=self.settings.meta_backfill_days - 1)
            first = min([first, *known.hashes])
            days = days_to_read(
                *(known, today, lookback, SETTLED_AFTER_DAYS),
                first=first,
                oldest=oldest,
                again=set(deleted.days_worth_reading()),
            )
        if first < oldest:
            log.warning(
                "ad account %s: Meta keeps %d months; reading from %s instead of %s",
                *(account.account_id, RETENTION_MONTHS, oldest, first),
            )
        return days


def oldest_kept_day(today: date) -> date:
    """The first day that Meta still has: 37 months back (a day late at the end of a month)."""
    months = today.year * 12 + today.month - 1 - RETENTION_MONTHS
    return date(months // 12, months % 12 + 1, min(today.day, 28))
