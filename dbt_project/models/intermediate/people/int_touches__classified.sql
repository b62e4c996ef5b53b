{{
    config(
        unique_key='person_key',
        pre_hook="{{ forget_vanished_people(ref('int_touches__evidenced')) }}"
    )
}}

/*
    Grain: one row per touch, with its basis (rule R6) and channel (rule R7).

    The basis is the strongest evidence; the channel follows from it. A referral of a post is not
    paid for, and its id is a post's, not an ad's (E10). A referral without any id, or of a type
    that is not known yet, came from an ad that cannot be named (E8, E11).
*/

with

{% if is_incremental() %}
people_to_build as (

    {{ changed_people(ref('int_touches__evidenced')) }}

),
{% endif %}

touches as (

    select * from {{ ref('int_touches__evidenced') }}
    {% if is_incremental() %}
        where person_key in (select people_to_build.person_key from people_to_build)
    {% endif %}

),

with_basis as (

    select
        *,
        case
            when has_evidence and referral_source_type = 'post' then 'post'
            when has_evidence and has_click_id then 'ctwa_click'
            when has_evidence and referral_source_id is not null then 'ctwa_ad'
            when has_evidence or is_withheld then 'ad_suspected'
            when is_billed_as_ad then 'ad_suspected'
            when started_by = 'outbound' then 'outbound'
            else 'direct'
        end as basis

    from touches

),

classified as (

    select
        touch_id,
        person_key,
        lead_scope,
        lead_cycle,
        identity_key,
        conversation_id,
        business_number_id,
        brand,
        evidence_key,
        basis,
        case
            when basis = 'post' then 'organic_social'
            when basis = 'ad_suspected' then 'unknown_ad'
            when basis in ('outbound', 'direct') then basis
            when referral_source_id is null then 'unknown_ad'
            when coalesce(referral_source_type, 'ad') <> 'ad' then 'unknown_ad'
            else 'click_to_whatsapp'
        end as channel,
        case
            when has_evidence and basis <> 'post' then 'meta'
        end as platform,
        case
            when basis in ('ctwa_click', 'ctwa_ad') then referral_source_id
        end as ad_id,
        case
            when basis = 'post' then referral_source_id
        end as post_id,
        referral_source_type,
        origin,
        country,
        has_referral,
        has_click_id,
        is_opening,
        is_withheld,
        is_billed_as_ad,
        occurred_at,
        {{ rule_version() }} as rule_version,
        rule_set,
        (
            select max(upstream.changed_seq)
            from {{ ref('int_touches__evidenced') }} as upstream
        ) as changed_seq

    from with_basis

)

select * from classified
