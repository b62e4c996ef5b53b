{{
    config(
        materialized='incremental',
        unique_key='person_key',
        pre_hook="{{ forget_vanished_people(
            ref('int_messages__in_conversations'), \"coalesce(upstream.origin, '') <> 'web'\"
        ) }}"
    )
}}

/*
    Grain: one row per conversation.

    `opened_at` is when the person first wrote in it (null while only we wrote); answers count from
    then. `first_free_entry_at` is the earliest billing that reveals an ad, from 72 hours before the
    opening on: the message from the ad may never have reached us, and then only our answer shows it
    (E6). `first_referral_key` is the first message in it with a referral. `started_by` is outbound
    only if we wrote earlier: what we sent in the same second as the person is an automatic answer,
    and WhatsApp's clock is no finer. The lead is that of the opening, else the one that our first
    message belongs to. `own_messages` and `standby_messages` count messages by the webhook field in
    which they came, if it says who held the chat (int_conversations__held).
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

openings as (

    select
        conversation_id,
        message_key as opening_message_key,
        lead_cycle,
        sent_at as opened_at

    from messages
    where is_opening

),

referrals as (

    select
        conversation_id,
        message_key as first_referral_key,
        sent_at as first_referral_at,
        row_number() over (partition by conversation_id order by sent_at, message_key) as place

    from messages
    where has_referral

),

aggregated as (

    select
        messages.conversation_id,
        messages.person_key,
        messages.business_number_id,
        messages.lead_scope,
        coalesce(openings.lead_cycle, min(messages.lead_cycle)) as lead_cycle,
        openings.opening_message_key,
        case when openings.opened_at = min(messages.sent_at) then 'inbound' else 'outbound' end
            as started_by,
        openings.opened_at,
        min(messages.sent_at) as started_at,
        max(messages.sent_at) as last_message_at,
        sum(case when messages.direction = 'inbound' then 1 else 0 end) as inbound_messages,
        sum(case when messages.direction = 'outbound' then 1 else 0 end) as outbound_messages,
        sum(case when messages.held_by = 'own' then 1 else 0 end) as own_messages,
        sum(case when messages.held_by = 'standby' then 1 else 0 end) as standby_messages,
        min(
            case
                when messages.direction = 'outbound' and messages.sent_at >= openings.opened_at
                    then messages.sent_at
            end
        ) as first_response_at,
        min(
            case
                when
                    openings.opened_at is null
                    or messages.first_free_entry_at
                    >= {{ dbt.dateadd('hour', -72, 'openings.opened_at') }}
                    then messages.first_free_entry_at
            end
        ) as first_free_entry_at,
        {{ rule_set() }} as rule_set,
        (
            select max(upstream.changed_seq)
            from {{ ref('int_messages__in_conversations') }} as upstream
        ) as changed_seq

    from messages
    left join openings
        on messages.conversation_id = openings.conversation_id
    group by
        messages.conversation_id,
        messages.person_key,
        messages.business_number_id,
        messages.lead_scope,
        openings.lead_cycle,
        openings.opening_message_key,
        openings.opened_at

),

built as (

    select
        aggregated.conversation_id,
        aggregated.person_key,
        aggregated.business_number_id,
        aggregated.lead_scope,
        aggregated.lead_cycle,
        aggregated.started_by,
        aggregated.opening_message_key,
        referrals.first_referral_key,
        aggregated.inbound_messages,
        aggregated.outbound_messages,
        aggregated.own_messages,
        aggregated.standby_messages,
        aggregated.started_at,
        aggregated.opened_at,
        aggregated.first_response_at,
        aggregated.first_free_entry_at,
        referrals.first_referral_at,
        aggregated.last_message_at,
        aggregated.rule_set,
        aggregated.changed_seq

    from aggregated
    left join referrals
        on
            aggregated.conversation_id = referrals.conversation_id
            and referrals.place = 1

)

select * from built
