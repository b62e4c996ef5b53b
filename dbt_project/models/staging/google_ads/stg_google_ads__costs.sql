/*
    Grain: one row per level (campaign, ad_group, ad), object, customer's day and read. Each level
    holds the whole of its own; levels are never added to each other.
*/

select
    'google' as platform,
    customer_id as account_id,
    spend_date,
    level as spend_level,
    ad_id,
    ad_group_id as adset_id,
    campaign_id,
    ad_name,
    ad_group_name as adset_name,
    campaign_name,
    currency,
    spend,
    impressions,
    clicks,
    read_no,
    read_at

from {{ source('google_ads', 'costs') }}
