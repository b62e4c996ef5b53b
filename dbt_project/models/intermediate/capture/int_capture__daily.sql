/*
    Grain: one row per day of receipt, in the reporting zone, with what came in and what did not fit.

    Repeats are message rows beyond the first receipt of their message (rules R1, R2): Meta delivers
    at least once.
*/

with

envelopes as (

    select * from {{ ref('stg_event_log__envelopes') }}

),

messages as (

    select * from {{ ref('stg_event_log__messages') }}

),

envelope_days as (

    select
        {{ local_date('received_at', reporting_timezone()) }} as received_date,
        messages,
        quarantined

    from envelopes

),

first_receipts as (

    select
        message_key,
        min(received_at) as received_at

    from messages
    group by message_key

),

first_receipts_by_day as (

    select
        {{ local_date('received_at', reporting_timezone()) }} as received_date,
        count(*) as first_receipts

    from first_receipts
    group by {{ local_date('received_at', reporting_timezone()) }}

),

envelopes_by_day as (

    select
        received_date,
        count(*) as envelopes,
        sum(messages) as messages,
        sum(case when quarantined > 0 then 1 else 0 end) as quarantined_envelopes,
        sum(quarantined) as quarantined_elements

    from envelope_days
    group by received_date

),

daily as (

    select
        envelopes_by_day.received_date,
        envelopes_by_day.envelopes,
        envelopes_by_day.messages,
        envelopes_by_day.messages - coalesce(first_receipts_by_day.first_receipts, 0) as repeats,
        envelopes_by_day.quarantined_envelopes,
        envelopes_by_day.quarantined_elements

    from envelopes_by_day
    left join first_receipts_by_day
        on envelopes_by_day.received_date = first_receipts_by_day.received_date

)

select * from daily
