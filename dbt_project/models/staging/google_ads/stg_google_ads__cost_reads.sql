/* Grain: one row per customer, read and unbroken range of days whose costs it took to the end. */

select
    'google' as platform,
    customer_id as account_id,
    since as since_date,
    until as until_date,
    read_no,
    read_at

from {{ source('google_ads', 'cost_reads') }}
