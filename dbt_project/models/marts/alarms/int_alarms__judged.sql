{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per alarm, subject and day of the last 28 that is over: whether the share was
    out of its usual range.

    A day is judged by itself if it has `least_cases` (30), else with the six days before it; money
    is always judged with those. Usual is what the 28 days before those seven showed, from their
    tenth to their ninetieth percentile: weekends are part of it, a bad day or two are not, and it
    takes over a week before an alarm's own cause counts as usual. Added to that is what chance
    alone does to so few cases (three standard deviations), at least `least_shift`. Nothing is
    judged on fewer cases or on fewer than 14 usual days, and it takes at least `least_part` cases
    (5) to exceed an upper end: tiny numbers never raise an alarm.
*/

with

daily as (

    select * from {{ ref('int_alarms__daily') }}
    where report_date >= {{ dbt.dateadd('day', -70, as_of()) }}

),

rules as (

    select * from {{ ref('alarms') }}

),

subjects as (

    select distinct
        alarm,
        subject
    from daily

),

-- Including days without a case: the latest verdict is always yesterday's.
days_back as (

    {% for back in range(1, 29) -%}
    select cast({{ dbt.dateadd('day', -back, as_of()) }} as date) as judged_date
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

windows as (

    select
        subjects.alarm,
        subjects.subject,
        days_back.judged_date,
        sum(case when daily.report_date = days_back.judged_date then daily.part end) as day_part,
        sum(case when daily.report_date = days_back.judged_date then daily.whole end) as day_whole,
        sum(case when daily.report_date = days_back.judged_date then daily.cases end) as day_cases,
        sum(daily.part) as week_part,
        sum(daily.whole) as week_whole,
        sum(daily.cases) as week_cases

    from subjects
    cross join days_back
    left join daily
        on
            subjects.alarm = daily.alarm
            and subjects.subject = daily.subject
            and days_back.judged_date >= daily.report_date
            and {{ dbt.dateadd('day', -6, 'days_back.judged_date') }} <= daily.report_date
    group by subjects.alarm, subjects.subject, days_back.judged_date

),

enough as (

    select
        windows.*,
        rules.watches_low,
        rules.watches_high,
        rules.is_share,
        rules.least_cases,
        rules.least_part,
        rules.least_shift,
        coalesce(windows.day_cases >= rules.least_cases, false) as is_day_enough

    from windows
    inner join rules
        on windows.alarm = rules.alarm

),

measured as (

    select
        alarm,
        subject,
        judged_date,
        is_day_enough,
        case when is_day_enough then day_part else week_part end as part,
        case when is_day_enough then day_whole else week_whole end as whole,
        case when is_day_enough then day_cases else week_cases end as cases,
        watches_low,
        watches_high,
        is_share,
        least_cases,
        least_part,
        least_shift

    from enough

),

baselines as (

    select
        days_back.judged_date,
        daily.alarm,
        daily.subject,
        count(*) as usual_days,
        sum(daily.part) as usual_part,
        sum(daily.whole) as usual_whole,
        percentile_cont(0.1) within group (
            order by cast(daily.part as double) / daily.whole
        ) as low_share,
        percentile_cont(0.9) within group (
            order by cast(daily.part as double) / daily.whole
        ) as high_share

    from days_back
    inner join daily
        on
            {{ dbt.dateadd('day', -7, 'days_back.judged_date') }} >= daily.report_date
            and {{ dbt.dateadd('day', -34, 'days_back.judged_date') }} <= daily.report_date
            and (daily.cases is null or daily.cases >= 5)
    group by days_back.judged_date, daily.alarm, daily.subject

),

ranged as (

    select
        measured.alarm,
        measured.subject,
        measured.judged_date,
        measured.is_day_enough,
        measured.part,
        measured.whole,
        measured.cases,
        cast(measured.part as double) / nullif(measured.whole, 0) as ratio,
        measured.watches_low,
        measured.watches_high,
        measured.is_share,
        measured.least_part,
        measured.least_shift,
        baselines.low_share,
        baselines.high_share,
        -- Half a case more than there were, because what never happened is not impossible.
        (cast(baselines.usual_part as double) + 0.5) / (cast(baselines.usual_whole as double) + 1)
            as usual_share,
        coalesce(
            baselines.usual_days >= 14
            and measured.whole > 0
            and (measured.cases is null or measured.cases >= measured.least_cases),
            false
        ) as is_judged

    from measured
    left join baselines
        on
            measured.alarm = baselines.alarm
            and measured.subject = baselines.subject
            and measured.judged_date = baselines.judged_date

),

shifted as (

    select
        *,
        greatest(
            least_shift,
            coalesce(
                3 * sqrt(
                    usual_share * case when is_share then greatest(1 - usual_share, 0) else 1 end
                    / nullif(cases, 0)
                ),
                0
            )
        ) as allowance

    from ranged

),

judged as (

    select
        alarm,
        subject,
        judged_date,
        is_day_enough,
        part,
        whole,
        cases,
        {{ rounded_estimate('ratio') }} as measured,
        case
            when is_judged and watches_low
                then {{ rounded_estimate('greatest(low_share - allowance, 0)') }}
        end as expected_low,
        case
            when is_judged and watches_high
                then {{ rounded_estimate('high_share + allowance') }}
        end as expected_high,
        case
            when not is_judged then 'off'
            when watches_low and ratio < low_share - allowance then 'warn'
            when
                watches_high
                and ratio > high_share + allowance
                and (cases is null or part >= least_part)
                then 'warn'
            else 'ok'
        end as status

    from shifted

)

select * from judged
