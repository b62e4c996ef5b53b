/* Grain: one row per platform, ad and time from which its names were so (E36). */

with

names as (

    select * from {{ ref('int_ad_names__versioned') }}

),

final as (

    select
        platform,
        ad_id,
        valid_from,
        ad_name,
        adset_id,
        adset_name,
        campaign_id,
        campaign_name,
        valid_to

    from names

)

select * from final
