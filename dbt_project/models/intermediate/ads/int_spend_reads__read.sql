{{ config(materialized='view') }}

/* Grain: one row per platform, account, read and range of days whose spend it took to the end. */

select
    platform,
    account_id,
    since_date,
    until_date,
    read_no,
    read_at

from {{ ref('stg_meta_ads__insight_reads') }}

union all

select
    platform,
    account_id,
    since_date,
    until_date,
    read_no,
    read_at

from {{ ref('stg_google_ads__cost_reads') }}
