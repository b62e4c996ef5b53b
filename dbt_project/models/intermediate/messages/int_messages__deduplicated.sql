{{ config(materialized='incremental', unique_key='message_key') }}

{%- set columns = [
    'message_key', 'message_id_key', 'origin', 'direction', 'waba_id', 'business_number_id',
    'phone_key', 'bsuid_key', 'country', 'sent_at', 'message_type', 'is_group', 'error_code',
    'has_referral', 'referral_source_type', 'referral_source_id', 'referral_source_url',
    'referral_headline', 'referral_body', 'referral_media_type', 'ctwa_clid', 'app',
    'is_forwarded', 'link_code_key', 'link_code_state', 'content_key', 'is_test',
    'is_conversational',
] %}

/*
    Grain: one row per message, rule R2: (business number, provider message id).

    Of copies that differ, one with a referral wins, then one that is part of a conversation, then
    the earlier one, then the content decides: never the order of arrival, so every order of
    deliveries gives the same result. `copies` counts the deliveries (rule R1); a mere repeat does
    not count as a change. `held_by` says in which webhook field the copies came (E79): `own` if any
    came in the field for the app that holds the chat, `standby` if all came in the field for apps
    that only listen; null if the field does not say.
*/

with

new_copies as (

    select
        type as message_type,
        field,
        {% for column in columns if column not in ('message_type', 'is_test', 'is_conversational') %}
        {{ column }},
        {% endfor %}
        {{ is_test_traffic() }} as is_test,
        -- Notices and changes to earlier messages are not part of a conversation, nor are groups
        -- (E22).
        coalesce(type, '') not in ('system', 'reaction', 'edit', 'revoke')
        and not is_group as is_conversational

    from {{ source('event_log', 'messages') }}
    {% if is_incremental() %}
        where seq > {{ own_highest('read_seq') }}
    {% endif %}

),

copies as (

    select
        {% for column in columns %}
        {{ column }},
        {% endfor %}
        case
            -- A call goes to the app that takes calls, whichever app holds the chat.
            when coalesce(message_type, '') = 'call' or origin = 'history' then null
            when field = 'standby' then 'standby'
            when
                origin = 'live'
                and direction = 'inbound'
                and coalesce(field, 'messages') in ('messages', 'messaging')
                then 'own'
        end as held_by,
        cast(1 as bigint) as copies,
        cast(null as bigint) as known_seq

    from new_copies

    {% if is_incremental() %}
        union all

        select
            {% for column in columns %}
                {{ column }},
            {% endfor %}
            held_by,
            copies,
            changed_seq as known_seq

        from {{ this }}
        where message_key in (select new_copies.message_key from new_copies)
    {% endif %}

),

compared as (

    select
        *,
        cast(sum(copies) over (partition by message_key) as bigint) as all_copies,
        -- `own` before `standby`.
        min(held_by) over (partition by message_key) as held_by_of_all

    from copies

),

preferred as (

    {{ deduplicate('compared', 'message_key', "
                case when has_referral then 0 else 1 end,
                case when is_conversational then 0 else 1 end,
                direction,
                sent_at,
                content_key,
                case when known_seq is null then 1 else 0 end
    ") }}

),

deduplicated as (

    select
        {% for column in columns %}
        {{ column }},
        {% endfor %}
        held_by_of_all as held_by,
        all_copies as copies,
        case
            when known_seq is not null and coalesce(held_by, '') = coalesce(held_by_of_all, '')
                then known_seq
            else {{ lake_seq() }}
        end as changed_seq,
        {{ lake_seq() }} as read_seq

    from preferred

)

select * from deduplicated
