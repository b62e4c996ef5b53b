{{
    config(
        materialized = 'incremental',
        incremental_strategy = 'delete+insert',
        unique_key = 'ad_key',
        on_schema_change = 'fail',
    )
}}
/*
    Grain: one row per platform and ad that insights ever named: names and parents as last told.

    Rows of withdrawn reads count too: an ad once seen is kept for good (rule R8). Only reads behind
    the last one taken are looked at: a read lands whole, under the lock, before the models run.
*/

with

insights as (

    select * from {{ ref('int_spend_rows__read') }}

),

new_insights as (

    select
        *,
        platform || ':' || ad_id as ad_key

    from insights
    where
        spend_level = 'ad'
    {% if is_incremental() %}
            and (
                {% for platform in ['meta', 'google'] %}
                {{ 'or ' if not loop.first }}(
                    platform = '{{ platform }}'
                    and read_no > {{ own_highest('read_no', "platform = '" ~ platform ~ "'") }}
                )
                {% endfor %}
            )
        {% endif %}

),

candidates as (

    select
        ad_key,
        platform,
        ad_id,
        account_id,
        adset_id,
        campaign_id,
        ad_name,
        adset_name,
        campaign_name,
        currency,
        spend_date,
        read_no

    from new_insights
    {% if is_incremental() %}
        union all
        select
            ad_key,
            platform,
            ad_id,
            account_id,
            adset_id,
            campaign_id,
            ad_name,
            adset_name,
            campaign_name,
            currency,
            spend_date,
            read_no

        from {{ this }}
        where ad_key in (select new_insights.ad_key from new_insights)
    {% endif %}

),

ranked as (

    select
        *,
        row_number() over (
            partition by ad_key
            order by read_no desc, spend_date desc, account_id asc
        ) as recency

    from candidates

),

latest as (

    select
        ad_key,
        platform,
        ad_id,
        account_id,
        adset_id,
        campaign_id,
        ad_name,
        adset_name,
        campaign_name,
        currency,
        spend_date,
        read_no

    from ranked
    where recency = 1

)

select * from latest
