/*
    Grain: one row per lead that does not count (E20): an identity of the person is excluded, or the
    business number to which its first touch was sent. Leads of platforms' own test traffic
    (rule R14) need no declaration.

    The latest declaration about an identity or number counts; at equal times the one with the
    greater content, never the last to arrive. If it takes the exclusion back, nobody is excluded. A
    phone means the person who held it at that time (E28), a business number that moved means the
    one that replaced it (E30). Of several reasons the person's own comes first, then the latest.
*/

with

latest as (

    {{ deduplicate(
        source('event_log', 'exclusions'),
        'identity_key, business_number_id',
        'declared_at desc, content_key desc, seq asc, ordinal asc'
    ) }}

),

declared as (

    select * from latest
    where is_excluded

),

identities as (

    select * from {{ source('identity', 'identities') }}

),

holdings as (

    select * from {{ source('identity', 'phones_held') }}

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
    left join {{ ref('business_numbers') }} as moved_numbers
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

    union all

    select
        lead_id,
        0 as strength,
        'test traffic of the platform' as reason,
        first_touch_at as declared_at

    from leads
    where {{ is_test_person('person_key') }}

),

preferred as (

    {{ deduplicate('matched', 'lead_id', 'strength asc, declared_at desc, reason asc') }}

),

excluded as (

    select
        lead_id,
        reason as exclusion_reason,
        declared_at

    from preferred

)

select * from excluded
