{{ config(materialized='table') }}

{%- set reached_by = {
    'qualified': "('qualified', 'opportunity', 'won')",
    'opportunity': "('opportunity', 'won')",
} %}

/*
    Grain: one row per lead, stage of the funnel and occurrence, of the stages that conversion
    events tell of.

    `qualified` and `opportunity` occur once per lead, at the earliest outcome that reached them; a
    later stage implies the earlier (rule R9). `won` occurs once per purchase: a deal of HubSpot is
    one, however often it is won, with the amount that it has now; of other CRMs each won outcome is.
    So an older outcome that arrives later, or a corrected amount, changes a row and never its key.
*/

with

outcomes as (

    select * from {{ ref('int_outcomes__staged') }}
    where
        lead_id is not null
        and is_at_least_qualified

),

reached as (

    {% for stage in conversion_stages() %}
    {% if not loop.first %}
    union all

    {% endif %}
    select
        *,
        '{{ stage }}' as told_stage,
        {% if stage == 'won' %}
        -- After an erasure a deal's events no longer say which deal they are of.
        case
            when source = 'hubspot_deals' and event_id like 'deal:%'
                then source || '|deal:' || {{ dbt.split_part('event_id', "':'", 2) }}
            else outcome_key
        end as happening
        {% else %}
        lead_id as happening
        {% endif %}

    from outcomes
    where funnel_stage in {{ reached_by.get(stage, "('" ~ stage ~ "')") }}

    {% endfor %}
),

ranked as (

    select
        *,
        row_number() over (
            partition by told_stage, happening
            order by
                occurred_at,
                {{ funnel_rank('funnel_stage') }},
                outcome_key
        ) as place,
        row_number() over (
            partition by told_stage, happening
            order by
                case when value is null then 1 else 0 end,
                occurred_at desc,
                outcome_key desc
        ) as place_of_value

    from reached

),

amounts as (

    select
        happening,
        value,
        currency

    from ranked
    where
        told_stage = 'won'
        and place_of_value = 1

),

occurred as (

    select
        ranked.lead_id,
        ranked.told_stage as funnel_stage,
        case when ranked.told_stage = 'won' then ranked.happening else 'first' end as occurrence,
        ranked.outcome_key,
        ranked.source,
        cast(amounts.value as decimal(18, 6)) as value, -- noqa: RF04
        amounts.currency,
        ranked.occurred_at

    from ranked
    left join amounts
        on
            ranked.told_stage = 'won'
            and ranked.happening = amounts.happening
    where ranked.place = 1

)

select * from occurred
