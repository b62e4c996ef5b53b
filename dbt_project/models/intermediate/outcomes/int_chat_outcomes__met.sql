/*
    Grain: one row per chat rule and lead, or per rule and conversation if the rule says so: the
    first time that the rule was met, as an outcome of source `chat`.

    The parser says which condition of which rule a message meets (`chat_signals`); this puts
    together what takes several messages. A rule is met in a conversation when one of its ways is:
    when all conditions of that way have been met there, whatever the order, at the time of the last
    of them. Replies are what the person writes after the message that opened the conversation, and
    may have to come within some time of its beginning. Each version of a rule stands for itself:
    what an older version made stays.
*/

with

placed as (

    select * from {{ ref('int_chat_signals__placed') }}

),

counted as (

    select
        *,
        row_number() over (
            partition by
                rule_id,
                rule_version,
                alternative,
                part,
                person_key,
                conversation_id
            order by said_at, message_key
        ) as place_in_conversation

    from placed

),

-- The message by which each condition was met: the first, or of replies the last that it takes.
met as (

    select
        *,
        count(*) over (
            partition by rule_id, rule_version, alternative, person_key, conversation_id
        ) as parts_met,
        row_number() over (
            partition by rule_id, rule_version, alternative, person_key, conversation_id
            order by said_at desc, message_key desc, part desc
        ) as place_from_end,
        max(amount) over (
            partition by rule_id, rule_version, alternative, person_key, conversation_id
        ) as amount_of_way,
        max(currency) over (
            partition by rule_id, rule_version, alternative, person_key, conversation_id
        ) as currency_of_way

    from counted
    where
        place_in_conversation = greatest(replies, 1)
        and (
            within_seconds is null
            or said_at <= {{ dbt.dateadd('second', 'within_seconds', 'began_at') }}
        )

),

complete as (

    select
        *,
        case when once_per = 'conversation' then conversation_id else '' end as repeated_by
    from met
    where
        parts_met = parts
        and place_from_end = 1

),

first_met as (

    {{ deduplicate(
        'complete',
        'rule_id, person_key, lead_scope, lead_cycle, repeated_by',
        'said_at, message_key, rule_version, alternative'
    ) }}

),

outcomes as (

    select
        'chat' as source, -- noqa: RF04
        rule_id || ':' || message_key as event_id,
        stage,
        said_at as occurred_at,
        phone_key,
        bsuid_key,
        country,
        message_id_key,
        amount_of_way as value, -- noqa: RF04
        currency_of_way as currency,
        rule_id || ' ' || rule_version as stage_label

    from first_met

)

select * from outcomes
