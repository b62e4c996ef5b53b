"""The figures as the page has them: zones of days, coarser where the history is long.

However long the history, the page stays small: what does not fit by day is kept by week, then by
month and year, first for ads, later for campaigns; the totals by account and channel stay daily.
A level (`ad`, `campaign`, `total`) is a list of zones that do not overlap; where a level has no
zone of its own, that of the level below is used. Each zone is a table by column (`columns.py`):
    grain, from, to     `day`, `week`, `month` or `year`; days since 1970-01-01, `to` exclusive
    periods, rows_in    first days of the periods, as steps; and how many rows each of them has
    entity              what a row is about, an index into `entities`, as steps within the period
    ages                of every qualified lead, in the order of the rows, within how many days of
                        the first touch it qualified: "within 14 days" and "at equal age" count
                        them. A text of steps within each row, since there may be many: a digit of
                        `AGE_DIGITS`, or `-` and two digits from 62 days on
    spend ... won       sums
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from typing import Any

import duckdb

from publishing.report.columns import counts, millionths, steps, words
from publishing.report.facts import AMOUNTS, KEYS, MEASURES, sums

EPOCH = date(1970, 1, 1)
AGE_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_LEVELS = {"ad": "entity", "campaign": "campaign_entity", "total": "total_entity"}
_GRAINS = {
    "day": "day",
    "week": "day - (day + 3) % 7",
    "month": "date_trunc('month', date '1970-01-01' + day)::date - date '1970-01-01'",
    "year": "date_trunc('year', date '1970-01-01' + day)::date - date '1970-01-01'",
}


@dataclass(frozen=True)
class Budget:
    """How many rows of figures a page may have; `days`, `weeks`, `months` by ad and by campaign."""

    whole: int = 108_000
    """With so many rows, all history is kept by day."""
    ad: tuple[int, int, int] = (36_000, 14_000, 24_000)
    campaign: tuple[int, int, int] = (12_000, 6_000, 6_000)

    def beside(self, ages: int) -> Budget:
        """What is left where so many ages stand beside the rows, of whatever grain these are."""
        fewer = max(0, ages - _AGES_BESIDE) // _AGES_A_ROW
        left = max(0.1, 1 - fewer / (sum(self.ad) + sum(self.campaign)))
        ad, campaign = ([int(part * left) for part in of] for of in (self.ad, self.campaign))
        return Budget(
            max(0, self.whole - fewer),
            (ad[0], ad[1], ad[2]),
            (campaign[0], campaign[1], campaign[2]),
        )


_AGES_BESIDE, _AGES_A_ROW = 100_000, 20
"""Ages that fit beside all rows, and how many of the others take as many characters as a row."""


def encode_facts(
    connection: duckdb.DuckDBPyConnection,
    accounts: Sequence[tuple[str, str]],
    budget: Budget,
) -> dict[str, Any]:
    """The tables of `load_facts` for the page; `accounts` is the order that indexes refer to."""
    ((ages,),) = connection.execute("select count(*) from ages").fetchall()
    zones = _zones(connection, budget.beside(ages))
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
        f"select greatest({period}, ?) as period, {entity} as entity, {sums()} "  # noqa: S608
        "from facts where day >= ? and day < ? group by all order by period, entity",
        [start, start, end],
    ).fetchall()
    columns: list[Any] = list(zip(*found, strict=True)) or [()] * (2 + len(MEASURES))
    periods, rows_in = _runs(columns[0])
    digit = f"'{AGE_DIGITS}'[{{}} + 1]"
    (ages,) = connection.execute(
        "select string_agg(case when step < 62 then "  # noqa: S608
        f"{digit.format('step')} else '-' || {digit.format('step // 62')} || "
        f"{digit.format('step % 62')} end, '' order by period, entity, age, step desc) from ("
        "select *, least(3843, age - coalesce("
        "lag(age) over (partition by period, entity order by age), 0)) as step "
        f"from (select greatest({period}, ?) as period, {entity} as entity, age "
        "from ages where day >= ? and day < ?))",
        [start, start, end],
    ).fetchone() or ("",)
    made = {
        "grain": grain,
        "from": start,
        "to": end,
        "rows": len(found),
        "periods": steps(periods),
        "rows_in": rows_in,
        "entity": _restarting(columns[1], rows_in),
        "ages": ages or "",
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
        f"select level, {', '.join(KEYS)} from entities order by entity"  # noqa: S608
    ).fetchall()
    texts = [name for name in KEYS if name != "account"]
    columns = dict(zip(("level", *KEYS), zip(*rows, strict=True), strict=False)) if rows else {}
    return {
        "level": list(columns.get("level", ())),
        "account": [index.get((row[1], row[2]), -1) for row in rows],
        **{name: words(columns.get(name, ())) for name in texts},
    }
