/*
    Grain: one row per platform, account and account day that was read (rule R12).

    `account_spend` = `ads_spend` + `campaign_level_spend` + `unallocated`, exactly.
*/

with

days as (

    select * from {{ ref('int_insight_days__latest') }}

),

spend as (

    select * from {{ ref('fct_ad_spend') }}

),

ad_totals as (

    select
        platform,
        account_id,
        spend_date,
        sum(case when row_kind = 'ad' then spend else 0 end) as ads_spend,
        sum(case when row_kind in ('ad_group', 'campaign') then spend else 0 end)
            as campaign_level_spend,
        sum(case when row_kind = 'unallocated' then spend else 0 end) as unallocated,
        sum(source_rows) as ad_rows

    from spend
    group by platform, account_id, spend_date

),

final as (

    select
        days.platform,
        days.account_id,
        days.spend_date,
        days.currency,
        cast(days.account_spend as decimal(18, 6)) as account_spend,
        cast(coalesce(ad_totals.ads_spend, 0) as decimal(18, 6)) as ads_spend,
        cast(coalesce(ad_totals.campaign_level_spend, 0) as decimal(18, 6))
            as campaign_level_spend,
        cast(coalesce(ad_totals.unallocated, 0) as decimal(18, 6)) as unallocated,
        cast(coalesce(ad_totals.ad_rows, 0) as bigint) as ad_rows,
        days.read_at

    from days
    left join ad_totals
        on
            days.platform = ad_totals.platform
            and days.account_id = ad_totals.account_id
            and days.spend_date = ad_totals.spend_date

)

select * from final
