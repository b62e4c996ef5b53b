"""Columns of what is read from Meta's Marketing API, as it lies in `<lake>/meta_ads/`.

Append only: a metadata row is added when an object is first seen or has changed (so renames are
history and deleted ads stay), an account day's insights when they differ from the last read. Of
several reads the one with the highest `read_no` counts. Ids are text. Times are UTC.
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


def _times(*names: str) -> list[pa.Field]:
    return [pa.field(n, TS) for n in names]


ACCOUNTS = pa.schema(
    [
        *_READ,
        pa.field("account_id", pa.string(), nullable=False),  # without act_
        *_text("account_name", "currency", "timezone_name", "account_status"),
    ]
)
CAMPAIGNS = pa.schema(
    [
        *_READ,
        pa.field("campaign_id", pa.string(), nullable=False),
        *_text("account_id", "campaign_name", "objective", "status", "effective_status"),
        *_text("buying_type"),
        *_times("created_time", "updated_time"),
    ]
)
ADSETS = pa.schema(
    [
        *_READ,
        pa.field("adset_id", pa.string(), nullable=False),
        *_text("account_id", "campaign_id", "adset_name", "status", "effective_status"),
        *_text("destination_type", "optimization_goal", "promoted_object", "attribution_spec"),
        *_times("created_time", "updated_time"),
    ]
)
ADS = pa.schema(
    [
        *_READ,
        pa.field("ad_id", pa.string(), nullable=False),
        *_text("account_id", "campaign_id", "adset_id", "ad_name", "status", "effective_status"),
        *_text("creative_id"),
        *_times("created_time", "updated_time"),
    ]
)
CREATIVES = pa.schema(
    [
        *_READ,
        pa.field("creative_id", pa.string(), nullable=False),
        *_text("account_id", "creative_name", "headline", "body", "media_type"),
        *_text("call_to_action_type", "thumbnail_url", "effective_object_story_id"),
        *_text("effective_instagram_media_id", "url_tags"),
    ]
)
AD_LOOKUPS = pa.schema(
    [
        *_READ,
        pa.field("ad_id", pa.string(), nullable=False),
        # resolved | foreign | gone | error
        pa.field("status", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("next_attempt_at", TS),  # null: no further attempt
        pa.field("error_code", pa.int32()),
        pa.field("error_subcode", pa.int32()),
    ]
)
INSIGHTS = pa.schema(
    [
        *_READ,
        pa.field("account_id", pa.string(), nullable=False),
        pa.field("spend_date", pa.date32(), nullable=False),  # the account's day
        pa.field("ad_id", pa.string(), nullable=False),
        *_text("ad_name", "adset_id", "adset_name", "campaign_id", "campaign_name", "currency"),
        pa.field("spend", MONEY, nullable=False),
        pa.field("impressions", pa.int64()),
        pa.field("reach", pa.int64()),  # never to be added over days (E53)
        pa.field("clicks", pa.int64()),
        pa.field("inline_link_clicks", pa.int64()),
        # exactly onsite_conversion.messaging_conversation_started_7d: a control, not leads (E55)
        pa.field("platform_conversations", pa.int64()),
        pa.field("actions", pa.string()),  # JSON text as sent
    ]
)
# One row for each complete read of an account day: the insights rows with the same account, day
# and read_no are that day, whole. No row here: the read was not complete, and does not count.
INSIGHT_DAYS = pa.schema(
    [
        *_READ,
        pa.field("account_id", pa.string(), nullable=False),
        pa.field("spend_date", pa.date32(), nullable=False),
        pa.field("currency", pa.string()),
        pa.field("account_spend", MONEY, nullable=False),  # the account's own total
        pa.field("account_impressions", pa.int64(), nullable=False),
        pa.field("account_clicks", pa.int64(), nullable=False),
        pa.field("ad_rows", pa.int32(), nullable=False),
        pa.field("content_hash", pa.string(), nullable=False),
    ]
)
# One row each time the insights of an account were read to the end, changed or not: freshness.
INSIGHT_READS = pa.schema(
    [
        *_READ,
        pa.field("account_id", pa.string(), nullable=False),
        pa.field("since", pa.date32(), nullable=False),
        pa.field("until", pa.date32(), nullable=False),
    ]
)

META_ADS: dict[str, pa.Schema] = {
    "accounts": ACCOUNTS,
    "campaigns": CAMPAIGNS,
    "adsets": ADSETS,
    "ads": ADS,
    "creatives": CREATIVES,
    "ad_lookups": AD_LOOKUPS,
    "insights": INSIGHTS,
    "insight_days": INSIGHT_DAYS,
    "insight_reads": INSIGHT_READS,
}
"""Table name to columns, as they lie in `<lake>/meta_ads/<table>/*.parquet`."""
