{{ config(materialized='view') }}

{%- set paid = "('cpc', 'ppc', 'paid', 'paidsearch', 'paid_search', 'paid-search', 'sem', 'cpm', "
    ~ "'cpv', 'paid_social', 'paidsocial', 'paid-social', 'display', 'ads')" %}
{%- set social = "('social', 'organic_social', 'organic-social', 'organicsocial', 'social_organic', "
    ~ "'social-organic', 'social-media', 'social_media')" %}

/*
    Grain: one row per touch that came from a page of the site, form or coded link: what the address
    of the page says of its source (rules R6 and R7).

    An id in the address that its platform put there is stronger than a click id, that stronger
    than UTM parameters. `fbclid` alone tells the channel and no ad. Names in UTM parameters decide
    a channel at most, never an ad or campaign (rule R8). Without any of it the basis is `direct`,
    the channel `web_other`: the person came by the site, nobody knows how they got there. Whose
    words `utm_source` are was told apart by the parser (`ad_platform`).
*/

with

forms as (

    select
        form_key as touch_id,
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
        msclkid

    from {{ ref('int_web_leads__deduplicated') }}

),

coded_chats as (

    select
        message_key as touch_id,
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
        msclkid

    from {{ ref('int_link_codes__matched') }}
    where state = 'matched'

),

pages as (

    select * from forms
    union all
    select * from coded_chats

),

read as (

    select
        *,
        lower(coalesce(utm_source, '')) as source_word,
        lower(coalesce(utm_medium, '')) as medium_word,
        coalesce(ad_id, adset_id, campaign_id) is not null and ad_platform is not null as has_ids,
        coalesce(gclid, gbraid, wbraid) is not null as has_google_click,
        coalesce(utm_source, utm_medium, utm_campaign, utm_content, utm_term, utm_id) is not null
            as has_utm

    from pages

),

with_basis as (

    select
        *,
        case
            when has_ids then 'web_ad_id'
            when has_google_click or msclkid is not null or fbclid is not null then 'web_click_id'
            when has_utm then 'web_utm'
            else 'direct'
        end as basis

    from read

),

with_channel as (

    select
        *,
        case
            when basis = 'web_ad_id' and ad_platform = 'meta' then 'meta_web'
            when basis = 'web_ad_id' then 'paid_search'
            when basis = 'web_click_id' and (has_google_click or msclkid is not null)
                then 'paid_search'
            when basis = 'web_click_id' and medium_word in {{ social }} then 'organic_social'
            when basis = 'web_click_id' then 'meta_web'
            when medium_word in {{ social }} then 'organic_social'
            when medium_word = 'organic' and source_word in ('facebook', 'instagram', 'fb', 'ig')
                then 'organic_social'
            when medium_word in {{ paid }} and ad_platform = 'meta' then 'meta_web'
            when medium_word in {{ paid }} and ad_platform is not null then 'paid_search'
            else 'web_other'
        end as channel

    from with_basis

),

classified as (

    select
        touch_id,
        basis,
        channel,
        case
            when channel = 'meta_web' then 'meta'
            when channel <> 'paid_search' then null
            when has_google_click and basis = 'web_click_id' then 'google'
            when msclkid is not null and basis = 'web_click_id' then 'microsoft'
            else ad_platform
        end as platform,
        case when has_ids then ad_id end as ad_id,
        case when has_ids then adset_id end as adset_id,
        case when has_ids then campaign_id end as campaign_id,
        gclid,
        coalesce(gclid, gbraid, wbraid, fbclid, msclkid) is not null as has_click_id,
        has_unexpanded_macro,
        page_host,
        page_path,
        referrer_host,
        utm_source,
        utm_medium,
        utm_campaign

    from with_channel

)

select * from classified
