/* Grain: one row per account and read of its insights to the end. */

select
    'meta' as platform,
    account_id,
    since as since_date,
    until as until_date,
    read_no,
    read_at

from {{ source('meta_ads', 'insight_reads') }}
