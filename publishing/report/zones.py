"""The figures as the page has them: zones of days, coarser where the history is long.

However long the history, the page stays small: what does not fit by day is kept by week, then by
month and year, first for ads, later for campaigns, and last for the totals by account and channel.
A level (`ad`, `campaign`, `total`) is a list of zones that do not overlap; where a level has no
zone of its own, that of the level below is used. Each zone is a table by column (`columns.py`):
    grain, from, to     `day`, `week`, `month` or `year`; days since 1970-01-01, `to` exclusive
    periods, rows_in    first days of the periods, as steps; and how many rows each of them has
    entity              what a row is about, an index into `entities`, as steps within the period
    ages                by day: of every qualified lead, in the order of the rows, within how many
                        days of the first touch it qualified: "within 14 days" and "at equal age"
                        count them. A text of steps within each row: a digit of `AGE_DIGITS`, `-`
                        and two digits from 62 days on, `.` and two digits for so many steps of 0
    within              by week and longer: how many qualified within 7, 14, 30 and 90 days
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
GRAINS = {
    "day": "day",
    "week": "day - (day + 3) % 7",
    "month": "date_trunc('month', date '1970-01-01' + day)::date - date '1970-01-01'",
    "year": "date_trunc('year', date '1970-01-01' + day)::date - date '1970-01-01'",
}
WINDOWS = (7, 14, 30, 90)


@dataclass(frozen=True)
class Budget:
    """How many rows of figures a page may have; `days`, `weeks`, `months` by level. What is beyond
    them is kept by year."""

    whole: int = 108_000
    """With so many rows, all history is kept by day."""
    ad: tuple[int, int, int] = (36_000, 14_000, 24_000)
    campaign: tuple[int, int, int] = (12_000, 6_000, 6_000)
    total: tuple[int, int, int] = (24_000, 3_000, 3_000)

    def of(self, share: float) -> Budget:
        """A share of it, where other things need the room."""
        ad, campaign, total = (
            (int(days * share), int(weeks * share), int(months * share))
            for days, weeks, months in (self.ad, self.campaign, self.total)
        )
        # Rows by day alone, which are of smaller companies, are shorter.
        return Budget(int(self.whole * min(1.0, 1.4 * share)), ad, campaign, total)


_AGES_A_ROW = 20
"""How many ages take as many characters as a row."""
_AGES_BESIDE = 100_000
"""Ages that fit beside a whole history."""


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
Periods = list[tuple[int, int]]
"""Periods, latest first, and how many rows each would have."""


def _zones(connection: duckdb.DuckDBPyConnection, budget: Budget) -> dict[str, list[Zone]]:
    """The zones of each level, oldest first."""
    ages = dict(connection.execute("select day, count(*) from ages group by day").fetchall())

    def daily(level: str, until: int = 2**31 - 1) -> Periods:
        found = rows_by(connection, "facts", _LEVELS[level], "day", until)
        return [(day, rows + ages.get(day, 0) // _AGES_A_ROW) for day, rows in found]

    days = daily("ad")
    if not days:
        return {level: [] for level in _LEVELS}
    first, end = days[-1][0], days[0][0] + 1
    if sum(rows for _, rows in days) - _AGES_BESIDE // _AGES_A_ROW <= budget.whole:
        return {"ad": [("day", first, end)], "campaign": [], "total": []}
    made: dict[str, list[Zone]] = {}
    for level, room in (("ad", budget.ad), ("campaign", budget.campaign), ("total", budget.total)):
        if made:
            days = daily(level, end)
        made[level] = split(connection, "facts", _LEVELS[level], (first, end), room, days)
        end = made[level][-1][1] if made[level] else first
    return made


def rows_by(
    connection: duckdb.DuckDBPyConnection, table: str, entity: str, grain: str, end: int
) -> Periods:
    """The periods before the day `end`, and their rows, if `table` were kept by `grain`."""
    return connection.execute(
        f"select {GRAINS[grain]} as period, count(distinct {entity}) from {table} "  # noqa: S608
        "where day < ? group by period order by period desc",
        [end],
    ).fetchall()


def split(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    entity: str,
    between: tuple[int, int],
    room: tuple[int, int, int],
    days: Periods,
) -> list[Zone]:
    """Zones, oldest first, of a table with `day` and `entity` from a day until before another: as
    much as fits by day, by week, by month, and by year what is left.

    The last is by day, even if empty; `days` are the rows by day. A zone starts where a period of
    the coarser zone before it ends.
    """
    zones: list[Zone] = []
    first, end = between
    for grain, rows, align in zip(
        ("day", "week", "month"), room, ("week", "month", "year"), strict=True
    ):
        if end == first:
            break
        periods = days if grain == "day" else rows_by(connection, table, entity, grain, end)
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
    entity, period = _LEVELS[level], GRAINS[grain]
    found = connection.execute(
        f"select greatest({period}, ?) as period, {entity} as entity, {sums()} "  # noqa: S608
        "from facts where day >= ? and day < ? group by all order by period, entity",
        [start, start, end],
    ).fetchall()
    columns: list[Any] = list(zip(*found, strict=True)) or [()] * (2 + len(MEASURES))
    periods, rows_in = _runs(columns[0])
    made = {
        "grain": grain,
        "from": start,
        "to": end,
        "rows": len(found),
        "periods": steps(periods),
        "rows_in": rows_in,
        "entity": _restarting(columns[1], rows_in),
    }
    if grain == "day":
        made["ages"] = _ages(connection, entity, start, end)
    else:
        made["within"] = _within(connection, level, grain, start, end, columns[:2])
    for name, column in zip(MEASURES, columns[2:], strict=True):
        made[name] = millionths(column) if name in AMOUNTS else counts(column)
    return made


def _ages(connection: duckdb.DuckDBPyConnection, entity: str, start: int, end: int) -> str:
    digit = f"'{AGE_DIGITS}'[{{0}} + 1]"
    two = f"'{AGE_DIGITS}'[{{0}} // 62 + 1] || '{AGE_DIGITS}'[{{0}} % 62 + 1]"
    (text,) = connection.execute(
        "select string_agg("  # noqa: S608
        f"case when step < 62 then {digit.format('step')} else '-' || {two.format('step')} end "
        f"|| repeat('.{AGE_DIGITS[-1] * 2}', same // {_MOST}) "
        f"|| case when same % {_MOST} < 4 then repeat('0', same % {_MOST}) "
        f"else '.' || {two.format(f'(same % {_MOST})')} end, "
        "'' order by day, entity, age) from ("
        "select *, age - coalesce(lag(age) over (partition by day, entity order by age), 0) "
        "as step "
        f"from (select day, {entity} as entity, least(age, {_MOST}) as age, count(*) - 1 as same "
        "from ages where day >= ? and day < ? group by all))",
        [start, end],
    ).fetchone() or ("",)
    return text or ""


_MOST = 62 * 62 - 1
"""The largest number of two digits."""


def _within(
    connection: duckdb.DuckDBPyConnection,
    level: str,
    grain: str,
    start: int,
    end: int,
    rows: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """By window, how many qualified within it, in the order of the rows (period, entity)."""
    counted = ", ".join(f"count(*) filter (age <= {days})" for days in WINDOWS)
    found = {
        (period, entity): values
        for period, entity, *values in connection.execute(
            f"select greatest({GRAINS[grain]}, ?) as period, {_LEVELS[level]} as entity, {counted} "  # noqa: S608
            "from ages where day >= ? and day < ? group by 1, 2",
            [start, start, end],
        ).fetchall()
    }
    nobody = [0] * len(WINDOWS)
    told = [found.get(key, nobody) for key in zip(*rows, strict=True)]
    return {str(days): counts([one[at] for one in told]) for at, days in enumerate(WINDOWS)}


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
