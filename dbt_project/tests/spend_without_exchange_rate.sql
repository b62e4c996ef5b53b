{{ config(
    severity='warn',
    store_failures=true,
    store_failures_as='view',
    schema='checks',
    meta={'dagster': {'ref': {'name': 'fct_ad_spend'}}}
) }}
/*
    Rule R13: names each currency whose spend could not be converted, with its accounts and days.
    Add rates to dbt_project/seeds/exchange_rates.csv, or set CTWA_EXCHANGE_RATES=ecb; a rate holds
    for its own day and the 7 days after it.
*/

with

unconverted as (

    select
        currency,
        account_id,
        min(spend_date) as first_day_without_rate,
        max(spend_date) as last_day_without_rate,
        count(distinct spend_date) as days_without_rate,
        sum(spend) as spend_not_converted

    from {{ ref('fct_ad_spend') }}
    where spend_reporting is null
    group by currency, account_id

)

select
    currency,
    {{ reporting_currency() }} as reporting_currency,
    {{ dbt.listagg('account_id', "', '", 'order by account_id') }} as account_ids,
    min(first_day_without_rate) as first_day_without_rate,
    max(last_day_without_rate) as last_day_without_rate,
    max(days_without_rate) as days_without_rate,
    sum(spend_not_converted) as spend_not_converted

from unconverted
group by currency
