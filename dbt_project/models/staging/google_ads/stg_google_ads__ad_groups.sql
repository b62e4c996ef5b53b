/* Grain: one row per ad group and read that found it new or changed. An ad group is an ad set here. */

select
    'google' as platform,
    ad_group_id as adset_id,
    customer_id as account_id,
    campaign_id,
    ad_group_name as adset_name,
    status,
    status as effective_status,
    ad_group_type as optimization_goal,
    read_no,
    read_at

from {{ source('google_ads', 'ad_groups') }}
