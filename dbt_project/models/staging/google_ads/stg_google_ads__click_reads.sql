/* Grain: one row per customer, day of clicks and read to its end. */

select
    'google' as platform,
    customer_id as account_id,
    click_date,
    clicks,
    read_no,
    read_at

from {{ source('google_ads', 'click_reads') }}
