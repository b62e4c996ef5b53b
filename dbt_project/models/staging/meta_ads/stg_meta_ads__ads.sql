/* Grain: one row per ad and read that found it new or changed. */

select
    'meta' as platform,
    ad_id,
    account_id,
    campaign_id,
    adset_id,
    creative_id,
    ad_name,
    status,
    effective_status,
    created_time as created_at,
    updated_time as updated_at,
    read_no,
    read_at

from {{ source('meta_ads', 'ads') }}
