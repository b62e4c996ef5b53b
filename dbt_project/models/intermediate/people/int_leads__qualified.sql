{{ config(materialized='table') }}

/*
    Grain: one row per lead that has an outcome with a known stage (rule R9).

    Ever qualified: a stage of qualified or later was reached at any time (a later stage implies the
    earlier). Currently qualified: the latest stage is such a one; disqualified, lost or back to
    lead ends it. Of several at the same instant the later stage is the current one, so a CRM that
    moves a deal through stages in one second is not read backwards. A won value without a rate leaves the whole converted sum null, never a part of
    it (rule R13).
*/

with

outcomes as (

    select * from {{ ref('int_outcomes__staged') }}
    where
        lead_id is not null
        and funnel_stage is not null

),

ranked as (

    select
        *,
        row_number() over (
            partition by lead_id
            order by
                occurred_at desc,
                {{ funnel_rank('funnel_stage') }} desc,
                source desc,
                event_id desc
        ) as place_from_end

    from outcomes

),

aggregated as (

    select
        lead_id,
        max(case when place_from_end = 1 then funnel_stage end) as current_stage,
        max(case when is_at_least_qualified then 1 else 0 end) = 1 as is_qualified,
        max(case when place_from_end = 1 and is_at_least_qualified then 1 else 0 end) = 1
            as is_currently_qualified,
        max(case when funnel_stage = 'won' then 1 else 0 end) = 1 as is_won,
        min(case when is_at_least_qualified then occurred_at end) as qualified_at,
        min(case when funnel_stage = 'won' then occurred_at end) as won_at,
        max(
            case
                when funnel_stage = 'won' and value is not null and value_reporting is null then 1
                else 0
            end
        ) = 1 as has_unconverted_value,
        sum(case when funnel_stage = 'won' then value_reporting end) as won_value_converted,
        min(case when funnel_stage = 'won' and value is not null then currency end)
            as least_won_currency,
        max(case when funnel_stage = 'won' and value is not null then currency end)
            as greatest_won_currency,
        sum(case when funnel_stage = 'won' then value end) as won_value,
        count(*) as outcomes

    from ranked
    group by lead_id

),

qualified as (

    select
        lead_id,
        current_stage,
        is_qualified,
        is_currently_qualified,
        is_won,
        qualified_at,
        won_at,
        -- A sum over several currencies means nothing.
        case when least_won_currency = greatest_won_currency then won_value end as won_value,
        case when least_won_currency = greatest_won_currency then least_won_currency end
            as won_currency,
        has_unconverted_value,
        case when not has_unconverted_value then won_value_converted end as won_value_reporting,
        outcomes

    from aggregated

)

select * from qualified
