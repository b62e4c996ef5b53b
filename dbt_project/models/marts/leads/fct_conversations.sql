/*
    Grain: one row per conversation: what one person and one business number exchange without a gap
    over `CTWA_CONVERSATION_GAP_DAYS`.

    Its source is that of its opening, the first message that the person wrote in it. A conversation
    in which only we wrote is `outbound`, or `ad_suspected` if Meta billed it as opened by an ad
    whose message never reached us (E6); it belongs to a lead only if the person is one (E14, E15).
    Which of the number's responders holds it is in int_conversations__held (E79).
*/

with

described as (

    select
        conversations.conversation_id,
        leads.lead_id,
        conversations.business_number_id,
        conversations.opening_message_key as opening_touch_id,
        case
            when openings.touch_id is not null then openings.channel
            when conversations.first_free_entry_at is not null then 'unknown_ad'
            else 'outbound'
        end as channel,
        case
            when openings.touch_id is not null then openings.basis
            when conversations.first_free_entry_at is not null then 'ad_suspected'
            else 'outbound'
        end as basis,
        openings.platform,
        placed.ad_id,
        placed.campaign_id,
        conversations.started_by,
        conversations.first_referral_key is not null as has_referral,
        cast(conversations.inbound_messages as bigint) as inbound_messages,
        cast(conversations.outbound_messages as bigint) as outbound_messages,
        cast(
            {{ dbt.datediff(
                'conversations.opened_at', 'conversations.first_response_at', 'second'
            ) }} as bigint
        ) as first_response_seconds,
        conversations.started_at,
        conversations.opened_at,
        conversations.last_message_at,
        {{ is_test_person('conversations.person_key') }} as is_test,
        case
            when held.conversation_id is not null then held.holder
            when conversations.own_messages > 0 then 'own'
            else 'unknown'
        end as answered_by,
        coalesce(held.handovers, 0) as handovers

    from {{ ref('int_conversations__built') }} as conversations
    left join {{ ref('int_conversations__held') }} as held
        on conversations.conversation_id = held.conversation_id
    left join {{ ref('int_touches__classified') }} as openings
        on conversations.opening_message_key = openings.touch_id
    left join {{ ref('int_leads__sourced') }} as leads
        on
            conversations.person_key = leads.person_key
            and conversations.lead_scope = leads.lead_scope
            and conversations.lead_cycle = leads.lead_cycle
    left join {{ ref('int_touches__placed') }} as placed
        on openings.touch_id = placed.touch_id

)

select * from described
