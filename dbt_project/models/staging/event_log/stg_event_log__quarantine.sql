/* Grain: one row per element that the parser could not take. */

select
    seq,
    ordinal,
    received_at,
    source,
    element,
    path,
    reason,
    parser_version

from {{ source('event_log', 'quarantine') }}
