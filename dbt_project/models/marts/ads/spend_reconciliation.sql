/*
    Grain: one row per platform, account and account day that was read, or should have been (rules
    R12, R13).

    `account_spend` = `ads_spend` + `campaign_level_spend` + `unallocated`, exactly. A day that was
    not read has nulls and a reason; account `unknown` stands for a platform that was never read
    although leads came from it.
*/

with

days as (

    select * from {{ ref('int_insight_days__latest') }}

),

open_days as (

    select * from {{ ref('int_spend_days__unread') }}

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
        coalesce(days.platform, open_days.platform) as platform,
        coalesce(days.account_id, open_days.account_id) as account_id,
        coalesce(days.spend_date, open_days.spend_date) as spend_date,
        days.currency,
        cast(days.account_spend as decimal(18, 6)) as account_spend,
        cast(
            case when days.platform is not null then coalesce(ad_totals.ads_spend, 0) end
            as decimal(18, 6)
        ) as ads_spend,
        cast(
            case when days.platform is not null then coalesce(ad_totals.campaign_level_spend, 0) end
            as decimal(18, 6)
        ) as campaign_level_spend,
        cast(
            case when days.platform is not null then coalesce(ad_totals.unallocated, 0) end
            as decimal(18, 6)
        ) as unallocated,
        cast(
            case when days.platform is not null then coalesce(ad_totals.ad_rows, 0) end as bigint
        ) as ad_rows,
        days.read_at,
        coalesce(open_days.spend_status, 'read') as spend_status,
        open_days.unread_reason as spend_unread_reason

    from days
    full outer join open_days
        on
            days.platform = open_days.platform
            and days.account_id = open_days.account_id
            and days.spend_date = open_days.spend_date
    left join ad_totals
        on
            days.platform = ad_totals.platform
            and days.account_id = ad_totals.account_id
            and days.spend_date = ad_totals.spend_date

)

select * from final
