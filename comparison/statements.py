"""The SQL of a comparison: two databases with marts, `a` before and `b` after.

Every statement reads the views `leads_a`, `leads_b` and so on, which have the same columns on
both sides, whichever version wrote the file (`comparison.sides`), and hash-joins by key: one pass
over each table. Nothing is rounded; money stays decimal(18, 6). Leads come first, then spend.
"""

from __future__ import annotations

PAIRS = """
create temp table pairs as
select
    coalesce(a.lead_id, b.lead_id) as lead_id, a, b,
    -- The deciding touch: the source's, unless only the first touch differs or one side is missing.
    case when a.source_touch_id <> b.source_touch_id
        then a.source_touch_id else a.first_touch_id end as touch_a,
    case when a.source_touch_id <> b.source_touch_id
        then b.source_touch_id else b.first_touch_id end as touch_b
from leads_a as a
full outer join leads_b as b on a.lead_id = b.lead_id
where a.lead_id is null or b.lead_id is null or a is distinct from b
"""
"""Leads that differ in anything that credit depends on; `a` and `b` are whole rows."""

OWNERS = """
create temp table owners_{there} as
select touch_id, min(lead_id) as lead_id from touches_{there}
where touch_id in (select touch_{here} from pairs)
group by touch_id
"""
"""Which lead, on one side, has the touches that decide on the other."""

ERASED = """
create temp table erased as
select p.a.first_touch_at as at, p.a.basis as basis, p.a.ad_id as ad_id
from pairs as p
where p.b.lead_id is null and p.touch_a not in (select touch_id from owners_b)
intersect
select p.b.first_touch_at, p.b.basis, p.b.ad_id
from pairs as p
where p.a.lead_id is null and p.touch_b not in (select touch_id from owners_a)
"""
"""Leads whose keys an erasure made random: one vanished and one appeared, otherwise equal."""

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
        -- Also if the touch is gone: its message is now in the middle of somebody else's chat.
        when p.b.lead_id is null then 'merged'
        when p.a.is_excluded <> p.b.is_excluded then 'exclusion'
        when p.touch_a is distinct from p.touch_b then
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
            p.touch_a is distinct from p.touch_b
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
left join owners_a as held_a on p.touch_b = held_a.touch_id
left join owners_b as held_b on p.touch_a = held_b.touch_id
left join erased
    on
        (p.a.lead_id is null or p.b.lead_id is null)
        and coalesce(p.a.first_touch_at, p.b.first_touch_at) = erased.at
        and coalesce(p.a.basis, p.b.basis) = erased.basis
        and coalesce(p.a.ad_id, p.b.ad_id) is not distinct from erased.ad_id
"""
"""What happened to the source touch (`mechanic`), and how credit changed (`change`)."""

FLIPS = """
select
    lead_id,
    arg_min(mechanic, row(occurred_at, source, event_id)) as mechanic
from (
    select
        here.lead_id, here.occurred_at, here.source, here.event_id,
        case
            when
                here.source = 'chat'
                and there.stage_label is distinct from here.stage_label
                and (rules.stage_label is null or {out_of_force})
                then 'chat_rule'
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
    left join (
        select stage_label, min(occurred_at) as first_at, max(occurred_at) as last_at
        from outcomes_{there} where source = 'chat'
        group by stage_label
    ) as rules on here.stage_label = rules.stage_label
    where here.funnel_stage in ('qualified', 'opportunity', 'won')
)
group by lead_id
"""
"""Why a lead is qualified on one side only: the earliest outcome that qualifies it there. If on the
other side nothing met this version of its chat rule, or nothing by then or from then on
(`out_of_force`), the rule was changed, and nothing came late."""

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
"""A lead that moved takes its qualification along; remaining differences come from outcomes."""

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
"""Differences of the two reports that no row explains: a bug, but never hidden."""

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
"""Campaign days whose changes do not add up; any row is a bug in this package."""


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
        else cast(cast(b.spend as decimal(24, 6)) * a.exchange_rate as decimal(18, 6))
            - a.counted_reporting
    end as reporting_of_spend,
    case
        when in_both then 'spend'
        when
            (
                coalesce(a.platform, b.platform),
                coalesce(a.account_id, b.account_id),
                coalesce(a.spend_date, b.spend_date)
            ) in (
                select (platform, account_id, spend_date) from account_days_a
                intersect
                select (platform, account_id, spend_date) from account_days_b
            ) then 'spend'
        else 'spend_day'
    end as mechanic
from spend_pairs
"""
"""Splits a difference in converted spend into the amount's part (old rate) and the rate's."""

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
