{{ config(materialized='table') }}

/*
    Grain: one row per lead, with one sentence for people who buy media: the touch, when, and the
    rules with their version that gave the lead its source.
*/

with

leads as (

    select * from {{ ref('int_leads__sourced') }}

),

ads as (

    select * from {{ ref('int_ads__described') }}

),

phrased as (

    select
        leads.lead_id,
        leads.basis,
        leads.rule_version,
        {{ utc_text('leads.first_touch_at') }} as at_time,
        case
            when leads.ad_id is null then 'an ad that Meta did not name'
            when coalesce(ads.headline, ads.ad_name) is null then 'the ad ' || leads.ad_id
            else
                'the ad "' || coalesce(ads.headline, ads.ad_name) || '" (ad ' || leads.ad_id || ')'
        end as the_ad,
        case
            when leads.ad_id is null or ads.resolution = 'resolved' then ''
            when ads.resolution = 'foreign' then '; the ad is in an account that we cannot see'
            when ads.resolution = 'gone' then '; the ad no longer exists'
            else '; the ad has not been looked up yet'
        end as whereabouts,
        leads.is_withheld,
        leads.is_billed_as_ad,
        leads.has_referral

    from leads
    left join ads
        on
            leads.platform = ads.platform
            and leads.ad_id = ads.ad_id

),

explained as (

    select
        lead_id,
        case
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
                then 'Wrote on ' || at_time || ' after tapping a post that was not paid for'
            when basis = 'ad_suspected' and is_withheld
                then
                    'Wrote on ' || at_time || ' in a message that Meta withheld, as it does with '
                    || 'first messages from ads, and no referral followed within 72 hours'
            when basis = 'ad_suspected' and is_billed_as_ad and not has_referral
                then
                    'Wrote on ' || at_time || '; Meta billed the chat as opened by an ad, but '
                    || 'no referral says which'
            when basis = 'ad_suspected'
                then 'Wrote on ' || at_time || ' with a referral that names no ad'
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
        || ' (first touch R5, basis R6 ' || basis || ', rules v' || rule_version || ').'
            as why

    from phrased

)

select * from explained
