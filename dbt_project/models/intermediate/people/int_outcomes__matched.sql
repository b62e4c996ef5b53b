{{ config(materialized='table') }}

/*
    Grain: one row per outcome, with the lead it speaks of, if we know one of that person.

    Matched by the strongest identity that leads to a lead: message id, user id (BSUID), phone (its
    holder at the time of the outcome, E28), web lead id, e-mail, the CRM's record of the person. By
    identity only, never by name or time (E60). Of a person's leads it is the
    one to which the named message belongs; else the latest born by then, else the first, for a CRM
    may know somebody before they write (E61). Whole at every run: an outcome may wait for its
    lead, and a lead may become somebody else's.
*/

with

outcomes as (

    select * from {{ ref('int_outcomes__deduplicated') }}

),

identities as (

    select * from {{ ref('int_identities__resolved') }}

),

holdings as (

    select * from {{ ref('int_phones__held') }}

),

messages as (

    select * from {{ ref('int_messages__with_person') }}

),

places as (

    select
        message_key,
        lead_scope,
        lead_cycle
    from {{ ref('int_messages__in_conversations') }}

),

leads as (

    select * from {{ ref('int_leads__sourced') }}

),

held as (

    select
        outcomes.*,
        coalesce(holdings.identity_key, outcomes.phone_key) as holder_key

    from outcomes
    left join holdings
        on {{ holds_at('holdings', 'outcomes.phone_key', 'outcomes.occurred_at') }}

),

named as (

    select
        outcomes.outcome_key,
        outcomes.occurred_at,
        1 as strength,
        'message_id' as matched_by,
        messages.person_key,
        places.lead_scope,
        places.lead_cycle

    from outcomes
    inner join messages
        on outcomes.message_id_key = messages.message_id_key
    left join places
        on messages.message_key = places.message_key

    {% for column, matched_by in [
        ('bsuid_key', 'user_id'), ('holder_key', 'phone'), ('web_lead_key', 'lead_id'),
        ('email_key', 'email'), ('crm_record_key', 'crm_record'),
    ] %}
    union all

    select
        held.outcome_key,
        held.occurred_at,
        {{ loop.index + 1 }} as strength,
        '{{ matched_by }}' as matched_by,
        coalesce(identities.person_key, held.{{ column }}) as person_key,
        cast(null as {{ dbt.type_string() }}) as lead_scope,
        cast(null as {{ dbt.type_int() }}) as lead_cycle

    from held
    left join identities
        on held.{{ column }} = identities.identity_key
    where held.{{ column }} is not null
    {% endfor %}

),

candidates as (

    select
        named.outcome_key,
        named.strength,
        named.matched_by,
        leads.person_key,
        leads.lead_id,
        leads.lead_number,
        coalesce(
            leads.lead_scope = named.lead_scope and leads.lead_cycle = named.lead_cycle, false
        ) as is_named,
        leads.first_touch_at <= named.occurred_at as is_born

    from named
    inner join leads
        on named.person_key = leads.person_key

),

ranked as (

    select
        *,
        row_number() over (
            partition by outcome_key
            order by
                strength,
                case when is_named then 0 else 1 end,
                case when is_born then 0 else 1 end,
                case when is_born then -lead_number else lead_number end,
                lead_id
        ) as place

    from candidates

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
        outcomes.stage_label,
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
