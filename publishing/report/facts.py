"""What is counted, by day, and by what the page can filter: account, campaign, ad and channel.

From `fct_ad_spend` and `fct_leads`, as campaign_performance, ad_performance and channel_performance
are: none of those has the channel and the campaign of an amount side by side. `data.py` refuses to
write a report whose totals are not those of channel_performance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from publishing.report.columns import amounts, counts, steps, words

COUNTS = (
    "impressions", "clicks", "leads", "qualified", "qualified_7d", "qualified_14d",
    "qualified_30d", "qualified_90d",
)  # fmt: skip
AMOUNTS = ("spend", "won_value")
_KEYS = ("platform", "account", "campaign", "ad", "channel")
COLUMNS = ("day", *_KEYS, *AMOUNTS, *COUNTS)
"""Columns of `FACTS`, in this order; `day` counts from 1970-01-01."""

# A sum without an amount that has no rate would be too low: it is null (rule R13).
FACTS = """
with spend as (

    select
        spend_date as day, platform, account_id as account,
        coalesce(campaign_id, 'unallocated:' || account_id) as campaign,
        case when row_kind = 'unallocated' then 'unallocated:' || account_id else ad_id end as ad,
        channel,
        case when count(spend_reporting) = count(*) then sum(spend_reporting) end as spend,
        cast(0 as decimal(18, 6)) as won_value,
        sum(impressions) as impressions, sum(clicks) as clicks,
        0 as leads, 0 as qualified, 0 as qualified_7d, 0 as qualified_14d, 0 as qualified_30d,
        0 as qualified_90d

    from marts.fct_ad_spend
    group by all

), counted as (

    select
        *, platform is not null as has_platform
    from marts.fct_leads
    where not coalesce(is_excluded, false)

), leads as (

    select
        first_touch_date as day, platform,
        case when has_platform then account_id end as account,
        case when has_platform then coalesce(campaign_id, 'unresolved') end as campaign,
        case when has_platform
            then coalesce(ad_id, 'campaign:' || campaign_id, 'unknown') end as ad,
        channel,
        cast(0 as decimal(18, 6)) as spend,
        case when not coalesce(bool_or(has_unconverted_value), false)
            then coalesce(sum(won_value_reporting), 0) end as won_value,
        0 as impressions, 0 as clicks,
        count(*) as leads,
        count(*) filter (is_qualified) as qualified,
        count(*) filter (is_qualified_7d) as qualified_7d,
        count(*) filter (is_qualified_14d) as qualified_14d,
        count(*) filter (is_qualified_30d) as qualified_30d,
        count(*) filter (is_qualified_90d) as qualified_90d

    from counted
    group by all

), both_kinds as (

    from spend union all by name from leads

)

select
    day - date '1970-01-01' as day, {keys},
    {amounts},
    {counts}

from both_kinds
group by all
""".format(
    keys=", ".join(_KEYS),
    amounts=", ".join(f"case when count({a}) = count(*) then sum({a}) end as {a}" for a in AMOUNTS),
    counts=", ".join(f"cast(sum({c}) as bigint) as {c}" for c in COUNTS),
)


def encode_facts(
    rows: Sequence[tuple[Any, ...]], accounts: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Rows of `FACTS` as columns.

    `entities` are the distinct (account, campaign, ad, channel), `accounts` the order that their
    indexes mean. Rows are sorted by day and entity, so that days are runs and entities small steps.
    """
    account_index = {key: i for i, key in enumerate(accounts)}
    entities = sorted({tuple(k or "" for k in row[1:6]) for row in rows})
    index = {key: i for i, key in enumerate(entities)}
    ordered = sorted((row[0], index[tuple(k or "" for k in row[1:6])], row) for row in rows)
    days = sorted({day for day, _, _ in ordered})
    per_day = dict.fromkeys(days, 0)
    for day, _, _ in ordered:
        per_day[day] += 1
    measures: dict[str, Any] = {}
    for place, name in enumerate((*AMOUNTS, *COUNTS), start=6):
        column = [row[place] for _, _, row in ordered]
        measures[name] = amounts(column) if name in AMOUNTS else counts(column)
    texts = {name: [key[place] or None for key in entities] for place, name in enumerate(_KEYS)}
    return {
        "rows": len(ordered),
        "entities": {
            "account": [account_index.get((key[0], key[1]), -1) for key in entities],
            **{name: words(texts[name]) for name in ("platform", "campaign", "ad", "channel")},
        },
        "days": steps(days),
        "per_day": list(per_day.values()),
        "entity": _restarting(ordered),
        **measures,
    }


def _restarting(ordered: Sequence[tuple[int, int, Any]]) -> list[int]:
    """Indexes of entities as steps within each day."""
    made, last_day, last = [], None, 0
    for day, entity, _ in ordered:
        made.append(entity - (last if day == last_day else 0))
        last_day, last = day, entity
    return made
