{{ config(meta={'dagster': {'ref': {'name': 'channel_performance'}}}) }}
/*
    Rule R12: every lead is in exactly one row of each report it belongs to, among the leads that
    count or those that do not (E20); leads of test traffic are in none (R14).
*/

with

leads as (

    select
        count(*) as leads,
        sum(case when is_excluded then 1 else 0 end) as excluded_leads,
        sum(case when platform is not null then 1 else 0 end) as platform_leads,
        sum(case when is_qualified and not is_excluded then 1 else 0 end) as qualified_leads

    from {{ ref('fct_leads') }}
    where not is_test

),

by_channel as (

    select
        sum(leads + excluded_leads) as leads,
        sum(excluded_leads) as excluded_leads,
        sum(qualified_leads) as qualified_leads

    from {{ ref('channel_performance') }}

),

by_campaign as (

    select sum(leads + excluded_leads) as leads from {{ ref('campaign_performance') }}

),

by_ad as (

    select sum(leads + excluded_leads) as leads from {{ ref('ad_performance') }}

),

by_day as (

    select sum(excluded_leads) as excluded_leads from {{ ref('attribution_health') }}

)

select
    leads.leads,
    by_channel.leads as leads_by_channel,
    leads.excluded_leads,
    by_channel.excluded_leads as excluded_leads_by_channel,
    by_day.excluded_leads as excluded_leads_by_day,
    leads.qualified_leads,
    by_channel.qualified_leads as qualified_leads_by_channel,
    leads.platform_leads,
    by_campaign.leads as leads_by_campaign,
    by_ad.leads as leads_by_ad

from leads
cross join by_channel
cross join by_campaign
cross join by_ad
cross join by_day
where
    leads.leads <> coalesce(by_channel.leads, 0)
    or coalesce(leads.excluded_leads, 0) <> coalesce(by_channel.excluded_leads, 0)
    or coalesce(leads.excluded_leads, 0) <> coalesce(by_day.excluded_leads, 0)
    or coalesce(leads.qualified_leads, 0) <> coalesce(by_channel.qualified_leads, 0)
    or coalesce(leads.platform_leads, 0) <> coalesce(by_campaign.leads, 0)
    or coalesce(leads.platform_leads, 0) <> coalesce(by_ad.leads, 0)
