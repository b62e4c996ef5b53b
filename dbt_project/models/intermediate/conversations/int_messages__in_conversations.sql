{{
    config(
        materialized='incremental',
        unique_key='person_key',
        pre_hook="{{ forget_vanished_people(
            ref('int_messages__with_person'), 'upstream.is_conversational'
        ) }}"
    )
}}

/*
    Grain: one row per message that is part of a conversation with a person, and per web form.

    A conversation is what one person and one business number exchange without a gap longer than
    `CTWA_CONVERSATION_GAP_DAYS`, in the order of rule R3; its id is the key of its first message.
    Touches are the first message that the person wrote in it, and every message with a referral. A
    web form is a touch of its own and belongs to no conversation.

    A lead is one person within one scope (`CTWA_LEAD_SCOPE`: the company, or a brand, E31) and one
    cycle: a touch that comes more than `CTWA_LEAD_CYCLE_DAYS` after the last message either side
    wrote in that scope begins the next one (E18). What we wrote before the first touch belongs to
    the first cycle.
*/

{%- set order_r3 -%}
order by sent_at, case when has_referral then 0 else 1 end, message_key
{%- endset %}

with

{% if is_incremental() %}
people_to_build as (

    {{ changed_people(ref('int_messages__with_person')) }}

),
{% endif %}

messages as (

    select
        *,
        {{ "coalesce(brand, '')" if lead_scope() == 'brand' else "''" }} as lead_scope
    from {{ ref('int_messages__with_person') }}
    where
        is_conversational
    {% if is_incremental() %}
            and person_key in (select people_to_build.person_key from people_to_build)
        {% endif %}

),

after_previous as (

    select
        *,
        lag(sent_at) over (
            partition by person_key, business_number_id
            {{ order_r3 }}
        ) as previous_at

    from messages

),

numbered as (

    select
        *,
        sum(
            case
                when sent_at <= {{ dbt.dateadd('day', conversation_gap_days(), 'previous_at') }}
                    then 0
                else 1
            end
        ) over (
            partition by person_key, business_number_id
            {{ order_r3 }}
            rows between unbounded preceding and current row
        ) as conversation_number

    from after_previous

),

grouped as (

    select
        *,
        first_value(message_key) over (
            partition by person_key, business_number_id, conversation_number
            {{ order_r3 }}
        ) as conversation_id,
        row_number() over (
            partition by person_key, business_number_id, conversation_number, direction
            {{ order_r3 }}
        ) as place_in_direction

    from numbered

),

touched as (

    select
        *,
        coalesce(origin, '') <> 'web' and direction = 'inbound' and place_in_direction = 1 as is_opening,
        has_referral
        or coalesce(origin, '') = 'web'
        or (direction = 'inbound' and place_in_direction = 1) as is_touch

    from grouped

),

{% if lead_cycle_days() > 0 %}
after_previous_in_scope as (

    select
        *,
        lag(sent_at) over (
            partition by person_key, lead_scope
            {{ order_r3 }}
        ) as previous_in_scope_at

    from touched

),

after_silence as (

    select
        *,
        sum(case when is_touch then 1 else 0 end) over (
            partition by person_key, lead_scope
            {{ order_r3 }}
            rows between unbounded preceding and current row
        ) as touch_number,
        is_touch
        and sent_at > {{ dbt.dateadd('day', lead_cycle_days(), 'previous_in_scope_at') }}
            as is_after_silence

    from after_previous_in_scope

),

{% endif %}
in_cycles as (

    select
        *,
        {% if lead_cycle_days() > 0 %}
        1 + sum(case when is_after_silence and touch_number > 1 then 1 else 0 end) over (
            partition by person_key, lead_scope
            {{ order_r3 }}
            rows between unbounded preceding and current row
        ) as lead_cycle
        {% else %}
        1 as lead_cycle
        {% endif %}

    from {{ 'after_silence' if lead_cycle_days() > 0 else 'touched' }}

),

in_conversations as (

    select
        message_key,
        person_key,
        lead_scope,
        cast(lead_cycle as {{ dbt.type_int() }}) as lead_cycle,
        case when coalesce(origin, '') <> 'web' then conversation_id end as conversation_id,
        identity_key,
        business_number_id,
        brand,
        app,
        direction,
        origin,
        has_referral,
        referral_source_type,
        referral_source_id,
        has_click_id,
        is_withheld,
        country,
        held_by,
        sent_at,
        first_free_entry_at,
        is_opening,
        is_touch,
        {{ rule_set() }} as rule_set,
        (
            select max(upstream.changed_seq)
            from {{ ref('int_messages__with_person') }} as upstream
        ) as changed_seq

    from in_cycles

)

select * from in_conversations
