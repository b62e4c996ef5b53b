"""The report's figures, by day and by what the page can filter: account, campaign, ad, channel,
business number, brand.

They come from `fct_ad_spend` and `fct_leads`, like those of campaign_performance, ad_performance
and channel_performance, none of which has both channel and campaign of an amount in one row.
`check_totals` refuses figures whose totals differ from channel_performance.

However long the history, the page stays small: what does not fit by day is kept by week, then by
month and year, first for ads, later for campaigns; the totals by account and channel stay daily.
A level (`ad`, `campaign`, `total`) is a list of zones that do not overlap; where a level has no
zone of its own, that of the level below is used. Each zone is a table by column (`columns.py`):
    grain, from, to     `day`, `week`, `month` or `year`; days since 1970-01-01, `to` exclusive
    periods, rows_in    first days of the periods, as steps; and how many rows each of them has
    entity              what a row is about, an index into `entities`, as steps within the period
    ages                of every qualified lead, in the order of the rows, within how many days of
                        the first touch it qualified: "within 14 days" and "at equal age" count them
    spend ... won       sums
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import Any

import duckdb

from ctwa.errors import CtwaError
from publishing.report.columns import counts, millionths, steps, words

AMOUNTS = ("spend", "won_value")
COUNTS = (
    "impressions", "clicks", "conversations", "leads", "replied", "qualified", "won",
)  # fmt: skip
MEASURES = (*AMOUNTS, *COUNTS)
_KEYS = ("platform", "account", "campaign", "ad", "channel", "number", "brand")

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Budget:
    """How many rows of figures a page may have; `days`, `weeks`, `months` by ad and by campaign."""

    whole: int = 108_000
    """With so many rows, all history is kept by day."""
    ad: tuple[int, int, int] = (36_000, 14_000, 24_000)
    campaign: tuple[int, int, int] = (12_000, 6_000, 6_000)


class ReportError(CtwaError):
    """The report could not be made; the previous one stays."""


# A sum that leaves out an amount without a rate, or one not read, would be too low: it is null
# (rule R13). Unread spend is in the reports by ad, and in every channel that the platform bills;
# there without account and campaign, so that it is only in the channel's total.
_UNREAD = """
    select
        report_date, platform, account_id,
        case when platform is not null
            then coalesce(campaign_id, 'unallocated:' || account_id) end as campaign,
        ad_id,
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
        null::date as report_date, null::varchar as platform, null::varchar as account_id,
        null::varchar as campaign, null::varchar as ad_id, null::varchar as channel
    where false
"""
# A number or brand is told apart only where there are several: spend has none.
_LEADS = """
create temp table counted as
with numbers as (
    select
        count(distinct business_number_id) > 1 as has_numbers,
        count(distinct brand) > 1 as has_brands
    from marts.fct_leads
    where not coalesce(is_excluded, false)
)

select
    cast(first_touch_date - date '1970-01-01' as integer) as day, platform,
    case when platform is not null then account_id end as account,
    case when platform is not null then coalesce(campaign_id, 'unresolved') end as campaign,
    case when platform is not null
        then coalesce(ad_id, 'campaign:' || campaign_id, 'unknown') end as ad,
    channel,
    case when has_numbers then business_number_id end as number,
    case when has_brands then brand end as brand,
    case when not coalesce(has_unconverted_value, false)
        then cast(coalesce(won_value_reporting, 0) * 1000000 as bigint) end as won_value,
    cast(coalesce(has_replied, false) as integer) as replied,
    cast(is_qualified as integer) as qualified,
    cast(is_won as integer) as won,
    case when is_qualified then
        cast(ceil(greatest(0, epoch(qualified_at) - epoch(first_touch_at)) / 86400) as integer)
    end as age,
    lead_id
from marts.fct_leads, numbers
where not coalesce(is_excluded, false)
"""
_KINDS = """
create temp view kinds as
with unread as ({unread})

select
    cast(spend_date - date '1970-01-01' as integer) as day, platform, account_id as account,
    coalesce(campaign_id, 'unallocated:' || account_id) as campaign,
    case when row_kind = 'unallocated' then 'unallocated:' || account_id else ad_id end as ad,
    channel, cast(null as varchar) as number, cast(null as varchar) as brand,
    cast(spend_reporting * 1000000 as bigint) as spend, cast(0 as bigint) as won_value,
    impressions, clicks, platform_conversations as conversations,
    0 as leads, 0 as replied, 0 as qualified, 0 as won
from marts.fct_ad_spend

union all

select
    day, platform, account, campaign, ad, channel, number, brand, 0, won_value, 0, 0, 0,
    1, replied, qualified, won
from counted

union all

select
    cast(report_date - date '1970-01-01' as integer), platform, account_id, campaign, ad_id,
    channel, null, null,
    null, 0, null, null, null, 0, 0, 0, 0
