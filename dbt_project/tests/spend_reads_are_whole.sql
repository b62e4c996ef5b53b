{{ config(meta={'dagster': {'ref': {'name': 'spend_reconciliation'}}}) }}
/* The read of an account day says how many ads it has; all of them are there (E52). */

with

days as (

    select * from {{ ref('int_insight_days__latest') }}

),

reconciled as (

    select * from {{ ref('spend_reconciliation') }}

)

select
    days.platform,
    days.account_id,
    days.spend_date,
    days.ad_rows as ad_rows_read,
    reconciled.ad_rows as ad_rows_found

from days
left join reconciled
    on
        days.platform = reconciled.platform
        and days.account_id = reconciled.account_id
        and days.spend_date = reconciled.spend_date
where
    reconciled.ad_rows is null
    or days.ad_rows <> reconciled.ad_rows
