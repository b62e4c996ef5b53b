/*
    Grain: one row per conversation that, as far as we were notified, somebody other than the
    business itself held: those with a message in the webhook field `standby`, or with a handover
    notice (E78, E79).

    Meta says in two ways who holds a chat. A notice names the new holder's role: `control_passed`
    goes to the new holder, `control_taken` to the former one. And a message comes in the field
    `messages` to the app that holds the chat, in `standby` to apps that only listen. The last of
    these signs decides. A notice decides by its role. A message decides only if it contradicts what
    was known before it, because a release or an idle time-out sends no notice: the holder is then
    `own`, or `other` with an unknown role. Of signs at the same instant the notice is the later
    one. `handovers` counts the notices, and the messages that contradicted.

    A notice belongs to the conversation that a message at that moment would belong to. Not
    incremental, because there are too few rows for that to be worthwhile.
*/

with

conversations as (

    select
        *,
        {{ dbt.dateadd('day', conversation_gap_days(), 'last_message_at') }} as open_until
    from {{ ref('int_conversations__built') }}

),

messages as (

    select
        conversation_id,
        message_key,
        held_by,
        sent_at
    from {{ ref('int_messages__in_conversations') }}
    where held_by is not null

),

with_identity as (

    select
        coalesce(handovers.bsuid_key, holdings.identity_key, handovers.phone_key) as identity_key,
        coalesce(moved_numbers.current_number_id, handovers.business_number_id)
            as business_number_id,
        handovers.event,
        handovers.new_owner_role,
        handovers.occurred_at,
        -- Meta's own agent is never us, whichever app is notified.
        coalesce(
            handovers.event = 'control_passed'
            and coalesce(handovers.new_owner_role, '') <> 'ai_agent',
            false
        ) as is_ours

    from {{ source('event_log', 'handovers') }} as handovers
    left join {{ source('identity', 'phones_held') }} as holdings
        on {{ holds_at('holdings', 'handovers.phone_key', 'handovers.occurred_at') }}
    left join {{ ref('business_numbers') }} as moved_numbers
        on handovers.business_number_id = moved_numbers.business_number_id

),

notices as (

    select distinct
        coalesce(identities.person_key, with_identity.identity_key) as person_key,
        with_identity.business_number_id,
        with_identity.event,
        with_identity.new_owner_role,
        with_identity.occurred_at,
        with_identity.is_ours,
        case
            when with_identity.new_owner_role in ('ai_agent', 'escalation')
                then with_identity.new_owner_role
            when with_identity.is_ours then 'own'
            when
                with_identity.new_owner_role is not null or with_identity.event = 'control_taken'
                then 'other'
            else 'unknown'
        end as holder

    from with_identity
    left join {{ source('identity', 'identities') }} as identities
        on with_identity.identity_key = identities.identity_key
    where with_identity.identity_key is not null

),

windows as (

    select
        conversation_id,
        person_key,
        business_number_id,
        started_at,
        open_until,
        lag(open_until) over (
            partition by person_key, business_number_id
            order by started_at, conversation_id
        ) as earlier_open_until

    from conversations
    where person_key in (select notices.person_key from notices)

),

placed_notices as (

    select
        windows.conversation_id,
        notices.event,
        notices.new_owner_role,
        notices.occurred_at,
        notices.is_ours,
        notices.holder

    from notices
    inner join windows
        on
            notices.person_key = windows.person_key
            and notices.business_number_id = windows.business_number_id
            and notices.occurred_at <= windows.open_until
            and notices.occurred_at
            >= {{ dbt.dateadd('day', '-' ~ conversation_gap_days(), 'windows.started_at') }}
            and (
                windows.earlier_open_until is null
                or notices.occurred_at > windows.earlier_open_until
            )

),

conversations_to_judge as (

    select conversation_id from placed_notices
    union distinct
    select conversation_id from conversations
    where standby_messages > 0

),

signs as (

    select
        messages.conversation_id,
        messages.sent_at as shown_at,
        'message' as kind,
        messages.message_key as sign_key,
        messages.held_by = 'own' as is_ours,
        case when messages.held_by = 'own' then 'own' else 'other' end as holder

    from messages
    where
        messages.conversation_id in (
            select conversations_to_judge.conversation_id from conversations_to_judge
        )

    union all

    -- If two of our apps are notified at the same moment, the notice to the new holder counts.
    select
        conversation_id,
        occurred_at as shown_at,
        'notice' as kind,
        case when is_ours then '2' else '1' end
        || coalesce(event, '') || '/' || coalesce(new_owner_role, '') as sign_key,
        is_ours,
        holder

    from placed_notices

),

in_order as (

    select
        *,
        row_number() over (
            partition by conversation_id order by shown_at, kind, sign_key
        ) as place,
        lag(is_ours) over (
            partition by conversation_id order by shown_at, kind, sign_key
        ) as was_ours,
        lag(case when kind = 'notice' then shown_at end) over (
            partition by conversation_id order by shown_at, kind, sign_key
        ) as noticed_at

    from signs

),

judged as (

    select
        *,
        kind = 'notice' or was_ours is null or was_ours <> is_ours as is_news,
        case
            when kind = 'notice' then noticed_at is null or noticed_at <> shown_at
            else coalesce(was_ours <> is_ours, false)
        end as is_handover

    from in_order

),

last_news as (

    select
        conversation_id,
        max(case when is_news then place end) as place,
        sum(case when is_handover then 1 else 0 end) as handovers

    from judged
    group by conversation_id

),

held as (

    select
        judged.conversation_id,
        judged.holder,
        cast(last_news.handovers as bigint) as handovers

    from last_news
    inner join judged
        on
            last_news.conversation_id = judged.conversation_id
            and last_news.place = judged.place

)

select * from held
