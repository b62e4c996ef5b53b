{{
    config(
        materialized = 'incremental',
        incremental_strategy = 'delete+insert',
        unique_key = 'object_key',
        on_schema_change = 'fail',
    )
}}
/*
    Grain: one row per platform, level (ad, ad_group, campaign) and object that spend ever named:
    names and parents as last told.

    Rows of withdrawn reads count too: an ad once seen is kept for good (rule R8). Only reads behind
    the last one taken of the same platform are looked at: a read lands whole, under the lock,
    before the models run.
*/

with

-- Read once a part: a common table expression would be made whole, of all reads, for its parts.
new_rows as (

    {% for part in behind_own_reads() %}
    {{ 'union all' if not loop.first }}
    select * from {{ ref('int_spend_rows__read') }}
    where {{ part }}
    {% endfor %}

),

named_rows as (

    select
        *,
        case spend_level when 'ad' then ad_id when 'ad_group' then adset_id else campaign_id end
            as object_id

    from new_rows

),

keyed as (

    select
        *,
        platform || ':' || spend_level || ':' || object_id as object_key

    from named_rows

),

candidates as (

    select
        object_key,
        platform,
        spend_level,
        object_id,
        account_id,
        ad_id,
        adset_id,
        campaign_id,
        ad_name,
        adset_name,
        campaign_name,
        currency,
        spend_date,
        read_no

    from keyed
    {% if is_incremental() %}
        union all
        select
            object_key,
            platform,
            spend_level,
            object_id,
            account_id,
            ad_id,
            adset_id,
            campaign_id,
            ad_name,
            adset_name,
            campaign_name,
            currency,
            spend_date,
            read_no

        from {{ this }}
        where object_key in (select keyed.object_key from keyed)
    {% endif %}

),

ranked as (

    select
        *,
        row_number() over (
            partition by object_key
            order by read_no desc, spend_date desc, account_id asc, adset_id asc
        ) as recency

    from candidates

),

latest as (

    select
        object_key,
        platform,
        spend_level,
        object_id,
        account_id,
        ad_id,
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
