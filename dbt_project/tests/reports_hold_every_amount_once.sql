{{ config(meta={'dagster': {'ref': {'name': 'channel_performance'}}}) }}
/*
    Rule R12: each day's spend is the same in the fact table and in the three reports. Native
    amounts are compared by platform and currency, converted ones if the whole day could be
    converted.
*/

with

native as (

    select
        'fct_ad_spend' as report,
        spend_date as report_date,
        platform,
        currency,
        spend
    from {{ ref('fct_ad_spend') }}
    union all
    select
        'campaign_performance' as report,
        report_date,
        platform,
        currency,
        spend
    from {{ ref('campaign_performance') }}
    union all
    select
        'ad_performance' as report,
        report_date,
        platform,
        currency,
        spend
    from {{ ref('ad_performance') }}

),

native_totals as (

    select
        report_date,
        platform,
        currency,
        sum(case when report = 'fct_ad_spend' then spend else 0 end) as in_fact,
        sum(case when report = 'campaign_performance' then spend else 0 end) as in_campaigns,
        sum(case when report = 'ad_performance' then spend else 0 end) as in_ads

    from native
    group by report_date, platform, currency

),

converted as (

    select
        spend_date as report_date,
        spend_reporting as in_fact,
        0 as in_channels,
        case when spend_reporting is null then 1 else 0 end as is_open
    from {{ ref('fct_ad_spend') }}
    union all
    select
        report_date,
        0 as in_fact,
        spend_reporting as in_channels,
        case when spend_reporting is null then 1 else 0 end as is_open
    from {{ ref('channel_performance') }}

),

converted_totals as (

    select
        report_date,
        sum(in_fact) as in_fact,
        sum(in_channels) as in_channels

    from converted
    group by report_date
    having max(is_open) = 0

)

select
    report_date,
    platform,
    currency,
    in_fact,
    in_campaigns as in_report,
    'native, by campaign or ad' as compared
from native_totals
where
    in_fact <> in_campaigns
    or in_fact <> in_ads
union all
select
    report_date,
    cast(null as {{ dbt.type_string() }}) as platform,
    {{ reporting_currency() }} as currency,
    in_fact,
    in_channels as in_report,
    'converted, by channel' as compared
from converted_totals
where in_fact <> in_channels
