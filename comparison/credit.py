"""Compares two databases with marts: which leads' credit differs, and what that adds up to.

Every difference in a campaign day's leads, qualified leads and spend is explained by one row per
cause, and the deltas add up to exactly that difference. A remainder that no row of the marts
explains would have the cause `other`; there should be none. Decimals and integers throughout.

What happened to a lead or an amount is visible in the marts (`mechanic`) and reported as a cause.
Between two nights the rules are the same and the data differ: the mechanic says what arrived late.
Between two sets of rules the data are the same, so a rule made the difference; if several rules
differ, the mechanic says which of them can have done it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from comparison import statements
from comparison.sides import CHAT_RULES, PROJECT, open_sides
from comparison.tables import CREDIT_DIFF, CREDIT_DIFF_CAMPAIGNS, DAY_CHANGES, CreditDifference
from ctwa.errors import CtwaError
from ingestion.lake.lake import conform

_SOURCE_MACRO = """
create or replace temp macro source_of(basis, ad_id, ad_name) as
case
    when basis in ('ctwa_click', 'ctwa_ad')
        then 'the ad ' || coalesce('"' || ad_name || '"', ad_id, 'that Meta did not name')
    when basis = 'web_ad_id' and ad_id is not null
        then 'the site, after the ad ' || coalesce('"' || ad_name || '"', ad_id)
    when basis = 'web_ad_id' then 'the site, after a campaign named in its address'
    when basis = 'lead_form' and ad_id is not null
        then 'an instant form of the ad ' || coalesce('"' || ad_name || '"', ad_id)
    when basis = 'lead_form' then 'an instant form that names no ad'
    when basis = 'web_click_id' then 'the site, after a click on an ad'
    when basis = 'web_utm' then 'the site, by the UTM parameters in its address'
    when basis = 'post' then 'an organic post'
    when basis = 'ad_suspected' then 'an ad that Meta did not name'
    when basis = 'outbound' then 'a message that we sent first'
    when basis = 'direct' then 'no ad (they wrote on their own initiative)'
    else coalesce(basis, 'nothing')
end
"""

_LEADS = """
select
    e.lead_id,
    e.change,
    coalesce(causes.cause, 'other') as cause,
    $prefix || case
        when e.change = 'requalified' and e.b.is_qualified
            then 'an outcome qualifies the lead of ' || since_b || '; its source stays the same'
        when e.change = 'requalified'
            then 'the lead of ' || since_a || ' is no longer qualified; its source stays the same'
        when e.change = 'latest_touch'
            then
                'first touch and credit stay the same; another message is the latest touch ('
                || coalesce(e.b.latest_channel, 'none') || ', before: '
                || coalesce(e.a.latest_channel, 'none') || ')'
        when e.change = 'appeared' and e.mechanic = 'split'
            then
                'a separate lead since ' || since_b
                || '; its messages belonged to another lead before. Credited to ' || source_b
        when e.change = 'appeared'
            then 'a new lead of ' || since_b || ', credited to ' || source_b
        when e.change = 'vanished' and e.mechanic = 'merged'
            then
                'no longer a separate lead: its messages of ' || since_a
                || ' belong to an earlier lead. ' || source_a || ' loses it'
        when e.change = 'vanished'
            then 'the lead of ' || since_a || ' no longer exists. ' || source_a || ' loses it'
        when e.mechanic = 'exclusion' and e.b.is_excluded
            then 'left out of the counts: ' || coalesce(e.b.exclusion_reason, 'excluded')
        when e.mechanic = 'exclusion' then 'counted again: no longer excluded'
        when e.mechanic = 'other_touch'
            then
                'another of the same touches is the source: ' || source_b
                || ' instead of ' || source_a
        when e.mechanic in ('new_touch', 'lost_touch', 'merged', 'split')
            then
                'the source is now the touch of ' || at_b || ' (' || source_b
                || '), before: that of ' || at_a || ' (' || source_a || ')'
        when e.mechanic = 'evidence'
            then
                'the source is still the touch of ' || at_b || ', but it now counts as '
                || source_b || ', before: ' || source_a
        when e.mechanic = 'resolved'
            then
                'same touch and ad; the ad is now ' || coalesce(e.b.resolution, 'unknown')
                || ', before: ' || coalesce(e.a.resolution, 'unknown')
        when e.mechanic = 'placed' then 'same touch and ad; the ad is now in another campaign'
        when e.mechanic = 'day'
            then
                'same touch and ad; its day is now ' || e.b.report_date || ', before: '
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
        strftime(a.first_touch_at, '%-d %B %Y') as since_a,
        strftime(b.first_touch_at, '%-d %B %Y') as since_b,
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

