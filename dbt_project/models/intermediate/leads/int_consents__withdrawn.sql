/*
    Grain: one row per person who withdrew consent to marketing and did not give it again (E72).

    The latest statement about the person counts, whichever identity it names; of two at the same
    instant the withdrawal. A phone means the person who held it at that time (E28). People without
    a statement have no row. Consent given for an identifier that many people are said to have (E86)
    counts for none of them; a withdrawal for it counts for its holder.
*/

with

consents as (

    select * from {{ source('event_log', 'consents') }}
    where purpose = 'marketing'

),

identities as (

    select * from {{ source('identity', 'identities') }}

),

holdings as (

    select * from {{ source('identity', 'phones_held') }}

),

held as (

    select
        consents.*,
        coalesce(holdings.identity_key, consents.phone_key) as holder_key,
        coalesce(phones.is_shared, false) as is_phone_shared

    from consents
    left join identities as phones
        on consents.phone_key = phones.identity_key
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
    where
        held.{{ column }} is not null
        and not (
            held.is_given
            and {{ 'held.is_phone_shared' if column == 'holder_key'
                else 'coalesce(identities.is_shared, false)' }}
        )

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
