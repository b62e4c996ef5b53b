{{
    config(
        materialized = 'incremental',
        incremental_strategy = 'delete+insert',
        unique_key = 'account_day_key',
        on_schema_change = 'fail',
    )
}}
/*
    Grain: one row per platform, account, account day and ad, and one more of row_kind
    `unallocated` for every account day (rules R10, R12).

    The unallocated row is the account's own total less its ads, also where that is zero: so each
    account day always has a row, which replaces the day when Meta emptied it (E41) and remembers
    the read it was made from. Only account days whose latest complete read is another than that
    are made again. The key is one column because a delete by several joins row by row.
*/

with

days as (

    select * from {{ ref('int_insight_days__latest') }}

),

insights as (

    select * from {{ ref('stg_meta_ads__insights') }}

),

touched_days as (

    select days.*
    from days
    {% if is_incremental() %}
        left join {{ this }} as built
            on
                days.account_day_key = built.account_day_key
                and built.row_kind = 'unallocated'
        where built.read_no is null or built.read_no <> days.read_no
    {% endif %}

),

ad_rows as (

    select
        touched_days.platform,
        touched_days.account_id,
        touched_days.spend_date,
        touched_days.account_day_key,
        insights.ad_id,
        'ad' as row_kind,
        insights.adset_id,
        insights.campaign_id,
        coalesce(insights.currency, touched_days.currency) as currency,
        insights.spend,
        coalesce(insights.impressions, 0) as impressions,
        coalesce(insights.clicks, 0) as clicks,
        coalesce(insights.inline_link_clicks, 0) as inline_link_clicks,
        coalesce(insights.platform_conversations, 0) as platform_conversations,
        touched_days.read_no,
        touched_days.read_at

    from touched_days
    inner join insights
        on
            touched_days.platform = insights.platform
            and touched_days.account_id = insights.account_id
            and touched_days.spend_date = insights.spend_date
            and touched_days.read_no = insights.read_no

),

ad_totals as (

    select
        account_day_key,
        sum(spend) as spend,
        sum(impressions) as impressions,
        sum(clicks) as clicks

    from ad_rows
    group by account_day_key

),

unallocated_rows as (

    select
        touched_days.platform,
        touched_days.account_id,
        touched_days.spend_date,
        touched_days.account_day_key,
        'unallocated' as ad_id,
        'unallocated' as row_kind,
        cast(null as varchar) as adset_id,
        cast(null as varchar) as campaign_id,
        touched_days.currency,
        touched_days.account_spend - coalesce(ad_totals.spend, 0) as spend,
        touched_days.account_impressions - coalesce(ad_totals.impressions, 0) as impressions,
        touched_days.account_clicks - coalesce(ad_totals.clicks, 0) as clicks,
        0 as inline_link_clicks,
        0 as platform_conversations,
        touched_days.read_no,
        touched_days.read_at

    from touched_days
    left join ad_totals
        on touched_days.account_day_key = ad_totals.account_day_key

),

united as (

    select * from ad_rows
    union all
    select * from unallocated_rows

),

typed as (

    select
        platform,
        account_id,
        spend_date,
        account_day_key,
        ad_id,
        row_kind,
        adset_id,
        campaign_id,
        currency,
        cast(spend as decimal(18, 6)) as spend,
        cast(impressions as bigint) as impressions,
        cast(clicks as bigint) as clicks,
        cast(inline_link_clicks as bigint) as inline_link_clicks,
        cast(platform_conversations as bigint) as platform_conversations,
        read_no,
        read_at

    from united

)

select * from typed
