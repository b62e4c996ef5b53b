"""Days of cost and days of clicks in Google Ads.

| GAQL resource | lake |
|---|---|
| `campaign`, `ad_group`, `ad_group_ad` | `spend_rows`, days that changed |
| `customer` | `spend_days`, one row per day read count |
| | `spend_reads`, one row per account and range read to the end |
| `click_view` | `click_views`, click ids not known yet: which ad a `gclid` was a click on |
| | `click_reads`, one row per day that was read after it was complete |

Google reports clicks for one day per query, and for 90 days only, so each day is read once when it
is complete, and kept for good. A day that is not complete yet is read in every run.
"""

from __future__ import annotations

import logging
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial

from ingestion.ads.accounts import Account, AccountDay, Range, span
from ingestion.ads.google.api import (
    GoogleAdsClient,
    Row,
    count,
    field,
    identifier,
    money,
    name,
    readable,
    required,
    text,
)
from ingestion.ads.tables import AdsTables
from ingestion.source import SourceError

log = logging.getLogger(__name__)

KEPT_DAYS = 90
LATE = timedelta(hours=12)
"""Google reports clicks some hours late: a day is complete this long after it ended."""
_AD = re.compile(r"customers/\d+/adGroupAds/(\d+)~(\d+)")
_METRICS = "segments.date, metrics.cost_micros, metrics.impressions, metrics.clicks"
_LEVELS = {
    "campaign": ("campaign", "campaign.id, campaign.name"),
    "ad_group": ("ad_group", "ad_group.id, ad_group.name, campaign.id, campaign.name"),
    "ad": (
        "ad_group_ad",
        "ad_group_ad.ad.id, ad_group_ad.ad.name, ad_group.id, ad_group.name, campaign.id, "
        "campaign.name",
    ),
}


class GoogleCostError(SourceError):
    """Costs contradict each other, so that booking them would be wrong."""


def read_cost_days(client: GoogleAdsClient, account: Account, piece: Range) -> list[AccountDay]:
    """Every day of `piece`, also those without cost, whose total Google leaves out: it is zero."""
    days = {day: AccountDay(account, day, account.currency) for day in span(*piece)}
    where = f"WHERE segments.date BETWEEN '{piece[0]}' AND '{piece[1]}'"
    totals = f"SELECT {_METRICS} FROM customer {where}"  # noqa: S608 - GAQL of ours
    for found in client.search(account.account_id, totals):
        day = _day_of(found, days, account)
        day.spend += money(found, "metrics.costMicros")
        day.impressions += count(found, "metrics.impressions")
        day.clicks += count(found, "metrics.clicks")
    for level, (resource, fields) in _LEVELS.items():
        query = f"SELECT {fields}, {_METRICS} FROM {resource} {where}"  # noqa: S608
        rows = client.search(account.account_id, query)
        # Rows that are left out here are still part of the account's total.
        what = f"{level} costs of customer {account.account_id}"
        for row in readable(rows, partial(_cost_row, level, days, account), what):
            days[row["spend_date"]].rows.append(row)
    for day in days.values():
        _check(day)
    return list(days.values())


def _cost_row(level: str, days: dict[date, AccountDay], account: Account, found: Row) -> Row:
    return {
        "account_id": account.account_id,
        "spend_date": _day_of(found, days, account).day,
        "spend_level": level,
        "campaign_id": identifier(found, "campaign.id"),
        "campaign_name": name(found, "campaign.name"),
        "adset_id": None if level == "campaign" else identifier(found, "adGroup.id"),
        "adset_name": name(found, "adGroup.name"),
        "ad_id": identifier(found, "adGroupAd.ad.id") if level == "ad" else None,
        "ad_name": name(found, "adGroupAd.ad.name"),
        "currency": account.currency,
        "spend": money(found, "metrics.costMicros"),
        "impressions": count(found, "metrics.impressions"),
        "clicks": count(found, "metrics.clicks"),
    }


def _day_of(found: Row, days: dict[date, AccountDay], account: Account) -> AccountDay:
    stamp = required(found, "segments.date")
    try:
        return days[date.fromisoformat(stamp)]
    except (KeyError, ValueError):
        raise GoogleCostError(
            f"Google Ads customer {account.account_id}: the answer has a row for {stamp[:10]}, "
            "which was not asked for: the next run reads it again"
        ) from None


