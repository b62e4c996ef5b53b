{{ config(materialized='view') }}

{%- set paid = "('cpc', 'ppc', 'paid', 'paidsearch', 'paid_search', 'paid-search', 'sem', 'cpm', "
    ~ "'cpv', 'paid_social', 'paidsocial', 'paid-social', 'display', 'ads')" %}
{%- set social = "('social', 'organic_social', 'organic-social', 'organicsocial', 'social_organic', "
    ~ "'social-organic', 'social-media', 'social_media')" %}

/*
    Grain: one row per touch that came from a page of the site, form or coded link: what the address
    of the page says about its source (rules R6 and R7); or by an instant form of Meta's, which was
    sent from its ad, or without one (`is_organic`).

    An id in the address, put there by its platform under its own name or known to the platform's
    tables (int_pages__identified), is stronger than a click id, which is stronger than UTM
    parameters. `fbclid` alone gives the channel and no ad. Names in UTM parameters decide a channel
    at most, never an ad or campaign (rule R8). Without any of these the basis is `direct` and the
    channel `web_other`: the person came through the site, and we do not know what brought them
    there. The parser decided which platform `utm_source` means (`ad_platform`).
*/

with

pages as (

    select
        *,
        -- A Meta id that the parser recognised by its place and length alone has to exist.
        ad_platform is not null
        and (
            ad_id is not null
            or (ad_platform <> 'meta' and coalesce(adset_id, campaign_id) is not null)
            or (
                ad_platform = 'meta'
                and coalesce(
                    case when adset_id is distinct from utm_term then adset_id end,
                    case
                        when
                            campaign_id is distinct from utm_id
                            and campaign_id is distinct from utm_campaign
                            then campaign_id
                    end
                ) is not null
            )
        ) as has_own_ids

    from {{ ref('int_pages__identified') }}

),

read as (

    select
        touch_id,
        page_host,
        page_path,
        referrer_host,
        utm_source,
        utm_medium,
        utm_campaign,
        ad_platform,
        has_unexpanded_macro,
        gclid,
        gbraid,
        wbraid,
        fbclid,
        msclkid,
        catalogue_no,
        lead_form_id is not null as is_lead_form,
        coalesce(is_organic, false) as is_organic,
        lower(coalesce(utm_source, '')) as source_word,
        lower(coalesce(utm_medium, '')) as medium_word,
        has_own_ids or found_platform is not null as has_ids,
        coalesce(found_platform, ad_platform) as id_platform,
        -- An id in the parameter of another level counts as the level it is known as.
        coalesce(
            found_ad_id,
            case
                when
                    has_own_ids
                    and ad_id is distinct from found_adset_id
                    and ad_id is distinct from found_campaign_id
                    and coalesce(found_platform, ad_platform) = ad_platform
                    then ad_id
            end
        ) as ad_id,
        coalesce(
            found_adset_id,
            case
                when
                    has_own_ids
                    and adset_id is distinct from found_ad_id
                    and adset_id is distinct from found_campaign_id
                    and coalesce(found_platform, ad_platform) = ad_platform
                    then adset_id
            end
        ) as adset_id,
        coalesce(
            found_campaign_id,
            case
                when
                    has_own_ids
                    and campaign_id is distinct from found_ad_id
                    and campaign_id is distinct from found_adset_id
                    and coalesce(found_platform, ad_platform) = ad_platform
                    then campaign_id
            end
        ) as campaign_id,
        coalesce(gclid, gbraid, wbraid) is not null as has_google_click,
        coalesce(utm_source, utm_medium, utm_campaign, utm_content, utm_term, utm_id) is not null
            as has_utm

    from pages

),

with_basis as (

    select
        *,
        case
            when is_lead_form then 'lead_form'
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
            when basis = 'lead_form' and is_organic and ad_id is null then 'organic_social'
            when basis = 'lead_form' then 'meta_lead_form'
            when basis = 'web_ad_id' and id_platform = 'meta' then 'meta_web'
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
            when channel in ('meta_web', 'meta_lead_form') then 'meta'
            when channel <> 'paid_search' then null
            when has_google_click and basis = 'web_click_id' then 'google'
            when msclkid is not null and basis = 'web_click_id' then 'microsoft'
            when basis = 'web_ad_id' then id_platform
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
        utm_campaign,
        catalogue_no

    from with_channel

)

select
    *,
    -- All that a touch takes from its page: it is rebuilt when this text changes.
    concat_ws(
        '|',
        basis,
        channel,
        platform,
        'ad ' || ad_id,
        'adset ' || adset_id,
        'campaign ' || campaign_id,
        'click ' || gclid,
        case when has_click_id then 'any click' end
    ) as source_text
from classified
