{{ config(meta={'dagster': {'ref': {'name': 'fct_ad_spend'}}}) }}
/*
    Rule R12: the rows of an account day add up to the account's own total of its latest complete
    read; and all ads that the read counted on that day are there (E52), in fct_ad_spend and in
    spend_reconciliation.
*/

with

spend as (

    select
        platform,
        account_id,
        spend_date,
        sum(spend) as spend,
        sum(source_rows) as ad_rows

    from {{ ref('fct_ad_spend') }}
    group by platform, account_id, spend_date

)

select
    coalesce(whole.platform, spend.platform) as platform,
    coalesce(whole.account_id, spend.account_id) as account_id,
    coalesce(whole.spend_date, spend.spend_date) as spend_date,
    whole.account_spend,
    spend.spend,
    whole.ad_rows as ad_rows_read,
    spend.ad_rows as ad_rows_found,
    reconciled.ad_rows as ad_rows_reconciled

from {{ ref('int_insight_days__latest') }} as whole
full outer join spend
    on
        whole.platform = spend.platform
        and whole.account_id = spend.account_id
        and whole.spend_date = spend.spend_date
left join {{ ref('spend_reconciliation') }} as reconciled
    on
        whole.platform = reconciled.platform
        and whole.account_id = reconciled.account_id
        and whole.spend_date = reconciled.spend_date
where
    whole.account_id is null
    or whole.account_spend <> coalesce(spend.spend, 0)
    or whole.ad_rows <> coalesce(spend.ad_rows, 0)
    or reconciled.ad_rows is null
    or whole.ad_rows <> reconciled.ad_rows
