{{ config(materialized='view') }}

/*
    Grain: one row per platform, account, ad, account day and row_kind of spend that was read
    (int_ad_spend__converted); and one per report key, account day and channel for spend that there
    may have been and that is not known, with a `spend_status` (int_ad_spend__unread, rule R13). The
    reports add up both.
*/

select
    *,
    cast(null as {{ dbt.type_string() }}) as spend_status,
    cast(null as {{ dbt.type_string() }}) as unread_reason
from {{ ref('int_ad_spend__converted') }}

union all

select * from {{ ref('int_ad_spend__unread') }}
