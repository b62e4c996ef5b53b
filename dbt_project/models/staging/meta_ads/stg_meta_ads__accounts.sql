/* Grain: one row per ad account and read that found it new or changed. */

select
    'meta' as platform,
    account_id,
    account_name,
    currency,
    timezone_name as timezone,
    account_status,
    read_no,
    read_at

from {{ source('meta_ads', 'accounts') }}
