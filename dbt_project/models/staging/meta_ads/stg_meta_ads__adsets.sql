/* Grain: one row per ad set and read that found it new or changed. */

select
    'meta' as platform,
    adset_id,
    account_id,
    campaign_id,
    adset_name,
    status,
    effective_status,
    destination_type,
    optimization_goal,
    promoted_object,
    attribution_spec,
    created_time as created_at,
    updated_time as updated_at,
    read_no,
    read_at

from {{ source('meta_ads', 'adsets') }}
