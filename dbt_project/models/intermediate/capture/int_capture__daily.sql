/*
    Grain: one row per day, in the reporting zone, with what came in and what did not fit.

    Envelopes and quarantine stand on the day of receipt. Repeats, the deliveries of a message
    beyond its first (rules R1, R2), stand on the day the message was sent: on which day the second
    delivery came is luck.
*/

with

envelopes as (

    select * from {{ ref('stg_event_log__envelopes') }}

),

quarantine as (

    select * from {{ ref('stg_event_log__quarantine') }}

),

messages as (

    select * from {{ ref('int_messages__deduplicated') }}

),

envelope_rows as (

    select
        {{ local_date('received_at', reporting_timezone()) }} as capture_date,
        received_at
    from envelopes

),

envelope_days as (

    select
        capture_date,
        count(*) as envelopes,
        max(received_at) as last_envelope_at

    from envelope_rows
    group by capture_date

),

quarantined_rows as (

    select
        seq,
        {{ local_date('received_at', reporting_timezone()) }} as capture_date

    from quarantine

),

quarantine_days as (

    select
        capture_date,
        count(distinct seq) as quarantined_envelopes,
        count(*) as quarantined_elements

    from quarantined_rows
    group by capture_date

),

repeated_messages as (

    select
        {{ local_date('sent_at', reporting_timezone()) }} as capture_date,
        copies

    from messages
    where copies > 1

),

repeat_days as (

    select
        capture_date,
        sum(copies - 1) as repeats

    from repeated_messages
    group by capture_date

),

days as (

    select capture_date from envelope_days
    union distinct
    select capture_date from quarantine_days
    union distinct
    select capture_date from repeat_days

),

daily as (

    select
        days.capture_date,
        coalesce(envelope_days.envelopes, 0) as envelopes,
        envelope_days.last_envelope_at,
        coalesce(quarantine_days.quarantined_envelopes, 0) as quarantined_envelopes,
        coalesce(quarantine_days.quarantined_elements, 0) as quarantined_elements,
        coalesce(repeat_days.repeats, 0) as repeats

    from days
    left join envelope_days
        on days.capture_date = envelope_days.capture_date
    left join quarantine_days
        on days.capture_date = quarantine_days.capture_date
    left join repeat_days
        on days.capture_date = repeat_days.capture_date

)

select * from daily
