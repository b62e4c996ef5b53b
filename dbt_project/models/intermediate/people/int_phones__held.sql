{{ config(materialized='table') }}

/*
    Grain: one row per phone that changed hands and time from which somebody new holds it (E28).

    From `held_from` until `held_until` (null: still) the phone stands for `identity_key`, a user
    id. Before the first row, and where there is none, it stands for itself. The macro `holds_at`
    is the join. Of two changes seen at the same moment by two WABAs the smaller user id counts.
*/

with

changes as (

    select
        phone_key,
        held_from,
        min(holder_key) as identity_key,
        max(last_seen_earlier_at) as last_seen_earlier_at

    from {{ ref('int_phones__sighted') }}
    where held_from is not null
    group by
        phone_key,
        held_from

),

held as (

    select
        phone_key,
        identity_key,
        held_from,
        lead(held_from) over (partition by phone_key order by held_from) as held_until,
        last_seen_earlier_at

    from changes

)

select * from held
