-- Rule R1: messages in envelopes = rows + repeats + quarantined, exactly.
with

counted as (

    select
        (
            select coalesce(sum(envelopes.message_elements), 0)
            from {{ source('event_log', 'envelopes') }} as envelopes
        ) as in_envelopes,
        (
            select coalesce(sum(envelopes.quarantined_messages), 0)
            from {{ source('event_log', 'envelopes') }} as envelopes
        ) as quarantined,
        (
            select count(*) from {{ ref('int_messages__deduplicated') }}
        ) as message_rows,
        (
            select coalesce(sum(messages.copies - 1), 0)
            from {{ ref('int_messages__deduplicated') }} as messages
        ) as repeats

)

select * from counted
where in_envelopes <> message_rows + repeats + quarantined
