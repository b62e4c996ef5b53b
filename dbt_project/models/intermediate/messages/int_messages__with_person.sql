{{ config(materialized='incremental', unique_key='message_key') }}

{%- set seen = own_highest('changed_seq') if is_incremental() %}

/*
    Grain: one row per message, in or out, and per form, with the person (rule R4).

    Messages of ours that only a status shows have origin `status`, forms have origin `web`: they are
    in one order with what people write (one identity over all channels). `identity_key` is the identity that the message itself shows, with a phone standing
    for its holder at the time (E28); `person_key` is the person that it belongs to by all links
    known so far. When one message of a person changes, all of that person's messages count as
    changed: the message may have moved to another person, and both have to be rebuilt. A business
    number that moved continues under its current id (seed `business_numbers`, E30). Test traffic of
    platforms belongs to persons of its own (rule R14).
*/

with

messages as (

    select * from {{ ref('int_messages__deduplicated') }}

),

statuses as (

    select * from {{ ref('int_statuses__by_message') }}

),

web_leads as (

    select * from {{ ref('int_web_leads__deduplicated') }}

),

identities as (

    select * from {{ source('identity', 'identities') }}

),

sightings as (

    select * from {{ source('identity', 'phones_seen') }}

),

brands as (

    select
        current_number_id,
        max(brand) as brand

    from {{ ref('business_numbers') }}
    group by current_number_id

),

{% if is_incremental() %}
changed_messages as (

    select message_key from messages
    where changed_seq > {{ seen }}
    union distinct
    select message_key from statuses
    where changed_seq > {{ seen }}
    union distinct
    select form_key as message_key from web_leads
    where changed_seq > {{ seen }}
    {% for exchanged_as in ['messages', 'statuses'] %}
        union distinct
        select {{ exchanged_as }}.message_key
        from {{ exchanged_as }}
        inner join sightings
            on {{ exchanged_as }}.phone_key = sightings.phone_key
        where sightings.changed_seq > {{ seen }}
    {% endfor %}
    union distinct
    select built.message_key
    from {{ this }} as built
    inner join identities
        on built.identity_key = identities.identity_key
    where identities.changed_seq > {{ seen }}

),

messages_to_build as (

    select message_key from changed_messages
    union distinct
    select built.message_key
    from {{ this }} as built
    where
        built.person_key in (
            select disturbed.person_key
            from {{ this }} as disturbed
            inner join changed_messages
                on disturbed.message_key = changed_messages.message_key
        )

),
{% endif %}

{% for upstream, key in [
    ('messages', 'message_key'), ('statuses', 'message_key'), ('web_leads', 'form_key'),
] %}
{{ upstream }}_to_join as (

    select * from {{ upstream }}
    {% if is_incremental() %}
        where {{ key }} in (select messages_to_build.message_key from messages_to_build)
    {% endif %}

),
{% endfor %}

-- Both sides may have a message; what the message itself says comes before its statuses.
exchanged as (

    select
        coalesce(messages.message_key, statuses.message_key) as message_key,
        {% for column in [
            'message_id_key', 'bsuid_key', 'phone_key', 'business_number_id', 'country', 'sent_at',
            'is_test',
        ] %}
        case when messages.message_key is null then statuses.{{ column }} else messages.{{ column }} end
            as {{ column }},
        {% endfor %}
        cast(null as {{ dbt.type_string() }}) as web_lead_key,
        cast(null as {{ dbt.type_string() }}) as brand,
        messages.app,
        coalesce(messages.direction, 'outbound') as direction,
        coalesce(messages.origin, 'status') as origin,
        coalesce(messages.is_conversational, true) as is_conversational,
        coalesce(messages.has_referral and messages.direction = 'inbound', false) as has_referral,
        lower(nullif(messages.referral_source_type, '')) as referral_source_type,
        nullif(messages.referral_source_id, '') as referral_source_id,
        coalesce(messages.ctwa_clid, '') <> '' as has_click_id,
        -- Meta withholds the text of some first messages from ads (E6).
        coalesce(messages.message_type = 'unsupported' and messages.error_code = 131060, false)
            as is_withheld,
        messages.held_by,
        statuses.first_free_entry_at

    from messages_to_join as messages
    full outer join statuses_to_join as statuses
        on messages.message_key = statuses.message_key
    where
        messages.message_key is not null
        or statuses.sent_at is not null

    union all

    select
        form_key as message_key,
        cast(null as {{ dbt.type_string() }}) as message_id_key,
        cast(null as {{ dbt.type_string() }}) as bsuid_key,
        cast(null as {{ dbt.type_string() }}) as phone_key,
        cast(null as {{ dbt.type_string() }}) as business_number_id,
        country,
        submitted_at as sent_at,
        is_test,
        web_lead_key,
        brand,
        cast(null as {{ dbt.type_string() }}) as app,
        'inbound' as direction,
        'web' as origin,
        true as is_conversational,
        false as has_referral,
        cast(null as {{ dbt.type_string() }}) as referral_source_type,
        cast(null as {{ dbt.type_string() }}) as referral_source_id,
        false as has_click_id,
        false as is_withheld,
        cast(null as {{ dbt.type_string() }}) as held_by,
        null as first_free_entry_at

    from web_leads_to_join

),

with_identity as (

    select
        exchanged.*,
        case
            when coalesce(exchanged.is_test, false)
                then {{ test_identity(
                    'coalesce(exchanged.web_lead_key, exchanged.bsuid_key, exchanged.phone_key)'
                ) }}
            else
                coalesce(
                    exchanged.web_lead_key,
                    exchanged.bsuid_key,
                    holdings.identity_key,
                    exchanged.phone_key
                )
        end as identity_key,
        coalesce(moved_numbers.current_number_id, exchanged.business_number_id)
            as current_number_id

    from exchanged
    left join {{ source('identity', 'phones_held') }} as holdings
        on {{ holds_at('holdings', 'exchanged.phone_key', 'exchanged.sent_at') }}
    left join {{ ref('business_numbers') }} as moved_numbers
        on exchanged.business_number_id = moved_numbers.business_number_id

),

with_person as (

    select
        exchanged.message_key,
        exchanged.message_id_key,
        exchanged.identity_key,
        coalesce(identities.person_key, exchanged.identity_key) as person_key,
        exchanged.current_number_id as business_number_id,
        coalesce(exchanged.brand, brands.brand, exchanged.current_number_id) as brand,
        exchanged.app,
        exchanged.direction,
        exchanged.origin,
        exchanged.is_conversational and exchanged.identity_key is not null as is_conversational,
        exchanged.has_referral,
        exchanged.referral_source_type,
        exchanged.referral_source_id,
        exchanged.has_click_id,
        exchanged.is_withheld,
        exchanged.country,
        exchanged.held_by,
        exchanged.sent_at,
        exchanged.first_free_entry_at,
        (
            select max(upstream.changed_seq)
            from (
                {% for upstream in ['messages', 'statuses', 'web_leads', 'identities', 'sightings'] %}
                {{ 'union all' if not loop.first }}
                select max({{ upstream }}.changed_seq) as changed_seq from {{ upstream }}
                {% endfor %}
            ) as upstream
        ) as changed_seq

    from with_identity as exchanged
    left join identities
        on exchanged.identity_key = identities.identity_key
    left join brands
        on exchanged.current_number_id = brands.current_number_id

)

select * from with_person
