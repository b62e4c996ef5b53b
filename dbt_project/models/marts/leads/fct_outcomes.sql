/*
    Grain: one row per outcome: (source, event id).

    Outcomes without a lead stay, with `lead_id` null (E60); so do those whose stage nobody has
    mapped yet, with `funnel_stage` null.
*/

with

outcomes as (

    select * from {{ ref('int_outcomes__staged') }}

),

described as (

    select
        source,
        event_id,
        lead_id,
        matched_by,
        stage,
        stage_label,
        funnel_stage,
        value,
        currency,
        value_reporting,
        occurred_at

    from outcomes

)

select * from described
