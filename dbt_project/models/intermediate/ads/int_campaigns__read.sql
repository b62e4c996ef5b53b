{{ config(materialized='view') }}

/* Grain: one row per platform, campaign and read that found it new or changed. */

select
    platform,
    campaign_id,
    account_id,
    campaign_name,
    objective,
    buying_type,
    effective_status,
    created_at,
    read_no,
    read_at

from {{ ref('stg_meta_ads__campaigns') }}

union all

select
    platform,
    campaign_id,
    account_id,
    campaign_name,
    objective,
    cast(null as varchar) as buying_type,
    effective_status,
    cast(null as timestamptz) as created_at,
    read_no,
    read_at

from {{ ref('stg_google_ads__campaigns') }}
