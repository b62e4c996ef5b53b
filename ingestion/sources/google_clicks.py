"""Clicks by click id: which ad a `gclid` was a click on.

| GAQL resource | lake | disposition |
|---|---|---|
| `click_view` | `google_ads/click_views` | append, click ids not known yet |
| | `google_ads/click_reads` | append, one row per day read to the end after it was over |

Google answers one day per query and tells of a click for 90 days only, so each day is read once
whole, and kept for good. A day that is not whole yet is read at every run.
"""

from __future__ import annotations

import logging
import re
from datetime import date, datetime, timedelta

from ingestion.google_api import GoogleAdsClient
from ingestion.lake import Lake
from ingestion.sources.google_customers import Customer
from ingestion.sources.google_values import Row, field, required, text

log = logging.getLogger(__name__)

KEPT_DAYS = 90
LATE = timedelta(hours=12)
"""Google tells of clicks some hours late: a day is whole so long after it was over."""
_AD = re.compile(r"customers/\d+/adGroupAds/(\d+)~(\d+)")


def days_to_read(lake: Lake, customer: Customer, now: datetime) -> list[date]:
    """Days of clicks that Google still tells of and that were not read whole, oldest first."""
    today = customer.day_of(now)
    rows = lake.query(
        "select distinct click_date from {r} where customer_id = "  # noqa: S608 - digits
        f"'{int(customer.customer_id)}'",
        r="google_ads/click_reads",
    )
    done = set(rows["click_date"].to_pylist())
    oldest = today - timedelta(days=KEPT_DAYS - 1)
    days = (oldest + timedelta(days=n) for n in range(KEPT_DAYS))
    return [day for day in days if day not in done]


def read_clicks(client: GoogleAdsClient, customer: Customer, day: date) -> list[Row]:
    """Rows of `click_views` of one day."""
    query = (
        "SELECT click_view.gclid, click_view.ad_group_ad, click_view.keyword_info.text, "  # noqa: S608
        f"campaign.id, ad_group.id, segments.date FROM click_view WHERE segments.date = '{day}'"
    )
    rows = client.search(customer.customer_id, query)
    # Of app campaigns Google tells no click id: nothing that a lead could be found by.
    named = [row for row in rows if field(row, "clickView.gclid") not in (None, "")]
    if len(named) < len(rows):
        log.info(
            "Google Ads customer %s, %s: %d clicks without a click id",
            *(customer.customer_id, day, len(rows) - len(named)),
        )
    return [_row(found, customer, day) for found in named]


def is_whole(customer: Customer, day: date, now: datetime) -> bool:
    """Whether no more clicks of that day are to come."""
    return day < customer.day_of(now - LATE)


def known_clicks(lake: Lake, customer: Customer, day: date) -> set[str]:
    """Click ids of a day that have landed, from runs before it was over."""
    rows = lake.query(
        "select gclid from {c} where customer_id = "  # noqa: S608 - digits and a date
        f"'{int(customer.customer_id)}' and click_date = date '{day}'",
        c="google_ads/click_views",
    )
    return set(rows["gclid"].to_pylist())


def _row(found: Row, customer: Customer, day: date) -> Row:
    ad = _AD.fullmatch(text(found, "clickView.adGroupAd") or "")
    return {
        "customer_id": customer.customer_id,
        "click_date": day,
        "gclid": required(found, "clickView.gclid"),
        "campaign_id": text(found, "campaign.id"),
        "ad_group_id": text(found, "adGroup.id") or (ad[1] if ad else None),
        "ad_id": ad[2] if ad else None,
        "keyword": text(found, "clickView.keywordInfo.text"),
    }
