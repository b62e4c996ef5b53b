{{ config(materialized='table') }}

/*
    Grain: one row per join of two people that was refused, because the phone they share changed
    hands (rule R4, E28). People whom other evidence shows to be one are not listed.
*/

with

holdings as (

    select * from {{ ref('int_phones__held') }}

),

identities as (

    select * from {{ ref('int_identities__resolved') }}

),

changes as (

    select
        phone_key,
        lag(identity_key, 1, phone_key) over (partition by phone_key order by held_from)
            as earlier_key,
        identity_key as later_key,
        last_seen_earlier_at,
        held_from

    from holdings

),

with_people as (

    select
        changes.phone_key,
        coalesce(earlier.person_key, changes.earlier_key) as earlier_person_key,
        coalesce(later.person_key, changes.later_key) as later_person_key,
        changes.last_seen_earlier_at,
        changes.held_from

    from changes
    left join identities as earlier
        on changes.earlier_key = earlier.identity_key
    left join identities as later
        on changes.later_key = later.identity_key

),

refused as (

    select
        {{ dbt.hash("phone_key || '@' || " ~ dbt.cast("held_from", dbt.type_string())) }}
            as refusal_id,
        phone_key,
        earlier_person_key,
        later_person_key,
        'recycled_number' as reason,
        last_seen_earlier_at,
        held_from as first_seen_later_at

    from with_people
    where earlier_person_key <> later_person_key

)

select * from refused
