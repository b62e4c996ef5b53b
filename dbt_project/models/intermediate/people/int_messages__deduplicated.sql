{{ config(unique_key='message_key') }}

{%- set columns = [
    'message_key', 'message_id_key', 'origin', 'direction', 'waba_id', 'business_number_id',
    'phone_key', 'bsuid_key', 'country', 'sent_at', 'message_type', 'is_group', 'error_code',
    'has_referral', 'referral_source_type', 'referral_source_id', 'referral_source_url',
    'referral_headline', 'referral_body', 'referral_media_type', 'ctwa_clid', 'app',
    'is_forwarded', 'link_code_key', 'link_code_state', 'content_key',
] %}

/*
    Grain: one row per message, rule R2: (business number, provider message id).

    Of copies that differ the one with the referral wins, then one that is part of the talk, then
    the earlier, then by content: never by arrival, so that any order of deliveries ends alike.
    `copies` counts the deliveries (rule R1); a mere repeat does not count as a change. The least and
    the greatest identity over all copies differ where copies show several (E2).
*/

with

new_copies as (

    select
        {% for column in columns %}
        {{ column }},
        {% endfor %}
        -- Notices and changes to earlier messages are not part of the talk, nor are groups (E22).
        coalesce(message_type, '') not in ('system', 'reaction', 'edit', 'revoke')
        and not is_group as is_conversational,
        coalesce(bsuid_key, phone_key) as least_identity_key,
        coalesce(bsuid_key, phone_key) as greatest_identity_key,
        cast(1 as bigint) as copies,
        cast(null as bigint) as known_seq

    from {{ ref('stg_event_log__messages') }}
    {% if is_incremental() %}
        where seq > {{ own_highest('read_seq') }}
    {% endif %}

),

candidates as (

    select * from new_copies

    {% if is_incremental() %}
        union all

        select
            {% for column in columns %}
                {{ column }},
            {% endfor %}
            is_conversational,
            least_identity_key,
            greatest_identity_key,
            copies,
            changed_seq as known_seq

        from {{ this }}
        where message_key in (select new_copies.message_key from new_copies)
    {% endif %}

),

ranked as (

    select
        *,
        cast(sum(copies) over (partition by message_key) as bigint) as all_copies,
        min(least_identity_key) over (partition by message_key) as least_of_all,
        max(greatest_identity_key) over (partition by message_key) as greatest_of_all,
        row_number() over (
            partition by message_key
            order by
                case when has_referral then 0 else 1 end,
                case when is_conversational then 0 else 1 end,
                direction,
                sent_at,
                content_key,
                case when known_seq is null then 1 else 0 end
        ) as preference

    from candidates

),

deduplicated as (

    select
        {% for column in columns %}
        {{ column }},
        {% endfor %}
        is_conversational,
        least_of_all as least_identity_key,
        greatest_of_all as greatest_identity_key,
        all_copies as copies,
        coalesce(known_seq, {{ lake_seq() }}) as changed_seq,
        {{ lake_seq() }} as read_seq

    from ranked
    where preference = 1

)

select * from deduplicated
