/*
    Grain: one row per account or campaign with a target (seed `targets`): the one that holds in the
    month of the last whole day.

    Expected spend is what the month has cost so far, and for its other days the daily spend of the last
    seven. A sum with a day that was not read is not known (rule R13). The month's own leads are too
    young to say what they cost, so the cost is that of the forecast (rule R15), of the latest month
    that it dares to judge. A target that fits nothing keeps its row, with the problem and without
    figures (E171).
*/
{% set last_day = "cast(" ~ dbt.dateadd('day', -1, as_of()) ~ " as date)" %}
{% set month_start = cohort_period("'month'", last_day) %}
{% set month_end = cohort_period_end("'month'", month_start) %}
{% set week = "between " ~ dbt.dateadd('day', -6, last_day) ~ " and " ~ last_day %}
{% set target = "platform, coalesce(campaign_id, 'of ' || account_id, '')" %}
with

given as (

    select
        coalesce(lower(trim(platform)), '') as platform,
        nullif(trim(account_id), '') as account_id,
        nullif(trim(campaign_id), '') as campaign_id,
        upper(trim(currency)) as currency,
        nullif(trim(cost_per_qualified_lead), '') as cost_text,
        nullif(trim(monthly_budget), '') as budget_text,
        nullif(trim(valid_from), '') as day_text
    from {{ ref('targets') }}

),

targets as (

    select
        *,
        try_cast(cost_text as decimal(18, 6)) as cost_per_qualified_lead,
        try_cast(budget_text as decimal(18, 6)) as monthly_budget,
        try_cast(day_text as date) as valid_from,
        count(*) over (partition by {{ target }}, day_text) as twins,
        row_number() over (
            partition by {{ target }}
            order by
                case when day_text is not null and try_cast(day_text as date) is null then 0 else 1 end asc,
                try_cast(day_text as date) desc nulls last, cost_text asc, budget_text asc
        ) as place
    from given
    where coalesce(try_cast(day_text as date), {{ as_of() }}) <= least({{ as_of() }}, {{ month_end }})

),

checked as (

    select
        targets.platform,
        case when targets.campaign_id is null then 'account' else 'campaign' end as level,
        targets.platform || ':' || coalesce(targets.campaign_id, targets.account_id, '') as entity_key,
        coalesce(targets.account_id, campaigns.account_id) as account_id,
        ad_accounts.account_name,
        targets.campaign_id,
        campaigns.campaign_name,
        targets.valid_from,
        targets.currency,
        targets.cost_per_qualified_lead as target_cost,
        targets.monthly_budget,
        targets.currency = ad_accounts.currency as is_native,
        case
            when targets.twins > 1 then 'given_twice'
            when targets.day_text is not null and targets.valid_from is null then 'not_a_day'
            when
                (targets.cost_text is not null and targets.cost_per_qualified_lead is null)
                or (targets.budget_text is not null and targets.monthly_budget is null)
                then 'not_a_number'
            when targets.campaign_id is not null and campaigns.campaign_id is null then 'unknown_campaign'
            when targets.account_id <> campaigns.account_id then 'other_account'
            when ad_accounts.account_id is null then 'unknown_account'
            when targets.currency is null or targets.currency not in (ad_accounts.currency, {{ reporting_currency() }})
                then 'currency'
            when targets.cost_per_qualified_lead is null and targets.monthly_budget is null then 'no_amount'
            when targets.cost_per_qualified_lead <= 0 or targets.monthly_budget <= 0 then 'not_positive'
        end as problem_code

    from targets
    left join {{ ref('dim_campaigns') }} as campaigns
        on {{ same_values('targets', 'campaigns', ['platform', 'campaign_id']) }}
    left join {{ ref('dim_accounts') }} as ad_accounts
        on
            targets.platform = ad_accounts.platform
            and coalesce(targets.account_id, campaigns.account_id) = ad_accounts.account_id
    where targets.place = 1

),

open_days as (

    select
        platform,
        account_id,
        sum(case when spend_status = 'unread' and spend_date >= {{ month_start }} then 1 else 0 end) as unread_days,
        sum(case when spend_date {{ week }} then 1 else 0 end) as open_week_days
    from {{ ref('int_spend_days__unread') }}
    where spend_date between {{ dbt.dateadd('day', -31, last_day) }} and {{ last_day }}
    group by platform, account_id

),

