{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per alarm and subject in the newest observations, with since when it has been so.

    What only a clock or an API can observe comes from ingestion/watch. The silence of a webhook
    source is over as soon as anything came after the observation.
*/

with

observations as (

    select
        *,
        {{ local_date('read_at', reporting_timezone()) }} as observed_date
    from {{ source('alarms', 'observations') }}

),

-- A subject that is no longer observed, such as a provider that is not used any more, drops out.
newest as (

    select
        alarm,
        max(read_no) as read_no
    from observations
    group by alarm

),

warned_since as (

    {{ warned_since('observations', 'observed_date', 'read_no') }}

),

arrivals as (

    select
        source,
        max(received_at) as last_received_at
    from {{ source('event_log', 'envelopes') }}
    group by source

),

judged as (

    select
        observations.*,
        warned_since.since,
        observations.status = 'warn'
        and observations.alarm = 'envelopes_missing'
        and coalesce(arrivals.last_received_at > observations.read_at, false) as is_over

    from observations
    inner join newest
        on
            observations.alarm = newest.alarm
            and observations.read_no = newest.read_no
    left join warned_since
        on
            observations.alarm = warned_since.alarm
            and observations.subject = warned_since.subject
    left join arrivals
        on observations.subject = arrivals.source

)

select
    alarm,
    subject,
    case when is_over then 'ok' else status end as status,
    case when status = 'warn' and not is_over then since end as since,
    measured,
    expected_low,
    expected_high,
    case when is_over then 'webhooks of ' || subject || ' are arriving again' else message end as message,
    mend

from judged
