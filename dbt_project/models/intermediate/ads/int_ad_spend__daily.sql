{{
    config(
        materialized = 'incremental',
        incremental_strategy = 'delete+insert',
        unique_key = 'account_day_key',
        on_schema_change = 'fail',
    )
}}
/*
    Grain: one row per platform, account, account day and ad; one per ad group and campaign with
    spend, impressions or clicks that it has beyond its ads (`ad_group`, `campaign`: Performance Max
    has no ads at all); and one of row_kind `unallocated` for every account day (rules R10, R12).

    Nothing is split by a guess: what has no ad stays with its campaign. The unallocated row is the
    account's own total less all others, also where that is zero: so each account day always has a
    row, which replaces the day when the platform emptied it (E41) and remembers the read it was
    made from. Only account days whose latest complete read is another than that are made again.
    The key is one column because a delete by several joins row by row. An ad that stands in
    several ad groups is one row: all of it, under the least of them and the campaign of that one.
*/

with

days as (

    select * from {{ ref('int_insight_days__latest') }}

),

spend_rows as (

    select * from {{ ref('int_spend_rows__read') }}

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

rows_of_days as (

    select
        touched_days.account_day_key,
        spend_rows.spend_level,
        spend_rows.ad_id,
        spend_rows.adset_id,
        spend_rows.campaign_id,
        coalesce(spend_rows.currency, touched_days.currency) as currency,
        spend_rows.spend,
        coalesce(spend_rows.impressions, 0) as impressions,
        coalesce(spend_rows.clicks, 0) as clicks,
        coalesce(spend_rows.inline_link_clicks, 0) as inline_link_clicks,
        coalesce(spend_rows.platform_conversations, 0) as platform_conversations

    from touched_days
    inner join spend_rows
        on
            touched_days.platform = spend_rows.platform
            and touched_days.account_id = spend_rows.account_id
            and touched_days.spend_date = spend_rows.spend_date
            and touched_days.read_no = spend_rows.read_no

),

ads_in_places as (

    select
        *,
        first_value(campaign_id) over (
            partition by account_day_key, ad_id
            order by adset_id, campaign_id
        ) as campaign_of_least_adset

    from rows_of_days
    where spend_level = 'ad'

),

ad_rows as (

    select
        account_day_key,
        ad_id,
        'ad' as row_kind,
        min(adset_id) as adset_id,
        min(campaign_of_least_adset) as campaign_id,
        min(currency) as currency,
        sum(spend) as spend,
        sum(impressions) as impressions,
        sum(clicks) as clicks,
        sum(inline_link_clicks) as inline_link_clicks,
        sum(platform_conversations) as platform_conversations,
        count(*) as source_rows

    from ads_in_places
    group by account_day_key, ad_id

),

-- Of each ad group: what its ads have, and the whole that it has itself.
ad_group_parts as (

    select
        account_day_key,
        adset_id,
        min(campaign_id) as campaign_id,
        min(currency) as currency,
        max(case when spend_level = 'ad_group' then 1 else 0 end) as has_own,
        sum(case when spend_level = 'ad_group' then spend else 0 end) as own_spend,
        sum(case when spend_level = 'ad_group' then impressions else 0 end) as own_impressions,
        sum(case when spend_level = 'ad_group' then clicks else 0 end) as own_clicks,
        sum(case when spend_level = 'ad' then spend else 0 end) as ads_spend,
        sum(case when spend_level = 'ad' then impressions else 0 end) as ads_impressions,
        sum(case when spend_level = 'ad' then clicks else 0 end) as ads_clicks

    from rows_of_days
    where
        spend_level in ('ad_group', 'ad')
        and account_day_key in (
            select higher.account_day_key
            from rows_of_days as higher
            where higher.spend_level <> 'ad'
        )
    group by account_day_key, adset_id

),

ad_group_rows as (

    select
        account_day_key,
        'ad_group:' || adset_id as ad_id,
        'ad_group' as row_kind,
        adset_id,
        campaign_id,
        currency,
        own_spend - ads_spend as spend,
        own_impressions - ads_impressions as impressions,
        own_clicks - ads_clicks as clicks

    from ad_group_parts
    where has_own = 1

),

campaign_parts as (

    select
        account_day_key,
        campaign_id,
        currency,
        spend as own_spend,
        impressions as own_impressions,
        clicks as own_clicks

    from rows_of_days
    where spend_level = 'campaign'

),

below_campaigns as (

    select
        account_day_key,
        campaign_id,
        sum(case when has_own = 1 then own_spend else ads_spend end) as spend,
        sum(case when has_own = 1 then own_impressions else ads_impressions end) as impressions,
        sum(case when has_own = 1 then own_clicks else ads_clicks end) as clicks

    from ad_group_parts
    group by account_day_key, campaign_id

),

campaign_rows as (

    select
        campaign_parts.account_day_key,
        'campaign:' || campaign_parts.campaign_id as ad_id,
        'campaign' as row_kind,
        cast(null as varchar) as adset_id,
        campaign_parts.campaign_id,
        campaign_parts.currency,
        campaign_parts.own_spend - coalesce(below_campaigns.spend, 0) as spend,
        campaign_parts.own_impressions - coalesce(below_campaigns.impressions, 0) as impressions,
        campaign_parts.own_clicks - coalesce(below_campaigns.clicks, 0) as clicks

    from campaign_parts
    left join below_campaigns
        on
            campaign_parts.account_day_key = below_campaigns.account_day_key
            and campaign_parts.campaign_id = below_campaigns.campaign_id

),

remainder_rows as (

    select * from ad_group_rows
    union all
    select * from campaign_rows

),

object_rows as (

    select * from ad_rows
    union all
    select
        *,
        0 as inline_link_clicks,
        0 as platform_conversations,
        0 as source_rows
    from remainder_rows
    where
        spend <> 0
        or impressions <> 0
        or clicks <> 0

),

object_totals as (

    select
        account_day_key,
        sum(spend) as spend,
        sum(impressions) as impressions,
        sum(clicks) as clicks

    from object_rows
    group by account_day_key

),

unallocated_rows as (

    select
        touched_days.account_day_key,
        'unallocated' as ad_id,
        'unallocated' as row_kind,
        cast(null as varchar) as adset_id,
        cast(null as varchar) as campaign_id,
        touched_days.currency,
        touched_days.account_spend - coalesce(object_totals.spend, 0) as spend,
        touched_days.account_impressions - coalesce(object_totals.impressions, 0) as impressions,
        touched_days.account_clicks - coalesce(object_totals.clicks, 0) as clicks,
        0 as inline_link_clicks,
        0 as platform_conversations,
        0 as source_rows

    from touched_days
    left join object_totals
        on touched_days.account_day_key = object_totals.account_day_key

),

united as (

    select * from object_rows
    union all
    select * from unallocated_rows

),

typed as (

    select
        touched_days.platform,
        touched_days.account_id,
        touched_days.spend_date,
        united.account_day_key,
        united.ad_id,
        united.row_kind,
        united.adset_id,
        united.campaign_id,
        united.currency,
        cast(united.spend as decimal(18, 6)) as spend,
        cast(united.impressions as bigint) as impressions,
        cast(united.clicks as bigint) as clicks,
        cast(united.inline_link_clicks as bigint) as inline_link_clicks,
        cast(united.platform_conversations as bigint) as platform_conversations,
        cast(united.source_rows as bigint) as source_rows,
        touched_days.read_no,
        touched_days.read_at

    from united
    inner join touched_days
        on united.account_day_key = touched_days.account_day_key

)

select * from typed
