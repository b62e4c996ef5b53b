/*
    Grain: one row per platform, account and account day: its latest complete read (rule R12).

    A day that Meta emptied stays, with zeros: it clears the rows of an earlier read (E41).
*/

with

insight_days as (

    select * from {{ source('ads', 'spend_days') }}

),

latest as (

    {{ latest_read('insight_days', ['platform', 'account_id', 'spend_date']) }}

),

keyed as (

    select
        platform,
        account_id,
        spend_date,
        platform || ':' || account_id || ':' || cast(spend_date as {{ dbt.type_string() }}) as account_day_key,
        currency,
        account_spend,
        account_impressions,
        account_clicks,
        ad_rows,
        read_no,
        read_at

    from latest

)

select * from keyed
