/*
    Grain: one row per alarm and subject that was looked at: the latest look, and since when it has
    been so.

    Silence of a way in is over as soon as anything came after the look.
*/

with

observations as (

    select * from {{ ref('stg_alarms__observations') }}

),

arrivals as (

    select
        source,
        max(received_at) as last_received_at
    from {{ ref('stg_event_log__envelopes') }}
    group by source

),

dated as (

    select
        *,
        {{ local_date('observed_at', reporting_timezone()) }} as observed_date,
        row_number() over (partition by alarm, subject order by read_no desc) as recency,
        sum(case when status = 'warn' then 0 else 1 end) over (
            partition by alarm, subject
            order by read_no desc
            rows between unbounded preceding and current row
        ) as quiet_looks_since

    from observations

),

-- A subject that is not looked at any more, such as a provider that was left, has no say.
latest_looks as (

    select
        alarm,
        max(read_no) as read_no
    from observations
    group by alarm

),

streaks as (

    select
        alarm,
        subject,
        min(observed_date) as since

    from dated
    where quiet_looks_since = 0
    group by alarm, subject

),

latest as (

    select
        dated.alarm,
        dated.subject,
        case
            when
                dated.status = 'warn'
                and dated.alarm = 'envelopes_missing'
                and arrivals.last_received_at > dated.observed_at
                then 'ok'
            else dated.status
        end as status,
        streaks.since,
        dated.measured,
        dated.expected_low,
        dated.expected_high,
        dated.message,
        dated.mend,
        dated.status as observed_status

    from dated
    inner join latest_looks
        on
            dated.alarm = latest_looks.alarm
            and dated.read_no = latest_looks.read_no
    left join streaks
        on
            dated.alarm = streaks.alarm
            and dated.subject = streaks.subject
    left join arrivals
        on dated.subject = arrivals.source
    where dated.recency = 1

)

select
    alarm,
    subject,
    status,
    case when status = 'warn' then since end as since,
    measured,
    expected_low,
    expected_high,
    case
        when status <> observed_status then 'webhooks of ' || subject || ' come again'
        else message
    end as message,
    mend

from latest
