/* Grain: one row per kind of record and read to its end. */

select
    object_type,
    is_archived,
    since,
    until,
    records,
    read_no,
    read_at

from {{ source('hubspot', 'reads') }}
