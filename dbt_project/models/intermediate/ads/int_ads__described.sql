/*
    Grain: one row per platform and ad known from the API, from spend, from a referral or from the
    address of a page: its parents, what it looks like, and whether its spend buys WhatsApp chats.
    Everything is found by id, never by name, text or address (rule R8).

    Parents come from the API, else from the latest spend; headline and media from the creative or
    the ad, else from the referral. `resolution`: an ad in one of our accounts is `resolved`, even
    if it was deleted and only spend still names it; otherwise the last look-up by id decides, and
    an ad without a conclusive look-up is `pending`.

    `is_click_to_whatsapp`, for resolved ads: the ad set sends people to WhatsApp, alone or among
    other destinations (E49), or has an ad with a WhatsApp button or one that a referral named. An
    ad whose ad set the API no longer shows follows its campaign. `is_lead_form`: so says the ad set,
    the button (an instant form's id), or a lead of a form that names the ad.

    A time zone that the warehouse does not know is left out (a check names it).
*/

with

ads as (

    select * from {{ source('ads', 'ads') }}

),

creatives as (

    select * from {{ source('ads', 'creatives') }}

),

ad_lookups as (

    select * from {{ source('ads', 'ad_lookups') }}

),

spend_ads as (

    select * from {{ ref('int_spend_objects__latest') }}
    where spend_level = 'ad'

),

referral_ads as (

    select * from {{ ref('int_referral_ads__latest') }}

),

web_ads as (

    select
        platform,
        ad_id,
        max(case when basis = 'lead_form' then 1 else 0 end) as has_form_lead
    from {{ ref('int_pages__classified') }}
    where
        platform is not null
        and ad_id is not null
    group by platform, ad_id

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

    {% for known in ('latest_ads', 'spend_ads', 'referral_ads', 'web_ads') %}
    {{ 'union distinct' if not loop.first }}
    select
        platform,
        ad_id
    from {{ known }}
    {% endfor %}

),

placed as (

    select
        ids.platform,
        ids.ad_id,
        coalesce(latest_ads.ad_name, spend_ads.ad_name) as ad_name,
        coalesce(latest_ads.adset_id, spend_ads.adset_id) as adset_id,
        coalesce(latest_ads.campaign_id, spend_ads.campaign_id) as campaign_id,
        coalesce(latest_ads.account_id, spend_ads.account_id) as account_id,
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
            when spend_ads.ad_id is not null then 'insights'
            when coalesce(referral_ads.headline, referral_ads.body) is not null then 'referral'
            else 'none'
        end as name_source,
        case
            when latest_ads.ad_id is not null or spend_ads.ad_id is not null then 'resolved'
            when latest_lookups.lookup_status in ('foreign', 'gone')
                then latest_lookups.lookup_status
            else 'pending'
        end as resolution,
        referral_ads.ad_id is not null as has_referral,
        coalesce(latest_creatives.call_to_action_type, '') = 'WHATSAPP_MESSAGE'
        or referral_ads.ad_id is not null as is_whatsapp_by_itself,
        latest_creatives.lead_form_id is not null
        or coalesce(web_ads.has_form_lead, 0) = 1 as has_lead_form

    from ids
    left join latest_ads
        on
            ids.platform = latest_ads.platform
            and ids.ad_id = latest_ads.ad_id
    left join latest_creatives
        on
            latest_ads.platform = latest_creatives.platform
            and latest_ads.creative_id = latest_creatives.creative_id
    left join spend_ads
        on
            ids.platform = spend_ads.platform
            and ids.ad_id = spend_ads.ad_id
    left join referral_ads
        on
            ids.platform = referral_ads.platform
            and ids.ad_id = referral_ads.ad_id
    left join web_ads
        on
            ids.platform = web_ads.platform
            and ids.ad_id = web_ads.ad_id
    left join latest_lookups
        on
            ids.platform = latest_lookups.platform
            and ids.ad_id = latest_lookups.ad_id

),

named as (

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
        placed.has_lead_form or coalesce(adsets.is_lead_form_destination, false) as is_lead_form,
        case
            when placed.resolution <> 'resolved' then 0
            when placed.is_whatsapp_by_itself or adsets.is_whatsapp_destination then 1
            else 0
        end as leads_to_whatsapp,
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

),

described as (

    select
        *,
        case
            when resolution <> 'resolved' then null
            when is_whatsapp_by_itself then true
            when adset_id is not null and max(leads_to_whatsapp) over by_adset = 1 then true
            when is_adset_in_api or campaign_id is null then false
            else max(leads_to_whatsapp) over by_campaign = 1
        end as is_click_to_whatsapp

    from named
    window
        by_adset as (partition by platform, adset_id),
        by_campaign as (partition by platform, campaign_id)

)

select * from described
