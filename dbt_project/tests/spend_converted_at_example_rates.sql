{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_ad_spend'}}}) }}
/*
    Names each currency that was converted at the made-up rates that ship with the project. Replace
    them in dbt_project/seeds/exchange_rates.csv.
*/

with

spend as (

    select * from {{ ref('fct_ad_spend') }}

),

rates as (

    select * from {{ ref('int_exchange_rates__daily') }}

)

select
    spend.currency,
    rates.reporting_currency,
    min(spend.spend_date) as first_day,
    max(spend.spend_date) as last_day

from spend
inner join rates
    on
        spend.spend_date = rates.rate_date
        and spend.currency = rates.currency
where rates.rate_source = 'example'
group by spend.currency, rates.reporting_currency
