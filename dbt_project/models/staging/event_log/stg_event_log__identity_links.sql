/* Grain: one row per pair of identities and element that shows both; repeats included. */

select
    seq,
    ordinal,
    received_at,
    waba_id,
    business_number_id,
    left_key,
    left_kind,
    right_key,
    right_kind,
    link_kind,
    observed_at

from {{ source('event_log', 'identity_links') }}
