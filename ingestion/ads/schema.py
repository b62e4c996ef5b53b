"""The tables of ads, the same for every platform, as they lie in `<lake>/<platform>_ads/<table>/`.

Every source of ads writes these columns, so dbt reads all platforms as one source (`ads`) and a
further platform needs no SQL. Append only: an object's row is added when it is first seen or has
changed (renames are history, deleted ads stay), an account day when it differs from its last read.
Of several reads of a platform the one with the highest `read_no` counts.

Ids are text, money is in the account's currency, days are the account's own, times are UTC. A
column that a platform does not have is null.
"""

from __future__ import annotations

import pyarrow as pa

TS = pa.timestamp("us", tz="UTC")
MONEY = pa.decimal128(20, 6)


def _read(*fields: pa.Field) -> pa.Schema:
    """Columns of a table, after those that say which read a row came from."""
    return pa.schema(
        [
            pa.field("platform", pa.string(), nullable=False),  # meta | google
            # Rises by one with each read of the platform, whatever the clock does.
            pa.field("read_no", pa.int64(), nullable=False),
            pa.field("read_at", TS, nullable=False),
            *fields,
        ]
    )


def _ids(*names: str) -> list[pa.Field]:
    return [pa.field(n, pa.string(), nullable=False) for n in names]


def _text(*names: str) -> list[pa.Field]:
    return [pa.field(n, pa.string()) for n in names]


def _days(*names: str) -> list[pa.Field]:
    return [pa.field(n, pa.date32(), nullable=False) for n in names]


_CREATED = [pa.field("created_at", TS), pa.field("updated_at", TS)]

ADS: dict[str, pa.Schema] = {
    "accounts": _read(
        *_ids("account_id"),  # digits
        *_text("account_name", "currency", "timezone", "account_status"),
        # Google: the id in GOOGLE_ADS_CUSTOMER_IDS through which it is read, own or a manager's.
        *_text("configured_id"),
    ),
    "campaigns": _read(
        *_ids("campaign_id"),
        *_text("account_id", "campaign_name", "objective", "status", "effective_status"),
        *_text("buying_type"),
        *_CREATED,
    ),
    # Google's ad groups are ad sets here.
    "adsets": _read(
        *_ids("adset_id"),
        *_text("account_id", "campaign_id", "adset_name", "status", "effective_status"),
        *_text("destination_type", "optimization_goal", "promoted_object", "attribution_spec"),
        *_CREATED,
    ),
    "ads": _read(
        *_ids("ad_id"),
        *_text("account_id", "campaign_id", "adset_id", "ad_name", "status", "effective_status"),
        # Meta's texts are in the creative, Google's in the ad: the first headline and description.
        *_text("creative_id", "ad_type", "headline", "body"),
        *_CREATED,
    ),
    "creatives": _read(
        *_ids("creative_id"),
        *_text("account_id", "creative_name", "headline", "body", "media_type"),
        *_text("call_to_action_type", "thumbnail_url", "effective_object_story_id"),
        *_text("effective_instagram_media_id", "url_tags"),
        *_text("lead_form_id"),  # the instant form that its button opens
    ),
    # Ads that no list shows, looked up by id.
    "ad_lookups": _read(
        *_ids("ad_id", "lookup_status"),  # resolved | foreign | gone | error
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("next_attempt_at", TS),  # null: no further attempt
        pa.field("error_code", pa.int32()),
        pa.field("error_subcode", pa.int32()),
    ),
    # Each level holds all of the spend, so levels are never added together. Meta reports spend by
    # ad only; Google by ad, ad_group and campaign.
    "spend_rows": _read(
        *_ids("account_id"),
        *_days("spend_date"),
        *_ids("spend_level"),  # ad | ad_group | campaign
        *_text("ad_id", "ad_name", "adset_id", "adset_name", "campaign_id", "campaign_name"),
        *_text("currency"),
        pa.field("spend", MONEY, nullable=False),
        pa.field("impressions", pa.int64()),
        pa.field("reach", pa.int64()),  # never to be added over days or ads (E53)
        pa.field("clicks", pa.int64()),
        pa.field("inline_link_clicks", pa.int64()),
        # Meta's onsite_conversion.messaging_conversation_started_7d: a control, not leads (E55).
        pa.field("platform_conversations", pa.int64()),
        pa.field("actions", pa.string()),  # Meta's JSON text as sent
    ),
    # One row for each complete read of an account day: the spend_rows with the same account, day
    # and read_no are the whole day. A read without a row here was not complete and does not count.
    "spend_days": _read(
        *_ids("account_id"),
        *_days("spend_date"),
        *_text("currency"),
        pa.field("account_spend", MONEY, nullable=False),  # the account's own total
        pa.field("account_impressions", pa.int64(), nullable=False),
        pa.field("account_clicks", pa.int64(), nullable=False),
        pa.field("ad_rows", pa.int32(), nullable=False),  # spend_rows of level `ad`
        pa.field("content_hash", pa.string(), nullable=False),
    ),
    # One row each time a range of an account's days was read to the end, changed or not.
    "spend_reads": _read(*_ids("account_id"), *_days("since_date", "until_date")),
    # Kept for good, because Google shows a click for 90 days only.
    "click_views": _read(
        *_ids("account_id"),
        *_days("click_date"),
        *_ids("gclid"),
        *_text("campaign_id", "adset_id", "ad_id", "keyword"),
    ),
    # One row for each account and day whose clicks were read to the end after the day was over.
    "click_reads": _read(
        *_ids("account_id"), *_days("click_date"), pa.field("clicks", pa.int64(), nullable=False)
    ),
}
"""Table name to columns."""

KEYS = {
    "accounts": "account_id",
    "campaigns": "campaign_id",
    "adsets": "adset_id",
    "ads": "ad_id",
    "creatives": "creative_id",
}
"""Tables whose rows are versions of objects, with the column that identifies one."""

DESCRIPTIONS = {
    "accounts": "One row per ad account and read that found it new or changed.",
    "campaigns": "One row per campaign and read that found it new or changed; deleted ones too.",
    "adsets": "One row per ad set or ad group and read that found it new or changed.",
    "ads": "One row per ad and read that found it new or changed; deleted ads stay.",
    "creatives": "One row per creative and read that found it new or changed.",
    "ad_lookups": "One row per attempt to look up, by id, an ad that the lists do not show.",
    "spend_rows": (
        "One row per level, object, account day and read; the rows of one read are the whole day."
    ),
    "spend_days": "One row per complete read of an account day, with the account's own total.",
    "spend_reads": "One row each time a range of an account's days was read to the end.",
    "click_views": "One row per click, with the ad that its click id (gclid) was a click on.",
    "click_reads": "One row per account and day whose clicks were read to the end.",
}

OBJECT_TABLES = (*KEYS, "ad_lookups")
SPEND_TABLES = ("spend_rows", "spend_days", "spend_reads")
META_ADS = {t: ADS[t] for t in (*OBJECT_TABLES, *SPEND_TABLES)}
"""Meta's tables: Meta does not report single clicks."""
GOOGLE_ADS = {t: s for t, s in ADS.items() if t not in ("creatives", "ad_lookups")}
"""Google's tables: texts are part of its ads, and its lists show every ad."""
