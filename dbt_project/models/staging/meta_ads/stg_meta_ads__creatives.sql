/* Grain: one row per creative and read that found it new or changed. */

select
    'meta' as platform,
    creative_id,
    account_id,
    creative_name,
    headline,
    body,
    media_type,
    call_to_action_type,
    thumbnail_url,
    effective_object_story_id,
    effective_instagram_media_id,
    url_tags,
    read_no,
    read_at

from {{ source('meta_ads', 'creatives') }}
