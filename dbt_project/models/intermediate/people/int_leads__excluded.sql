{{ config(materialized='table') }}

/*
    Grain: one row per lead that does not count (E20): any identity of the person is excluded, or
    the business number is to which its first touch was sent.

    A phone means whoever held it when that was declared (E28), a business number that moved the one
    that goes on for it (E30). Of several reasons the person's own comes first, then the latest.
*/

with

declared as (

    select * from {{ ref('int_exclusions__declared') }}

),

identities as (

    select * from {{ ref('int_identities__resolved') }}

),

holdings as (

    select * from {{ ref('int_phones__held') }}

),

moved_numbers as (

    select * from {{ ref('business_numbers') }}

),

leads as (

    select * from {{ ref('int_leads__sourced') }}

),

held as (

    select
        coalesce(holdings.identity_key, declared.identity_key) as identity_key,
        declared.reason,
        declared.declared_at

    from declared
    left join holdings
        on {{ holds_at('holdings', 'declared.identity_key', 'declared.declared_at') }}
    where declared.identity_key is not null

),

people as (

    select
        coalesce(identities.person_key, held.identity_key) as person_key,
        held.reason,
        held.declared_at

    from held
    left join identities
        on held.identity_key = identities.identity_key

),

numbers as (

    select
        coalesce(moved_numbers.current_number_id, declared.business_number_id)
            as business_number_id,
        declared.reason,
        declared.declared_at

    from declared
    left join moved_numbers
        on declared.business_number_id = moved_numbers.business_number_id
    where declared.business_number_id is not null

),

matched as (

    select
        leads.lead_id,
        1 as strength,
        people.reason,
        people.declared_at

    from leads
    inner join people
        on leads.person_key = people.person_key

    union all

    select
        leads.lead_id,
        2 as strength,
        numbers.reason,
        numbers.declared_at

    from leads
    inner join numbers
        on leads.business_number_id = numbers.business_number_id

),

ranked as (

    select
        *,
        row_number() over (
            partition by lead_id
            order by strength asc, declared_at desc, reason asc
        ) as place

    from matched

),

excluded as (

    select
        lead_id,
        reason as exclusion_reason,
        declared_at

    from ranked
    where place = 1

)

select * from excluded
