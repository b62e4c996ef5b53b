-- Rule R1 for outcomes: every outcome in an envelope is a row or a repeat of one. What a chat rule
-- makes is in no envelope.
with

counted as (

    select
        (
            select coalesce(sum(envelopes.outcomes), 0)
            from {{ source('event_log', 'envelopes') }} as envelopes
        ) as in_envelopes,
        (
            select coalesce(sum(outcomes.copies), 0)
            from {{ ref('int_outcomes__staged') }} as outcomes
            where not outcomes.is_of_rule
        ) as in_rows,
        (select count(*) from {{ ref('int_outcomes__staged') }}) as outcome_rows,
        (select count(*) from {{ ref('fct_outcomes') }}) as mart_rows

)

select * from counted
where
    in_envelopes <> in_rows
    or outcome_rows <> mart_rows
