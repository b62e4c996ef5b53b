{{ config(materialized='table') }}

/*
    Grain: one row per outcome, with its stage of the funnel (rule R9) and its converted value (R13).

    The seed `lead_stages` maps each source's stage, case aside, on the day of the event; a mapping
    for the source itself beats one for `*`. A stage without a mapping stays null, and a test names it.
*/

with

outcomes as (

    select * from {{ ref('int_outcomes__matched') }}

),

lead_stages as (

    select * from {{ ref('lead_stages') }}

),

exchange_rates as (

    select * from {{ ref('int_exchange_rates__daily') }}

),

candidates as (

    select
        outcomes.outcome_key,
        lead_stages.funnel_stage,
        row_number() over (
            partition by outcomes.outcome_key
            order by
                case when lead_stages.source = '*' then 1 else 0 end asc,
                lead_stages.valid_from desc,
                lead_stages.funnel_stage asc
        ) as place

    from outcomes
    inner join lead_stages
        on
            lower(trim(outcomes.stage)) = lower(trim(lead_stages.stage))
            and (
                lead_stages.source = '*'
                or lower(outcomes.source) = lower(lead_stages.source)
            )
            and {{ local_date('outcomes.occurred_at', "'UTC'") }} >= lead_stages.valid_from
            and (
                lead_stages.valid_to is null
                or {{ local_date('outcomes.occurred_at', "'UTC'") }} < lead_stages.valid_to
            )

),

staged as (

    select
        outcomes.outcome_key,
        outcomes.source,
        outcomes.event_id,
        outcomes.person_key,
        outcomes.lead_id,
        outcomes.matched_by,
        outcomes.stage,
        outcomes.stage_label,
        candidates.funnel_stage,
        coalesce(candidates.funnel_stage in ('qualified', 'opportunity', 'won'), false)
            as is_at_least_qualified,
        outcomes.value,
        outcomes.currency,
        {{ to_reporting_currency('outcomes.value', 'outcomes.currency', 'exchange_rates.rate') }}
            as value_reporting,
        outcomes.occurred_at

    from outcomes
    left join candidates
        on
            outcomes.outcome_key = candidates.outcome_key
            and candidates.place = 1
    left join exchange_rates
        on
            outcomes.currency = exchange_rates.currency
            and {{ local_date('outcomes.occurred_at', "'UTC'") }} = exchange_rates.rate_date

)

select * from staged
