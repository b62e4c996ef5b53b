{{ config(materialized='view') }}

/* Grain: one row per platform, ad set (Google: ad group) and read that found it new or changed. */

select
    platform,
    adset_id,
    account_id,
    campaign_id,
    adset_name,
    effective_status,
    destination_type,
    optimization_goal,
    read_no,
    read_at

from {{ ref('stg_meta_ads__adsets') }}

union all

select
    platform,
    adset_id,
    account_id,
    campaign_id,
    adset_name,
    effective_status,
    cast(null as varchar) as destination_type,
    optimization_goal,
    read_no,
    read_at

from {{ ref('stg_google_ads__ad_groups') }}
