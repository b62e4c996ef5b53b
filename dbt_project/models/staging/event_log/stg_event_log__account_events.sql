/* Grain: one row per event about the business account. */

select
    seq,
    ordinal,
    received_at,
    waba_id,
    phone_number_id,
    business_number_id,
    field,
    event,
    error_code,
    occurred_at

from {{ source('event_log', 'account_events') }}
