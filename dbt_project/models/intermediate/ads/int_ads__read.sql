{{ config(materialized='view') }}

/*
    Grain: one row per platform, ad and read that found it new or changed.

    Google may show one ad in several ad groups: it is one ad here, in the least of them, as in its
    spend.
*/

with

google_ads as (

    select
        *,
        min(adset_id) over (partition by ad_id) as least_adset_id
    from {{ ref('stg_google_ads__ads') }}

),

read as (

    select
        platform,
        ad_id,
        account_id,
        campaign_id,
        adset_id,
        creative_id,
        ad_name,
        effective_status,
        cast(null as varchar) as headline,
        cast(null as varchar) as body,
        created_at,
        read_no,
        read_at

    from {{ ref('stg_meta_ads__ads') }}

    union all

    select
        platform,
        ad_id,
        account_id,
        campaign_id,
        adset_id,
        cast(null as varchar) as creative_id,
        ad_name,
        effective_status,
        headline,
        body,
        cast(null as timestamptz) as created_at,
        read_no,
        read_at

    from google_ads
    where adset_id is not distinct from least_adset_id

)

select * from read
