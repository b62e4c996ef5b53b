/*
    Grain: one row per lead, with its account, campaign, ad set and ad, the day of its first touch
    in the time zone of the account whose ad brought it (rule R10), and one sentence for people who
    buy media: the touch, its time, and the rules (with their version) that gave the lead its
    source.

    The sentence goes on, if it applies, with where the ad is, what the settings changed (paid
    first, a lead per brand, a new cycle), whether the phone number belonged to another person
    before, and whether the lead is left out of the counts.
*/

with

leads as (

    select * from {{ ref('int_leads__sourced') }}

),

refused as (

    select
        later_person_key as person_key,
        max(last_seen_earlier_at) as last_seen_earlier_at

    from {{ source('identity', 'refused') }}
    where reason = 'recycled_number'
    group by later_person_key

),

phrased as (

    select
        leads.lead_id,
        leads.basis,
        leads.platform,
        placed.account_id,
        placed.campaign_id,
        placed.adset_id,
        placed.ad_id,
        placed.resolution,
        {{ local_date(
            'leads.first_touch_at',
            "coalesce(case when first_placed.resolution = 'resolved' then first_placed.account_timezone end, "
            ~ reporting_timezone() ~ ")"
        ) }} as first_touch_date,
        leads.rule_version,
        {{ utc_text('leads.source_touch_at') }} as at_time,
        case
            when placed.ad_id is null and placed.campaign_name is not null
                then 'the campaign "' || placed.campaign_name || '"'
            when placed.ad_id is null and leads.is_from_page then 'an ad'
            when placed.ad_id is null then 'an ad that Meta did not name'
            when coalesce(ads.headline, ads.ad_name) is null then 'the ad ' || placed.ad_id
            else
                'the ad "' || coalesce(ads.headline, ads.ad_name) || '" (ad ' || placed.ad_id || ')'
        end
        || case
            when coalesce(leads.referral_source_type, 'ad') in ('ad', 'post') then ''
            else ', of a new kind that Meta calls "' || leads.referral_source_type || '"'
        end as the_ad,
        case
            when placed.resolution is null or placed.resolution = 'resolved' then ''
            when placed.resolution = 'foreign' then '; the ad is in an account that we cannot see'
            when placed.resolution = 'gone' and leads.is_from_page and placed.ad_id is null
                then '; Google lists no such click in the accounts that are read'
            when placed.resolution = 'gone' then '; the ad no longer exists'
            when leads.is_from_page and placed.ad_id is null
                then '; the click has not been looked up yet'
            else '; the ad has not been looked up yet'
        end as whereabouts,
        case
            when placed.boosted_post_ads = 0 then ''
            when placed.boosted_post_ads = 1
                then '; an ad of ours shows the same post, so it may have been paid for'
            else
                '; ' || cast(placed.boosted_post_ads as {{ dbt.type_string() }})
                || ' ads of ours show the same post, so it may have been paid for'
        end as boost,
        -- E16: only if the setting moved the source away from the first touch.
        case
            when leads.source_touch_id = leads.first_touch_id then ''
            else
                case when leads.first_came_by_form then '; had first come' else '; had first written' end
                || ' on ' || {{ utc_text('leads.first_touch_at') }}
                || case leads.first_basis
                    when 'direct' then ' with no sign of an ad'
                    when 'outbound' then ' in answer to a message of ours'
                    when 'post' then ' after tapping a post'
                    when 'web_utm' then ' through the site'
                    when 'web_click_id' then ' through the site'
                    when 'lead_form' then ' by an instant form'
                    else ' from an ad that Meta did not name'
                end
                || ', but the first paid touch gives the source'
        end as earlier_touch,
        -- E31 and E18.
        case
            when leads.lead_scope = '' then ''
            else '; counted once per brand, here for ' || leads.lead_scope
        end
        || case
            when leads.lead_cycle = 1 then ''
            else
                '; counted as a new lead (no. '
                || cast(leads.lead_cycle as {{ dbt.type_string() }})
                || ' of this person) after more than {{ lead_cycle_days() }} days of silence'
        end as counting,
        -- E28.
        coalesce(
            '; the owner of this phone number before, until '
            || {{ utc_text('refused.last_seen_earlier_at') }} || ', is another person',
            ''
        ) as former_holder,
        -- E20.
        coalesce('; left out of the counts: ' || excluded.exclusion_reason, '') as exclusion,
        leads.is_withheld,
        leads.is_billed_as_ad,
        leads.has_referral,
        -- E62 and E21: through the site, by a form or a coded link in the chat.
        leads.is_from_page or leads.is_from_form as is_by_site,
        case
            when leads.is_from_form then 'Sent a form on '
            else 'Wrote on '
        end
        || {{ utc_text('leads.source_touch_at') }}
        || case
            when leads.is_from_form then ''
            else ', through the coded link of the site,'
        end as by_site,
        case leads.platform
            when 'google' then 'Google Ads'
            when 'microsoft' then 'Microsoft Advertising'
            else 'Meta'
        end as platform_name,
        coalesce(
            ' (' || nullif(
                concat_ws(' / ', pages.utm_source, pages.utm_medium, pages.utm_campaign), ''
            ) || ')',
            ''
        ) as utm_text,
        leads.channel

    from leads
    inner join {{ ref('int_touches__placed') }} as placed
        on leads.source_touch_id = placed.touch_id
    inner join {{ ref('int_touches__placed') }} as first_placed
        on leads.first_touch_id = first_placed.touch_id
    left join {{ ref('int_pages__classified') }} as pages
        on leads.source_touch_id = pages.touch_id
    left join {{ ref('int_ads__described') }} as ads
        on
            placed.platform = ads.platform
            and placed.ad_id = ads.ad_id
    left join refused
        on leads.person_key = refused.person_key
    left join {{ ref('int_leads__excluded') }} as excluded
        on leads.lead_id = excluded.lead_id

),

