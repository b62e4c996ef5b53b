/*
    Grain: one row per touch: the ad, ad set, campaign and account it came from, found by id (rule
    R8).

    A Google click id leads to what `click_view` says about that click. A click id belongs to one
    customer; if two list it, the latest read counts. Where a page's address names an ad and its
    parents, the ad decides; its parents count as far as the API knows them. `resolution` is null
    where nothing names an ad or campaign. A gclid is `pending` until the clicks of its day have
    been read of every Google customer, and `gone` if they were read and Google listed no such click.

    `boosted_post_ads`, of a touch by a post (E10): how many of our ads show that post. Its referral
    names no ad, and several ads may share one post: it may have been paid for, and no more can be
    said. A post is known by the creative's story id, with or without the page's id in front, or by
    its Instagram media id; creatives that an ad no longer uses count too.

    Rebuilt in full at every run: ads and clicks may be looked up long after the touch (E33).
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

    {{ deduplicate(
        source('ads', 'click_views'),
        'platform, gclid',
        'read_no desc, account_id asc, click_date asc, ad_id asc'
    ) }}

),

click_reads as (

    select max(click_date) as read_through
    from {{ source('ads', 'click_reads') }}
    group by account_id

),

ad_creatives as (

    select distinct
        ad_id,
        creative_id
    from {{ source('ads', 'ads') }}
    where platform = 'meta'

),

creatives as (

    select distinct
        creative_id,
        effective_object_story_id,
        effective_instagram_media_id
    from {{ source('ads', 'creatives') }}
    where platform = 'meta'

),

posts as (

    {% for post_id in [
        'creatives.effective_object_story_id',
        dbt.split_part('creatives.effective_object_story_id', "'_'", 2),
        'creatives.effective_instagram_media_id',
    ] %}
    {{ 'union distinct' if not loop.first }}
    select
        ad_creatives.ad_id,
        {{ post_id }} as post_id
    from ad_creatives
    inner join creatives
        on ad_creatives.creative_id = creatives.creative_id
    {% endfor %}

),

boosted_posts as (

    select
        post_id,
        cast(count(distinct ad_id) as bigint) as ads

    from posts
    where post_id <> ''
    group by post_id

),

clicked as (

    select
        touches.touch_id,
        touches.platform,
        touches.post_id,
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

located as (

    select
        clicked.touch_id,
        clicked.platform,
        clicked.post_id,
        clicked.occurred_at,
        clicked.has_ad,
        clicked.is_unknown_click,
        clicked.ad_id,
        ads.resolution as ad_resolution,
        coalesce(
            case when ads.resolution = 'resolved' then ads.adset_id end, adsets.adset_id
        ) as adset_id,
        coalesce(
            case when ads.resolution = 'resolved' then ads.campaign_id end,
            adsets.campaign_id,
            campaigns.campaign_id
        ) as campaign_id,
        coalesce(
            ads.account_id, clicked.account_id, adsets.account_id, campaigns.account_id
        ) as account_id

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
                <= (select min(click_reads.read_through) from click_reads)
                then 'gone'
            else 'pending'
        end as resolution,
        coalesce(boosted_posts.ads, 0) as boosted_post_ads

    from located
    left join campaigns
        on
            located.platform = campaigns.platform
            and located.campaign_id = campaigns.campaign_id
    left join accounts
        on
            located.platform = accounts.platform
            and located.account_id = accounts.account_id
    left join boosted_posts
        on located.post_id = boosted_posts.post_id

)

select * from placed
