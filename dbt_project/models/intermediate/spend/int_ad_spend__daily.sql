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
    spend, impressions or clicks beyond its ads (`ad_group`, `campaign`: Performance Max has no ads
    at all); and one of row_kind `unallocated` for every account day (rules R10, R12).

    Nothing is split by a guess: what has no ad stays with its campaign. The unallocated row is the
    account's own total less all other rows, even if that is zero: so each account day always has a
    row, which replaces the day when the platform emptied it (E41) and remembers the read it was
    made from. Only account days whose latest complete read has changed are rebuilt. The key is one
    column because a delete by several columns joins row by row. An ad in several ad groups is one
    row with all of it, under the lowest ad group id and the campaign of that ad group.
*/

{% set measures = ['spend', 'impressions', 'clicks'] %}
{% set all_measures = measures + ['inline_link_clicks', 'platform_conversations'] %}
with

touched_days as (

    select latest.*
    from {{ ref('int_insight_days__latest') }} as latest
    {% if is_incremental() %}
        left join {{ this }} as built
            on
                latest.account_day_key = built.account_day_key
                and built.row_kind = 'unallocated'
        where built.read_no is null or built.read_no <> latest.read_no
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
        {% for count in all_measures[1:] %}
        coalesce(spend_rows.{{ count }}, 0) as {{ count }},
        {% endfor %}
        spend_rows.spend

    from touched_days
    inner join {{ source('ads', 'spend_rows') }} as spend_rows
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
        {% for measure in all_measures %}
        sum({{ measure }}) as {{ measure }},
        {% endfor %}
        count(*) as source_rows

    from ads_in_places
    group by account_day_key, ad_id

),

-- Per ad group: the sum of its ads, and its own total.
ad_group_parts as (

    select
        account_day_key,
        adset_id,
        min(campaign_id) as campaign_id,
        min(currency) as currency,
        {% for measure in measures %}
        sum(case when spend_level = 'ad_group' then {{ measure }} else 0 end) as own_{{ measure }},
        sum(case when spend_level = 'ad' then {{ measure }} else 0 end) as ads_{{ measure }},
        {% endfor %}
        max(case when spend_level = 'ad_group' then 1 else 0 end) as has_own

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

below_campaigns as (

    select
        {% for measure in measures %}
        sum(case when has_own = 1 then own_{{ measure }} else ads_{{ measure }} end) as {{ measure }},
        {% endfor %}
        account_day_key,
        campaign_id

    from ad_group_parts
    group by account_day_key, campaign_id

),

remainder_rows as (

    select
        account_day_key,
        'ad_group:' || adset_id as ad_id,
        'ad_group' as row_kind,
        adset_id,
        campaign_id,
        currency,
        {% for measure in measures %}
        own_{{ measure }} - ads_{{ measure }} as {{ measure }},
        {% endfor %}
        0 as inline_link_clicks,
        0 as platform_conversations,
        0 as source_rows
    from ad_group_parts
    where has_own = 1
    union all
    select
        campaigns.account_day_key,
        'campaign:' || campaigns.campaign_id as ad_id,
        'campaign' as row_kind,
        cast(null as {{ dbt.type_string() }}) as adset_id,
        campaigns.campaign_id,
        campaigns.currency,
        {% for measure in measures %}
        campaigns.{{ measure }} - coalesce(below_campaigns.{{ measure }}, 0) as {{ measure }},
        {% endfor %}
        0 as inline_link_clicks,
        0 as platform_conversations,
        0 as source_rows
    from rows_of_days as campaigns
    left join below_campaigns
        on
            campaigns.account_day_key = below_campaigns.account_day_key
            and campaigns.campaign_id = below_campaigns.campaign_id
    where campaigns.spend_level = 'campaign'

),

object_rows as (

    select * from ad_rows
    union all
    select * from remainder_rows
    where
        spend <> 0
        or impressions <> 0
        or clicks <> 0

),

object_totals as (

    select
        {% for measure in measures %}
        sum({{ measure }}) as {{ measure }},
        {% endfor %}
        account_day_key

    from object_rows
    group by account_day_key

),

united as (

    select * from object_rows
    union all
    select
        touched_days.account_day_key,
        'unallocated' as ad_id,
        'unallocated' as row_kind,
        cast(null as {{ dbt.type_string() }}) as adset_id,
        cast(null as {{ dbt.type_string() }}) as campaign_id,
        touched_days.currency,
        {% for measure in measures %}
        touched_days.account_{{ measure }} - coalesce(object_totals.{{ measure }}, 0) as {{ measure }},
        {% endfor %}
        0 as inline_link_clicks,
        0 as platform_conversations,
        0 as source_rows
    from touched_days
    left join object_totals
        on touched_days.account_day_key = object_totals.account_day_key

)

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
    {% for count in all_measures[1:] + ['source_rows'] %}
    cast(united.{{ count }} as bigint) as {{ count }},
    {% endfor %}
    touched_days.read_no,
    touched_days.read_at

from united
inner join touched_days
    on united.account_day_key = touched_days.account_day_key
