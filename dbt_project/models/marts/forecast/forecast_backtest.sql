/*
    Grain: one row per earlier day (`as_of`), level, grain, horizon and age: how well the forecast
    that would have been made on that day, knowing what was known by then, fits what is known now.

    Only cohorts whose leads have all had the horizon's days by now, and of which something was open
    then. The coverage is that of the intervals as they come out of the formulas, before any
    widening, for cohorts of which at least one more qualified lead was expected: of a nearly settled
    cohort any interval holds the truth. Age 0 is the week after the period's last day, 7 the next.
*/

with

compared as (

    select
        *,
        cast(
            7 * floor(({{ dbt.datediff('period_end', 'origin', 'day') }} - 1) / cast(7 as double))
            as integer
        ) as whole_weeks,
        case when qualified > 0 then cast(qualified as double) end as truth,
        expected - qualified_so_far >= 1 as is_covered_or_not
    from {{ ref('int_cohorts__expected') }}
    where is_compared

),

measured as (

    select
        origin,
        level,
        grain,
        horizon_days,
        whole_weeks,
        count(expected) as cohorts,
        count(*) - count(expected) as refused_cohorts,
        sum(case when expected is not null then leads else 0 end) as leads,
        sum(case when expected is not null then qualified else 0 end) as qualified,
        {{ exact_sum('expected') }} as expected,
        percentile_cont(0.5) within group (order by abs(expected - truth) / truth) as error,
        percentile_cont(0.5) within group (
            order by case when expected is not null then abs(qualified_so_far - truth) / truth end
        ) as so_far_error,
        sum(case when is_covered_or_not then 1 else 0 end) as open_cohorts,
        sum(case when is_covered_or_not and qualified between low and high then 1 else 0 end)
            as covered

    from compared
    group by origin, level, grain, horizon_days, whole_weeks

)

select
    origin as as_of,
    level,
    grain,
    horizon_days,
    whole_weeks as age_days,
    cast(cohorts as bigint) as cohorts,
    cast(refused_cohorts as bigint) as refused_cohorts,
    cast(leads as bigint) as leads,
    cast(expected as decimal(18, 3)) as expected_qualified,
    cast(qualified as bigint) as actual_qualified,
    {{ rounded_estimate('error') }} as median_relative_error,
    {{ rounded_estimate('so_far_error') }} as so_far_median_relative_error,
    {{ exact_share('covered', 'open_cohorts') }} as coverage,
    cast(open_cohorts as bigint) as covered_cohorts
from measured
