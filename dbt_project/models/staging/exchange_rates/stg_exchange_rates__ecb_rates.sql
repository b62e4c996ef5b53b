/* Grain: one row per day, currency and read that found the rate new or corrected. */

select
    rate_date,
    currency,
    rate_per_eur,
    read_no,
    read_at

from {{ source('exchange_rates', 'ecb_rates') }}
