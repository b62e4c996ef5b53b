{{
    config(
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

    The lead is born at its earliest touch in the order of rule R3. Its source is that touch (rule
    R5), and never changes because of later ones; with `CTWA_FIRST_TOUCH=paid` it is the earliest
    with an ad, if there is one (E16), and the birth stays where it was. The latest touch and the
    latest with an ad stand beside it.

    `lead_id` is the identity that the birth showed, so it stays when identities are learned later,
    and of two leads that turn out to be one, the older's stays (rule R4). A brand's lead adds the
    brand, a later cycle its number to the id of the first. `lead_number` counts a person's leads in
    the order of birth; `person_id` is the id of the first.
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
        max(case when place = 1 then touch_id end) as birth_id,
        max(case when place_from_end = 1 then touch_id end) as latest_id,
        max(case when is_paid and paid_place = 1 then touch_id end) as first_paid_id,
        max(case when has_ad and ad_place_from_end = 1 then touch_id end) as latest_ad_touch_id

    from ranked
    group by person_key, lead_scope, lead_cycle

),

identified as (

    select
        *,
        {% if first_touch() == 'paid' %}
        coalesce(first_paid_id, birth_id) as source_id
        {% else %}
        birth_id as source_id
        {% endif %}

    from counted

),

joined as (

    select
        birth.first_identity_key
        || case when birth.lead_scope = '' then '' else ':' || birth.lead_scope end
        || case
            when birth.lead_cycle = 1 then ''
            else '#' || cast(birth.lead_cycle as {{ dbt.type_string() }})
        end as lead_id,
        birth.person_key,
        birth.lead_scope,
        birth.lead_cycle,
        birth.touch_id as first_touch_id,
        source_touch.touch_id as source_touch_id,
        latest_touch.touch_id as latest_touch_id,
        latest_ad_touch.touch_id as latest_ad_touch_id,
        birth.business_number_id,
        birth.brand,
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
        birth.basis as first_basis,
        birth.origin = 'web' as is_born_of_form,
        birth.origin,
        birth.country,
        birth.has_referral as is_born_of_referral,
        latest_touch.basis as latest_basis,
        latest_touch.channel as latest_channel,
        identified.touches,
        identified.ad_touches,
        birth.occurred_at as first_touch_at,
        source_touch.occurred_at as source_touch_at,
        latest_touch.occurred_at as latest_touch_at,
        latest_ad_touch.occurred_at as latest_ad_touch_at,
        birth.rule_version,
        birth.rule_set

    from identified
    inner join ranked as birth
        on identified.birth_id = birth.touch_id
    inner join ranked as source_touch
        on identified.source_id = source_touch.touch_id
    inner join ranked as latest_touch
        on identified.latest_id = latest_touch.touch_id
    left join ranked as latest_ad_touch
        on identified.latest_ad_touch_id = latest_ad_touch.touch_id

),

sourced as (

    select
        *,
        first_value(lead_id) over (
            partition by person_key
            order by
                first_touch_at,
                case when is_born_of_referral then 0 else 1 end,
                first_touch_id
        ) as person_id,
        row_number() over (
            partition by person_key
            order by
                first_touch_at,
                case when is_born_of_referral then 0 else 1 end,
                first_touch_id
        ) as lead_number,
        (
            select max(upstream.changed_seq)
            from {{ ref('int_touches__classified') }} as upstream
        ) as changed_seq

    from joined

)

select * from sourced
