/* Grain: one row per customer's day and complete read. */

select
    'google' as platform,
    customer_id as account_id,
    spend_date,
    currency,
    customer_spend as account_spend,
    customer_impressions as account_impressions,
    customer_clicks as account_clicks,
    ad_rows,
    content_hash,
    read_no,
    read_at

from {{ source('google_ads', 'cost_days') }}
