{{ config(meta={'dagster': {'ref': {'name': 'fct_ad_spend'}}}) }}
/* Rule R12: the rows of an account day are the account's own total of its latest complete read. */

with

days as (

    select * from {{ ref('int_insight_days__latest') }}

),

spend as (

    select
        platform,
        account_id,
        spend_date,
        sum(spend) as spend

    from {{ ref('fct_ad_spend') }}
    group by platform, account_id, spend_date

)

select
    coalesce(days.platform, spend.platform) as platform,
    coalesce(days.account_id, spend.account_id) as account_id,
    coalesce(days.spend_date, spend.spend_date) as spend_date,
    days.account_spend,
    spend.spend

from days
full outer join spend
    on
        days.platform = spend.platform
        and days.account_id = spend.account_id
        and days.spend_date = spend.spend_date
where
    days.account_id is null
    or days.account_spend <> coalesce(spend.spend, 0)
