/*
    Grain: one row per outcome, (source, event id), with the lead it is about, if we know one of that
    person.

    Matched by the strongest identity that leads to a lead and is not shared by many people (E86):
    message id, user id (BSUID), phone (its holder at the time of the outcome, E28), web lead id,
    e-mail, the CRM's record of the person. By identity only, never by name or time (E60). Of a
    person's leads it is the one that the named message belongs to; else the latest that had begun
    by then, else the first, because a CRM may know somebody before they write (E61).

    What a chat rule says (source `chat`) counts beside the CRM's words; under
    CTWA_CHAT_QUALIFIES=without_crm it is overruled for leads of which a CRM has said anything, and
    stays, marked.

    Outcomes without a lead stay, with `lead_id` null (E60), and so do those whose stage has no
    mapping yet, with `funnel_stage` null. Rebuilt in full at every run: an outcome may wait for its
    lead, and a lead may turn out to be another person's.
*/

with

outcomes as (

    select * from {{ ref('int_outcomes__staged') }}

),

identities as (

    select * from {{ source('identity', 'identities') }}

),

holdings as (

    select * from {{ source('identity', 'phones_held') }}

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

shared as (

    select identity_key from identities
    where is_shared

),

held as (

    select
        outcomes.*,
        case
            when outcomes.phone_key not in (select shared.identity_key from shared)
                then coalesce(holdings.identity_key, outcomes.phone_key)
        end as holder_key

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
    where
        held.{{ column }} is not null
        and not coalesce(identities.is_shared, false)
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
        leads.first_touch_at <= named.occurred_at as has_begun

    from named
    inner join leads
        on named.person_key = leads.person_key

),

preferred as (

    {{ deduplicate('candidates', 'outcome_key', "
                strength,
                case when is_named then 0 else 1 end,
                case when has_begun then 0 else 1 end,
                case when has_begun then -lead_number else lead_number end,
                lead_id
    ") }}

),

matched as (

    select
        outcomes.source,
        outcomes.event_id,
        preferred.lead_id,
        preferred.matched_by,
        outcomes.stage,
        outcomes.stage_label,
        outcomes.funnel_stage,
        outcomes.value,
        outcomes.currency,
        outcomes.value_reporting,
        outcomes.occurred_at,
        {{ "outcomes.is_of_rule" if chat_qualifies() == "without_crm" else "false" }}
            as gives_way

    from outcomes
    left join preferred
        on outcomes.outcome_key = preferred.outcome_key

),

of_crm as (

    select distinct lead_id from matched
    where
        lead_id is not null
        and funnel_stage is not null
        and source not in {{ not_crm_sources() }}

)

select
    matched.source,
    matched.event_id,
    matched.lead_id,
    matched.matched_by,
    matched.stage,
    matched.stage_label,
    matched.funnel_stage,
    matched.value,
    matched.currency,
    matched.value_reporting,
    matched.occurred_at,
    matched.gives_way and of_crm.lead_id is not null as is_overruled

from matched
left join of_crm
    on matched.lead_id = of_crm.lead_id
