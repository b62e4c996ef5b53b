/* Grain: one row per word of somebody's consent, given or withdrawn; repeats included. */

select
    seq,
    ordinal,
    received_at,
    phone_key,
    bsuid_key,
    email_key,
    purpose,
    is_given,
    declared_at,
    source,
    content_key

from {{ source('event_log', 'consents') }}
