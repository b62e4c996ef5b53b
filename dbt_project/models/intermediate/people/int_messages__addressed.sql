{{ config(unique_key='address_key') }}

{%- set seen = own_highest('read_seq') if is_incremental() %}

/*
    Grain: one row per message and identity, of messages that copies or statuses show under several
    identities (E2): one message is exchanged with one person, so all of them are that person.

    Such a message is read again whole, from all its copies: the deduplicated row remembers the
    winner only. `first_shown_at` is the earliest time a copy with that identity bears.
*/

with

bounds as (

    select
        message_key,
        least_identity_key,
        greatest_identity_key,
        read_seq

    from {{ ref('int_messages__deduplicated') }}

    union all

    select
        message_key,
        least_identity_key,
        greatest_identity_key,
        read_seq

    from {{ ref('int_outbound__from_statuses') }}

),

{% if is_incremental() %}
newly_seen as (

    select message_key from bounds
    where read_seq > {{ seen }}

),
{% endif %}

shown_as_several as (

    select message_key from bounds
    {% if is_incremental() %}
        where message_key in (select newly_seen.message_key from newly_seen)
    {% endif %}
    group by message_key
    having min(least_identity_key) <> max(greatest_identity_key)

),

copies as (

    select
        message_key,
        coalesce(bsuid_key, phone_key) as identity_key,
        sent_at as shown_at

    from {{ ref('stg_event_log__messages') }}

    union all

    select
        message_key,
        coalesce(bsuid_key, phone_key) as identity_key,
        status_at as shown_at

    from {{ ref('stg_event_log__statuses') }}
    where not is_group

),

addressed as (

    select
        copies.message_key || '-' || copies.identity_key as address_key,
        copies.message_key,
        copies.identity_key,
        min(copies.shown_at) as first_shown_at,
        {{ lake_seq() }} as read_seq

    from copies
    inner join shown_as_several
        on copies.message_key = shown_as_several.message_key
    where copies.identity_key is not null
    group by
        copies.message_key,
        copies.identity_key

)

select * from addressed
