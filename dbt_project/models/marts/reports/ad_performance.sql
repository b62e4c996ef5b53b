/*
    Grain: one row per day, platform and ad with spend, or with leads whose first touch was that day.

    The same cohort figures as campaign_performance, for each ad and its creative. Unallocated spend
    is `unallocated:<account_id>`; leads of an ad that no referral or click named are `unknown`, or
    stand under their campaign if that is known (`campaign:<campaign_id>`), as its spend without an
    ad does. An ad that has had several creatives is one row: Meta reports no spend by creative, and
    none is made up (E35).
*/
{% set amounts = ['spend', 'spend_reporting'] + counted_amounts() %}
with

spend as (

    select
        *,
        case when row_kind = 'unallocated' then 'unallocated:' || account_id else ad_id end as ad_key
    from {{ ref('int_ad_spend__reported') }}

),

leads as (

    select
        *,
        coalesce(ad_id, 'campaign:' || campaign_id, 'unknown') as ad_key
    from {{ ref('fct_leads') }}
    where
        platform is not null
        and not coalesce(is_test, false)

),

adsets as (

    select
        platform,
        adset_id,
        max(adset_name) as adset_name
    from {{ ref('dim_ads') }}
    where adset_id is not null
    group by platform, adset_id

),

{{ cohort_report(
    ['platform', 'ad_key'],
    amounts,
    of_spend=['account_id', 'currency', 'campaign_id', 'adset_id'],
    of_leads=['account_id', 'campaign_id']
) }},

described as (

    select
        by_key.*,
        case
            when by_key.ad_key = 'unknown' and by_key.platform = 'meta' then 'Ad not named by Meta'
            when by_key.ad_key = 'unknown'
                then {{ platform_name('by_key.platform') }} || ' click not resolved to an ad'
            when by_key.ad_key like 'campaign:%' then 'Campaign, without an ad'
            when by_key.ad_key like 'ad_group:%' then 'Ad group, without an ad'
            when ads.ad_id is null
                then {{ platform_name('by_key.platform') }} || ' spend outside known ads'
            else ads.ad_name
        end as ad_name,
        coalesce(ads.adset_id, by_key.spend_adset_id) as adset_id,
        coalesce(ads.adset_name, adsets.adset_name) as adset_name,
        coalesce(ads.campaign_id, by_key.spend_campaign_id, by_key.leads_campaign_id) as campaign_id,
        coalesce(ads.campaign_name, campaigns.campaign_name) as campaign_name,
        coalesce(by_key.spend_account_id, ads.account_id, by_key.leads_account_id) as account_id,
        ads.creative_id,
        ads.headline,
        ads.body,
        ads.media_type,
        ads.thumbnail_url,
        ads.effective_status,
        ads.resolution,
        coalesce(
            ads.is_click_to_whatsapp, by_key.ad_key = 'unknown' and by_key.platform = 'meta'
        ) as is_click_to_whatsapp

    from by_key
    left join {{ ref('dim_ads') }} as ads
        on
            by_key.platform = ads.platform
            and by_key.ad_key = ads.ad_id
    left join {{ ref('dim_campaigns') }} as campaigns
        on
            by_key.platform = campaigns.platform
            and coalesce(by_key.spend_campaign_id, by_key.leads_campaign_id) = campaigns.campaign_id
    left join adsets
        on
            by_key.platform = adsets.platform
            and by_key.spend_adset_id = adsets.adset_id

)

select
    described.report_date,
    described.platform,
    described.ad_key as ad_id,
    described.ad_name,
    described.adset_id,
    described.adset_name,
    described.campaign_id,
    described.campaign_name,
    described.account_id,
    ad_accounts.account_name,
    described.creative_id,
    described.headline,
    described.body,
    described.media_type,
    described.thumbnail_url,
    described.effective_status,
    described.resolution,
    described.is_click_to_whatsapp,
    described.channel_mix,
    coalesce(described.spend_currency, ad_accounts.currency) as currency,
    {{ cost_columns('described', priced('described', 'spend')) }},
    {{ cost_columns('described', priced('described', 'spend_reporting'), '_reporting') }},
    {{ loaded_cost_columns('described', priced('described', 'spend_reporting')) }},
    {{ cohort_report_columns('described', amounts) }}

from described
left join {{ ref('dim_accounts') }} as ad_accounts
    on
        described.platform = ad_accounts.platform
        and described.account_id = ad_accounts.account_id
