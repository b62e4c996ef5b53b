{{
    config(
        materialized = 'incremental',
        incremental_strategy = 'delete+insert',
        unique_key = 'ad_key',
        on_schema_change = 'fail',
    )
}}
/*
    Grain: one row per platform and ad that a referral ever named, with the creative as the latest
    message showed it.

    A referral of type `post` names a post, not an ad (E10). Latest is decided by the message's own
    time, then by content, never by arrival, so any order of deliveries gives the same row (rule
    R3). Only envelopes after `last_seq` are read.
*/

with

messages as (

    select * from {{ source('event_log', 'messages') }}

),

new_messages as (

    select * from messages
    {% if is_incremental() %}
        where seq > {{ own_highest('last_seq') }}
    {% endif %}

),

new_referrals as (

    select
        'meta:' || referral_source_id as ad_key,
        'meta' as platform,
        referral_source_id as ad_id,
        referral_headline as headline,
        referral_body as body,
        referral_media_type as media_type,
        coalesce(referral_thumbnail_url, referral_image_url) as thumbnail_url,
        sent_at,
        content_key,
        seq

    from new_messages
    where
        has_referral
        and referral_source_id <> ''
        and coalesce(lower(referral_source_type), '') <> 'post'

),

candidates as (

    select * from new_referrals
    {% if is_incremental() %}
        union all
        select
            ad_key,
            platform,
            ad_id,
            headline,
            body,
            media_type,
            thumbnail_url,
            sent_at,
            content_key,
            last_seq as seq

        from {{ this }}
        where ad_key in (select new_referrals.ad_key from new_referrals)
    {% endif %}

),

ranked as (

    select
        *,
        max(seq) over (partition by ad_key) as last_seq,
        row_number() over (
            partition by ad_key
            order by sent_at desc, content_key desc, seq asc
        ) as recency

    from candidates

),

latest as (

    select
        ad_key,
        platform,
        ad_id,
        headline,
        body,
        media_type,
        thumbnail_url,
        sent_at,
        content_key,
        last_seq

    from ranked
    where recency = 1

)

select * from latest
