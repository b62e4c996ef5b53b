{{
    config(
        materialized='incremental',
        unique_key='person_key',
        pre_hook="{{ forget_vanished_people(
            ref('int_messages__in_conversations'), 'upstream.is_touch'
        ) }}"
    )
}}

/*
    Grain: one row per touch, with its evidence, its basis (rule R6) and its channel (rule R7).

    Evidence is the touch's own referral. A first message that Meta withheld (131060), or whose chat
    Meta billed as opened by an ad, takes the first referral that follows within 72 hours in its
    conversation (E6): `evidence_key` is the message whose referral counts, and then differs from
    `touch_id`. `is_billed_as_ad`: Meta billed an answer within 72 hours as a free entry point and
    no referral came before that bill (a later bill is already explained by that referral). A page
    counts for a web form, and for the opening of a chat whose coded link was clicked on it, unless
    there is a referral from Meta (E21).

    The basis is the strongest evidence; the channel follows from it. A referral of a post was not
    paid for, and its id is that of a post, not of an ad (E10). A referral without any id, or of an
    unknown type, came from an ad that cannot be named (E8, E11). `ad_id`, `adset_id` and
    `campaign_id` are what the evidence says; where `gclid` leads is looked up later. `has_ad`: an
    ad is named, or can be found by its click id.
*/

with

pages as (

    select * from {{ ref('int_pages__classified') }}

),

{% if is_incremental() %}
people_to_build as (

    {{ changed_people(ref('int_messages__in_conversations')) }}
    -- A code that has matched since, or an id in an address that the platform's tables now have
    -- (E93).
    union distinct
    select built.person_key
    from {{ this }} as built
    left join pages
        on
            built.can_have_page
            and built.touch_id = pages.touch_id
    where built.page_source_text is distinct from pages.source_text

),
{% endif %}

messages as (

    select
        *,
        not has_referral and (coalesce(origin, '') = 'web' or is_opening) as can_have_page
    from {{ ref('int_messages__in_conversations') }}
    {% if is_incremental() %}
        where person_key in (select people_to_build.person_key from people_to_build)
    {% endif %}

),

with_signs as (

    select
        messages.*,
        conversations.started_by,
        case
            when
                conversations.first_referral_at
                <= {{ dbt.dateadd('hour', 72, 'messages.sent_at') }}
                then conversations.first_referral_key
        end as following_referral_key,
        coalesce(
            conversations.first_free_entry_at
            <= {{ dbt.dateadd('hour', 72, 'messages.sent_at') }}
            and (
                conversations.first_referral_at is null
                or conversations.first_referral_at > conversations.first_free_entry_at
            ),
            false
        ) as is_billed_as_ad

    from messages
    left join {{ ref('int_conversations__built') }} as conversations
        on messages.conversation_id = conversations.conversation_id
    where messages.is_touch

),

with_evidence_key as (

    select
        *,
        case
            when has_referral then message_key
            when is_withheld or is_billed_as_ad then following_referral_key
        end as evidence_key

    from with_signs

),

evidenced as (

    select
        touches.message_key as touch_id,
        touches.person_key,
        touches.lead_scope,
        touches.lead_cycle,
        touches.identity_key,
        touches.conversation_id,
        touches.business_number_id,
        touches.brand,
        touches.app,
        touches.evidence_key,
        touches.origin,
        touches.country,
        touches.started_by,
        touches.is_opening,
        touches.is_withheld,
        touches.is_billed_as_ad,
        touches.has_referral,
        touches.can_have_page,
        touches.sent_at as occurred_at,
        evidence.message_key is not null as has_evidence,
        evidence.referral_source_type,
        evidence.referral_source_id,
        coalesce(evidence.has_click_id, false) as has_click_id,
        pages.basis as page_basis,
        pages.channel as page_channel,
        pages.platform as page_platform,
        pages.ad_id as page_ad_id,
        pages.adset_id as page_adset_id,
        pages.campaign_id as page_campaign_id,
        pages.gclid,
        pages.source_text as page_source_text,
        coalesce(pages.has_click_id, false) as has_page_click_id

    from with_evidence_key as touches
    left join messages as evidence
        on touches.evidence_key = evidence.message_key
    left join pages
        on
            touches.can_have_page
            and touches.message_key = pages.touch_id

),

with_basis as (

    select
        *,
        case
            when has_evidence and referral_source_type = 'post' then 'post'
            when has_evidence and has_click_id then 'ctwa_click'
            when has_evidence and referral_source_id is not null then 'ctwa_ad'
            when page_basis <> 'direct' then page_basis
            when has_evidence or is_withheld or is_billed_as_ad then 'ad_suspected'
            when page_basis is not null then page_basis
            when started_by = 'outbound' then 'outbound'
            else 'direct'
        end as basis

    from evidenced

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
        or (is_from_page and page_channel in ('paid_search', 'meta_web', 'meta_lead_form'))
            as is_paid,
        is_from_page,
        can_have_page,
        page_source_text,
        case when basis = 'post' then referral_source_id end as post_id,
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
        {{ rule_set() }} as rule_set,
        {{ lake_seq() }} as changed_seq,
        (select coalesce(max(pages.catalogue_no), 0) from pages) as catalogue_no

    from with_source

)

select * from classified
