{{ config(materialized='incremental', unique_key='message_key') }}

{%- set keys = ['message_id_key', 'business_number_id', 'phone_key', 'bsuid_key', 'country'] %}
{%- set times = ['first_sent_at', 'first_status_at', 'first_free_entry_at'] %}
{%- set billing = ['delivered_at', 'pricing_model', 'pricing_type', 'pricing_category', 'is_billable'] %}

/*
    Grain: one row per message with a known status.

    A status shows messages of ours that no webhook carries: those that the business sends through
    the API. `sent_at` is the first `sent` status, else the first status that is not `failed`; null
    if the message was never sent. `first_free_entry_at` is the first status that Meta billed as an
    answer to an ad. `delivered_at` is the first status that the recipient's phone gave: only then
    does a message cost something. All columns are minima, so statuses may come in any order and in
    any number of runs, and a message is billed once, whatever the number of its statuses.
*/

with

new_statuses as (

    select
        message_key,
        {% for column in keys %}
        {{ column }},
        {% endfor %}
        {{ is_test_traffic() }} as is_test,
        case when status = 'sent' then status_at end as first_sent_at,
        case when status <> 'failed' then status_at end as first_status_at,
        case
            when
                coalesce(pricing_type, '') = 'free_entry_point'
                or coalesce(pricing_category, '') = 'referral_conversion'
                or coalesce(conversation_origin, '') = 'referral_conversion'
                then status_at
        end as first_free_entry_at,
        case when status in ('delivered', 'read', 'played') then status_at end as delivered_at,
        lower(pricing_model) as pricing_model,
        lower(pricing_type) as pricing_type,
        replace(lower(pricing_category), '-', '_') as pricing_category,
        is_billable

    from {{ source('event_log', 'statuses') }}
    where
        not is_group
    {% if is_incremental() %}
            and seq > {{ own_highest('read_seq') }}
        {% endif %}

),

{% if is_incremental() %}
known as (

    select * from {{ this }}
    where message_key in (select new_statuses.message_key from new_statuses)

),
{% endif %}

all_statuses as (

    select * from new_statuses

    {% if is_incremental() %}
        union all

        select
            message_key,
            {% for column in keys %}
            {{ column }},
            {% endfor %}
            is_test,
            {% for column in times + billing %}
            {{ column }}{{ ',' if not loop.last }}
            {% endfor %}

        from known
    {% endif %}

),

aggregated as (

    select
        message_key,
        {% for column in keys %}
        min({{ column }}) as {{ column }},
        {% endfor %}
        max(case when is_test then 1 else 0 end) = 1 as is_test,
        {% for column in times + billing %}
        min({{ column }}) as {{ column }},
        {% endfor %}
        coalesce(min(first_sent_at), min(first_status_at)) as sent_at

    from all_statuses
    group by message_key

),

by_message as (

    select
        aggregated.*,
        {% if is_incremental() %}
            case
                when
                    {% for column in ['phone_key', 'bsuid_key'] + times %}
                    {{ 'and ' if not loop.first }}known.{{ column }} is not distinct from aggregated.{{ column }}
                    {% endfor %}
                    then coalesce(known.changed_seq, {{ lake_seq() }})
                else {{ lake_seq() }}
            end as changed_seq,
        {% else %}
        {{ lake_seq() }} as changed_seq,
        {% endif %}
        {{ lake_seq() }} as read_seq

    from aggregated
    {% if is_incremental() %}
        left join known
            on aggregated.message_key = known.message_key
    {% endif %}

)

select * from by_message
