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
    quarantined,
    coalesce(web_leads, 0) as web_leads,
    coalesce(link_clicks, 0) as link_clicks

from {{ source('event_log', 'envelopes') }}
