/* Grain: one row per envelope (`seq`). */

select
    seq,
    received_at,
    source,
    size,
    body_key,
    parser_version,
    message_elements,
    messages,
    quarantined_messages,
    statuses,
    outcomes,
    quarantined

from {{ source('event_log', 'envelopes') }}
