/*
    Grain: one row per day and channel with spend or with leads born that day.

    Totals close (rule R12): every lead is in exactly one row, and so is every amount of
    fct_ad_spend. Spend that a platform names no ad or campaign for stands in a channel of its own
    (`meta_unallocated`, `google_unallocated`), which has no leads: added to another it would move a
    cost per lead by a guess. Everything here is in the reporting currency.
*/

with

spend as (

    select * from {{ ref('fct_ad_spend') }}

),

leads as (

    select * from {{ ref('fct_leads') }}

),

spend_by_key as (

    select
        spend_date as report_date,
        channel,
        {{ sum_or_null('spend_reporting') }} as spend_reporting,
        sum(impressions) as impressions,
        sum(clicks) as clicks,
        max(case when is_day_complete then 0 else 1 end) as has_partial_day

    from spend
    group by spend_date, channel

),

cohorts as (

    select
        first_touch_date as report_date,
        channel,
        {{ cohort_measures() }}

    from leads
    group by first_touch_date, channel

),

keys as (

    select
        report_date,
        channel
    from spend_by_key
    union distinct
    select
        report_date,
        channel
    from cohorts

),

joined as (

    select
        keys.report_date,
        keys.channel,
        coalesce(spend_by_key.has_partial_day, 0) = 1 or keys.report_date >= {{ as_of() }}
            as is_partial_day,
        cast(
            case when spend_by_key.channel is null then 0 else spend_by_key.spend_reporting end
            as decimal(18, 6)
        ) as spend_reporting,
        cast(coalesce(spend_by_key.impressions, 0) as bigint) as impressions,
        cast(coalesce(spend_by_key.clicks, 0) as bigint) as clicks,
        {{ cohort_columns('cohorts', 'keys.report_date') }}

    from keys
    left join spend_by_key
        on
            keys.report_date = spend_by_key.report_date
            and keys.channel = spend_by_key.channel
    left join cohorts
        on
            keys.report_date = cohorts.report_date
            and keys.channel = cohorts.channel

),

final as (

    select
        report_date,
        channel,
        {{ reporting_currency() }} as reporting_currency,
        spend_reporting,
        impressions,
        clicks,
        leads,
        excluded_leads,
        replied_leads,
        qualified_leads,
        qualified_leads_7d,
        qualified_leads_14d,
        qualified_leads_30d,
        qualified_leads_90d,
        is_mature_7d,
        is_mature_14d,
        is_mature_30d,
        is_mature_90d,
        currently_qualified_leads,
        won_leads,
        won_value_reporting,
        {{ exact_ratio('spend_reporting', 'leads') }} as cost_per_lead,
        {{ exact_ratio('spend_reporting', 'qualified_leads') }} as cost_per_qualified_lead,
        is_partial_day

    from joined

)

select * from final