def _check(day: AccountDay) -> None:
    """Raise if the levels contradict each other, so that no half day lands."""
    names: dict[str, set[tuple[str | None, ...]]] = {level: set() for level in _LEVELS}
    for row in day.rows:
        key = (row["campaign_id"], row["adset_id"], row["ad_id"])
        if key in names[row["spend_level"]]:
            raise _unsound(day, f"two rows of one {row['spend_level']}")
        names[row["spend_level"]].add(key)
    for row in day.rows:
        above = {
            "ad_group": ("campaign", (row["campaign_id"], None, None)),
            "ad": ("ad_group", (row["campaign_id"], row["adset_id"], None)),
        }.get(row["spend_level"])
        if row["spend"] and above and above[1] not in names[above[0]]:
            # Its parent, which has no row, would lack everything that it spent (E52).
            raise _unsound(day, f"costs of one {row['spend_level']}, but none of its {above[0]}")
    spent = sum((r["spend"] for r in day.rows if r["spend_level"] == "campaign"), Decimal(0))
    if spent and not day.spend and not day.impressions:
        # Taking the total as zero would book all that the campaigns spent as a credit (E52).
        raise _unsound(day, "costs of campaigns, but no total of the account")


def _unsound(day: AccountDay, what: str) -> GoogleCostError:
    return GoogleCostError(
        f"Google Ads customer {day.account.account_id}: the answer for {day.day} has {what}: "
        "nothing of that day has landed, the next run reads it again"
    )


# ---- clicks --------------------------------------------------------------------------------------


def click_days_to_read(tables: AdsTables, account: Account, now: datetime) -> list[date]:
    """Days whose clicks Google still reports and that were not read completely, oldest first."""
    today = account.day_of(now)
    rows = tables.query(
        "select distinct click_date from {r} where account_id = "  # noqa: S608 - digits
        f"'{int(account.account_id)}'",
        r="click_reads",
    )
    done = {row["click_date"] for row in rows}
    oldest = today - timedelta(days=KEPT_DAYS - 1)
    days = (oldest + timedelta(days=n) for n in range(KEPT_DAYS))
    return [day for day in days if day not in done]


def read_clicks(client: GoogleAdsClient, account: Account, day: date) -> list[Row]:
    """Rows of `click_views` of one day."""
    query = (
        "SELECT click_view.gclid, click_view.ad_group_ad, click_view.keyword_info.text, "  # noqa: S608
        f"campaign.id, ad_group.id, segments.date FROM click_view WHERE segments.date = '{day}'"
    )
    rows = client.search(account.account_id, query)
    # For app campaigns Google gives no click id, so no lead can be found by them.
    named = [row for row in rows if field(row, "clickView.gclid") not in (None, "")]
    if len(named) < len(rows):
        log.info(
            "Google Ads customer %s, %s: %d clicks without a click id",
            *(account.account_id, day, len(rows) - len(named)),
        )
    what = f"clicks of customer {account.account_id}"
    return readable(named, partial(_click_row, account, day), what)


def clicks_are_complete(account: Account, day: date, now: datetime) -> bool:
    """Whether no further clicks of that day will be reported."""
    return day < account.day_of(now - LATE)


def known_clicks(tables: AdsTables, account: Account, day: date) -> set[str]:
    """Click ids of a day that have landed in earlier runs, before it was complete."""
    rows = tables.query(
        "select gclid from {c} where account_id = "  # noqa: S608 - digits and a date
        f"'{int(account.account_id)}' and click_date = date '{day}'",
        c="click_views",
    )
    return {row["gclid"] for row in rows}


def _click_row(account: Account, day: date, found: Row) -> Row:
    ad = _AD.fullmatch(text(found, "clickView.adGroupAd") or "")
    return {
        "account_id": account.account_id,
        "click_date": day,
        "gclid": identifier(found, "clickView.gclid"),
        "campaign_id": text(found, "campaign.id"),
        "adset_id": text(found, "adGroup.id") or (ad[1] if ad else None),
        "ad_id": ad[2] if ad else None,
        "keyword": name(found, "clickView.keywordInfo.text"),
    }
