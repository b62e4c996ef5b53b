{{ config(materialized='view') }}

/*
    Grain: one row per platform, level, object, account day and read. Meta tells spend by ad only;
    Google by campaign, ad group and ad, each level with the whole of its own.
*/

select
    platform,
    account_id,
    spend_date,
    'ad' as spend_level,
    ad_id,
    adset_id,
    campaign_id,
    ad_name,
    adset_name,
    campaign_name,
    currency,
    spend,
    impressions,
    clicks,
    inline_link_clicks,
    platform_conversations,
    read_no,
    read_at

from {{ ref('stg_meta_ads__insights') }}

union all

select
    platform,
    account_id,
    spend_date,
    spend_level,
    ad_id,
    adset_id,
    campaign_id,
    ad_name,
    adset_name,
    campaign_name,
    currency,
    spend,
    impressions,
    clicks,
    0 as inline_link_clicks,
    0 as platform_conversations,
    read_no,
    read_at

from {{ ref('stg_google_ads__costs') }}
