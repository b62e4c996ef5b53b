"""The SQL of a comparison: two databases with marts, `a` before and `b` after.

Every statement reads the views `leads_a`, `leads_b` and so on, which have the same columns on
both sides whatever version wrote the file (`comparison.sides`), and hash-joins by key: one pass
over each table. Nothing here rounds; money stays decimal(18, 6).
"""

from __future__ import annotations

PAIRS = """
create temp table pairs as
select coalesce(a.lead_id, b.lead_id) as lead_id, a, b
from leads_a as a
full outer join leads_b as b on a.lead_id = b.lead_id
where a.lead_id is null or b.lead_id is null or a is distinct from b
"""
"""Leads that differ in anything that credit depends on; `a`, `b` are whole rows."""

OWNERS = """
create temp table owners_{there} as
select touch_id, min(lead_id) as lead_id from touches_{there}
where touch_id in (select p.{here}.first_touch_id from pairs as p)
group by touch_id
"""
"""Whose, on one side, the first touches of the other side are."""

ERASED = """
create temp table erased as
select p.a.first_touch_at as at, p.a.basis as basis, p.a.ad_id as ad_id
from pairs as p
where p.b.lead_id is null and p.a.first_touch_id not in (select touch_id from owners_b)
intersect
select p.b.first_touch_at, p.b.basis, p.b.ad_id
from pairs as p
where p.a.lead_id is null and p.b.first_touch_id not in (select touch_id from owners_a)
"""
"""Leads whose keys an erasure made random: one gone and one come, alike in all else."""

MECHANICS = """
create temp table explained as
select
    p.*,
    case
        when p.a.lead_id is null and held_a.lead_id is not null then 'split'
        when p.a.lead_id is null and erased.at is not null then 'erased'
        when p.a.lead_id is null then 'new_touch'
        when p.b.lead_id is null and held_b.lead_id is null and erased.at is not null
            then 'erased'
        -- Also where the touch is gone: it now stands amid a chat of somebody else's.
        when p.b.lead_id is null then 'merged'
        when p.a.is_excluded <> p.b.is_excluded then 'exclusion'
        when p.a.first_touch_id is distinct from p.b.first_touch_id then
            case
                when held_a.lead_id is null then 'new_touch'
                when held_a.lead_id <> p.lead_id then 'merged'
                when held_b.lead_id is null then 'lost_touch'
                when held_b.lead_id <> p.lead_id then 'split'
                else 'other_touch'
            end
        when
            p.a.basis is distinct from p.b.basis
            or p.a.channel is distinct from p.b.channel
            or p.a.ad_id is distinct from p.b.ad_id
            or p.a.platform is distinct from p.b.platform
            then 'evidence'
        when p.a.resolution is distinct from p.b.resolution then 'resolved'
        when p.a.campaign_id is distinct from p.b.campaign_id then 'placed'
        when p.a.report_date is distinct from p.b.report_date then 'day'
    end as mechanic,
    case
        when p.a.lead_id is null then 'appeared'
        when p.b.lead_id is null then 'vanished'
        when p.a.is_excluded and not p.b.is_excluded then 'included'
        when p.b.is_excluded and not p.a.is_excluded then 'excluded'
        when
            p.a.platform is distinct from p.b.platform
            or p.a.campaign_key is distinct from p.b.campaign_key
            or p.a.source_channel is distinct from p.b.source_channel
            then 'moved'
        when p.a.report_date is distinct from p.b.report_date then 'redated'
        when p.a.is_qualified <> p.b.is_qualified then 'requalified'
        when
            p.a.first_touch_id is distinct from p.b.first_touch_id
            or p.a.basis is distinct from p.b.basis
            or p.a.channel is distinct from p.b.channel
            or p.a.ad_id is distinct from p.b.ad_id
            then 'reclassified'
        when
            p.a.latest_channel is distinct from p.b.latest_channel
            or p.a.latest_ad_id is distinct from p.b.latest_ad_id
            then 'latest_touch'
    end as change
from pairs as p
left join owners_a as held_a on p.b.first_touch_id = held_a.touch_id
left join owners_b as held_b on p.a.first_touch_id = held_b.touch_id
left join erased
    on
        (p.a.lead_id is null or p.b.lead_id is null)
        and coalesce(p.a.first_touch_at, p.b.first_touch_at) = erased.at
        and coalesce(p.a.basis, p.b.basis) = erased.basis
        and coalesce(p.a.ad_id, p.b.ad_id) is not distinct from erased.ad_id
"""
"""What happened to a lead's first touch (`mechanic`), and how its credit changed (`change`)."""

