"""Spend of deleted ads, read by the ad's own id: no list of insights shows them (E32, E45).

| Graph API | asked |
|---|---|
| `GET <ad id>/insights` | if an account day's total is more than its ads add up to |

The difference is the day's *rest*. Two kinds of ads are asked for: those that the lake knows to be
deleted, and those that an earlier read of the day had and this one does not have. What Meta still
reports is added to the day's rows, so it stays with its ad and campaign; the account's total is
never exceeded. Spend that does not fit, is not reported, or was not asked for because there are too
many ads stays in the total only, as `unallocated` (rule R12).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from ingestion.ads.accounts import Account, AccountDay
from ingestion.ads.meta.errors import (
    GraphError,
    GraphStopError,
    GraphThrottledError,
    GraphUnavailableError,
)
from ingestion.ads.meta.graph import GraphClient
from ingestion.ads.meta.insights import AD_FIELDS, ad_rows, compact
from ingestion.ads.tables import AdsTables, Row

log = logging.getLogger(__name__)

MAX_ADS = 200  # in one run and account; the others wait, their spend is unallocated meanwhile
_UNAVAILABLE_IN_A_ROW = 3
_PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class _Ad:
    """A deleted ad. `known_since`: number of the first read that said so. `changed`: Unix time of
    its last change, 0 if unknown."""

    ad_id: str
    known_since: int
    first_day: date
    changed: float


@dataclass
class DeletedAds:
    """The deleted ads of one account; `complete` adds their rows to days of insights.

    `ads_read`: ads asked for by id. `rows_left_out`: rows of theirs that fit into no total.
    """

    client: GraphClient
    tables: AdsTables
    account: Account
    ads_read: int = 0
    rows_left_out: int = 0
    _ads: list[_Ad] = field(init=False)
    _ads_by_day: dict[date, set[str]] = field(init=False)
    _given_up: bool = field(default=False, init=False)
    _unavailable: int = field(default=0, init=False)
    _not_fitting: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._ads = _deleted_ads(self.tables, self.account)
        self._ads_by_day = _ads_with_spend(self.tables, self.account.account_id)

    def days_worth_reading(self) -> list[date]:
        """Days with a rest that were last read before an ad was known that may explain it."""
        if not self._ads:
            return []
        return [
            day
            for day, (rest, read_no) in _rests(self.tables, self.account.account_id).items()
            if rest > 0
            and any(ad.known_since > read_no and ad.first_day <= day for ad in self._ads)
        ]

    def complete(self, days: list[AccountDay]) -> list[AccountDay]:
        """The same days, with rows of deleted ads where their rest has room for them."""
        rests = {day.day: rest for day in days if (rest := _rest_of(day)) > 0}
        found: dict[date, list[Row]] = {day: [] for day in rests}
        # An ad that is listed on any day is not deleted: on days without a row it spent nothing.
        listed = {row["ad_id"] for day in days for row in day.rows}
        for ad_id in self._candidates(rests, listed):
            if self._given_up or not any(r > _sum(found[d]) for d, r in rests.items()):
                break
            for row in self._rows_of(ad_id, min(rests), max(rests)):
                if row["spend_date"] in rests:
                    found[row["spend_date"]].append(row)
        completed = [self._with(day, found.get(day.day, [])) for day in days]
        if self._not_fitting:
            log.warning(
                "ad account %s: %d day(s) of deleted ads do not fit into the account's total and "
                "stay unallocated, such as %s",
                *(self.account.account_id, len(self._not_fitting), self._not_fitting[0]),
            )
            self.rows_left_out += len(self._not_fitting)
            self._not_fitting.clear()
        return completed

    # ---- details -------------------------------------------------------------------------

    def _candidates(self, days: Iterable[date], listed: set[str]) -> list[str]:
        """Ads to ask for, those most likely to explain a rest first."""
        missing = set().union(*(self._ads_by_day.get(day, set()) for day in days)) - listed
        last = max(days, default=date.min)
        deleted = [ad for ad in self._ads if ad.first_day <= last]
        deleted.sort(key=lambda ad: (-ad.changed, ad.ad_id))
        others = [a.ad_id for a in deleted if a.ad_id not in listed | missing]
        return [*sorted(missing), *others]

    def _rows_of(self, ad_id: str, since: date, until: date) -> list[Row]:
        """What Meta reports for one ad; no rows if it reports nothing, which is never an error."""
        if self.ads_read >= MAX_ADS:
            log.warning(
                "ad account %s: more than %d deleted ads to read by id; what the others spent "
                "stays unallocated in this run",
                *(self.account.account_id, MAX_ADS),
            )
            self._given_up = True
            return []
        self.ads_read += 1
        try:
            rows = self._read(ad_id, since, until)
        except GraphStopError:
            raise
        except GraphError as error:
            log.warning("spend of deleted ad %s stays unallocated: %s", ad_id, error)
            self._note_failure(error)
            return []
        self._unavailable = 0
        return rows

    def _read(self, ad_id: str, since: date, until: date) -> list[Row]:
        pages: list[list[Row]] = self.client.read_whole(
            f"{ad_id}/insights",
            compact,
            time_increment="1",
            time_range={"since": since.isoformat(), "until": until.isoformat()},
            fields=",".join(AD_FIELDS),
            limit=_PAGE_ROWS,
        )
        rows = ad_rows(self.account, (since, until), [row for page in pages for row in page])
        return [row for row in rows if row["ad_id"] == ad_id and row["spend"] > 0]

    def _note_failure(self, error: GraphError) -> None:
        """Complete days matter more than their deleted ads: stop asking, and let them land."""
        if isinstance(error, GraphUnavailableError):
            self._unavailable += 1
        if isinstance(error, GraphThrottledError) or self._unavailable >= _UNAVAILABLE_IN_A_ROW:
            self._given_up = True

    def _with(self, day: AccountDay, rows: list[Row]) -> AccountDay:
        """The day with the rows that fit into its rest, in the order of ad ids: not by chance."""
        rest, rows_taken = _rest_of(day), list(day.rows)
        for row in sorted(rows, key=lambda row: row["ad_id"]):
            if row["spend"] <= rest:
                rest -= row["spend"]
                rows_taken.append(row)
                continue
            self._not_fitting.append(
                f"{day.day}: ad {row['ad_id']} spent {row['spend']}, but only {rest} is open"
            )
        if len(rows_taken) == len(day.rows):
            return day
        return replace(day, rows=sorted(rows_taken, key=lambda row: row["ad_id"]))


def _rest_of(day: AccountDay) -> Decimal:
    return day.spend - _sum(day.rows)


def _sum(rows: Iterable[Row]) -> Decimal:
    return sum((row["spend"] for row in rows), Decimal(0))


# ---- what the lake knows -------------------------------------------------------------------------


def _deleted_ads(tables: AdsTables, account: Account) -> list[_Ad]:
    rows = tables.query(
        """
        select
            ad_id,
            arg_max(account_id, read_no) as account_id,
            arg_max(effective_status, read_no) as status,
            min(read_no) filter (effective_status = 'DELETED') as known_since,
            min(created_at) as created,
            max(updated_at) as updated
        from {ads}
        group by ad_id
        """,
        ads="ads",
    )
    return [
        _Ad(
            row["ad_id"],
            row["known_since"],
            account.day_of(row["created"]) if row["created"] else date.min,
            row["updated"].timestamp() if row["updated"] else 0.0,
        )
        for row in rows
        if row["status"] == "DELETED" and row["account_id"] == account.account_id
    ]


def _ads_with_spend(tables: AdsTables, account_id: str) -> dict[date, set[str]]:
    """Ads with spend in the newest read of each day."""
    rows = tables.query(
        """
        with newest as (
            select account_id, spend_date, max(read_no) as read_no from {days} group by all
        )
        select account_id, spend_date, list(ad_id) as ads
        from {insights} join newest using (account_id, spend_date, read_no)
        where spend > 0
        group by all
        """,
        days="spend_days",
        insights="spend_rows",
    )
    return {r["spend_date"]: set(r["ads"]) for r in rows if r["account_id"] == account_id}


def _rests(tables: AdsTables, account_id: str) -> dict[date, tuple[Decimal, int]]:
    """For each day: its rest as of its newest read, and the last read that covered it."""
    rows = tables.query(
        """
        with newest as (
            select account_id, spend_date, max(read_no) as read_no from {days} group by all
        ),
        ads as (
            select account_id, spend_date, read_no, sum(spend) as spend
            from {insights} group by all
        ),
        looked_at as (
            select newest.account_id, newest.spend_date, max(reads.read_no) as looked_at
            from newest join {reads} as reads
                on newest.account_id = reads.account_id
                and newest.spend_date between reads.since_date and reads.until_date
            group by all
        )
        select
            account_id,
            spend_date,
            days.account_spend - coalesce(ads.spend, 0) as rest,
            greatest(read_no, coalesce(looked_at, 0)) as read_no
        from {days} as days
        join newest using (account_id, spend_date, read_no)
        left join ads using (account_id, spend_date, read_no)
        left join looked_at using (account_id, spend_date)
        """,
        days="spend_days",
        insights="spend_rows",
        reads="spend_reads",
    )
    return {
        r["spend_date"]: (Decimal(r["rest"]), r["read_no"])
        for r in rows
        if r["account_id"] == account_id
    }
