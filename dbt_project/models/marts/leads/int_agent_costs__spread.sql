{{ config(schema='intermediate', contract={'enforced': false}) }}
/*
    Grain: one row per conversation that Meta's agent held last and that began since its answers cost
    something (1 August 2026); and one, without a conversation, per amount that was told of a number
    and month in which it held none.

    Meta bills the agent's answers by token, which no webhook tells. What the seed `agent_costs` says a
    number paid in a month is split evenly over the conversations of the number that began in it;
    millionths that cannot be split go to the first of them, so that the shares add up to what was
    told (rule R16). A conversation of a month of which nothing was told has no amount, and the
    reason `not_told`.
*/

with

told as (

    select
        cast({{ dbt.date_trunc('month', 'agent_costs.month') }} as date) as cost_month,
        coalesce(moved_numbers.current_number_id, agent_costs.business_number_id)
            as business_number_id,
        agent_costs.currency,
        agent_costs.amount

    from {{ ref('agent_costs') }} as agent_costs
    left join {{ ref('business_numbers') }} as moved_numbers
        on agent_costs.business_number_id = moved_numbers.business_number_id

),

months as (

    select
        business_number_id,
        cost_month,
        min(currency) as currency,
        cast(sum(amount) * 1000000 as bigint) as millionths

    from told
    group by business_number_id, cost_month
    having count(distinct currency) = 1

),

held as (

    select
        conversation_id,
        lead_id,
        business_number_id,
        {{ local_date('started_at', reporting_timezone()) }} as cost_date,
        cast(
            {{ dbt.date_trunc('month', local_date('started_at', reporting_timezone())) }} as date
        ) as cost_month

    from {{ ref('fct_conversations') }}
    where
        answered_by = 'ai_agent'
        and not is_test
        and {{ local_date('started_at', reporting_timezone()) }} >= cast('2026-08-01' as date)

),

counted as (

    select
        *,
        row_number() over (
            partition by business_number_id, cost_month order by conversation_id
        ) as place,
        count(*) over (partition by business_number_id, cost_month) as conversations

    from held

),

shares as (

    select
        counted.conversation_id,
        counted.lead_id,
        coalesce(counted.business_number_id, months.business_number_id) as business_number_id,
        coalesce(counted.cost_date, months.cost_month) as cost_date,
        months.currency,
        months.millionths,
        coalesce(counted.place, 1) as place,
        coalesce(counted.conversations, 1) as conversations

    from counted
    full outer join months
        on
            counted.business_number_id = months.business_number_id
            and counted.cost_month = months.cost_month

),

split as (

    select
        *,
        cast(
            cast(
                (millionths - mod(millionths, conversations)) / conversations
                + case when place <= mod(millionths, conversations) then 1 else 0 end
                as decimal(18, 0)
            ) * cast(0.000001 as decimal(7, 6)) as decimal(18, 6)
        ) as amount

    from shares

),

converted as (

    select
        split.conversation_id,
        split.lead_id,
        split.business_number_id,
        split.cost_date,
        split.amount,
        split.currency,
        case
            when split.currency = {{ reporting_currency() }} then cast(split.amount as decimal(24, 10))
            else cast(cast(split.amount as decimal(24, 6)) * exchange_rates.rate as decimal(24, 10))
        end as cost_reporting,
        case
            when split.amount is null then 'not_told'
            when split.currency <> {{ reporting_currency() }} and exchange_rates.rate is null
                then 'no_exchange_rate'
        end as unpriced_reason

    from split
    left join {{ ref('int_exchange_rates__daily') }} as exchange_rates
        on
            split.currency = exchange_rates.currency
            and split.cost_date = exchange_rates.rate_date

)

select * from converted