FLIPS = """
select
    lead_id,
    arg_min(mechanic, row(occurred_at, source, event_id)) as mechanic
from (
    select
        here.lead_id, here.occurred_at, here.source, here.event_id,
        case
            when there.event_id is null then 'outcome'
            when there.lead_id is distinct from here.lead_id then 'outcome_person'
            when there.stage is distinct from here.stage then 'outcome'
            else 'stage'
        end as mechanic
    from outcomes_{here} as here
    inner join explained
        on
            here.lead_id = explained.lead_id
            and explained.{here}.is_qualified
            and not explained.{there}.is_qualified
    left join outcomes_{there} as there
        on here.source = there.source and here.event_id = there.event_id
    where here.funnel_stage in ('qualified', 'opportunity', 'won')
)
group by lead_id
"""
"""Why a lead is qualified on one side only: the earliest outcome that says so there."""

LEAD_DELTAS = """
create temp table lead_deltas as
with counted as (
    select
        *,
        a.report_date is not null as in_a,
        b.report_date is not null as in_b,
        coalesce(cast(a.is_qualified as integer), 0) as qualified_a,
        coalesce(cast(b.is_qualified as integer), 0) as qualified_b,
        a.report_date is distinct from b.report_date
        or a.platform is distinct from b.platform
        or a.campaign_key is distinct from b.campaign_key
        or a.source_channel is distinct from b.source_channel as has_moved
    from explained
)
select
    a.report_date as report_date, a.platform as platform, a.campaign_key as campaign_id,
    a.source_channel as channel, mechanic, -1 as leads, -qualified_a as qualified_leads
from counted where in_a and has_moved
union all
select
    b.report_date, b.platform, b.campaign_key, b.source_channel, mechanic, 1,
    case when in_a then qualified_a else qualified_b end
from counted where in_b and has_moved
union all
select
    b.report_date, b.platform, b.campaign_key, b.source_channel,
    coalesce(flips.mechanic, 'outcome'), 0, qualified_b - qualified_a
from counted left join flips on counted.lead_id = flips.lead_id
where in_a and in_b and qualified_a <> qualified_b
"""
"""A lead that moved takes its qualification along; what then still differs is the outcomes'."""

SPEND_PAIRS = """
create temp table spend_pairs as
select
    a, b,
    a.spend_date is not null and b.spend_date is not null as in_both,
    coalesce(b.spend, 0) - coalesce(a.spend, 0) as spend,
    coalesce(b.counted_reporting, 0) - coalesce(a.counted_reporting, 0) as spend_reporting
from spend_a as a
full outer join spend_b as b
    on
        a.platform = b.platform
        and a.account_id = b.account_id
        and a.ad_id = b.ad_id
        and a.spend_date = b.spend_date
        and a.row_kind = b.row_kind
where a.spend_date is null or b.spend_date is null or a is distinct from b
"""

SPEND_SPLIT = """
create temp table spend_split as
select
    *,
    case
        when not in_both or a.exchange_rate is not distinct from b.exchange_rate
            and a.is_converted and b.is_converted and a.spend <> b.spend
            then spend_reporting
        when a.spend = b.spend or not (a.is_converted and b.is_converted)
            or a.exchange_rate is null or b.exchange_rate is null then 0
        else cast(b.spend * a.exchange_rate as decimal(18, 6)) - a.counted_reporting
    end as reporting_of_spend,
    case
        when in_both then 'spend'
        when
            (coalesce(a.account_id, b.account_id), coalesce(a.spend_date, b.spend_date)) in (
                select (account_id, spend_date) from account_days_a
                intersect
                select (account_id, spend_date) from account_days_b
            ) then 'spend'
        else 'spend_day'
    end as mechanic
from spend_pairs
"""
"""Of a difference in converted spend: what the amount did (at the old rate), the rest the rate."""

SPEND_DELTAS = """
create temp table spend_deltas as
select
    a.spend_date as report_date, a.platform as platform, a.campaign_key as campaign_id,
    'spend_placed' as mechanic, -a.spend as spend, -a.counted_reporting as spend_reporting
from spend_split where in_both and a.campaign_key <> b.campaign_key
union all
select b.spend_date, b.platform, b.campaign_key, 'spend_placed', a.spend, a.counted_reporting
from spend_split where in_both and a.campaign_key <> b.campaign_key
union all
select
    coalesce(b.spend_date, a.spend_date), coalesce(b.platform, a.platform),
    coalesce(b.campaign_key, a.campaign_key), mechanic, spend, reporting_of_spend
from spend_split
union all
select
    coalesce(b.spend_date, a.spend_date), coalesce(b.platform, a.platform),
    coalesce(b.campaign_key, a.campaign_key), 'rate',
    0, spend_reporting - reporting_of_spend
from spend_split
"""

