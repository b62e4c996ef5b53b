/* Grain: one row per ad, account day and read. */

select
    'meta' as platform,
    account_id,
    spend_date,
    ad_id,
    adset_id,
    campaign_id,
    ad_name,
    adset_name,
    campaign_name,
    currency,
    spend,
    impressions,
    reach,
    clicks,
    inline_link_clicks,
    platform_conversations,
    read_no,
    read_at

from {{ source('meta_ads', 'insights') }}
