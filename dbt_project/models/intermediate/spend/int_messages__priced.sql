/*
    Grain: one row per message of ours that was delivered on WhatsApp: what it costs, and which lead
    it went to.

    The rate is that of the day, market and category: the installation's own (`own_message_rates`),
    else Meta's (`message_rates`). A service message has the rate of a utility message, unless a rate
    of its own is listed. What is not known is null with its reason, never 0 (rules R13, R16).
*/

with

charged as (

    select * from {{ ref('int_messages__charged') }}

),

listed as (

    select
        0 as rank_of_card,
        market,
        category,
        currency,
        rate,
        valid_from
    from {{ ref('own_message_rates') }}
    union all
    select
        1 as rank_of_card,
        market,
        category,
        currency,
        rate,
        valid_from
    from {{ ref('message_rates') }}

),

cards as (

    select * from listed
    union all
    select
        rank_of_card,
        market,
        'service' as category,
        currency,
        rate,
        valid_from
    from listed
    where
        category = 'utility'
        and not exists (
            select 1 from listed as own
            where
                own.category = 'service'
                and own.rank_of_card = listed.rank_of_card
                and own.market = listed.market
        )

),

rates as (

    select
        *,
        lead(valid_from) over (
            partition by rank_of_card, market, category
            order by valid_from
        ) as valid_until

    from cards

),

leads as (

    select
        messages.message_key,
        leads.lead_id

    from {{ ref('int_messages__in_conversations') }} as messages
    inner join {{ ref('int_leads__sourced') }} as leads
        on
            messages.person_key = leads.person_key
            and messages.lead_scope = leads.lead_scope
            and messages.lead_cycle = leads.lead_cycle
    where messages.direction = 'outbound'

),

rated as (

    select
        charged.*,
        leads.lead_id,
        rates.currency as rate_currency,
        rates.rate,
        row_number() over (
            partition by charged.message_key
            order by rates.rank_of_card asc, rates.valid_from desc
        ) as place

    from charged
    left join leads
        on charged.message_key = leads.message_key
    left join rates
        on
            charged.charge = 'charged'
            and charged.market = rates.market
            and charged.category = rates.category
            and charged.cost_date >= rates.valid_from
            and (rates.valid_until is null or charged.cost_date < rates.valid_until)

),

with_cost as (

    select
        *,
        case
            when charge = 'unknown' then 'no_pricing'
            when charge <> 'charged' then null
            when is_by_conversation then 'conversation_pricing'
            when market is null then 'no_market'
            when rate is null then 'no_rate'
        end as why_no_cost,
        case
            when charge not in ('charged', 'unknown') then cast(0 as decimal(18, 6))
            when not is_by_conversation then cast(rate as decimal(18, 6))
        end as cost

    from rated
    where place = 1

),

priced as (

    select
        with_cost.message_key,
        with_cost.lead_id,
        with_cost.business_number_id,
        with_cost.cost_date,
        with_cost.category,
        coalesce(with_cost.market, 'unknown') as market,
        with_cost.is_by_number_market,
        with_cost.charge,
        with_cost.charged_by,
        with_cost.cost,
        case when with_cost.charge = 'charged' and with_cost.cost is not null then with_cost.rate_currency end
            as currency,
        case
            when with_cost.cost = 0 then cast(0 as decimal(24, 10))
            when with_cost.rate_currency = {{ reporting_currency() }}
                then cast(with_cost.cost as decimal(24, 10))
            else cast(cast(with_cost.cost as decimal(24, 6)) * exchange_rates.rate as decimal(24, 10))
        end as cost_reporting,
        coalesce(
            with_cost.why_no_cost,
            case
                when
                    with_cost.charge = 'charged'
                    and with_cost.rate_currency <> {{ reporting_currency() }}
                    and exchange_rates.rate is null
                    then 'no_exchange_rate'
            end
        ) as unpriced_reason

    from with_cost
    left join {{ ref('int_exchange_rates__daily') }} as exchange_rates
        on
            with_cost.rate_currency = exchange_rates.currency
            and with_cost.cost_date = exchange_rates.rate_date

)

select * from priced
