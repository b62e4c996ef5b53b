{{ config(materialized='table') }}

/*
    Grain: one row per person's identity or business number that does not count (E20).

    The latest word on each counts, of equal times the one with the greater content, never the one
    that came last; taken back, it has no row.
*/

with

exclusions as (

    select * from {{ ref('stg_event_log__exclusions') }}

),

ranked as (

    select
        *,
        row_number() over (
            partition by identity_key, business_number_id
            order by declared_at desc, content_key desc, seq asc, ordinal asc
        ) as place

    from exclusions

),

declared as (

    select
        coalesce(identity_key, 'number:' || business_number_id) as target_key,
        identity_key,
        identity_kind,
        business_number_id,
        reason,
        declared_at

    from ranked
    where
        place = 1
        and is_excluded

)

select * from declared
