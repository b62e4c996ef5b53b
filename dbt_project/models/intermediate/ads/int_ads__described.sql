/*
    Grain: one row per platform and ad known from the API, from spend or from a referral.

    The ad with the names of its parents and the zone and currency of its account. A zone that the
    warehouse cannot convert with is left out here (a check names it): days then fall back to the
    reporting zone instead of failing every lead.
*/

with

placed as (

    select * from {{ ref('int_ads__placed') }}

),

adsets as (

    select * from {{ ref('int_adsets__described') }}

),

campaigns as (

    select * from {{ ref('int_campaigns__described') }}

),

accounts as (

    select * from {{ ref('int_accounts__described') }}

),

described as (

    select
        placed.platform,
        placed.ad_id,
        placed.ad_name,
        placed.adset_id,
        adsets.adset_name,
        coalesce(placed.campaign_id, adsets.campaign_id) as campaign_id,
        campaigns.campaign_name,
        placed.account_id,
        case when accounts.is_timezone_known then accounts.timezone end as account_timezone,
        accounts.currency as account_currency,
        placed.creative_id,
        placed.headline,
        placed.body,
        placed.media_type,
        placed.thumbnail_url,
        placed.effective_object_story_id,
        placed.effective_instagram_media_id,
        placed.effective_status,
        adsets.destination_type,
        coalesce(adsets.is_mixed_destination, false) as is_mixed_destination,
        coalesce(adsets.is_in_api, false) as is_adset_in_api,
        placed.name_source,
        placed.resolution,
        placed.has_referral,
        placed.is_whatsapp_by_itself,
        coalesce(adsets.is_whatsapp_destination, false) as is_whatsapp_destination,
        placed.created_at

    from placed
    left join adsets
        on
            placed.platform = adsets.platform
            and placed.adset_id = adsets.adset_id
    left join campaigns
        on
            placed.platform = campaigns.platform
            and coalesce(placed.campaign_id, adsets.campaign_id) = campaigns.campaign_id
    left join accounts
        on
            placed.platform = accounts.platform
            and placed.account_id = accounts.account_id

)

select * from described
