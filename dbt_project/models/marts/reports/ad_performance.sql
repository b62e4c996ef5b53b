/*
    Grain: one row per day, platform and ad with spend or with leads born that day.

    The same cohort figures as campaign_performance, for each ad and its creative. Unallocated spend
    is `unallocated:<account_id>`; leads of an ad that nobody named are `unknown`, or stand with
    their campaign where that is known (`campaign:<campaign_id>`), as its spend without an ad does.
    An ad that has had several creatives is one row: Meta gives no spend by creative, and none is
    made up (E35).
*/

with

spend as (

    select
        *,
        case
            when row_kind = 'unallocated' then 'unallocated:' || account_id
            else ad_id
        end as ad_key
    from {{ ref('fct_ad_spend') }}

),

leads as (

    select
        *,
        coalesce(ad_id, 'campaign:' || campaign_id, 'unknown') as ad_key
    from {{ ref('fct_leads') }}
    where platform is not null

),

ads as (

    select * from {{ ref('dim_ads') }}

),

campaigns as (

    select * from {{ ref('dim_campaigns') }}

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

accounts as (

    select * from {{ ref('dim_accounts') }}

),

spend_by_key as (

    select
        spend_date as report_date,
        platform,
        ad_key,
        min(account_id) as account_id,
        min(currency) as currency,
        min(campaign_id) as campaign_id,
        min(adset_id) as adset_id,
        {{ spend_measures() }}

    from spend
    group by spend_date, platform, ad_key

),

cohorts as (

    select
        first_touch_date as report_date,
        platform,
        ad_key,
        min(account_id) as account_id,
        min(campaign_id) as campaign_id,
        {{ cohort_measures() }}

    from leads
    group by first_touch_date, platform, ad_key

),

channels as (

    select
        spend_date as report_date,
        platform,
        ad_key,
        channel
    from spend
    union distinct
    select
        first_touch_date as report_date,
        platform,
        ad_key,
        channel
    from leads

),

keys as (

    select
        report_date,
        platform,
        ad_key,
        min(channel) as first_channel,
        count(*) as channels

    from channels
    group by report_date, platform, ad_key

),

-- Listing is dear, and nearly every row has one channel only.
mixes as (

    select
        channels.report_date,
        channels.platform,
        channels.ad_key,
        {{ dbt.listagg('channels.channel', "', '", 'order by channels.channel') }} as channel_mix

    from channels
    inner join keys
        on
            channels.report_date = keys.report_date
            and channels.platform = keys.platform
            and channels.ad_key = keys.ad_key
    where keys.channels > 1
    group by channels.report_date, channels.platform, channels.ad_key

),

joined as (

    select
        keys.report_date,
        keys.platform,
        keys.ad_key as ad_id,
        case
            when keys.ad_key = 'unknown' and keys.platform = 'meta' then 'Ad not named by Meta'
            when keys.ad_key = 'unknown'
                then {{ platform_name('keys.platform') }} || ' click not resolved to an ad'
            when keys.ad_key like 'campaign:%' then 'Campaign, without an ad'
            when keys.ad_key like 'ad_group:%' then 'Ad group, without an ad'
            when ads.ad_id is null
                then {{ platform_name('keys.platform') }} || ' spend outside known ads'
            else ads.ad_name
        end as ad_name,
        coalesce(ads.adset_id, spend_by_key.adset_id) as adset_id,
        coalesce(ads.adset_name, adsets.adset_name) as adset_name,
        coalesce(ads.campaign_id, spend_by_key.campaign_id, cohorts.campaign_id) as campaign_id,
        coalesce(ads.campaign_name, campaigns.campaign_name) as campaign_name,
        coalesce(spend_by_key.account_id, ads.account_id, cohorts.account_id) as account_id,
        ads.creative_id,
        ads.headline,
        ads.body,
        ads.media_type,
        ads.thumbnail_url,
        ads.effective_status,
        ads.resolution,
        coalesce(
            ads.is_click_to_whatsapp, keys.ad_key = 'unknown' and keys.platform = 'meta'
        ) as is_click_to_whatsapp,
        coalesce(mixes.channel_mix, keys.first_channel) as channel_mix,
        spend_by_key.currency,
        coalesce(spend_by_key.has_partial_day, 0) = 1 or keys.report_date >= {{ as_of() }}
            as is_partial_day,
        {{ spend_columns('spend_by_key') }},
        {{ cohort_columns('cohorts', 'keys.report_date') }}

    from keys
    left join mixes
        on
            keys.report_date = mixes.report_date
            and keys.platform = mixes.platform
            and keys.ad_key = mixes.ad_key
    left join spend_by_key
        on
            keys.report_date = spend_by_key.report_date
            and keys.platform = spend_by_key.platform
            and keys.ad_key = spend_by_key.ad_key
    left join cohorts
        on
            keys.report_date = cohorts.report_date
            and keys.platform = cohorts.platform
            and keys.ad_key = cohorts.ad_key
    left join ads
        on
            keys.platform = ads.platform
            and keys.ad_key = ads.ad_id
    left join campaigns
        on
            keys.platform = campaigns.platform
            and coalesce(spend_by_key.campaign_id, cohorts.campaign_id) = campaigns.campaign_id
    left join adsets
        on
            keys.platform = adsets.platform
            and spend_by_key.adset_id = adsets.adset_id

),

final as (

    select
        joined.report_date,
        joined.platform,
        joined.ad_id,
        joined.ad_name,
        joined.adset_id,
        joined.adset_name,
        joined.campaign_id,
        joined.campaign_name,
        joined.account_id,
        accounts.account_name,
        joined.creative_id,
        joined.headline,
        joined.body,
        joined.media_type,
        joined.thumbnail_url,
        joined.effective_status,
        joined.resolution,
        joined.is_click_to_whatsapp,
        joined.channel_mix,
        coalesce(joined.currency, accounts.currency) as currency,
        joined.spend,
        joined.spend_reporting,
        joined.impressions,
        joined.clicks,
        joined.inline_link_clicks,
        joined.platform_conversations,
        joined.leads,
        joined.excluded_leads,
        joined.replied_leads,
        joined.qualified_leads,
        joined.qualified_leads_7d,
        joined.qualified_leads_14d,
        joined.qualified_leads_30d,
        joined.qualified_leads_90d,
        joined.is_mature_7d,
        joined.is_mature_14d,
        joined.is_mature_30d,
        joined.is_mature_90d,
        joined.currently_qualified_leads,
        joined.won_leads,
        joined.won_value_reporting,
        {{ exact_ratio('joined.spend', 'joined.leads') }} as cost_per_lead,
        {{ exact_ratio('joined.spend', 'joined.qualified_leads') }} as cost_per_qualified_lead,
        {{ exact_ratio('joined.spend_reporting', 'joined.leads') }} as cost_per_lead_reporting,
        {{ exact_ratio('joined.spend_reporting', 'joined.qualified_leads') }}
            as cost_per_qualified_lead_reporting,
        joined.is_partial_day

    from joined
    left join accounts
        on
            joined.platform = accounts.platform
            and joined.account_id = accounts.account_id

)

select * from final
