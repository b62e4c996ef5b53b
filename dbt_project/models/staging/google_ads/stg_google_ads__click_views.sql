/* Grain: one row per click and read that found it. */

select
    'google' as platform,
    customer_id as account_id,
    click_date,
    gclid,
    campaign_id,
    ad_group_id as adset_id,
    ad_id,
    keyword,
    read_no,
    read_at

from {{ source('google_ads', 'click_views') }}
