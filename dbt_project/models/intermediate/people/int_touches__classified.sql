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
    that is not known yet, came from an ad that cannot be named (E8, E11). Meta's referral beats the
    code of a coded link (E21). `ad_id`, `adset_id` and `campaign_id` are what the evidence says;
    what `gclid` leads to is looked up later. `has_ad`: an ad is named, or can be found by click id.
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

pages as (

    select * from {{ ref('int_pages__classified') }}

),

with_page as (

    select
        touches.*,
        pages.basis as page_basis,
        pages.channel as page_channel,
        pages.platform as page_platform,
        pages.ad_id as page_ad_id,
        pages.adset_id as page_adset_id,
        pages.campaign_id as page_campaign_id,
        pages.gclid,
        coalesce(pages.has_click_id, false) as has_page_click_id

    from touches
    left join pages
        on
            touches.has_page
            and touches.touch_id = pages.touch_id

),

with_basis as (

    select
        *,
        case
            when has_evidence and referral_source_type = 'post' then 'post'
            when has_evidence and has_click_id then 'ctwa_click'
            when has_evidence and referral_source_id is not null then 'ctwa_ad'
            when page_basis <> 'direct' then page_basis
            when has_evidence or is_withheld then 'ad_suspected'
            when is_billed_as_ad then 'ad_suspected'
            when page_basis is not null then page_basis
            when started_by = 'outbound' then 'outbound'
            else 'direct'
        end as basis

    from with_page

),

with_source as (

    select
        *,
        coalesce(basis = page_basis, false) as is_from_page,
        case
            when basis in ('ctwa_click', 'ctwa_ad') then referral_source_id
            when basis = page_basis then page_ad_id
        end as ad_id

    from with_basis

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
        app,
        evidence_key,
        basis,
        case
            when is_from_page then page_channel
            when basis = 'post' then 'organic_social'
            when basis = 'ad_suspected' then 'unknown_ad'
            when basis in ('outbound', 'direct') then basis
            when referral_source_id is null then 'unknown_ad'
            when coalesce(referral_source_type, 'ad') <> 'ad' then 'unknown_ad'
            when app in ('messenger', 'instagram') then 'click_to_' || app
            else 'click_to_whatsapp'
        end as channel,
        case
            when is_from_page then page_platform
            when has_evidence and basis <> 'post' then 'meta'
        end as platform,
        ad_id,
        case when is_from_page then page_adset_id end as adset_id,
        case when is_from_page then page_campaign_id end as campaign_id,
        case when is_from_page then gclid end as gclid,
        ad_id is not null
        or (is_from_page and coalesce(page_campaign_id, page_adset_id, gclid) is not null)
            as has_ad,
        ad_id is not null
        or (is_from_page and page_channel in ('paid_search', 'meta_web')) as is_paid,
        is_from_page,
        case
            when basis = 'post' then referral_source_id
        end as post_id,
        referral_source_type,
        origin,
        country,
        has_referral,
        has_click_id or (is_from_page and has_page_click_id) as has_click_id,
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

    from with_source

)

select * from classified
