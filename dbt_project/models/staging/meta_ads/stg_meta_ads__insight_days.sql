/* Grain: one row per account day and complete read. */

select
    'meta' as platform,
    account_id,
    spend_date,
    currency,
    account_spend,
    account_impressions,
    account_clicks,
    ad_rows,
    content_hash,
    read_no,
    read_at

from {{ source('meta_ads', 'insight_days') }}
