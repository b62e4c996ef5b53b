/* Grain: one row per status element of an envelope; repeats included. */

select
    seq,
    ordinal,
    received_at,
    waba_id,
    phone_number_id,
    business_number_id,
    message_key,
    message_id_key,
    phone_key,
    bsuid_key,
    country,
    status,
    status_at,
    status_at_source,
    is_group,
    conversation_origin,
    pricing_model,
    pricing_type,
    pricing_category,
    is_billable,
    error_code,
    content_key

from {{ source('event_log', 'statuses') }}
