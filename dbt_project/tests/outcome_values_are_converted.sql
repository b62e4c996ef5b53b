{{ config(severity='warn', store_failures=true, store_failures_as='view', schema='checks') }}

-- Rule R13: names the currencies of outcome values that have no rate; add them to `exchange_rates`.
select
    currency,
    count(*) as outcomes,
    min(occurred_at) as first_at

from {{ ref('fct_outcomes') }}
where
    value is not null
    and value_reporting is null
group by currency
