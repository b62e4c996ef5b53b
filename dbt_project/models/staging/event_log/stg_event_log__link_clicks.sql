/* Grain: one row per click on the site's WhatsApp button as sent; repeats included. */

select
    seq,
    ordinal,
    received_at,
    link_code_key,
    clicked_at,
    page_host,
    page_path,
    referrer_host,
    utm_source,
    utm_medium,
    utm_campaign,
    utm_content,
    utm_term,
    utm_id,
    ad_platform,
    ad_id,
    adset_id,
    campaign_id,
    has_unexpanded_macro,
    gclid,
    gbraid,
    wbraid,
    fbclid,
    msclkid,
    content_key

from {{ source('event_log', 'link_clicks') }}
