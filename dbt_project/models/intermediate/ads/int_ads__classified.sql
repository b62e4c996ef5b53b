/*
    Grain: one row per platform and ad of an account of ours: does its money buy WhatsApp chats?

    It does when its ad set sends people to WhatsApp, alone or among others (E49), or when the ad
    set has an ad with a WhatsApp button or one that a referral named. An ad whose ad set the API no
    longer shows goes with its campaign.
*/

with

ads as (

    select * from {{ ref('int_ads__described') }}
    where resolution = 'resolved'

),

adset_evidence as (

    select
        platform,
        adset_id,
        max(
            case when is_whatsapp_by_itself or is_whatsapp_destination then 1 else 0 end
        ) as whatsapp

    from ads
    where adset_id is not null
    group by platform, adset_id

),

campaign_evidence as (

    select
        platform,
        campaign_id,
        max(
            case when is_whatsapp_by_itself or is_whatsapp_destination then 1 else 0 end
        ) as whatsapp

    from ads
    where campaign_id is not null
    group by platform, campaign_id

),

classified as (

    select
        ads.platform,
        ads.ad_id,
        ads.adset_id,
        ads.campaign_id,
        ads.is_whatsapp_by_itself
        or coalesce(adset_evidence.whatsapp, 0) = 1
        or (not ads.is_adset_in_api and coalesce(campaign_evidence.whatsapp, 0) = 1)
            as is_click_to_whatsapp

    from ads
    left join adset_evidence
        on
            ads.platform = adset_evidence.platform
            and ads.adset_id = adset_evidence.adset_id
    left join campaign_evidence
        on
            ads.platform = campaign_evidence.platform
            and ads.campaign_id = campaign_evidence.campaign_id

)

select * from classified
