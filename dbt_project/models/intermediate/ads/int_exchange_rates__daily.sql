/*
    Grain: one row per day and currency for which there is a rate to the reporting currency.

    A rate holds for its day and the 7 days after it, until a newer one; a day beyond has no row,
    so that an amount stays unconverted instead of wrong (rule R13). Nothing converts a currency
    to itself: such amounts stand as they are.
*/

with

exchange_rates as (

    select * from {{ ref('exchange_rates') }}

),

offsets as (

    select ages.days_old
    from (values (0), (1), (2), (3), (4), (5), (6), (7)) as ages (days_old)

),

carried as (

    select
        cast(
            {{ dbt.dateadd('day', 'offsets.days_old', 'exchange_rates.rate_date') }} as date
        ) as rate_date,
        exchange_rates.currency,
        exchange_rates.rate,
        exchange_rates.source as rate_source,
        exchange_rates.rate_date as known_on,
        offsets.days_old

    from exchange_rates
    cross join offsets
    where
        exchange_rates.reporting_currency = {{ reporting_currency() }}
        and exchange_rates.currency <> {{ reporting_currency() }}

),

ranked as (

    select
        *,
        row_number() over (partition by rate_date, currency order by days_old asc) as recency

    from carried

),

daily as (

    select
        rate_date,
        currency,
        {{ reporting_currency() }} as reporting_currency,
        rate,
        rate_source,
        known_on

    from ranked
    where recency = 1

)

select * from daily
