/* Grain: one row per campaign and read that found it new or changed. */

select
    'meta' as platform,
    campaign_id,
    account_id,
    campaign_name,
    objective,
    status,
    effective_status,
    buying_type,
    created_time as created_at,
    updated_time as updated_at,
    read_no,
    read_at

from {{ source('meta_ads', 'campaigns') }}
