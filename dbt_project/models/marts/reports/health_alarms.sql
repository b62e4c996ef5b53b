/*
    Grain: one row per alarm on silent loss, as of the run.

    An alarm with several subjects (accounts, ways in) speaks of the one that is furthest from
    usual. `off`: nothing to judge by, because the source is off or there is too little of it yet.
    The rules stand where they are applied: int_alarms__judged, int_feeds__silent, and for what only
    a clock or an API can tell ingestion/watch.
*/

with

judged as (

    select * from {{ ref('int_alarms__judged') }}

),

feeds as (

    select * from {{ ref('int_feeds__silent') }}

),

observed as (

    select * from {{ ref('int_alarms__observed') }}

),

alarms as (

    select * from {{ ref('alarms') }}

),

streaks as (

    select
        *,
        sum(case when status = 'warn' then 0 else 1 end) over (
            partition by alarm, subject
            order by judged_date desc
            rows between unbounded preceding and current row
        ) as quiet_days_since,
        row_number() over (partition by alarm, subject order by judged_date desc) as recency

    from judged

),

warn_since as (

    select
        alarm,
        subject,
        min(judged_date) as since

    from streaks
    where quiet_days_since = 0
    group by alarm, subject

),

shares as (

    select
        streaks.alarm,
        streaks.subject,
        streaks.status,
        warn_since.since,
        streaks.measured,
        streaks.expected_low,
        streaks.expected_high,
        case
            when streaks.measured > streaks.expected_high
                then streaks.measured - streaks.expected_high
            when streaks.measured < streaks.expected_low
                then streaks.expected_low - streaks.measured
            else 0
        end as distance,
        case
            when streaks.is_day_enough then 'on ' || cast(streaks.judged_date as varchar)
            else 'in the seven days to ' || cast(streaks.judged_date as varchar)
        end as period,
        streaks.cases

    from streaks
    left join warn_since
        on
            streaks.alarm = warn_since.alarm
            and streaks.subject = warn_since.subject
    where streaks.recency = 1

),

share_texts as (

    select
        shares.alarm,
        shares.subject,
        shares.status,
        shares.since,
        shares.measured,
        shares.expected_low,
        shares.expected_high,
        shares.distance,
        case
            when shares.status = 'off' then 'too little to judge by'
            else
                alarms.what
                || case when shares.subject <> '' then ', ' || shares.subject else '' end
                || ': ' || {{ share_text('shares.measured') }}
                || coalesce(' of ' || cast(cast(shares.cases as bigint) as varchar), '')
                || ' ' || shares.period || '; usual is '
                || case
                    when shares.expected_low is null
                        then 'at most ' || {{ share_text('shares.expected_high') }}
                    when shares.expected_high is null
                        then 'at least ' || {{ share_text('shares.expected_low') }}
                    else
                        {{ share_text('shares.expected_low') }}
                        || ' to ' || {{ share_text('shares.expected_high') }}
                end
        end as message,
        cast(null as varchar) as own_mend

    from shares
    inner join alarms
        on shares.alarm = alarms.alarm

),

feed_texts as (

    select
        'silent_sources' as alarm,
        feed as subject,
        status,
        case when status = 'warn' then cast({{ dbt.dateadd('day', 1, 'last_date') }} as date) end
            as since,
        cast(silent_days as decimal(18, 6)) as measured,
        cast(null as decimal(18, 6)) as expected_low,
        cast(longest_pause as decimal(18, 6)) as expected_high,
        silent_days - longest_pause as distance,
        case
            when status = 'off' then 'too little to judge by'
            when status = 'ok' then 'every source that used to bring something does'
            else
                'Nothing in ' || feed || ' for ' || cast(silent_days as varchar)
                || ' days, since ' || cast(last_date as varchar) || ', though it was read or up; '
                || 'the longest pause before was ' || cast(longest_pause as varchar) || ' days'
        end as message,
        cast(null as varchar) as own_mend

    from feeds

),

observed_texts as (

    select
        alarm,
        subject,
        status,
        since,
        measured,
        expected_low,
        expected_high,
        coalesce(measured - expected_high, expected_low - measured, 0) as distance,
        message,
        mend as own_mend

    from observed

),

told as (

    select * from share_texts
    union all
    select * from feed_texts
    union all
    select * from observed_texts

),

ranked as (

    select
        *,
        row_number() over (
            partition by alarm
            order by
                case status when 'warn' then 1 when 'ok' then 2 else 3 end,
                distance desc,
                subject asc
        ) as place,
        sum(case when status = 'warn' then 1 else 0 end) over (partition by alarm) as warnings

    from told

),

final as (

    select
        alarms.alarm,
        coalesce(ranked.status, 'off') as status,
        case when ranked.status = 'warn' then ranked.since end as since,
        nullif(ranked.subject, '') as subject,
        cast(ranked.measured as decimal(18, 6)) as measured,
        cast(ranked.expected_low as decimal(18, 6)) as expected_low,
        cast(ranked.expected_high as decimal(18, 6)) as expected_high,
        coalesce(ranked.message, 'nothing to judge by')
        || case
            when ranked.warnings > 1
                then '; and ' || cast(ranked.warnings - 1 as varchar) || ' more of the kind'
            else ''
        end as message,
        case when ranked.status = 'warn' then coalesce(ranked.own_mend, alarms.mend) end as mend,
        alarms.place,
        {{ as_of() }} as as_of

    from alarms
    left join ranked
        on
            alarms.alarm = ranked.alarm
            and ranked.place = 1

)

select * from final
