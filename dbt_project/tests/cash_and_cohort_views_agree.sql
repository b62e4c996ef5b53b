{{ config(meta={'dagster': {'ref': {'name': 'campaign_cash_performance'}}}) }}
/*
    Rules R11, R12: over all days the cash view and the cohort view of a campaign hold the same
    spend, qualified and won leads; and the same won value if all of it could be converted.
*/

with

cohort_view as (

    select
        platform,
        campaign_id,
        sum(spend) as spend,
        sum(qualified_leads) as qualified_leads,
        sum(won_leads) as won_leads,
        case when count(won_value_reporting) = count(*) then sum(won_value_reporting) end as won_value

    from {{ ref('campaign_performance') }}
    group by platform, campaign_id

),

cash_view as (

    select
        platform,
        campaign_id,
        sum(spend) as spend,
        sum(qualifications) as qualifications,
        sum(wins) as wins,
        case when count(won_value_cash_reporting) = count(*) then sum(won_value_cash_reporting) end
            as won_value

    from {{ ref('campaign_cash_performance') }}
    group by platform, campaign_id

)

select
    coalesce(cohort_view.campaign_id, cash_view.campaign_id) as campaign_id,
    cohort_view.spend,
    cash_view.spend as cash_spend,
    cohort_view.qualified_leads,
    cash_view.qualifications,
    cohort_view.won_leads,
    cash_view.wins,
    cohort_view.won_value,
    cash_view.won_value as cash_won_value

from cohort_view
full outer join cash_view
    on
        cohort_view.platform = cash_view.platform
        and cohort_view.campaign_id = cash_view.campaign_id
where
    coalesce(cohort_view.spend, 0) <> coalesce(cash_view.spend, 0)
    or coalesce(cohort_view.qualified_leads, 0) <> coalesce(cash_view.qualifications, 0)
    or coalesce(cohort_view.won_leads, 0) <> coalesce(cash_view.wins, 0)
    or cohort_view.won_value <> cash_view.won_value