from unread
"""
# Distinct keys by level; a level above has entities of its own, without the keys below it.
_ENTITIES = """
create temp table entities as
with found as (
    select distinct {keys} from kinds
), levels as (
    select 0 as level, {keys} from found
    union
    select 1, platform, account, campaign, null, channel, number, brand from found
    union
    select 2, platform, account, null, null, channel, number, brand from found
), numbered as (
    select
        cast(row_number() over (order by level, {ordered}) - 1 as integer) as entity, *
    from levels
)
select
    numbered.*, campaigns.entity as campaign_entity, totals.entity as total_entity
from numbered
left join numbered as campaigns
    on numbered.level = 0 and campaigns.level = 1 and {same_campaign}
left join numbered as totals
    on numbered.level = 0 and totals.level = 2 and {same_total}
"""
_FACTS = """
create temp table facts as
select
    kinds.day, entities.entity, entities.campaign_entity, entities.total_entity, {measures}
from kinds
inner join entities on entities.level = 0 and {same}
"""
_AGES = """
create temp table ages as
select
    counted.day, entities.entity, entities.campaign_entity, entities.total_entity, counted.age
from counted
inner join entities on entities.level = 0 and {same}
where counted.age is not null
"""
_TOTALS = """
with told as (
    select
        sum(leads) as leads, sum(qualified) as qualified,
        case when count(spend) = count(*) then sum(spend) end as spend
    from facts
    inner join entities on facts.entity = entities.entity
    group by day, channel
)
select
    coalesce(sum(leads), 0), coalesce(sum(qualified), 0),
    coalesce(sum(spend), 0)
from told
"""
_PUBLISHED = """
select
    coalesce(sum(leads), 0), coalesce(sum(qualified_leads), 0), coalesce(sum(spend_reporting), 0)
