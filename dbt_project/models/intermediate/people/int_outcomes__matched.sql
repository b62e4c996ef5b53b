{{ config(materialized='table') }}

/*
    Grain: one row per outcome, with the person it speaks of, if we know a lead of theirs.

    Matched by the strongest identity that leads to a lead: message id, user id (BSUID), phone, web
    lead id, e-mail. By identity only, never by name or time (E60). Whole at every run: an outcome
    may wait for its lead, and a lead may become somebody else's.
*/

with

outcomes as (

    select * from {{ ref('int_outcomes__deduplicated') }}

),

identities as (

    select * from {{ ref('int_identities__resolved') }}

),

leads as (

    select * from {{ ref('int_leads__sourced') }}

),

named as (

    select
        outcomes.outcome_key,
        1 as strength,
        'message_id' as matched_by,
        messages.identity_key

    from outcomes
    inner join {{ ref('int_messages__with_person') }} as messages
        on outcomes.message_id_key = messages.message_id_key

    {% for column, matched_by in [
        ('bsuid_key', 'user_id'), ('phone_key', 'phone'), ('web_lead_key', 'lead_id'),
        ('email_key', 'email'),
    ] %}
    union all

    select
        outcome_key,
        {{ loop.index + 1 }} as strength,
        '{{ matched_by }}' as matched_by,
        {{ column }} as identity_key

    from outcomes
    where {{ column }} is not null
    {% endfor %}

),

ranked as (

    select
        named.outcome_key,
        named.matched_by,
        leads.person_key,
        leads.lead_id,
        row_number() over (
            partition by named.outcome_key
            order by named.strength, leads.lead_id
        ) as place

    from named
    left join identities
        on named.identity_key = identities.identity_key
    inner join leads
        on coalesce(identities.person_key, named.identity_key) = leads.person_key

),

matched as (

    select
        outcomes.outcome_key,
        outcomes.source,
        outcomes.event_id,
        ranked.person_key,
        ranked.lead_id,
        ranked.matched_by,
        outcomes.stage,
        outcomes.value,
        outcomes.currency,
        outcomes.occurred_at

    from outcomes
    left join ranked
        on
            outcomes.outcome_key = ranked.outcome_key
            and ranked.place = 1

)

select * from matched
