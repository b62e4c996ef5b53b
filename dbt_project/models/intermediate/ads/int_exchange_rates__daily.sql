/*
    Grain: one row per day and currency for which there is a rate to the reporting currency.

    A rate holds for its day and the 7 days after it, until a newer one; later days have no row, so
    that an amount stays unconverted instead of wrong (rule R13). Amounts already in the reporting
    currency are not converted. Of several rates that hold on a day the newest counts, and of the
    same day the seed's before the European Central Bank's; the made-up example rates count only if
    there is no other.
*/

with

seed_rates as (

    select
        rate_date,
        currency,
        rate,
        source as rate_source,
        case when source = 'example' then 2 else 0 end as rank_of_source

    from {{ ref('exchange_rates') }}
    where reporting_currency = {{ reporting_currency() }}

),

ecb_reads as (

    select * from {{ source('exchange_rates', 'ecb_rates') }}
    where '{{ exchange_rates_source() }}' = 'ecb'

),

latest_ecb_rates as (

    {{ latest_read('ecb_reads', ['rate_date', 'currency']) }}

),

-- The ECB quotes in euros and has no row for the euro itself.
ecb_quotes as (

    select
        rate_date,
        currency,
        rate_per_eur
    from latest_ecb_rates
    union all
    select distinct
        rate_date,
        'EUR' as currency,
        cast(1 as decimal(18, 8)) as rate_per_eur
    from latest_ecb_rates

),

ecb_rates as (

    select
        quotes.rate_date,
        quotes.currency,
        {{ exact_rate('reporting.rate_per_eur', 'quotes.rate_per_eur') }} as rate,
        'ecb' as rate_source,
        1 as rank_of_source

    from ecb_quotes as quotes
    inner join ecb_quotes as reporting
        on
            quotes.rate_date = reporting.rate_date
            and reporting.currency = {{ reporting_currency() }}

),

rates as (

    select * from seed_rates
    union all
    select * from ecb_rates

),

offsets as (

    select ages.days_old
    from (values (0), (1), (2), (3), (4), (5), (6), (7)) as ages (days_old)

),

carried as (

    select
        cast(
            {{ dbt.dateadd('day', 'offsets.days_old', 'rates.rate_date') }} as date
        ) as rate_date,
        rates.currency,
        rates.rate,
        rates.rate_source,
        rates.rank_of_source,
        rates.rate_date as known_on,
        offsets.days_old

    from rates
    cross join offsets
    where rates.currency <> {{ reporting_currency() }}

),

ranked as (

    select
        *,
        row_number() over (
            partition by rate_date, currency
            order by
                case when rank_of_source = 2 then 1 else 0 end asc,
                days_old asc,
                rank_of_source asc
        ) as recency

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
