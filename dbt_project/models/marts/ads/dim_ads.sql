/*
    Grain: one row per platform and ad known from the API, from spend, a referral or the address of
    a page.

    Ads in other companies' accounts (`foreign`) and ads not found yet (`pending`) are included,
    with what the referral showed of them: leads refer to them.
*/

with

ads as (

    select * from {{ ref('int_ads__described') }}

),

final as (

    select
        ads.platform,
        ads.ad_id,
        ads.ad_name,
        ads.adset_id,
        ads.adset_name,
        ads.campaign_id,
        ads.campaign_name,
        ads.account_id,
        ads.creative_id,
        ads.headline,
        ads.body,
        ads.media_type,
        ads.thumbnail_url,
        ads.effective_status,
        ads.destination_type,
        ads.is_mixed_destination,
        ads.name_source,
        ads.resolution,
        -- A referral only names ads that lead to WhatsApp, in other accounts too.
        coalesce(ads.is_click_to_whatsapp, ads.has_referral) as is_click_to_whatsapp,
        ads.name_source = 'insights'
        or coalesce(ads.effective_status, '') in ('DELETED', 'REMOVED')
        or ads.resolution = 'gone' as is_deleted,
        ads.created_at

    from ads

)

select * from final