from marts.channel_performance
"""
_LEVELS = {"ad": "entity", "campaign": "campaign_entity", "total": "total_entity"}
_GRAINS = {
    "day": "day",
    "week": "day - (day + 3) % 7",
    "month": "date_trunc('month', date '1970-01-01' + day)::date - date '1970-01-01'",
    "year": "date_trunc('year', date '1970-01-01' + day)::date - date '1970-01-01'",
}


def _sums() -> str:
    return ", ".join(
        f"case when count({name}) = count(*) then cast(sum({name}) as bigint) end as {name}"
        for name in MEASURES
    )


def _same(one: str, other: str, keys: Sequence[str] = _KEYS) -> str:
    return " and ".join(f"{one}.{key} is not distinct from {other}.{key}" for key in keys)


def lead_entity() -> str:
    """The condition that joins `counted`, one row per lead, to `entities`."""
    return _same("counted", "entities")


def load_facts(connection: duckdb.DuckDBPyConnection, *, says_unread: bool) -> None:
    """Make the temporary tables `entities`, `facts`, `ages` and `counted` (one row per lead).

    `says_unread`: whether these marts say which spend was not read.
    Raises `ReportError` where the totals are not those of channel_performance (rule R12).
    """
    connection.execute(_LEADS)
    connection.execute(_KINDS.format(unread=_UNREAD if says_unread else _NOTHING_UNREAD))
    above = [key for key in _KEYS if key not in ("ad",)]
    connection.execute(
        _ENTITIES.format(
            keys=", ".join(_KEYS),
            ordered=", ".join(f"{key} nulls first" for key in _KEYS),
            same_campaign=_same("numbered", "campaigns", above),
            same_total=_same("numbered", "totals", [k for k in above if k != "campaign"]),
        )
    )
    connection.execute(_FACTS.format(measures=", ".join(MEASURES), same=_same("kinds", "entities")))
    connection.execute(_AGES.format(same=lead_entity()))
    _check_totals(connection)


def _check_totals(connection: duckdb.DuckDBPyConnection) -> None:
    """Check that every lead and amount is in channel_performance exactly once (rule R12)."""
    leads, qualified, spend = connection.execute(_TOTALS).fetchone() or (0, 0, 0)
    counted = (leads, qualified, Decimal(spend).scaleb(-6))
    published = connection.execute(_PUBLISHED).fetchone() or ()
    if counted != published:
        raise ReportError(
            "leads, qualified leads and spend of fct_leads and fct_ad_spend "
            f"({', '.join(map(str, counted))}) differ from those of channel_performance "
            f"({', '.join(map(str, published))}); `ctwa refresh --full` rebuilds both"
        )


def encode_facts(
    connection: duckdb.DuckDBPyConnection,
    accounts: Sequence[tuple[str, str]],
    budget: Budget,
) -> dict[str, Any]:
    """The tables of `load_facts` for the page; `accounts` is the order that indexes refer to."""
    zones = _zones(connection, budget)
    levels = {
        level: [_zone(connection, level, *zone) for zone in zones[level]] for level in _LEVELS
    }
    return {
        "rows": sum(zone["rows"] for level in levels.values() for zone in level),
        "entities": _entities(connection, accounts),
        **levels,
    }


Zone = tuple[str, int, int]
"""Grain, first day, and the day after the last."""


def _zones(connection: duckdb.DuckDBPyConnection, budget: Budget) -> dict[str, list[Zone]]:
    """The zones of each level, oldest first."""
    days = _rows_by(connection, "entity", "day", 2**31 - 1)
    if not days:
        return {level: [] for level in _LEVELS}
    first, end = days[-1][0], days[0][0] + 1
    if sum(rows for _, rows in days) <= budget.whole:
        return {"ad": [("day", first, end)], "campaign": [], "total": []}
    ads = _split(connection, "entity", first, end, budget.ad, days)
    daily = ads[-1][1]
    campaigns = _split(connection, "campaign_entity", first, daily, budget.campaign)
    by_campaign = campaigns[-1][1] if campaigns else first
    total = [("day", first, by_campaign)] if by_campaign > first else []
    return {"ad": ads, "campaign": campaigns, "total": total}


def _rows_by(
    connection: duckdb.DuckDBPyConnection, entity: str, grain: str, end: int
) -> list[tuple[int, int]]:
    """The periods before `end`, latest first, and how many rows each would have."""
    return connection.execute(
        f"select {_GRAINS[grain]} as period, count(distinct {entity}) from facts "  # noqa: S608
        "where day < ? group by period order by period desc",
        [end],
    ).fetchall()


def _split(
    connection: duckdb.DuckDBPyConnection,
    entity: str,
    first: int,
    end: int,
    room: tuple[int, int, int],
    days: list[tuple[int, int]] | None = None,
) -> list[Zone]:
    """Zones of one level from `first` until `end`: as much as fits by day, by week, by month.

    The last is by day, even if empty; `days` are its rows where they are known. A zone starts
    where a period of the coarser zone before it ends.
    """
    zones: list[Zone] = []
    for grain, rows, align in zip(
        ("day", "week", "month"), room, ("week", "month", "year"), strict=True
    ):
        if end == first:
            break
        given = days if grain == "day" else None
        periods = given or _rows_by(connection, entity, grain, end)
        fits = sum(total <= rows for total in accumulate(count for _, count in periods))
        if fits == len(periods):
            start = first
        else:
            start = min(end, _next_start(periods[fits - 1][0], align)) if fits else end
        if start < end or grain == "day":
            zones.append((grain, start, end))
        end = start
    if end > first:
        zones.append(("year", first, end))
    return zones[::-1]


def _next_start(day: int, align: str) -> int:
    """The first start of a week, month or year on or after `day`."""
    if align == "week":
        return day + (-(day + 3)) % 7
    at = EPOCH + timedelta(days=day)
    if align == "month":
        start = at if at.day == 1 else date(at.year + at.month // 12, at.month % 12 + 1, 1)
    else:
        start = at if (at.month, at.day) == (1, 1) else date(at.year + 1, 1, 1)
    return (start - EPOCH).days


def _zone(
    connection: duckdb.DuckDBPyConnection, level: str, grain: str, start: int, end: int
) -> dict[str, Any]:
    entity, period = _LEVELS[level], _GRAINS[grain]
    found = connection.execute(
        f"select greatest({period}, ?) as period, {entity} as entity, {_sums()} "  # noqa: S608
        "from facts where day >= ? and day < ? group by all order by period, entity",
        [start, start, end],
    ).fetchall()
    columns: list[Any] = list(zip(*found, strict=True)) or [()] * (2 + len(MEASURES))
    periods, rows_in = _runs(columns[0])
    ages = connection.execute(
        f"select age from ages where day >= ? and day < ? "  # noqa: S608
        f"order by greatest({period}, ?), {entity}, age",
        [start, end, start],
    ).fetchall()
    made = {
        "grain": grain,
        "from": start,
        "to": end,
        "rows": len(found),
        "periods": steps(periods),
        "rows_in": rows_in,
        "entity": _restarting(columns[1], rows_in),
        "ages": [age for (age,) in ages],
    }
    for name, column in zip(MEASURES, columns[2:], strict=True):
        made[name] = millionths(column) if name in AMOUNTS else counts(column)
    return made


def _runs(values: Sequence[int]) -> tuple[list[int], list[int]]:
    found: dict[int, int] = {}
    for value in values:
        found[value] = found.get(value, 0) + 1
    return list(found), list(found.values())


def _restarting(entities: Sequence[int], rows_in: Sequence[int]) -> list[int]:
    """Indexes of entities as steps that restart with each period."""
    made, row = [], 0
    for count in rows_in:
        made += steps(entities[row : row + count])
        row += count
    return made


def _entities(
    connection: duckdb.DuckDBPyConnection, accounts: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    index = {key: i for i, key in enumerate(accounts)}
    rows = connection.execute(
        f"select level, {', '.join(_KEYS)} from entities order by entity"  # noqa: S608
    ).fetchall()
    texts = [name for name in _KEYS if name != "account"]
    columns = dict(zip(("level", *_KEYS), zip(*rows, strict=True), strict=False)) if rows else {}
    return {
        "level": list(columns.get("level", ())),
        "account": [index.get((row[1], row[2]), -1) for row in rows],
        **{name: words(columns.get(name, ())) for name in texts},
    }