DELTAS = """
create temp table deltas as
select
    report_date, platform, campaign_id, channel, coalesce(mechanic, 'other') as mechanic,
    cast(0 as decimal(38, 6)) as spend, cast(0 as decimal(38, 6)) as spend_reporting,
    cast(leads as bigint) as leads, cast(qualified_leads as bigint) as qualified_leads
from lead_deltas
union all
select
    report_date, platform, campaign_id, null, mechanic,
    cast(spend as decimal(38, 6)), cast(spend_reporting as decimal(38, 6)), 0, 0
from spend_deltas
"""

REST = """
insert into deltas
with expected as (
    select
        coalesce(a.report_date, b.report_date) as report_date,
        coalesce(a.platform, b.platform) as platform,
        coalesce(a.campaign_id, b.campaign_id) as campaign_id,
        coalesce(b.spend, 0) - coalesce(a.spend, 0) as spend,
        coalesce(b.spend_reporting, 0) - coalesce(a.spend_reporting, 0) as spend_reporting,
        coalesce(b.leads, 0) - coalesce(a.leads, 0) as leads,
        coalesce(b.qualified_leads, 0) - coalesce(a.qualified_leads, 0) as qualified_leads
    from performance_a as a
    full outer join performance_b as b
        on
            a.report_date = b.report_date
            and a.platform = b.platform
            and a.campaign_id = b.campaign_id
), rest as (
    select
        report_date, platform, campaign_id,
        sum(spend) as spend, sum(spend_reporting) as spend_reporting,
        sum(leads) as leads, sum(qualified_leads) as qualified_leads
    from (
        select * from expected
        where spend <> 0 or spend_reporting <> 0 or leads <> 0 or qualified_leads <> 0
        union all
        select
            report_date, platform, campaign_id, -spend, -spend_reporting, -leads, -qualified_leads
        from deltas where platform is not null
    )
    group by report_date, platform, campaign_id
)
select
    report_date, platform, campaign_id, null, 'other', spend, spend_reporting, leads,
    qualified_leads
from rest
where spend <> 0 or spend_reporting <> 0 or leads <> 0 or qualified_leads <> 0
"""
"""What the two reports differ by and no row of theirs explains; a defect, but never hidden."""

CHANGES = """
create temp table changes as
select
    report_date, platform, campaign_id, channel, coalesce(causes.cause, 'other') as cause,
    cast(sum(spend) as decimal(18, 6)) as spend_delta,
    cast(sum(spend_reporting) as decimal(18, 6)) as spend_reporting_delta,
    cast(sum(leads) as bigint) as leads_delta,
    cast(sum(qualified_leads) as bigint) as qualified_leads_delta
from deltas
left join causes on deltas.mechanic = causes.mechanic
group by report_date, platform, campaign_id, channel, coalesce(causes.cause, 'other')
having
    spend_delta <> 0 or spend_reporting_delta <> 0
    or leads_delta <> 0 or qualified_leads_delta <> 0
"""

UNRECONCILED = """
with expected as (
    select report_date, platform, campaign_id, spend,
        coalesce(spend_reporting, 0) as spend_reporting, leads, qualified_leads
    from performance_b
    union all
    select report_date, platform, campaign_id, -spend, -coalesce(spend_reporting, 0), -leads,
        -qualified_leads
    from performance_a
    union all
    select report_date, platform, campaign_id, -spend_delta, -spend_reporting_delta, -leads_delta,
        -qualified_leads_delta
    from changes where platform is not null
)
select report_date, campaign_id from expected
group by report_date, platform, campaign_id
having sum(spend) <> 0 or sum(spend_reporting) <> 0 or sum(leads) <> 0 or sum(qualified_leads) <> 0
order by report_date, campaign_id
"""
"""Campaign days whose changes do not add up: none, or this package is wrong."""

SOURCE_MACRO = """
create or replace temp macro source_of(basis, ad_id, ad_name) as
case
    when basis in ('ctwa_click', 'ctwa_ad')
        then 'the ad ' || coalesce('"' || ad_name || '"', ad_id, 'that Meta did not name')
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
                'the first touch is now of ' || born_b || ' (' || source_b || '), before it was of '
                || born_a || ' (' || source_a || ')'
        when e.mechanic = 'evidence'
            then
                'the first message of ' || born_b || ' stays the first touch, but it now counts as '
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
