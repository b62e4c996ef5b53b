/*
    Grain: one row per platform and ad known from the API, from spend, from a referral or from the
    address of a page: where it belongs and what it looks like, found by id, never by name, text or
    address (rule R8).

    Parents are what the API says, else what insights last said; headline and media what the
    creative says, else what the referral showed. `resolution`: an ad with a place in our account is
    `resolved`, even when it was deleted and only spend still names it; otherwise the last look-up
    by id decides, and without one that settled it the ad is `pending`.
*/

with

ads as (

    select * from {{ ref('int_ads__read') }}

),

creatives as (

    select * from {{ ref('stg_meta_ads__creatives') }}

),

ad_lookups as (

    select * from {{ ref('stg_meta_ads__ad_lookups') }}

),

insight_ads as (

    select * from {{ ref('int_spend_objects__latest') }}
    where spend_level = 'ad'

),

referral_ads as (

    select * from {{ ref('int_referral_ads__latest') }}

),

latest_ads as (

    {{ latest_read('ads', ['platform', 'ad_id']) }}

),

latest_creatives as (

    {{ latest_read('creatives', ['platform', 'creative_id']) }}

),

latest_lookups as (

    {{ latest_read('ad_lookups', ['platform', 'ad_id']) }}

),

ids as (

    select
        platform,
        ad_id
    from latest_ads
    union distinct
    select
        platform,
        ad_id
    from insight_ads
    union distinct
    select
        platform,
        ad_id
    from referral_ads
    union distinct
    select
        platform,
        ad_id
    from {{ ref('int_web_ads__named') }}

),

placed as (

    select
        ids.platform,
        ids.ad_id,
        coalesce(latest_ads.ad_name, insight_ads.ad_name) as ad_name,
        coalesce(latest_ads.adset_id, insight_ads.adset_id) as adset_id,
        coalesce(latest_ads.campaign_id, insight_ads.campaign_id) as campaign_id,
        coalesce(latest_ads.account_id, insight_ads.account_id) as account_id,
        latest_ads.creative_id,
        coalesce(latest_creatives.headline, latest_ads.headline, referral_ads.headline)
            as headline,
        coalesce(latest_creatives.body, latest_ads.body, referral_ads.body) as body,
        coalesce(latest_creatives.media_type, referral_ads.media_type) as media_type,
        coalesce(latest_creatives.thumbnail_url, referral_ads.thumbnail_url) as thumbnail_url,
        latest_creatives.effective_object_story_id,
        latest_creatives.effective_instagram_media_id,
        latest_ads.effective_status,
        latest_ads.created_at,
        case
            when latest_ads.ad_id is not null then 'api'
            when insight_ads.ad_id is not null then 'insights'
            when coalesce(referral_ads.headline, referral_ads.body) is not null then 'referral'
            else 'none'
        end as name_source,
        case
            when latest_ads.ad_id is not null or insight_ads.ad_id is not null then 'resolved'
            when latest_lookups.lookup_status in ('foreign', 'gone')
                then latest_lookups.lookup_status
            else 'pending'
        end as resolution,
        referral_ads.ad_id is not null as has_referral,
        coalesce(latest_creatives.call_to_action_type, '') = 'WHATSAPP_MESSAGE'
        or referral_ads.ad_id is not null as is_whatsapp_by_itself

    from ids
    left join latest_ads
        on
            ids.platform = latest_ads.platform
            and ids.ad_id = latest_ads.ad_id
    left join latest_creatives
        on
            latest_ads.platform = latest_creatives.platform
            and latest_ads.creative_id = latest_creatives.creative_id
    left join insight_ads
        on
            ids.platform = insight_ads.platform
            and ids.ad_id = insight_ads.ad_id
    left join referral_ads
        on
            ids.platform = referral_ads.platform
            and ids.ad_id = referral_ads.ad_id
    left join latest_lookups
        on
            ids.platform = latest_lookups.platform
            and ids.ad_id = latest_lookups.ad_id

)

select * from placed
