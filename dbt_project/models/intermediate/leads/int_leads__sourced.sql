{{
    config(
        materialized='incremental',
        unique_key='person_key',
        pre_hook="{{ forget_vanished_people(ref('int_touches__classified')) }}"
    )
}}

{%- set order_r3 -%}
order by occurred_at, case when has_referral then 0 else 1 end, touch_id
{%- endset %}
{%- set from_end -%}
order by occurred_at desc, case when has_referral then 1 else 0 end, touch_id desc
{%- endset %}

/*
    Grain: one row per lead: one person within one scope and one cycle (by default once, for good).

    A lead begins with its earliest touch in the order of rule R3. Its source is that touch (rule
    R5), and later ones never change it; with `CTWA_FIRST_TOUCH=paid` the source is the earliest
    touch with an ad, if there is one (E16), and the lead's beginning stays where it was. The latest
    touch and the latest with an ad are given as well.

    `lead_id` is the identity that the first touch showed, so it stays when identities are learned
    later, and if two leads turn out to be one, the older id stays (rule R4). A lead per brand adds
    the brand to that identity, a later cycle its number. `lead_number` counts a person's leads by
    their first touch; `person_id` is the id of the first.

    `has_replied`: the person wrote again after our first answer, in any conversation of the lead
    (E19). An accidental tap or a mere "oi" is a lead by the rules; it shows in the fact that
    nothing followed.
*/

with

{% if is_incremental() %}
people_to_build as (

    {{ changed_people(ref('int_touches__classified')) }}
    union distinct
    select touches.person_key
    from {{ ref('int_touches__classified') }} as touches
    where touches.catalogue_no > {{ own_highest('catalogue_no') }}

),
{% endif %}

touches as (

    select * from {{ ref('int_touches__classified') }}
    {% if is_incremental() %}
        where person_key in (select people_to_build.person_key from people_to_build)
    {% endif %}

),

messages as (

    select
        *,
        min(case when direction = 'inbound' then sent_at end) over (
            partition by person_key, lead_scope, lead_cycle
        ) as first_inbound_at

    from {{ ref('int_messages__in_conversations') }}
    where
        coalesce(origin, '') <> 'web'
    {% if is_incremental() %}
            and person_key in (select people_to_build.person_key from people_to_build)
        {% endif %}

),

written as (

    select
        person_key,
        lead_scope,
        lead_cycle,
        sum(case when direction = 'inbound' then 1 else 0 end) as inbound_messages,
        max(case when direction = 'inbound' then sent_at end) as last_inbound_at,
        -- An automatic answer in the same second is an answer too.
        min(case when direction = 'outbound' and sent_at >= first_inbound_at then sent_at end)
            as first_answer_at

    from messages
    group by person_key, lead_scope, lead_cycle

),

ranked as (

    select
        *,
        row_number() over (
            partition by person_key, lead_scope, lead_cycle
            {{ order_r3 }}
        ) as place,
        row_number() over (
            partition by person_key, lead_scope, lead_cycle
            {{ from_end }}
        ) as place_from_end,
        row_number() over (
            partition by person_key, lead_scope, lead_cycle, is_paid
            {{ order_r3 }}
        ) as paid_place,
        row_number() over (
            partition by person_key, lead_scope, lead_cycle, has_ad
            {{ from_end }}
        ) as ad_place_from_end,
        first_value(identity_key) over (
            partition by person_key, lead_scope
            {{ order_r3 }}
        ) as first_identity_key

    from touches

),

counted as (

    select
        person_key,
        lead_scope,
        lead_cycle,
        count(*) as touches,
        sum(case when has_ad then 1 else 0 end) as ad_touches,
        max(case when place = 1 then touch_id end) as first_id,
        max(case when place_from_end = 1 then touch_id end) as latest_id,
        coalesce(
            {% if first_touch() == 'paid' %}
            max(case when is_paid and paid_place = 1 then touch_id end),
            {% endif %}
            max(case when place = 1 then touch_id end)
        ) as source_id,
        max(case when has_ad and ad_place_from_end = 1 then touch_id end) as latest_ad_touch_id

    from ranked
    group by person_key, lead_scope, lead_cycle

),

joined as (

    select
        first_touch.first_identity_key
        || case when first_touch.lead_scope = '' then '' else ':' || first_touch.lead_scope end
        || case
            when first_touch.lead_cycle = 1 then ''
            else '#' || cast(first_touch.lead_cycle as {{ dbt.type_string() }})
        end as lead_id,
        first_touch.person_key,
        first_touch.lead_scope,
        first_touch.lead_cycle,
        first_touch.touch_id as first_touch_id,
        source_touch.touch_id as source_touch_id,
        latest_touch.touch_id as latest_touch_id,
        latest_ad_touch.touch_id as latest_ad_touch_id,
        first_touch.business_number_id,
        first_touch.brand,
        source_touch.basis,
        source_touch.channel,
        source_touch.platform,
        source_touch.post_id,
        source_touch.referral_source_type,
        source_touch.has_click_id,
        source_touch.is_withheld,
        source_touch.is_billed_as_ad,
        source_touch.has_referral,
        source_touch.is_from_page,
        source_touch.origin = 'web' as is_from_form,
        first_touch.basis as first_basis,
        first_touch.origin = 'web' as first_came_by_form,
        first_touch.origin,
        first_touch.country,
        first_touch.has_referral as first_touch_has_referral,
        latest_touch.basis as latest_basis,
        latest_touch.channel as latest_channel,
        counted.touches,
        counted.ad_touches,
        coalesce(written.last_inbound_at > written.first_answer_at, false) as has_replied,
        cast(coalesce(written.inbound_messages, 0) as bigint) as inbound_messages,
        first_touch.occurred_at as first_touch_at,
        source_touch.occurred_at as source_touch_at,
        latest_touch.occurred_at as latest_touch_at,
        latest_ad_touch.occurred_at as latest_ad_touch_at,
        first_touch.rule_version,
        first_touch.rule_set

    from counted
    inner join ranked as first_touch
        on counted.first_id = first_touch.touch_id
    inner join ranked as source_touch
        on counted.source_id = source_touch.touch_id
    inner join ranked as latest_touch
        on counted.latest_id = latest_touch.touch_id
    left join ranked as latest_ad_touch
        on counted.latest_ad_touch_id = latest_ad_touch.touch_id
    left join written
        on
            counted.person_key = written.person_key
            and counted.lead_scope = written.lead_scope
            and counted.lead_cycle = written.lead_cycle

),

sourced as (

    select
        *,
        first_value(lead_id) over by_first_touch as person_id,
        row_number() over by_first_touch as lead_number,
        (
            select max(upstream.changed_seq)
            from {{ ref('int_touches__classified') }} as upstream
        ) as changed_seq,
        (
            select max(upstream.catalogue_no)
            from {{ ref('int_touches__classified') }} as upstream
        ) as catalogue_no

    from joined
    window by_first_touch as (
        partition by person_key
        order by first_touch_at, case when first_touch_has_referral then 0 else 1 end, first_touch_id
    )

)

select * from sourced
