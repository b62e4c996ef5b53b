/* Grain: one row per attempt to look up an ad by its id. */

select
    'meta' as platform,
    ad_id,
    status as lookup_status,
    attempts,
    next_attempt_at,
    error_code,
    error_subcode,
    read_no,
    read_at

from {{ source('meta_ads', 'ad_lookups') }}
