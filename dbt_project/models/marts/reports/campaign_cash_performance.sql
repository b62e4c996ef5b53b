/*
    Grain: one row per day, platform and campaign with spend, or with qualifications or wins that
    happened that day.

    The cash view beside the cohort view (rule R11): what was spent on a day next to what happened
    on it, whenever the leads were born. A lead qualifies once and wins once, on the day of its
    first such outcome; won value stands on the day of each won outcome. Days are those of the
    lead's ad account, else of the reporting zone (rule R10). Its counts have other names because
    `cost_per_qualification` is not `cost_per_qualified_lead`: spend of today did not buy the leads
    that qualify today. Over all days both views count the same leads; excluded ones are in neither.
*/

with

spend as (

    select
        *,
        coalesce(campaign_id, 'unallocated:' || account_id) as campaign_key
    from {{ ref('fct_ad_spend') }}

),

accounts as (

    select * from {{ ref('dim_accounts') }}

),

campaigns as (

    select * from {{ ref('dim_campaigns') }}

),

outcomes as (

    select * from {{ ref('fct_outcomes') }}
    where funnel_stage = 'won'

),

leads as (

    select
        leads.lead_id,
        leads.platform,
        coalesce(leads.campaign_id, 'unresolved') as campaign_key,
        leads.account_id,
        leads.qualified_at,
        leads.won_at,
        coalesce(
            case when leads.resolution = 'resolved' and accounts.is_timezone_known then accounts.timezone end,
            {{ reporting_timezone() }}
        ) as timezone

    from {{ ref('fct_leads') }} as leads
    left join accounts
        on
            leads.platform = accounts.platform
            and leads.account_id = accounts.account_id
    where
        leads.platform is not null
        and not coalesce(leads.is_excluded, false)

),

happened as (

    select
        {{ local_date('qualified_at', 'timezone') }} as report_date,
        platform,
        campaign_key,
        account_id,
        1 as qualifications,
        0 as wins,
        cast(0 as decimal(18, 6)) as won_value,
        0 as has_unconverted_value
    from leads
    where qualified_at is not null
    union all
    select
        {{ local_date('won_at', 'timezone') }} as report_date,
        platform,
        campaign_key,
        account_id,
        0 as qualifications,
        1 as wins,
        cast(0 as decimal(18, 6)) as won_value,
        0 as has_unconverted_value
    from leads
    where won_at is not null
    union all
    select
        {{ local_date('outcomes.occurred_at', 'leads.timezone') }} as report_date,
        leads.platform,
        leads.campaign_key,
        leads.account_id,
        0 as qualifications,
        0 as wins,
        coalesce(outcomes.value_reporting, 0) as won_value,
        case when outcomes.value is not null and outcomes.value_reporting is null then 1 else 0 end
            as has_unconverted_value
    from outcomes
    inner join leads
        on outcomes.lead_id = leads.lead_id

),

happened_by_key as (

    select
        report_date,
        platform,
        campaign_key,
        min(account_id) as account_id,
        sum(qualifications) as qualifications,
        sum(wins) as wins,
        -- A sum without a value that has no rate would be too low: it is null (rule R13).
        case when max(has_unconverted_value) = 0 then sum(won_value) end as won_value

    from happened
    group by report_date, platform, campaign_key

),

spend_by_key as (

    select
        spend_date as report_date,
        platform,
        campaign_key,
        min(account_id) as account_id,
        min(currency) as currency,
        {{ spend_measures() }}

    from spend
    group by spend_date, platform, campaign_key

),

joined as (

    select
        coalesce(spend_by_key.report_date, happened_by_key.report_date) as report_date,
        coalesce(spend_by_key.platform, happened_by_key.platform) as platform,
        coalesce(spend_by_key.campaign_key, happened_by_key.campaign_key) as campaign_key,
        coalesce(spend_by_key.account_id, happened_by_key.account_id) as account_id,
        spend_by_key.currency,
        cast(coalesce(spend_by_key.spend, 0) as decimal(18, 6)) as spend,
        cast(
            case when spend_by_key.spend is null then 0 else spend_by_key.spend_reporting end
            as decimal(18, 6)
        ) as spend_reporting,
        cast(coalesce(happened_by_key.qualifications, 0) as bigint) as qualifications,
        cast(coalesce(happened_by_key.wins, 0) as bigint) as wins,
        cast(
            case when happened_by_key.wins is null then 0 else happened_by_key.won_value end
            as decimal(18, 6)
        ) as won_value_cash_reporting,
        coalesce(spend_by_key.has_partial_day, 0) = 1 as has_partial_day

    from spend_by_key
    full outer join happened_by_key
        on
            spend_by_key.report_date = happened_by_key.report_date
            and spend_by_key.platform = happened_by_key.platform
            and spend_by_key.campaign_key = happened_by_key.campaign_key

),

final as (

    select
        joined.report_date,
        joined.platform,
        joined.campaign_key as campaign_id,
        case
            when joined.campaign_key = 'unresolved' then {{ unresolved_name('joined.platform') }}
            when campaigns.campaign_id is null
                then {{ platform_name('joined.platform') }} || ' spend outside known campaigns'
            else campaigns.campaign_name
        end as campaign_name,
        coalesce(joined.account_id, campaigns.account_id) as account_id,
        accounts.account_name,
        coalesce(joined.currency, accounts.currency) as currency,
        joined.spend,
        joined.spend_reporting,
        joined.qualifications,
        joined.wins,
        joined.won_value_cash_reporting,
        {{ exact_ratio('joined.spend', 'joined.qualifications') }} as cost_per_qualification,
        {{ exact_ratio('joined.spend_reporting', 'joined.qualifications') }}
            as cost_per_qualification_reporting,
        joined.has_partial_day or joined.report_date >= {{ as_of() }} as is_partial_day

    from joined
    left join campaigns
        on
            joined.platform = campaigns.platform
            and joined.campaign_key = campaigns.campaign_id
    left join accounts
        on
            joined.platform = accounts.platform
            and coalesce(joined.account_id, campaigns.account_id) = accounts.account_id

)

select * from final
