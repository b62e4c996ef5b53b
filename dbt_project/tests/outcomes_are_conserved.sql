-- Rule R1 for outcomes: every one in an envelope is a row or a repeat of one.
with

counted as (

    select
        (
            select coalesce(sum(envelopes.outcomes), 0)
            from {{ ref('stg_event_log__envelopes') }} as envelopes
        ) as in_envelopes,
        (
            select coalesce(sum(outcomes.copies), 0)
            from {{ ref('int_outcomes__deduplicated') }} as outcomes
        ) as in_rows,
        (select count(*) from {{ ref('int_outcomes__deduplicated') }}) as outcome_rows,
        (select count(*) from {{ ref('fct_outcomes') }}) as mart_rows

)

select * from counted
where
    in_envelopes <> in_rows
    or outcome_rows <> mart_rows
