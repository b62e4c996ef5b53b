{{
    config(
        unique_key='person_key',
        pre_hook="{{ forget_vanished_people(ref('int_touches__classified')) }}"
    )
}}

/*
    Grain: one row per lead, which is one row per person with a touch.

    The source is the earliest touch (rule R5) in the order of rule R3, and never changes because of
    later ones; the latest touch and the latest with an ad stand beside it. `lead_id` is the
    identity that the earliest touch showed, so it stays when identities are learned later, and of
    two leads that turn out to be one, the older's stays (rule R4).
*/

with

{% if is_incremental() %}
people_to_build as (

    {{ changed_people(ref('int_touches__classified')) }}

),
{% endif %}

touches as (

    select * from {{ ref('int_touches__classified') }}
    {% if is_incremental() %}
        where person_key in (select people_to_build.person_key from people_to_build)
    {% endif %}

),

ranked as (

    select
        *,
        row_number() over (
            partition by person_key
            order by occurred_at, case when has_referral then 0 else 1 end, touch_id
        ) as place,
        row_number() over (
            partition by person_key
            order by occurred_at desc, case when has_referral then 1 else 0 end, touch_id desc
        ) as place_from_end,
        row_number() over (
            partition by person_key, case when ad_id is null then 0 else 1 end
            order by occurred_at desc, case when has_referral then 1 else 0 end, touch_id desc
        ) as ad_place_from_end

    from touches

),

counted as (

    select
        person_key,
        count(*) as touches,
        sum(case when ad_id is not null then 1 else 0 end) as ad_touches

    from ranked
    group by person_key

),

sourced as (

    select
        first_touch.identity_key as lead_id,
        first_touch.person_key,
        first_touch.touch_id as first_touch_id,
        latest_touch.touch_id as latest_touch_id,
        latest_ad_touch.touch_id as latest_ad_touch_id,
        first_touch.business_number_id,
        first_touch.basis,
        first_touch.channel,
        first_touch.platform,
        first_touch.ad_id,
        first_touch.has_click_id,
        first_touch.is_withheld,
        first_touch.is_billed_as_ad,
        first_touch.has_referral,
        first_touch.origin,
        first_touch.country,
        latest_touch.basis as latest_basis,
        latest_touch.channel as latest_channel,
        latest_ad_touch.ad_id as latest_ad_id,
        counted.touches,
        counted.ad_touches,
        first_touch.occurred_at as first_touch_at,
        latest_touch.occurred_at as latest_touch_at,
        latest_ad_touch.occurred_at as latest_ad_touch_at,
        first_touch.rule_version,
        first_touch.rule_set,
        (
            select max(upstream.changed_seq)
            from {{ ref('int_touches__classified') }} as upstream
        ) as changed_seq

    from ranked as first_touch
    inner join counted
        on first_touch.person_key = counted.person_key
    inner join ranked as latest_touch
        on
            first_touch.person_key = latest_touch.person_key
            and latest_touch.place_from_end = 1
    left join ranked as latest_ad_touch
        on
            first_touch.person_key = latest_ad_touch.person_key
            and latest_ad_touch.ad_id is not null
            and latest_ad_touch.ad_place_from_end = 1
    where first_touch.place = 1

)

select * from sourced
