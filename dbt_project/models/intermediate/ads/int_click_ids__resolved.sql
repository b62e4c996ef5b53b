/*
    Grain: one row per platform and click id, with the ad it was a click on.

    A click id stands in one customer's clicks; where two tell of it, the latest read counts.
*/

with

clicks as (

    select * from {{ ref('stg_google_ads__click_views') }}

),

ranked as (

    select
        *,
        row_number() over (
            partition by platform, gclid
            order by read_no desc, account_id asc, click_date asc, ad_id asc
        ) as recency

    from clicks

),

resolved as (

    select
        platform,
        gclid,
        account_id,
        campaign_id,
        adset_id,
        ad_id,
        click_date

    from ranked
    where recency = 1

)

select * from resolved
