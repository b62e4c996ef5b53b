{{ config(unique_key='message_key') }}

{%- set seen = own_highest('changed_seq') if is_incremental() %}

/*
    Grain: one row per message, in or out, and per web form, with the person it was exchanged with
    (rule R4).

    Messages of ours that only statuses prove have origin `status`, forms have origin `web`: what
    somebody sends by the site is theirs in the same order as what they write (one identity over
    all channels). `identity_key` is the identity
    that the message itself shows, a phone being that of its holder at the time (E28); `person_key`
    whom it belongs to by all links known so far. When one message of a person changes, all of that
    person count as changed: the message may have moved to somebody else, and both have to be built
    again. A business number that moved goes on under its current id (seed `business_numbers`, E30).
*/

with

messages as (

    select * from {{ ref('int_messages__deduplicated') }}

),

statuses as (

    select * from {{ ref('int_outbound__from_statuses') }}

),

web_leads as (

    select * from {{ ref('int_web_leads__deduplicated') }}

),

link_codes as (

    select
        message_key,
        changed_seq

    from {{ ref('int_link_codes__matched') }}

),

identities as (

    select * from {{ ref('int_identities__resolved') }}

),

sightings as (

    select * from {{ ref('int_phones__sighted') }}

),

holdings as (

    select * from {{ ref('int_phones__held') }}

),

moved_numbers as (

    select
        business_number_id,
        current_number_id

    from {{ ref('business_numbers') }}

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
    union distinct
    select message_key from link_codes
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

exchanged as (

    select
        messages.message_key,
        messages.message_id_key,
        cast(null as {{ dbt.type_string() }}) as web_lead_key,
        messages.bsuid_key,
        messages.phone_key,
        messages.business_number_id,
        cast(null as {{ dbt.type_string() }}) as brand,
        messages.app,
        messages.direction,
        messages.origin,
        messages.is_conversational,
        messages.has_referral and messages.direction = 'inbound' as has_referral,
        lower(nullif(messages.referral_source_type, '')) as referral_source_type,
        nullif(messages.referral_source_id, '') as referral_source_id,
        coalesce(messages.ctwa_clid, '') <> '' as has_click_id,
        -- Meta keeps the text of some first messages from ads back (E6).
        coalesce(messages.message_type = 'unsupported' and messages.error_code = 131060, false)
            as is_withheld,
        messages.country,
        messages.sent_at,
        statuses.first_free_entry_at

    from messages
    left join statuses
        on messages.message_key = statuses.message_key

    union all

    select
        statuses.message_key,
        statuses.message_id_key,
        cast(null as {{ dbt.type_string() }}) as web_lead_key,
        statuses.bsuid_key,
        statuses.phone_key,
        statuses.business_number_id,
        cast(null as {{ dbt.type_string() }}) as brand,
        cast(null as {{ dbt.type_string() }}) as app,
        'outbound' as direction,
        'status' as origin,
        true as is_conversational,
        false as has_referral,
        cast(null as {{ dbt.type_string() }}) as referral_source_type,
        cast(null as {{ dbt.type_string() }}) as referral_source_id,
        false as has_click_id,
        false as is_withheld,
        statuses.country,
        statuses.sent_at,
        statuses.first_free_entry_at

    from statuses
    left join messages
        on statuses.message_key = messages.message_key
    where
        messages.message_key is null
        and statuses.sent_at is not null

    union all

    select
        form_key as message_key,
        cast(null as {{ dbt.type_string() }}) as message_id_key,
        web_lead_key,
        cast(null as {{ dbt.type_string() }}) as bsuid_key,
        cast(null as {{ dbt.type_string() }}) as phone_key,
        cast(null as {{ dbt.type_string() }}) as business_number_id,
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
        country,
        submitted_at as sent_at,
        null as first_free_entry_at

    from web_leads

),

with_identity as (

    select
        exchanged.*,
        coalesce(
            exchanged.web_lead_key,
            exchanged.bsuid_key,
            holdings.identity_key,
            exchanged.phone_key
        ) as identity_key,
        coalesce(moved_numbers.current_number_id, exchanged.business_number_id)
            as current_number_id

    from exchanged
    left join holdings
        on {{ holds_at('holdings', 'exchanged.phone_key', 'exchanged.sent_at') }}
    left join moved_numbers
        on exchanged.business_number_id = moved_numbers.business_number_id
    {% if is_incremental() %}
        where exchanged.message_key in (
            select messages_to_build.message_key from messages_to_build
        )
    {% endif %}

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
        exchanged.sent_at,
        exchanged.first_free_entry_at,
        (
            select max(upstream.changed_seq)
            from (
                select max(messages.changed_seq) as changed_seq from messages
                union all
                select max(statuses.changed_seq) as changed_seq from statuses
                union all
                select max(web_leads.changed_seq) as changed_seq from web_leads
                union all
                select max(link_codes.changed_seq) as changed_seq from link_codes
                union all
                select max(identities.changed_seq) as changed_seq from identities
                union all
                select max(sightings.changed_seq) as changed_seq from sightings
            ) as upstream
        ) as changed_seq

    from with_identity as exchanged
    left join identities
        on exchanged.identity_key = identities.identity_key
    left join brands
        on exchanged.current_number_id = brands.current_number_id

)

select * from with_person
