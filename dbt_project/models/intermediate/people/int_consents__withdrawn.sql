{{ config(materialized='table') }}

/*
    Grain: one row per person who withdrew consent to marketing and did not give it again (E72).

    The latest word on the person counts, whichever identity it names, at the same instant the
    withdrawal. A phone means whoever held it when that was said (E28). Who said nothing has no row.
*/

with

consents as (

    select * from {{ ref('stg_event_log__consents') }}
    where purpose = 'marketing'

),

identities as (

    select * from {{ ref('int_identities__resolved') }}

),

holdings as (

    select * from {{ ref('int_phones__held') }}

),

held as (

    select
        consents.*,
        coalesce(holdings.identity_key, consents.phone_key) as holder_key

    from consents
    left join holdings
        on {{ holds_at('holdings', 'consents.phone_key', 'consents.declared_at') }}

),

said as (

    {% for column in ['holder_key', 'bsuid_key', 'email_key'] %}
    {% if not loop.first %}
    union all

    {% endif %}
    select
        coalesce(identities.person_key, held.{{ column }}) as person_key,
        held.is_given,
        held.declared_at

    from held
    left join identities
        on held.{{ column }} = identities.identity_key
    where held.{{ column }} is not null

    {% endfor %}
),

last_words as (

    select
        person_key,
        max(case when is_given then declared_at end) as given_at,
        max(case when not is_given then declared_at end) as withdrawn_at

    from said
    group by person_key

),

withdrawn as (

    select
        person_key,
        withdrawn_at

    from last_words
    where
        withdrawn_at is not null
        and (given_at is null or given_at <= withdrawn_at)

)

select * from withdrawn
