/* Grain: one row per ad and read that found it new or changed. */

select
    'google' as platform,
    ad_id,
    customer_id as account_id,
    campaign_id,
    ad_group_id as adset_id,
    coalesce(ad_name, headline) as ad_name,
    status,
    status as effective_status,
    headline,
    body,
    read_no,
    read_at

from {{ source('google_ads', 'ads') }}
