/*
    Grain: one row per day and channel with spend, or with leads whose first touch was that day.

    Totals add up (rule R12): every lead is in exactly one row, and so is every amount of
    fct_ad_spend. Spend for which a platform names no ad or campaign has a channel of its own
    (`meta_unallocated`, `google_unallocated`) without leads: added to another it would change a
    cost per lead by a guess. Everything here is in the reporting currency.

    On a day on which an account of a platform was not read, the spend of all channels that the
    platform bills is unknown, since the account may have spent in any of them (rule R13). Leads of
    a platform whose spend cannot be read are counted, and the channel's spend stays that of the
    platforms that were read.
*/
{% set amounts = ['spend_reporting', 'impressions', 'clicks'] %}
with

reported as (

    select * from {{ ref('int_ad_spend__reported') }}

),

leads as (

    select
        *,
        channel as channel_key
    from {{ ref('fct_leads') }}
    where not coalesce(is_test, false)

),

unread_days as (

    select
        platform,
        spend_date,
        min(unread_reason) as unread_reason

    from {{ ref('int_spend_days__unread') }}
    where
        spend_status = 'unread'
        and unread_reason <> 'no_source'
        and spend_date < {{ as_of() }}
    group by platform, spend_date

),

platform_channels as (

    select
        platform,
        channel
    from reported
    where unread_reason is null or unread_reason <> 'no_source'
    union distinct
    select
        platform,
        channel
    from leads
    where platform in (select unread_days.platform from unread_days)

),

parts as (

    select
        spend_date,
        channel,
        spend_reporting,
        impressions,
        clicks,
        is_day_complete,
        case when unread_reason = 'no_source' then 'partial' else spend_status end as spend_status,
        unread_reason
    from reported
    union all
    select
        unread_days.spend_date,
        platform_channels.channel,
        cast(null as decimal(18, 6)) as spend_reporting,
        cast(null as bigint) as impressions,
        cast(null as bigint) as clicks,
        false as is_day_complete,
        'unread' as spend_status,
        unread_days.unread_reason
    from unread_days
    inner join platform_channels
        on unread_days.platform = platform_channels.platform
    where platform_channels.channel not in ('direct', 'organic_social', 'outbound', 'web_other')

),

spend as (

    select
        *,
        channel as channel_key
    from parts

),

{{ cohort_report(
    ['channel_key'], amounts, awaited="coalesce(unread_reason, '') <> 'no_source'"
) }},

billed as (

    select
        *,
        case when channel_key not in {{ channels_without_spend() }} then spend_reporting end as amount
    from by_key

)

select
    billed.report_date,
    billed.channel_key as channel,
    {{ reporting_currency() }} as reporting_currency,
    {{ cost_columns('billed', 'billed.amount') }},
    {{ loaded_cost_columns('billed', 'billed.amount') }},
    {{ cohort_report_columns('billed', amounts) }}

from billed
