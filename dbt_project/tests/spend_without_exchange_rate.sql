{{ config(severity='warn', meta={'dagster': {'ref': {'name': 'fct_ad_spend'}}}) }}
/*
    Rule R13: names each currency and the days whose spend could not be converted. Add rates to
    dbt_project/seeds/exchange_rates.csv; a rate serves its own day and the 7 after it.
*/

select
    currency,
    {{ reporting_currency() }} as reporting_currency,
    min(spend_date) as first_day_without_rate,
    max(spend_date) as last_day_without_rate,
    count(distinct spend_date) as days_without_rate,
    sum(spend) as spend_not_converted

from {{ ref('fct_ad_spend') }}
where spend_reporting is null
group by currency
