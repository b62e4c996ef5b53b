{{ config(unique_key='outcome_key') }}

{%- set columns = [
    'source', 'event_id', 'stage', 'occurred_at', 'phone_key', 'bsuid_key', 'email_key',
    'web_lead_key', 'message_id_key', 'crm_record_key', 'value', 'currency', 'stage_label',
    'content_key', 'recorded_at',
] %}

/*
    Grain: one row per outcome: (source, event id).

    A CRM corrects an event by sending its id again: the copy that speaks of the latest time counts,
    then the one that the CRM said latest where we read it (`recorded_at`), then the one with the
    greater content, never the one that came last.
*/

with

new_copies as (

    select
        source || '|' || event_id as outcome_key,
        {% for column in columns %}
        {{ column }},
        {% endfor %}
        cast(1 as bigint) as copies,
        cast(null as bigint) as known_seq

    from {{ ref('stg_event_log__outcomes') }}
    {% if is_incremental() %}
        where seq > {{ own_highest('read_seq') }}
    {% endif %}

),

candidates as (

    select * from new_copies

    {% if is_incremental() %}
        union all

        select
            outcome_key,
            {% for column in columns %}
                {{ column }},
            {% endfor %}
            copies,
            changed_seq as known_seq

        from {{ this }}
        where outcome_key in (select new_copies.outcome_key from new_copies)
    {% endif %}

),

ranked as (

    select
        *,
        cast(sum(copies) over (partition by outcome_key) as bigint) as all_copies,
        row_number() over (
            partition by outcome_key
            order by
                occurred_at desc,
                recorded_at desc nulls last,
                content_key desc,
                case when known_seq is null then 1 else 0 end
        ) as preference

    from candidates

),

deduplicated as (

    select
        outcome_key,
        {% for column in columns %}
        {{ column }},
        {% endfor %}
        all_copies as copies,
        coalesce(known_seq, {{ lake_seq() }}) as changed_seq,
        {{ lake_seq() }} as read_seq

    from ranked
    where preference = 1

)

select * from deduplicated
