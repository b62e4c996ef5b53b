"""The report's figures, by day and by what the page can filter: account, campaign, ad, channel.

They come from `fct_ad_spend` and `fct_leads`, like those of campaign_performance, ad_performance
and channel_performance, none of which has both channel and campaign of an amount in one row.
`data.py` refuses to write a report whose totals differ from channel_performance.

Tables are embedded in the page as compact JSON, by column. A column is one of
    [1, 2, 3]                          values as they are
    {"w": [...], "i": [...]}           distinct words, and per row the index of its word (-1: null)
    {"s": 2, "v": [...]}               amounts times 10^2: sums of integers are exact
    {"n": 9, "i": [...], "v": [...]}   the rows, out of 9, that are not 0; `i` as steps
A null amount stays null: a sum that includes it is unknown (rule R13), and is shown as such.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import duckdb

Column = list[Any] | dict[str, Any]

_SPARSE_BELOW = 0.4
"""Share of non-zero rows above which steps and values are no shorter than all values."""


def words(values: Sequence[str | None]) -> Column:
    """Texts that repeat; words are in the order of their first use."""
    index: dict[str, int] = {}
    rows = [-1 if v is None else index.setdefault(v, len(index)) for v in values]
    return {"w": list(index), "i": rows}


def counts(values: Sequence[int | None]) -> Column:
    """Integers, without zeros if there are many; null if not read (rule R13)."""
    return _sparse(list(values))


def amounts(values: Sequence[Decimal | None]) -> Column:
    """Exact amounts at the smallest scale that fits all of them."""
    scale = max((_decimals(v) for v in values if v is not None), default=0)
    whole = [None if v is None else int(v.scaleb(scale)) for v in values]
    column = _sparse(whole)
    return {"s": scale, "v": column} if isinstance(column, list) else {"s": scale, **column}


def steps(values: Iterable[int]) -> list[int]:
    """Differences from one value to the next: small numbers if the values rise."""
    last, made = 0, []
    for value in values:
        made.append(value - last)
        last = value
    return made


def _sparse(values: list[int | None]) -> Column:
    kept = [i for i, v in enumerate(values) if v != 0]
    if len(kept) >= _SPARSE_BELOW * len(values):
        return list(values)
    return {"n": len(values), "i": steps(kept), "v": [values[i] for i in kept]}


def _decimals(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


COUNTS = (
    "impressions", "clicks", "leads", "qualified", "qualified_7d", "qualified_14d",
    "qualified_30d", "qualified_90d",
)  # fmt: skip
AMOUNTS = ("spend", "won_value")
_KEYS = ("platform", "account", "campaign", "ad", "channel")
COLUMNS = ("day", *_KEYS, *AMOUNTS, *COUNTS)
"""Columns of `read_facts`, in this order; `day` counts from 1970-01-01."""

# A sum that leaves out an amount without a rate, or one not read, would be too low: it is null
# (rule R13). Unread spend is in the reports by ad, and in every channel that the platform bills;
# there without account and campaign, so that it is only in the channel's total.
_UNREAD = """
    select
        report_date as day, platform, account_id as account, campaign_id as campaign, ad_id as ad,
        unnest(string_split(channel_mix, ', ')) as channel
    from marts.ad_performance
    where spend_status = 'unread' and spend_unread_reason <> 'no_source'

    union all

    select report_date, null, null, null, null, channel
    from marts.channel_performance
    where spend_status = 'unread' and spend_reporting is null
"""
# Marts of an older version do not say what was not read.
_NOTHING_UNREAD = """
    select
        null::date as day, null::varchar as platform, null::varchar as account,
        null::varchar as campaign, null::varchar as ad, null::varchar as channel
    where false
"""
_FACTS = """
with unread as (

    {unread}

), spend as (

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

), unknown as (

    select
        day, platform, account,
        case when platform is not null then coalesce(campaign, 'unallocated:' || account) end
            as campaign,
        ad, channel,
        cast(null as decimal(18, 6)) as spend, cast(0 as decimal(18, 6)) as won_value,
        cast(null as bigint) as impressions, cast(null as bigint) as clicks,
        0 as leads, 0 as qualified, 0 as qualified_7d, 0 as qualified_14d, 0 as qualified_30d,
        0 as qualified_90d

    from unread

), all_kinds as (

    from spend union all by name from leads union all by name from unknown

)

select
    day - date '1970-01-01' as day, {keys},
    {amounts},
    {counts}

from all_kinds
group by all
""".format(
    unread="{unread}",
    keys=", ".join(_KEYS),
    amounts=", ".join(f"case when count({a}) = count(*) then sum({a}) end as {a}" for a in AMOUNTS),
    counts=", ".join(
        f"case when count({c}) = count(*) then cast(sum({c}) as bigint) end as {c}" for c in COUNTS
    ),
)


def read_facts(
    connection: duckdb.DuckDBPyConnection, *, says_unread: bool
) -> list[tuple[Any, ...]]:
    """Rows by day, account, campaign, ad and channel: `COLUMNS`.

    `says_unread`: whether these marts say which spend was not read.
    """
    unread = _UNREAD if says_unread else _NOTHING_UNREAD
    return connection.execute(_FACTS.format(unread=unread)).fetchall()


def encode_facts(
    rows: Sequence[tuple[Any, ...]], accounts: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """Rows of `read_facts` as columns.

    `entities` are the distinct (account, campaign, ad, channel); `accounts` is the order that their
    indexes refer to. Rows are sorted by day and entity, so that days are runs and entities small
    steps.
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
    """Indexes of entities as steps that restart with each day."""
    made, last_day, last = [], None, 0
    for day, entity, _ in ordered:
        made.append(entity - (last if day == last_day else 0))
        last_day, last = day, entity
    return made
