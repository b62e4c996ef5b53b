{{
    config(
        unique_key='person_key',
        pre_hook="{{ forget_vanished_people(
            ref('int_messages__in_conversations'), \"coalesce(upstream.origin, '') <> 'web'\"
        ) }}"
    )
}}

/*
    Grain: one row per person, scope and cycle with messages: whether the person wrote again after
    our first answer, in whatever conversation of the lead (E19). An accidental tap, a child's or a
    mere "oi" is a lead by the rules; that nothing followed is what shows it.
*/

with

{% if is_incremental() %}
people_to_build as (

    {{ changed_people(ref('int_messages__in_conversations')) }}

),
{% endif %}

messages as (

    select * from {{ ref('int_messages__in_conversations') }}
    where
        coalesce(origin, '') <> 'web'
    {% if is_incremental() %}
            and person_key in (select people_to_build.person_key from people_to_build)
        {% endif %}

),

with_birth as (

    select
        *,
        min(case when direction = 'inbound' then sent_at end) over (
            partition by person_key, lead_scope, lead_cycle
        ) as first_inbound_at

    from messages

),

counted as (

    select
        person_key,
        lead_scope,
        lead_cycle,
        sum(case when direction = 'inbound' then 1 else 0 end) as inbound_messages,
        max(case when direction = 'inbound' then sent_at end) as last_inbound_at,
        -- An answer in the same second is an automatic one, and an answer all the same.
        min(case when direction = 'outbound' and sent_at >= first_inbound_at then sent_at end)
            as first_answer_at

    from with_birth
    group by person_key, lead_scope, lead_cycle

),

replied as (

    select
        person_key,
        lead_scope,
        lead_cycle,
        cast(inbound_messages as bigint) as inbound_messages,
        coalesce(last_inbound_at > first_answer_at, false) as has_replied,
        {{ rule_set() }} as rule_set,
        (
            select max(upstream.changed_seq)
            from {{ ref('int_messages__in_conversations') }} as upstream
        ) as changed_seq

    from counted

)

select * from replied