_CAMPAIGNS = """
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


class ComparisonError(CtwaError):
    """The explained changes do not add up to the difference: a bug in this package."""


def compare(
    before: Path, after: Path, *, causes: Mapping[str, str] | None = None, prefix: str = ""
) -> CreditDifference:
    """Compare two files, including single leads; `causes` by mechanic (`causes_of_rules`).

    `prefix` begins every sentence of `because`. Raises `NotComparableError`, `ComparisonError`.
    """
    with duckdb.connect() as connection:
        _prepare(connection, before, after, causes)
        days = _changes(connection)
        connection.execute(_SOURCE_MACRO)
        leads = connection.sql(_LEADS, params={"prefix": prefix}).to_arrow_table()
        campaigns = connection.sql(_CAMPAIGNS).to_arrow_table().to_pylist()
    return CreditDifference(
        leads=conform(leads, CREDIT_DIFF),
        campaigns=pa.Table.from_pylist(
            [with_deltas(row) for row in campaigns], schema=CREDIT_DIFF_CAMPAIGNS
        ),
        days=days,
    )


def changes(
    before: Path,
    after: Path,
    *,
    causes: Mapping[str, str] | None = None,
    days_before: date | None = None,
) -> pa.Table:
    """Only the deltas by campaign day and cause (`DAY_CHANGES`), of days before `days_before`."""
    with duckdb.connect() as connection:
        _prepare(connection, before, after, causes)
        return _changes(connection, days_before)


def _prepare(
    connection: duckdb.DuckDBPyConnection,
    before: Path,
    after: Path,
    causes: Mapping[str, str] | None,
) -> None:
    connection.execute("set timezone = 'UTC'")
    open_sides(connection, before, after)
    mapping = causes if causes is not None else causes_of_nights()
    connection.execute("create temp table causes (mechanic varchar, cause varchar)")
    connection.executemany(
        "insert into causes values (?, ?)", [[m, c] for m, c in sorted(mapping.items())]
    )
    owners = statements.OWNERS
    sides = (
        {"here": "b", "there": "a", "out_of_force": "rules.first_at > here.occurred_at"},
        {"here": "a", "there": "b", "out_of_force": "rules.last_at < here.occurred_at"},
    )
    flips = " union all ".join(f"({statements.FLIPS.format(**s)})" for s in sides)
    _run(
        connection,
        [
            statements.PAIRS,
            *(owners.format(**s) for s in sides),
            statements.ERASED,
            statements.MECHANICS,
            f"create temp table flips as {flips}",
            statements.LEAD_DELTAS,
            statements.SPEND_PAIRS,
            statements.SPEND_SPLIT,
            statements.SPEND_DELTAS,
            statements.DELTAS,
            statements.REST,
            statements.CHANGES,
        ],
    )
    wrong = connection.execute(statements.UNRECONCILED).fetchall()
    if wrong:
        raise ComparisonError(
            f"the changes of {len(wrong)} campaign days do not add up, the first is {wrong[0][0]} "
            f"({wrong[0][1]}): please report this"
        )


def _changes(connection: duckdb.DuckDBPyConnection, days_before: date | None = None) -> pa.Table:
    table = connection.sql(
        "select * from changes where report_date < coalesce(?, date '9999-12-31') order by all",
        params=[days_before],
    ).to_arrow_table()
    return conform(table, DAY_CHANGES)


def _run(connection: duckdb.DuckDBPyConnection, sql: Iterable[str]) -> None:
    for statement in sql:
        connection.execute(statement)


def with_deltas(row: dict[str, Any]) -> dict[str, Any]:
    """A campaign's row with cost per qualified lead and the difference of each measure."""
    # No platform bills the leads without an ad, and what an ad that was not found has spent is in
    # another row: their cost is not known, as in the marts, and not 0.
    costs = row.get("platform", "all") is not None and row.get("campaign_id") != "unresolved"
    for side in ("a", "b"):
        spend, leads = row[f"spend_reporting_{side}"], row[f"qualified_leads_{side}"]
        row[f"cost_per_qualified_lead_reporting_{side}"] = ratio(spend, leads) if costs else None
    for name in (
        "leads",
        "qualified_leads",
        "spend_reporting",
        "cost_per_qualified_lead_reporting",
    ):
        a, b = row[f"{name}_a"], row[f"{name}_b"]
        row[f"{name}_delta"] = None if a is None or b is None else b - a
    return row


