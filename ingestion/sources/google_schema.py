"""Columns of what is read from the Google Ads API, as it lies in `<lake>/google_ads/`.

Append only, as Meta's (`meta_schema`): a metadata row is added when an object is first seen or has
changed, a customer's day when it differs from the last read; of several reads the one with the
highest `read_no` counts. Ids are text, money is in the customer's currency, days are the
customer's, times are UTC.
"""

from __future__ import annotations

import pyarrow as pa

TS = pa.timestamp("us", tz="UTC")
MONEY = pa.decimal128(20, 6)

_READ = [
    # Rises by one with each pull, whatever the clock does; newest wins.
    pa.field("read_no", pa.int64(), nullable=False),
    pa.field("read_at", TS, nullable=False),
]


def _text(*names: str) -> list[pa.Field]:
    return [pa.field(n, pa.string()) for n in names]


CUSTOMERS = pa.schema(
    [
        *_READ,
        pa.field("customer_id", pa.string(), nullable=False),  # digits
        *_text("customer_name", "currency", "timezone_name", "status"),
    ]
)
CAMPAIGNS = pa.schema(
    [
        *_READ,
        pa.field("campaign_id", pa.string(), nullable=False),
        *_text("customer_id", "campaign_name", "channel_type", "status"),
    ]
)
AD_GROUPS = pa.schema(
    [
        *_READ,
        pa.field("ad_group_id", pa.string(), nullable=False),
        *_text("customer_id", "campaign_id", "ad_group_name", "ad_group_type", "status"),
    ]
)
ADS = pa.schema(
    [
        *_READ,
        pa.field("ad_id", pa.string(), nullable=False),
        *_text("customer_id", "campaign_id", "ad_group_id", "ad_name", "ad_type", "status"),
        *_text("headline", "body"),  # the first of each, where the ad has texts
    ]
)
COSTS = pa.schema(
    [
        *_READ,
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("spend_date", pa.date32(), nullable=False),  # the customer's day
        # campaign: the campaign's whole day; ad_group and ad: what of it has one. Each level holds
        # the whole of its own, so the levels are never added to each other.
        pa.field("level", pa.string(), nullable=False),
        pa.field("campaign_id", pa.string(), nullable=False),
        pa.field("ad_group_id", pa.string()),
        pa.field("ad_id", pa.string()),
        *_text("campaign_name", "ad_group_name", "ad_name", "currency"),
        pa.field("spend", MONEY, nullable=False),
        pa.field("impressions", pa.int64(), nullable=False),
        pa.field("clicks", pa.int64(), nullable=False),
    ]
)
# One row for each complete read of a customer's day: the rows of `costs` with the same customer,
# day and read_no are that day, whole.
COST_DAYS = pa.schema(
    [
        *_READ,
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("spend_date", pa.date32(), nullable=False),
        pa.field("currency", pa.string()),
        pa.field("customer_spend", MONEY, nullable=False),  # the customer's own total
        pa.field("customer_impressions", pa.int64(), nullable=False),
        pa.field("customer_clicks", pa.int64(), nullable=False),
        pa.field("ad_rows", pa.int32(), nullable=False),  # rows of level `ad`
        pa.field("content_hash", pa.string(), nullable=False),
    ]
)
# One row each time the costs of a customer were read to the end, changed or not: freshness.
COST_READS = pa.schema(
    [
        *_READ,
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("since", pa.date32(), nullable=False),
        pa.field("until", pa.date32(), nullable=False),
    ]
)
# Kept for good: Google tells of a click for 90 days only.
CLICK_VIEWS = pa.schema(
    [
        *_READ,
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("click_date", pa.date32(), nullable=False),
        pa.field("gclid", pa.string(), nullable=False),
        *_text("campaign_id", "ad_group_id", "ad_id", "keyword"),
    ]
)
CLICK_READS = pa.schema(
    [
        *_READ,
        pa.field("customer_id", pa.string(), nullable=False),
        pa.field("click_date", pa.date32(), nullable=False),  # read to the end
        pa.field("clicks", pa.int64(), nullable=False),
    ]
)

GOOGLE_ADS: dict[str, pa.Schema] = {
    "customers": CUSTOMERS,
    "campaigns": CAMPAIGNS,
    "ad_groups": AD_GROUPS,
    "ads": ADS,
    "costs": COSTS,
    "cost_days": COST_DAYS,
    "cost_reads": COST_READS,
    "click_views": CLICK_VIEWS,
    "click_reads": CLICK_READS,
}
"""Table name to columns, as they lie in `<lake>/google_ads/<table>/*.parquet`."""
