{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per level (`ad`, `adset`, `campaign`), platform, entity and window with spend or
    leads in it.

    A window is that many account days, ending with the last day whose leads have all had 30 whole
    days to qualify (rule R11): every lead had the same time. Days before the first lead that an
    account's ads of the same kind are known to have brought do not count: messages were not
    received yet, and spend from that time would be held against the ads of today. Nor do days that
    were only partly read (E66). Rows without an ad (unallocated, unknown) belong to no window (rule
    R12), nor do those without a campaign; a campaign has what its ads have and what has no ad.
    `campaign_id` is that of the campaign above: null for a campaign.

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

-- An ad set is in one campaign, and leads to WhatsApp if one of its ads is known to.
ads as (

    select
        *,
        min(account_id) over (partition by platform, adset_id) as adset_account_id,
        min(campaign_id) over (partition by platform, adset_id) as adset_campaign_id,
        coalesce(
            max(case when is_click_to_whatsapp then 1 else 0 end)
                over (partition by platform, adset_id)
            = 1,
            false
        ) as is_adset_click_to_whatsapp
    from {{ ref('dim_ads') }}

),

campaigns as (

    select * from {{ ref('dim_campaigns') }}

),

days as (

    {% for level, described, key, parent, report in [
        ('ad', 'ads', 'ad_id', 'ads.campaign_id', 'ad_performance'),
        ('adset', 'ads', 'ad_id', 'ads.adset_campaign_id', 'ad_performance'),
        ('campaign', 'campaigns', 'campaign_id', null_text(), 'campaign_performance'),
    ] %}
    select
        '{{ level }}' as level,
        daily.platform,
        {{ described }}.{{ level }}_id as entity_id,
        {{ described }}.{{ 'adset_' if level == 'adset' }}account_id as account_id,
        {{ parent }} as campaign_id,
        {{ described }}.is_{{ 'adset_' if level == 'adset' }}click_to_whatsapp as is_click_to_whatsapp,
        daily.report_date,
        case when daily.spend <> 0 then daily.currency end as currency,
        daily.spend,
        daily.spend_reporting,
        daily.leads,
        daily.qualified_leads_30d,
        daily.leads + daily.excluded_leads as seen_leads,
        daily.is_mature_30d and not daily.is_partial_day as is_countable

    from {{ ref(report) }} as daily
    inner join {{ described }}
        on
            daily.platform = {{ described }}.platform
            and daily.{{ key }} = {{ described }}.{{ key }}
    {{ 'where ads.adset_id is not null' if level == 'adset' }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

listening as (

    select
        level,
        platform,
        account_id,
        is_click_to_whatsapp,
        min(report_date) as first_lead_date

    from days
    where seen_leads > 0
    group by level, platform, account_id, is_click_to_whatsapp

),

counted as (

    select
        days.level,
        days.platform,
        days.entity_id,
        windows.window_days,
        days.account_id,
        days.campaign_id,
        days.is_click_to_whatsapp,
        count(distinct days.currency) as currencies,
        max(days.currency) as currency,
        sum(days.spend) as spend,
        {{ sum_or_null('days.spend_reporting') }} as spend_reporting,
        sum(days.leads) as leads,
        sum(days.qualified_leads_30d) as qualified_leads

    from days
    inner join windows
        on days.report_date > {{ dbt.dateadd('day', '-windows.window_days', board_last_day()) }}
    left join listening
        on
            days.level = listening.level
            and days.platform = listening.platform
            and days.account_id = listening.account_id
            and days.is_click_to_whatsapp = listening.is_click_to_whatsapp
    where
        days.is_countable
        and days.report_date >= coalesce(listening.first_lead_date, days.report_date)
    group by
        days.level,
        days.platform,
        days.entity_id,
        windows.window_days,
        days.account_id,
        days.campaign_id,
        days.is_click_to_whatsapp

)

select
    counted.level,
    counted.platform,
    counted.entity_id,
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
