{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per platform, ad and window with spend or leads in it.

    A window is that many account days, ending with the last day whose leads have all had 30 whole
    days to qualify (rule R11): every lead had the same time. Days before the first lead that an
    account's ads of the same kind are known to have brought do not count: messages were not
    received yet, and spend from that time would be held against the ads of today. Nor do days that
    were only partly read (E66). Rows without an ad (unallocated, unknown) belong to no window (rule
    R12).

    Spend is null if it is not known (an ad in another company's account) or in two currencies (rule
    R13); leads that do not count (E20) are in no figure.
*/

with

windows as (

    {% for days in var('board_windows') %}
    select cast({{ days }} as integer) as window_days
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

ad_days as (

    select
        daily.platform,
        daily.ad_id,
        ads.account_id,
        ads.campaign_id,
        ads.is_click_to_whatsapp,
        daily.report_date,
        case when daily.spend <> 0 then daily.currency end as currency,
        daily.spend,
        daily.spend_reporting,
        daily.leads,
        daily.qualified_leads_30d,
        daily.leads + daily.excluded_leads as seen_leads,
        daily.is_mature_30d and not daily.is_partial_day as is_countable

    from {{ ref('ad_performance') }} as daily
    inner join {{ ref('dim_ads') }} as ads
        on
            daily.platform = ads.platform
            and daily.ad_id = ads.ad_id

),

listening as (

    select
        platform,
        account_id,
        is_click_to_whatsapp,
        min(report_date) as first_lead_date

    from ad_days
    where seen_leads > 0
    group by platform, account_id, is_click_to_whatsapp

),

counted as (

    select
        ad_days.platform,
        ad_days.ad_id,
        windows.window_days,
        ad_days.account_id,
        ad_days.campaign_id,
        ad_days.is_click_to_whatsapp,
        count(distinct ad_days.currency) as currencies,
        max(ad_days.currency) as currency,
        sum(ad_days.spend) as spend,
        {{ sum_or_null('ad_days.spend_reporting') }} as spend_reporting,
        sum(ad_days.leads) as leads,
        sum(ad_days.qualified_leads_30d) as qualified_leads

    from ad_days
    inner join windows
        on ad_days.report_date > {{ dbt.dateadd('day', '-windows.window_days', board_last_day()) }}
    left join listening
        on
            ad_days.platform = listening.platform
            and ad_days.account_id = listening.account_id
            and ad_days.is_click_to_whatsapp = listening.is_click_to_whatsapp
    where
        ad_days.is_countable
        and ad_days.report_date >= coalesce(listening.first_lead_date, ad_days.report_date)
    group by
        ad_days.platform,
        ad_days.ad_id,
        windows.window_days,
        ad_days.account_id,
        ad_days.campaign_id,
        ad_days.is_click_to_whatsapp

)

select
    counted.platform,
    counted.ad_id,
    counted.window_days,
    counted.account_id,
    counted.campaign_id,
    counted.is_click_to_whatsapp,
    counted.currencies > 1 as has_several_currencies,
    case
        when counted.currencies <= 1 then coalesce(counted.currency, ad_accounts.currency)
    end as currency,
    cast(
        case
            when counted.account_id is not null and counted.currencies <= 1 then counted.spend
        end
        as decimal(18, 6)
    ) as spend,
    cast(
        case when counted.account_id is not null then counted.spend_reporting end
        as decimal(18, 6)
    ) as spend_reporting,
    cast(counted.leads as bigint) as leads,
    cast(counted.qualified_leads as bigint) as qualified_leads

from counted
left join {{ ref('dim_accounts') }} as ad_accounts
    on
        counted.platform = ad_accounts.platform
        and counted.account_id = ad_accounts.account_id
where
    counted.spend <> 0
    or counted.leads > 0
