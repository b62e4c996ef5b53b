/*
    Grain: one row per alarm for silent loss, as of the run.

    An alarm with several subjects (accounts, webhook sources) is about the one that is furthest
    from usual. `off`: nothing to judge by, because the source is off or has brought too little so
    far. The rules stand where they are applied: in int_alarms__judged, in int_feeds__silent, and in
    ingestion/watch for what only a clock or an API can observe. One alarm needs only a single case:
    a webhook field that the parser does not know and that brought messages or people in the last
    seven days, including the day of the run (E80).
*/

with

alarms as (

    select * from {{ ref('alarms') }}

),

judged as (

    select * from {{ ref('int_alarms__judged') }}

),

warned_since as (

    {{ warned_since('judged', 'judged_date', 'judged_date') }}

),

shares as (

    select
        judged.*,
        alarms.what,
        warned_since.since,
        case
            when judged.measured > judged.expected_high then judged.measured - judged.expected_high
            when judged.measured < judged.expected_low then judged.expected_low - judged.measured
            else 0
        end as distance

    from judged
    inner join alarms
        on judged.alarm = alarms.alarm
    left join warned_since
        on
            judged.alarm = warned_since.alarm
            and judged.subject = warned_since.subject
    where judged.judged_date = {{ dbt.dateadd('day', -1, as_of()) }}

),

share_texts as (

    select
        alarm,
        subject,
        status,
        since,
        measured,
        expected_low,
        expected_high,
        distance,
        case
            when status = 'off' then 'too little to judge by'
            else
                what || case when subject <> '' then ', ' || subject else '' end
                || ': ' || {{ percent_text('measured', 1) }}
                || coalesce(' of ' || cast(cast(cases as bigint) as {{ dbt.type_string() }}), '')
                || case when is_day_enough then ' on ' else ' in the seven days to ' end
                || cast(judged_date as {{ dbt.type_string() }}) || '; usual is '
                || case
                    when expected_low is null then 'at most ' || {{ percent_text('expected_high', 1) }}
                    when expected_high is null then 'at least ' || {{ percent_text('expected_low', 1) }}
                    else
                        {{ percent_text('expected_low', 1) }} || ' to ' || {{ percent_text('expected_high', 1) }}
                end
        end as message,
        cast(null as {{ dbt.type_string() }}) as own_mend

    from shares

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
            when status = 'ok' then 'every source that used to bring something still does'
            else
                'Nothing from ' || feed || ' for ' || cast(silent_days as {{ dbt.type_string() }})
                || ' days, since ' || cast(last_date as {{ dbt.type_string() }}) || ', although it was read or up; '
                || 'the longest pause before was ' || cast(longest_pause as {{ dbt.type_string() }}) || ' days'
        end as message,
        cast(null as {{ dbt.type_string() }}) as own_mend

    from {{ ref('int_feeds__silent') }}

),

field_days as (

    select
        field,
        {{ local_date('received_at', reporting_timezone()) }} as received_on
    from {{ source('event_log', 'account_events') }}
    where not is_known and holds_people

),

unknown_fields as (

    select
        field,
        min(received_on) as since,
        cast(
            sum(case when received_on > {{ dbt.dateadd('day', -7, as_of()) }} then 1 else 0 end)
            as decimal(18, 6)
        ) as recent_changes
    from field_days
    where received_on > {{ dbt.dateadd('day', -28, as_of()) }}
    group by field

),

unknown_field_texts as (

    select
        'unknown_fields' as alarm,
        field as subject,
        'warn' as status,
        since,
        recent_changes as measured,
        cast(null as decimal(18, 6)) as expected_low,
        cast(0 as decimal(18, 6)) as expected_high,
        recent_changes as distance,
        'The webhook field ' || field || ' brought messages or people that this version does not '
        || 'read in full: ' || cast(cast(recent_changes as bigint) as {{ dbt.type_string() }})
        || case when recent_changes = 1 then ' change' else ' changes' end
        || ' in the last seven days' as message,
        cast(null as {{ dbt.type_string() }}) as own_mend
    from unknown_fields
    where recent_changes > 0
    union all
    select
        'unknown_fields' as alarm,
        '' as subject,
        case when count(*) > 0 then 'ok' else 'off' end as status,
        cast(null as date) as since,
        cast(null as decimal(18, 6)) as measured,
        cast(null as decimal(18, 6)) as expected_low,
        cast(null as decimal(18, 6)) as expected_high,
        0 as distance,
        case
            when count(*) > 0
                then 'every webhook with messages or people came in a field that is read'
            else 'nothing to judge by'
        end as message,
        cast(null as {{ dbt.type_string() }}) as own_mend
    from {{ source('event_log', 'envelopes') }}

),

found as (

    select * from share_texts
    union all
    select * from feed_texts
    union all
    select * from unknown_field_texts
    union all
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
    from {{ ref('int_alarms__observed') }}

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

    from found

)

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
            then '; and ' || cast(ranked.warnings - 1 as {{ dbt.type_string() }}) || ' more like it'
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
