{{ config(materialized='table') }}

/*
    Grain: one row per platform and id of a post that ads were made of (E10).

    A referral of a post names no ad, and several ads may share one post: it is a candidate for
    having been paid for, never more. The id is the creative's story, with its page in front or
    without, or its Instagram media; creatives an ad had before count as well.
*/

with

ads as (

    select distinct
        platform,
        ad_id,
        creative_id
    from {{ ref('stg_meta_ads__ads') }}

),

creatives as (

    select distinct
        platform,
        creative_id,
        effective_object_story_id,
        effective_instagram_media_id
    from {{ ref('stg_meta_ads__creatives') }}

),

named as (

    {% for post_id in [
        'creatives.effective_object_story_id',
        dbt.split_part('creatives.effective_object_story_id', "'_'", 2),
        'creatives.effective_instagram_media_id',
    ] %}
    {{ 'union distinct' if not loop.first }}
    select
        ads.platform,
        ads.ad_id,
        {{ post_id }} as post_id

    from ads
    inner join creatives
        on
            ads.platform = creatives.platform
            and ads.creative_id = creatives.creative_id
    {% endfor %}

),

boosted as (

    select
        platform,
        post_id,
        cast(count(distinct ad_id) as bigint) as ads

    from named
    where coalesce(post_id, '') <> ''
    group by platform, post_id

)

select * from boosted
