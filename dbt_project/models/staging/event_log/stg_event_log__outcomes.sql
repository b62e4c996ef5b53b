/* Grain: one row per outcome as sent; repeats included. */

select
    seq,
    ordinal,
    received_at,
    source,
    event_id,
    stage,
    occurred_at,
    phone_key,
    bsuid_key,
    country,
    email_key,
    web_lead_key,
    message_id_key,
    value,
    currency,
    crm_record_key,
    stage_label,
    content_key,
    recorded_at

from {{ source('event_log', 'outcomes') }}
