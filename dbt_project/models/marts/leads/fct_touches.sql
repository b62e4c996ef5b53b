/*
    Grain: one row per touch.

    Names and parents of ads are the current ones, found by id (rule R8), so an ad that is looked up
    later also resolves past touches (E33).
*/

with

described as (

    select
        touches.touch_id,
        leads.lead_id,
        touches.conversation_id,
        touches.business_number_id,
        touches.channel,
        touches.basis,
        touches.platform,
        placed.ad_id,
        placed.adset_id,
        placed.campaign_id,
        touches.post_id,
        placed.boosted_post_ads > 0 as is_boosted_post_candidate,
        placed.boosted_post_ads,
        placed.resolution,
        touches.referral_source_type,
        messages.referral_headline,
        touches.is_from_page,
        pages.page_host,
        pages.page_path,
        pages.referrer_host,
        pages.utm_source,
        pages.utm_medium,
        pages.utm_campaign,
        link_codes.state as link_code_state,
        touches.origin,
        touches.has_referral,
        touches.has_click_id,
        touches.is_opening,
        touches.touch_id = leads.first_touch_id as is_first_touch,
        touches.touch_id = leads.source_touch_id as is_source_touch,
        touches.touch_id = leads.latest_touch_id as is_latest_touch,
        touches.origin = 'history' as is_backfilled,
        touches.occurred_at,
        touches.rule_version

    from {{ ref('int_touches__classified') }} as touches
    inner join {{ ref('int_leads__sourced') }} as leads
        on
            touches.person_key = leads.person_key
            and touches.lead_scope = leads.lead_scope
            and touches.lead_cycle = leads.lead_cycle
    left join {{ ref('int_messages__deduplicated') }} as messages
        on touches.evidence_key = messages.message_key
    inner join {{ ref('int_touches__placed') }} as placed
        on touches.touch_id = placed.touch_id
    left join {{ ref('int_pages__classified') }} as pages
        on
            touches.is_from_page
            and touches.touch_id = pages.touch_id
    left join {{ ref('int_link_codes__matched') }} as link_codes
        on touches.touch_id = link_codes.message_key

)

select * from described
