{{ config(unique_key='message_key') }}

/*
    Grain: one row per message of which we know a status.

    A status proves a message of ours that no webhook carries: what the business sends by the API.
    `sent_at` is its first `sent` status, else its first status that is not `failed`; null where it
    never left. `first_free_entry_at` is the first status that Meta billed as an answer to an ad.
    All columns are minima, so that statuses may come in any order and any number of runs; but for
    the greatest identity, which differs from the least where statuses show several (E2).
*/

with

new_statuses as (

    select
        message_key,
        message_id_key,
        business_number_id,
        phone_key,
        bsuid_key,
        country,
        coalesce(bsuid_key, phone_key) as least_identity_key,
        coalesce(bsuid_key, phone_key) as greatest_identity_key,
        case when status = 'sent' then status_at end as first_sent_at,
        case when status <> 'failed' then status_at end as first_status_at,
        case
            when
                coalesce(pricing_type, '') = 'free_entry_point'
                or coalesce(pricing_category, '') = 'referral_conversion'
                or coalesce(conversation_origin, '') = 'referral_conversion'
                then status_at
        end as first_free_entry_at

    from {{ ref('stg_event_log__statuses') }}
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
            message_id_key,
            business_number_id,
            phone_key,
            bsuid_key,
            country,
            least_identity_key,
            greatest_identity_key,
            first_sent_at,
            first_status_at,
            first_free_entry_at

        from known
    {% endif %}

),

aggregated as (

    select
        message_key,
        min(message_id_key) as message_id_key,
        min(business_number_id) as business_number_id,
        min(phone_key) as phone_key,
        min(bsuid_key) as bsuid_key,
        min(country) as country,
        min(least_identity_key) as least_identity_key,
        max(greatest_identity_key) as greatest_identity_key,
        min(first_sent_at) as first_sent_at,
        min(first_status_at) as first_status_at,
        min(first_free_entry_at) as first_free_entry_at

    from all_statuses
    group by message_key

),

stamped as (

    select
        aggregated.message_key,
        aggregated.message_id_key,
        aggregated.business_number_id,
        aggregated.phone_key,
        aggregated.bsuid_key,
        aggregated.country,
        aggregated.least_identity_key,
        aggregated.greatest_identity_key,
        aggregated.first_sent_at,
        aggregated.first_status_at,
        coalesce(aggregated.first_sent_at, aggregated.first_status_at) as sent_at,
        aggregated.first_free_entry_at,
        {% if is_incremental() %}
            case
                when
                    known.phone_key is not distinct from aggregated.phone_key
                    and known.bsuid_key is not distinct from aggregated.bsuid_key
                    and known.first_sent_at is not distinct from aggregated.first_sent_at
                    and known.first_status_at is not distinct from aggregated.first_status_at
                    and known.first_free_entry_at
                    is not distinct from aggregated.first_free_entry_at
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

select * from stamped