{% set in_month, in_week = "daily.report_date >= " ~ month_start, "daily.report_date " ~ week ~ " and daily.spend_status = 'read'" %}
spent as (

    select
        {% for name, amount in [
            ('spend', 'case when checked.is_native then daily.spend else daily.spend_reporting end'),
            ('reporting', 'daily.spend_reporting')
        ] %}
        {% for span, days in [('month', in_month), ('week', in_week)] %}
        case
            when
                count(case when {{ days }} then {{ amount }} end)
                = sum(case when {{ days }} then 1 else 0 end)
                then coalesce(sum(case when {{ days }} then {{ amount }} end), 0)
        end as {{ name }}_of_{{ span }},
        {% endfor %}
        {% endfor %}
        checked.level,
        checked.entity_key

    from checked
    inner join {{ ref('campaign_performance') }} as daily
        on
            checked.platform = daily.platform
            and checked.account_id = daily.account_id
            and daily.campaign_id = coalesce(checked.campaign_id, daily.campaign_id)
    where daily.report_date between {{ dbt.dateadd('day', -31, last_day) }} and {{ last_day }}
    group by checked.level, checked.entity_key

),

-- Without a row nothing was spent on the days that were read.
paced as (

    select
        checked.*,
        case
            when coalesce(open_days.unread_days, 0) > 0 then null
            when spent.level is null then 0
            else spent.spend_of_month
        end as spend_so_far,
        {% for name in ['spend', 'reporting'] %}
        case
            when coalesce(open_days.open_week_days, 0) > 3 then null
            when spent.level is null then 0
            else {{ exact_ratio('spent.' ~ name ~ '_of_week', '(7 - coalesce(open_days.open_week_days, 0))') }}
        end as daily_{{ name }},
        {% endfor %}
        coalesce(open_days.unread_days, 0) as unread_days

    from checked
    left join spent on {{ same_values('checked', 'spent', ['level', 'entity_key']) }}
    left join open_days on {{ same_values('checked', 'open_days', ['platform', 'account_id']) }}

),

forecast as (

    select
        level,
        entity_key,
        period_start,
        case when expected_cost_per_qualified_lead is null then reason_code end as reason_code,
        {% for end in ['', '_low', '_high'] %}
        expected_cost_per_qualified_lead{{ end }} as native{{ end }},
        expected_cost_per_qualified_lead{{ end }}_reporting as reporting{{ end }},
        {% endfor %}
        row_number() over (
            partition by level, entity_key
            order by
                case
                    when expected_cost_per_qualified_lead is not null then 1
                    when reason_code is not null then 2
                    else 3
                end asc,
                period_start desc
        ) as place
    from {{ ref('cohort_forecast') }}
    where
        level in ('account', 'campaign')
        and grain = 'month'
        and horizon_days = 90
        and period_start <= {{ month_start }}

),

expected as (

    select
        paced.*,
        forecast.reason_code as cost_reason_code,
        case when forecast.native is not null then forecast.period_start end as cost_month,
        {% for end in ['', '_low', '_high'] %}
        case when paced.is_native then forecast.native{{ end }} else forecast.reporting{{ end }} end as cost{{ end }},
        {% endfor %}
        cast(paced.spend_so_far as decimal(18, 6))
        + paced.daily_spend * {{ dbt.datediff(last_day, month_end, 'day') }} as expected_spend

    from paced
    left join forecast
        on {{ same_values('paced', 'forecast', ['level', 'entity_key']) }} and forecast.place = 1

)

{% set known = 'case when problem_code is null then ' %}
select
    level,
    entity_key,
    platform,
    account_id,
    account_name,
    campaign_id,
    campaign_name,
    valid_from,
    currency,
    cast(target_cost as decimal(18, 6)) as target_cost_per_qualified_lead,
    cast(monthly_budget as decimal(18, 6)) as monthly_budget,
    {{ month_start }} as month_start,
    {{ last_day }} as spend_through,
    cast({{ known }} spend_so_far end as decimal(18, 6)) as spend_so_far,
    cast({{ known }} daily_spend end as decimal(18, 6)) as daily_spend,
    cast({{ known }} daily_reporting end as decimal(18, 6)) as daily_spend_reporting,
    cast({{ known }} expected_spend end as decimal(18, 2)) as expected_spend,
    case
        when problem_code is not null or monthly_budget is null or expected_spend is null then null
        when expected_spend > cast(monthly_budget as decimal(24, 6)) * (1 + {{ var('target_margin') }}) then 'over'
        when expected_spend < cast(monthly_budget as decimal(24, 6)) * (1 - {{ var('target_margin') }}) then 'under'
        else 'on_track'
    end as budget_status,
    case when problem_code is null then cost_month end as cost_month,
    {% for end in ['', '_low', '_high'] %}
    cast({{ known }} cost{{ end }} end as decimal(18, 6)) as expected_cost_per_qualified_lead{{ end }},
    {% endfor %}
    case
        when problem_code is not null or target_cost is null or cost is null then null
        when cost_low > target_cost then 'over'
        when cost_high <= target_cost then 'within'
        else 'unclear'
    end as cost_status,
    {{ known }} cost_reason_code end as cost_reason_code,
    cast(unread_days as integer) as unread_days,
    problem_code

from expected
