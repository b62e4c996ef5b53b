{{ config(materialized='view') }}

/* Grain: one row per platform, account day and complete read, with the account's own total. */

select
    platform,
    account_id,
    spend_date,
    currency,
    account_spend,
    account_impressions,
    account_clicks,
    ad_rows,
    read_no,
    read_at

from {{ ref('stg_meta_ads__insight_days') }}

union all

select
    platform,
    account_id,
    spend_date,
    currency,
    account_spend,
    account_impressions,
    account_clicks,
    ad_rows,
    read_no,
    read_at

from {{ ref('stg_google_ads__cost_days') }}
