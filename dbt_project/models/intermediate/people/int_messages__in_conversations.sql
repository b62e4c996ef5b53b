{{
    config(
        unique_key='person_key',
        pre_hook="{{ forget_vanished_people(
            ref('int_messages__with_person'), 'upstream.is_conversational'
        ) }}"
    )
}}

/*
    Grain: one row per message that is part of a talk with a person.

    A conversation is what one person and one business number exchange without a gap over
    `CTWA_CONVERSATION_GAP_DAYS`, in the order of rule R3; its id is the key of its first message.
    A touch is the first message the person wrote in it, and each one that carries a referral.
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

    select * from {{ ref('int_messages__with_person') }}
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

in_conversations as (

    select
        message_key,
        person_key,
        conversation_id,
        identity_key,
        business_number_id,
        direction,
        origin,
        has_referral,
        referral_source_type,
        referral_source_id,
        has_click_id,
        is_withheld,
        country,
        sent_at,
        first_free_entry_at,
        direction = 'inbound' and place_in_direction = 1 as is_opening,
        has_referral or (direction = 'inbound' and place_in_direction = 1) as is_touch,
        {{ rule_set() }} as rule_set,
        (
            select max(upstream.changed_seq)
            from {{ ref('int_messages__with_person') }} as upstream
        ) as changed_seq

    from grouped

)

select * from in_conversations