explained as (

    select
        lead_id,
        platform,
        account_id,
        campaign_id,
        adset_id,
        ad_id,
        channel,
        basis,
        resolution,
        first_touch_date,
        case
            when basis = 'lead_form'
                then
                    'Sent an instant form of Meta''s on ' || at_time || case
                        when channel = 'organic_social' then ', reached without an ad'
                        else ' after tapping ' || the_ad
                    end
            when basis = 'web_ad_id' and is_by_site
                then by_site || ' after a click on ' || the_ad || ' of ' || platform_name
            when basis = 'web_click_id' and channel = 'paid_search' and is_by_site
                then by_site || ' after a click on ' || the_ad || ' of ' || platform_name
            when basis = 'web_click_id' and is_by_site
                then by_site || ' after a click on a link at Meta, which names no ad'
            when basis = 'web_utm' and is_by_site
                then by_site || ' from a link marked' || utm_text
            when basis = 'direct' and is_by_site
                then by_site || ' with nothing in the page''s address that points to an ad'
            when basis in ('ctwa_click', 'ctwa_ad') and not has_referral
                then
                    'Wrote on ' || at_time
                    || case
                        when is_withheld then ' in a message that Meta withheld'
                        else '; Meta billed the chat as opened by an ad'
                    end
                    || '; the referral that followed within 72 hours leads to ' || the_ad
            when basis in ('ctwa_click', 'ctwa_ad')
                then 'Wrote on ' || at_time || ' after tapping ' || the_ad
            when basis = 'post'
                then
                    'Wrote on ' || at_time || ' after tapping a post, which Meta does not call an ad'
                    || boost
            when basis = 'ad_suspected' and has_referral
                then 'Wrote on ' || at_time || ' with a referral that names no ad'
            -- It took the referral that followed (E6), and that one has no id.
            when basis = 'ad_suspected' and platform is not null
                then
                    'Wrote on ' || at_time
                    || case
                        when is_withheld then ' in a message that Meta withheld'
                        else '; Meta billed the chat as opened by an ad'
                    end
                    || '; the referral that followed within 72 hours names no ad'
            when basis = 'ad_suspected' and is_withheld
                then
                    'Wrote on ' || at_time || ' in a message that Meta withheld, as it does with '
                    || 'first messages from ads, and no referral followed within 72 hours'
            when basis = 'ad_suspected'
                then
                    'Wrote on ' || at_time || '; Meta billed the chat as opened by an ad, but '
                    || 'no referral says which'
            when basis = 'outbound'
                then 'Answered on ' || at_time || ' a message that we had sent first'
            else 'Wrote on ' || at_time || ' with no sign of an ad'
        end
        || case
            when basis = 'ctwa_click' then ', with Meta''s click id'
            when basis = 'ctwa_ad' then ', without a click id'
            else ''
        end
        || whereabouts
        || earlier_touch
        || counting
        || former_holder
        || exclusion
        || ' (first {{ "paid " if first_touch() == "paid" }}touch R5, basis R6 ' || basis
        || ', rules v' || rule_version || ').'
            as why

    from phrased

)

select * from explained
