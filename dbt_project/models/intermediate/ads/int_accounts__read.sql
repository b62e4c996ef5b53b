{{ config(materialized='view') }}

/* Grain: one row per platform, account and read that found it new or changed. */

select
    platform,
    account_id,
    account_name,
    currency,
    timezone,
    account_status,
    read_no,
    read_at

from {{ ref('stg_meta_ads__accounts') }}

union all

select
    platform,
    account_id,
    account_name,
    currency,
    timezone,
    account_status,
    read_no,
    read_at

from {{ ref('stg_google_ads__accounts') }}
