/* Grain: one row per statement that somebody, or a business number, does not count; repeats included. */

select
    seq,
    ordinal,
    received_at,
    identity_key,
    identity_kind,
    business_number_id,
    reason,
    is_excluded,
    declared_at,
    content_key

from {{ source('event_log', 'exclusions') }}
