"""The SQL that says what a comparison found: leads with sentences, campaigns side by side."""

from __future__ import annotations

SOURCE_MACRO = """
create or replace temp macro source_of(basis, ad_id, ad_name) as
case
    when basis in ('ctwa_click', 'ctwa_ad')
        then 'the ad ' || coalesce('"' || ad_name || '"', ad_id, 'that Meta did not name')
    when basis = 'web_ad_id' and ad_id is not null
        then 'the site, after the ad ' || coalesce('"' || ad_name || '"', ad_id)
    when basis = 'web_ad_id' then 'the site, after a campaign that its address named'
    when basis = 'web_click_id' then 'the site, after a click on an ad'
    when basis = 'web_utm' then 'the site, by the UTM parameters of its address'
    when basis = 'post' then 'a post that was not paid for'
    when basis = 'ad_suspected' then 'an ad that Meta did not name'
    when basis = 'outbound' then 'a message that we had sent first'
    when basis = 'direct' then 'no ad (they wrote of their own accord)'
    else coalesce(basis, 'nothing')
end
"""

CREDIT_DIFF = """
select
    e.lead_id,
    e.change,
    coalesce(causes.cause, 'other') as cause,
    $prefix || case
        when e.change = 'requalified' and e.b.is_qualified
            then 'an outcome makes the lead of ' || born_b || ' qualified; its source stays'
        when e.change = 'requalified'
            then 'the lead of ' || born_a || ' is no longer qualified; its source stays'
        when e.change = 'latest_touch'
            then
                'first touch and credit stay; another message counts as the latest touch ('
                || coalesce(e.b.latest_channel, 'none') || ', before '
                || coalesce(e.a.latest_channel, 'none') || ')'
        when e.change = 'appeared' and e.mechanic = 'split'
            then
                'a lead of its own since ' || born_b
                || '; its messages were part of another lead before. Credited to ' || source_b
        when e.change = 'appeared'
            then 'a new lead of ' || born_b || ', credited to ' || source_b
        when e.change = 'vanished' and e.mechanic = 'merged'
            then
                'no lead of its own any more: its messages of ' || born_a
                || ' belong to a lead who had come before. ' || source_a || ' loses it'
        when e.change = 'vanished'
            then 'the lead of ' || born_a || ' is no longer there. ' || source_a || ' loses it'
        when e.mechanic = 'exclusion' and e.b.is_excluded
            then 'left out of the counts: ' || coalesce(e.b.exclusion_reason, 'excluded')
        when e.mechanic = 'exclusion' then 'counted again: no longer excluded'
        when e.mechanic = 'other_touch'
            then
                'of the same touches another one gives the source: ' || source_b
                || ' in place of ' || source_a
        when e.mechanic in ('new_touch', 'lost_touch', 'merged', 'split')
            then
                'the source is now the touch of ' || at_b || ' (' || source_b
                || '), before it was that of ' || at_a || ' (' || source_a || ')'
        when e.mechanic = 'evidence'
            then
                'the touch of ' || at_b || ' gives the source as before, but it now counts as '
                || source_b || ', before as ' || source_a
        when e.mechanic = 'resolved'
            then
                'same touch and ad; the ad is now ' || coalesce(e.b.resolution, 'unknown')
                || ', before ' || coalesce(e.a.resolution, 'unknown')
        when e.mechanic = 'placed' then 'same touch and ad; the ad now stands in another campaign'
        when e.mechanic = 'day'
            then
                'same touch and ad; its day is now ' || e.b.report_date || ', before '
                || e.a.report_date
        else 'nothing in the marts says why'
    end as because,
    e.a.first_touch_date as first_touch_date_a, e.b.first_touch_date as first_touch_date_b,
    e.a.platform as platform_a, e.b.platform as platform_b,
    e.a.campaign_key as campaign_id_a, e.b.campaign_key as campaign_id_b,
    e.a.campaign_name as campaign_name_a, e.b.campaign_name as campaign_name_b,
    e.a.ad_id as ad_id_a, e.b.ad_id as ad_id_b,
    e.a.channel as channel_a, e.b.channel as channel_b,
    e.a.basis as basis_a, e.b.basis as basis_b,
    e.a.latest_channel as latest_channel_a, e.b.latest_channel as latest_channel_b,
    e.a.is_qualified as is_qualified_a, e.b.is_qualified as is_qualified_b,
    e.a.is_excluded as is_excluded_a, e.b.is_excluded as is_excluded_b,
    why_a.why as why_a, why_b.why as why_b
from (
    select
        explained.*,
        case change
            when 'requalified' then coalesce(flips.mechanic, 'outcome')
            when 'latest_touch' then 'latest'
            else explained.mechanic
        end as shown_mechanic,
        strftime(a.first_touch_at, '%-d %B %Y') as born_a,
        strftime(b.first_touch_at, '%-d %B %Y') as born_b,
        strftime(a.source_touch_at, '%-d %B %Y') as at_a,
        strftime(b.source_touch_at, '%-d %B %Y') as at_b,
        source_of(a.basis, a.ad_id, a.ad_name) as source_a,
        source_of(b.basis, b.ad_id, b.ad_name) as source_b
    from explained left join flips on explained.lead_id = flips.lead_id
    where change is not null
) as e
left join causes on e.shown_mechanic = causes.mechanic
left join (select lead_id, why from why_a where lead_id in (select lead_id from pairs)) as why_a
    on e.lead_id = why_a.lead_id
left join (select lead_id, why from why_b where lead_id in (select lead_id from pairs)) as why_b
    on e.lead_id = why_b.lead_id
order by e.change, e.lead_id
"""

CAMPAIGNS = """
with sides as (
    select 'a' as side, platform, campaign_id, null as channel, campaign_name, report_date,
        leads, qualified_leads, spend_reporting
    from performance_a
    union all
    select 'b', platform, campaign_id, null, campaign_name, report_date, leads, qualified_leads,
        spend_reporting
    from performance_b
    union all
    select 'a', null, null, source_channel, null, report_date, 1, cast(is_qualified as integer), 0
    from leads_a where report_date is not null and platform is null
    union all
    select 'b', null, null, source_channel, null, report_date, 1, cast(is_qualified as integer), 0
    from leads_b where report_date is not null and platform is null
)
select
    platform, campaign_id, channel,
    arg_max(campaign_name, (side, report_date)) as campaign_name,
    coalesce(sum(leads) filter (side = 'a'), 0) as leads_a,
    coalesce(sum(leads) filter (side = 'b'), 0) as leads_b,
    coalesce(sum(qualified_leads) filter (side = 'a'), 0) as qualified_leads_a,
    coalesce(sum(qualified_leads) filter (side = 'b'), 0) as qualified_leads_b,
    case when count(*) filter (side = 'a' and spend_reporting is null) = 0
        then coalesce(sum(spend_reporting) filter (side = 'a'), 0) end as spend_reporting_a,
    case when count(*) filter (side = 'b' and spend_reporting is null) = 0
        then coalesce(sum(spend_reporting) filter (side = 'b'), 0) end as spend_reporting_b
from sides
group by platform, campaign_id, channel
order by platform nulls last, campaign_id, channel
"""
