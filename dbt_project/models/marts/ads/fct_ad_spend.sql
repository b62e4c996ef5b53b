/*
    Grain: one row per platform, account, ad, account day and row_kind.

    Spend is kept even if the API no longer returns its ad (E32). What a Google campaign spent
    beyond its ad groups, and an ad group beyond its ads, is in rows of kind `campaign` and
    `ad_group`, with a made-up ad id; what the account spent beyond all of them is in one of kind
    `unallocated` (rule R12, E45). So the rows of an account day add up to what was billed. Amounts
    are exact; `spend_reporting` is null if the day has no rate (rule R13).

    A day that was not read has no row here: int_spend_days__unread lists it, and its spend is null
    in the reports.
*/

select
    platform,
    account_id,
    ad_id,
    spend_date,
    row_kind,
    campaign_id,
    adset_id,
    channel,
    currency,
    spend,
    spend_reporting,
    exchange_rate,
    impressions,
    clicks,
    inline_link_clicks,
    platform_conversations,
    source_rows,
    is_day_complete,
    read_at

from {{ ref('int_ad_spend__converted') }}