def ratio(amount: Decimal | None, count: int) -> Decimal | None:
    """`amount / count` in millionths, rounded as in the marts; None if either is missing."""
    if amount is None or not count:
        return None
    return (Decimal(amount) / int(count)).quantize(Decimal("0.000001"), ROUND_HALF_UP)


# ---- causes ------------------------------------------------------------------------------------

_OTHER = "other"
_SEVERAL = "rules"
"""The cause if several rules may have done it."""
_PEOPLE = ("recycled_number_days", "shared_identifier_degree", "lead_scope", "lead_cycle_days")
# What no rule can change, such as an ad's campaign, an exclusion, the platform's own amounts.
_NOT_RULES = {
    "resolved", "placed", "exclusion", "erased", "outcome", "stage", "spend", "spend_day",
    "spend_placed", "chat_rule",
}  # fmt: skip

_CAUSES_OF_NIGHTS: Mapping[str, str] = {
    "new_touch": "late_message",
    "lost_touch": "late_message",
    "other_touch": "late_message",
    "split": "late_link",
    "merged": "late_link",
    "evidence": "late_referral",
    "resolved": "ad_resolved",
    "placed": "ad_moved",
    "day": "day_boundary",
    "exclusion": "exclusion",
    "erased": "erased",
    "outcome": "late_outcome",
    "outcome_person": "late_link",
    "chat_rule": "chat_rules",
    "stage": "stage_mapping",
    "latest": "late_message",
    "spend": "restated_spend",
    "spend_day": "late_spend",
    "spend_placed": "ad_resolved",
    "rate": "exchange_rate",
}

_RULES_BY_MECHANIC: Mapping[str, Collection[str]] = {
    "new_touch": ("conversation_gap_days", *_PEOPLE),
    "lost_touch": ("conversation_gap_days", *_PEOPLE),
    "other_touch": ("first_touch", *_PEOPLE),
    "split": _PEOPLE,
    "merged": _PEOPLE,
    "erased": _PEOPLE,
    "evidence": ("conversation_gap_days", "recycled_number_days", "shared_identifier_degree"),
    "day": ("reporting_timezone",),
    "outcome": (*_PEOPLE, CHAT_RULES),
    "chat_rule": (CHAT_RULES,),
    "stage": ("chat_qualifies",),
    "outcome_person": _PEOPLE,
    "latest": ("conversation_gap_days", *_PEOPLE),
    "rate": ("reporting_currency", "exchange_rates"),
}


def causes_of_rules(differing: Collection[str]) -> dict[str, str]:
    """Mechanic -> cause: the rule of `differing` that does it, or `rules` if several may."""
    return {mechanic: _responsible(mechanic, differing) for mechanic in _CAUSES_OF_NIGHTS}


def causes_of_nights(differing: Collection[str] = ()) -> dict[str, str]:
    """Mechanic -> cause: what arrived late. If rules changed in between (`differing`), whatever
    they can change has the cause `rules`."""
    causes = dict(_CAUSES_OF_NIGHTS)
    if differing:
        causes |= dict.fromkeys(_CAUSES_OF_NIGHTS.keys() - _NOT_RULES, _SEVERAL)
    return causes


def _responsible(mechanic: str, differing: Collection[str]) -> str:
    if len(differing) == 1:
        return next(iter(differing))
    able = [
        rule
        for rule in differing
        if rule == PROJECT or rule in _RULES_BY_MECHANIC.get(mechanic, ())
    ]
    return able[0] if len(able) == 1 else _SEVERAL if differing else _OTHER
