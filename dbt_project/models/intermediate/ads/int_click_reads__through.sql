/* Grain: one row: the last day whose clicks were read of every Google customer; null without any. */

with

reads as (

    select * from {{ ref('stg_google_ads__click_reads') }}

),

by_account as (

    select
        account_id,
        max(click_date) as read_through

    from reads
    group by account_id

),

through as (

    select min(read_through) as clicks_read_through
    from by_account

)

select * from through
