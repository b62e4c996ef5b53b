{{ config(materialized='table') }}

/*
    Grain: one row per touch: the ad, ad set, campaign and account it came by, found by id (rule R8).

    A click id of Google leads to what `click_view` told of that click. Where a page's address names
    an ad and its parents, the ad decides; its parents count as far as the API knows them.
    `resolution` is null where nothing names an ad or campaign. A gclid is `pending` until the clicks
    of its touch's day have been read, `gone` when they were and Google named no such click.

    Whole at every run: ads and clicks may be looked up long after the touch (E33).
*/

with

touches as (

    select * from {{ ref('int_touches__classified') }}

),

ads as (

    select * from {{ ref('int_ads__described') }}

),

adsets as (

    select * from {{ ref('int_adsets__described') }}

),

campaigns as (

    select * from {{ ref('int_campaigns__described') }}

),

accounts as (

    select * from {{ ref('int_accounts__described') }}

),

clicks as (

    select * from {{ ref('int_click_ids__resolved') }}

),

click_reads as (

    select * from {{ ref('int_click_reads__through') }}

),

clicked as (

    select
        touches.touch_id,
        touches.platform,
        touches.occurred_at,
        touches.gclid is not null and clicks.gclid is null as is_unknown_click,
        touches.has_ad,
        coalesce(touches.ad_id, clicks.ad_id) as ad_id,
        coalesce(touches.adset_id, clicks.adset_id) as adset_id,
        coalesce(touches.campaign_id, clicks.campaign_id) as campaign_id,
        clicks.account_id

    from touches
    left join clicks
        on
            touches.platform = clicks.platform
            and touches.gclid = clicks.gclid

),

found as (

    select
        clicked.*,
        ads.resolution as ad_resolution,
        case when ads.resolution = 'resolved' then ads.adset_id end as adset_of_ad,
        case when ads.resolution = 'resolved' then ads.campaign_id end as campaign_of_ad,
        adsets.adset_id as adset_found,
        adsets.campaign_id as campaign_of_adset,
        campaigns.campaign_id as campaign_found,
        coalesce(
            ads.account_id, clicked.account_id, adsets.account_id, campaigns.account_id
        ) as account_found

    from clicked
    left join ads
        on
            clicked.platform = ads.platform
            and clicked.ad_id = ads.ad_id
    left join adsets
        on
            clicked.platform = adsets.platform
            and clicked.adset_id = adsets.adset_id
    left join campaigns
        on
            clicked.platform = campaigns.platform
            and clicked.campaign_id = campaigns.campaign_id

),

located as (

    select
        touch_id,
        platform,
        occurred_at,
        has_ad,
        is_unknown_click,
        ad_id,
        ad_resolution,
        coalesce(adset_of_ad, adset_found) as adset_id,
        coalesce(campaign_of_ad, campaign_of_adset, campaign_found) as campaign_id,
        account_found as account_id

    from found

),

placed as (

    select
        located.touch_id,
        located.platform,
        located.ad_id,
        located.adset_id,
        located.campaign_id,
        campaigns.campaign_name,
        located.account_id,
        case when accounts.is_timezone_known then accounts.timezone end as account_timezone,
        case
            when not located.has_ad then null
            when located.campaign_id is not null then 'resolved'
            when located.ad_id is not null then coalesce(located.ad_resolution, 'pending')
            when
                located.is_unknown_click
                and {{ local_date('located.occurred_at', "'UTC'") }}
                <= click_reads.clicks_read_through
                then 'gone'
            else 'pending'
        end as resolution

    from located
    cross join click_reads
    left join campaigns
        on
            located.platform = campaigns.platform
            and located.campaign_id = campaigns.campaign_id
    left join accounts
        on
            located.platform = accounts.platform
            and located.account_id = accounts.account_id

)

select * from placed
