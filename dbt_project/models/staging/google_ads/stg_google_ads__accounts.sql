/* Grain: one row per customer and read that found it new or changed. */

select
    'google' as platform,
    customer_id as account_id,
    customer_name as account_name,
    currency,
    timezone_name as timezone,
    status as account_status,
    read_no,
    read_at

from {{ source('google_ads', 'customers') }}
