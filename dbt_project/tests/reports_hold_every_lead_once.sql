{{ config(meta={'dagster': {'ref': {'name': 'channel_performance'}}}) }}
/* Rule R12: every lead is in exactly one row of each report it belongs to. */

with

leads as (

    select
        count(*) as leads,
        sum(case when platform is not null then 1 else 0 end) as platform_leads,
        sum(case when is_qualified then 1 else 0 end) as qualified_leads

    from {{ ref('fct_leads') }}

),

by_channel as (

    select
        sum(leads) as leads,
        sum(qualified_leads) as qualified_leads

    from {{ ref('channel_performance') }}

),

by_campaign as (

    select sum(leads) as leads from {{ ref('campaign_performance') }}

),

by_ad as (

    select sum(leads) as leads from {{ ref('ad_performance') }}

)

select
    leads.leads,
    by_channel.leads as leads_by_channel,
    leads.qualified_leads,
    by_channel.qualified_leads as qualified_leads_by_channel,
    leads.platform_leads,
    by_campaign.leads as leads_by_campaign,
    by_ad.leads as leads_by_ad

from leads
cross join by_channel
cross join by_campaign
cross join by_ad
where
    leads.leads <> coalesce(by_channel.leads, 0)
    or coalesce(leads.qualified_leads, 0) <> coalesce(by_channel.qualified_leads, 0)
    or coalesce(leads.platform_leads, 0) <> coalesce(by_campaign.leads, 0)
    or coalesce(leads.platform_leads, 0) <> coalesce(by_ad.leads, 0)
