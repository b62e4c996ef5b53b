/*
    Grain: one row per condition of a chat rule and message (call, payment) that meets it, with the
    conversation that it is part of.

    A text that was edited says what its last version says, from the time of the edit; a message
    that was deleted for everyone says nothing. Calls and payments are no messages: they belong to
    the latest conversation of the person with that number that had begun by then. The message that
    opens a conversation is no reply.

    Repeats and the order of arrival change nothing: copies are equal but for their place.
*/

with

signals as (

    select * from {{ source('event_log', 'chat_signals') }}

),

places as (

    select
        message_key,
        person_key,
        business_number_id,
        conversation_id,
        lead_scope,
        lead_cycle,
        sent_at,
        is_opening
    from {{ ref('int_messages__in_conversations') }}
    where conversation_id is not null

),

deleted as (

    select distinct message_key from signals
    where is_deleted

),

edits as (

    {{ deduplicate(
        "signals",
        "message_key",
        "case when revision_key is null then 1 else 0 end, said_at desc, revision_key desc"
    ) }}

),

-- One row per condition and message, of all its copies.
shown as (

    select
        signals.rule_id,
        signals.rule_version,
        signals.stage,
        signals.once_per,
        signals.alternative,
        signals.part,
        signals.parts,
        signals.replies,
        signals.within_seconds,
        signals.message_key,
        min(signals.message_id_key) as message_id_key,
        min(signals.business_number_id) as business_number_id,
        min(signals.phone_key) as phone_key,
        min(signals.bsuid_key) as bsuid_key,
        min(signals.country) as country,
        min(signals.said_at) as said_at,
        max(signals.value) as amount,
        min(signals.currency) as currency

    from signals
    inner join edits
        on signals.message_key = edits.message_key
    where
        signals.rule_id is not null
        and signals.message_key not in (select deleted.message_key from deleted)
        and (
            not signals.is_text
            or coalesce(signals.revision_key, '') = coalesce(edits.revision_key, '')
        )
    group by all

),

of_messages as (

    select
        shown.*,
        places.person_key,
        places.conversation_id,
        places.lead_scope,
        places.lead_cycle,
        places.is_opening

    from shown
    inner join places
        on shown.message_key = places.message_key

),

with_identity as (

    select
        shown.*,
        coalesce(shown.bsuid_key, holdings.identity_key, shown.phone_key) as identity_key,
        coalesce(moved_numbers.current_number_id, shown.business_number_id) as current_number_id

    from shown
    left join {{ source('identity', 'phones_held') }} as holdings
        on {{ holds_at('holdings', 'shown.phone_key', 'shown.said_at') }}
    left join {{ ref('business_numbers') }} as moved_numbers
        on shown.business_number_id = moved_numbers.business_number_id
    where shown.message_key not in (select places.message_key from places)

),

between_messages as (

    select
        with_identity.*,
        places.person_key,
        places.conversation_id,
        places.lead_scope,
        places.lead_cycle,
        row_number() over (
            partition by
                with_identity.rule_id,
                with_identity.rule_version,
                with_identity.alternative,
                with_identity.part,
                with_identity.message_key
            order by places.sent_at desc, places.message_key desc
        ) as place_before

    from with_identity
    left join {{ source('identity', 'identities') }} as identities
        on with_identity.identity_key = identities.identity_key
    left join places
        on
            coalesce(identities.person_key, with_identity.identity_key) = places.person_key
            and with_identity.current_number_id = places.business_number_id
            and with_identity.said_at >= places.sent_at

),

with_conversation as (

    {% set columns = [
        'rule_id', 'rule_version', 'stage', 'once_per', 'alternative', 'part', 'parts', 'replies',
        'within_seconds', 'message_key', 'message_id_key', 'phone_key', 'bsuid_key', 'country',
        'said_at', 'amount', 'currency',
    ] %}
    select
        {{ columns | join(', ') }},
        person_key,
        conversation_id,
        lead_scope,
        lead_cycle
    from of_messages
    where
        replies = 0
        or not is_opening

    union all

    select
        {{ columns | join(', ') }},
        -- Without a chat it is nobody's lead: kept, as an outcome that waits for its lead.
        coalesce(person_key, identity_key) as person_key,
        coalesce(conversation_id, message_key) as conversation_id,
        coalesce(lead_scope, '') as lead_scope,
        coalesce(lead_cycle, 0) as lead_cycle
    from between_messages
    where place_before = 1

),

placed as (

    select
        with_conversation.*,
        began.sent_at as began_at

    from with_conversation
    left join places as began
        on with_conversation.conversation_id = began.message_key

)

select * from placed
