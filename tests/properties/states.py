"""What the models of a world hold, told apart by history, and how two such states differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tests.properties.company import Cases, Company

WHEN_MADE = frozenset({"changed_seq", "read_seq", "last_seq", "catalogue_no", "day_digest"})
"""Columns that say in which run a row was made, or of what the company's whole day was; nothing
else may."""

_COUNTS = {
    "envelopes",
    "last_envelope_at",
    "quarantined_envelopes",
    "quarantined_elements",
    "repeats",
}
DELIVERIES = {
    # How often something came, and in how many envelopes (rule R1).
    "*": {"copies"},
    "intermediate.int_capture__daily": _COUNTS,
    "marts.attribution_health": _COUNTS,
}
"""Columns that count deliveries: the only ones that may differ where these differ."""

_DAILY = {"intermediate.int_capture__daily", "marts.attribution_health"}

OF_THE_COMPANY = {
    "intermediate.int_cohort_lags__estimated",
    "intermediate.int_cohort_rates__estimated",
    "intermediate.int_cohort_parts__expected",
    "intermediate.int_cohorts__expected",
    "marts.cohort_forecast",
    "marts.forecast_backtest",
    "marts.monday",
}
"""Estimates of one campaign that rest on the company's other leads too, and ranks among them."""
BOARD = "intermediate.int_board_windows__estimated"
"""Of this table only the level of the whole company does."""

_ID = re.compile(r"[0-9a-f]{32}|deal-\d{5}-\d|\d{15,}")

Row = tuple[Any, ...]
Rows = dict[str, Counter[Row]]
"""Table -> rows, and how often each stands there."""


@dataclass(frozen=True)
class State:
    """Rows by history; those of no single history (reports by channel, by day) are `shared`."""

    columns: Mapping[str, list[str]]
    by_salt: Mapping[int, Rows]
    shared: Rows
    mixed: Rows
    """Rows that name things of two histories, which have nothing to do with each other."""

    def rows(self, table: str, *salts: int) -> list[dict[str, Any]]:
        """Rows of a table, of some histories or of everybody."""
        of: tuple[int | None, ...] = salts or (*self.by_salt, None)
        found: list[dict[str, Any]] = []
        for salt in of:
            rows = self.shared if salt is None else self.by_salt.get(salt, {})
            for row, times in rows.get(table, Counter()).items():
                found += [dict(zip(self.columns[table], row, strict=True))] * times
        return found


def state_of(
    company: Company,
    cases: Cases,
    *,
    schemas: Collection[str] = ("intermediate", "marts"),
    without: Mapping[str, Collection[str]] | None = None,
) -> State:
    """The world's models as they are now, without columns of `WHEN_MADE` and `without`."""
    columns: dict[str, list[str]] = {}
    by_salt: dict[int, Rows] = {salt: {} for salt in cases.by_salt}
    shared: Rows = {}
    mixed: Rows = {}
    for table, names, rows in _tables(company.settings.warehouse_path, schemas, without or {}):
        columns[table] = names
        for row in rows:
            if (
                without
                and table in _DAILY
                and not any(type(value) is int for value in row if value)
            ):
                continue  # a day on which nothing but deliveries happened
            is_companys = table in OF_THE_COMPANY or (table == BOARD and "company" in row)
            owners = set() if is_companys else _owners(row, cases.owners)
            place = by_salt[owners.pop()] if len(owners) == 1 else mixed if owners else shared
            place.setdefault(table, Counter())[row] += 1
    return State(columns, by_salt, shared, mixed)


def _owners(row: Row, owners: Mapping[str, int]) -> set[int]:
    texts = [value for value in row if isinstance(value, str)]
    if "unresolved" in texts:  # the leads of one day whose ads have no campaign, whosever they are
        return set()
    return {owners[name] for text in texts for name in _ID.findall(text) if name in owners}


def _tables(
    database: Path, schemas: Collection[str], without: Mapping[str, Collection[str]]
) -> Iterator[tuple[str, list[str], list[Row]]]:
    everywhere = WHEN_MADE | set(without.get("*", ()))
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("set TimeZone = 'UTC'")
        listed = connection.execute(
            "select table_schema || '.' || table_name, list(column_name order by column_name) "
            "from information_schema.columns where list_contains(?, table_schema) "
            "group by all order by all",
            [list(schemas)],
        ).fetchall()
        for table, names in listed:
            left_out = everywhere | set(without.get(table, ()))
            chosen = [name for name in names if name not in left_out]
            quoted = ", ".join(f'"{name}"' for name in chosen)
            rows = connection.execute(f"select {quoted} from {table}").fetchall()
            yield table, chosen, [_hashable(row) for row in rows]


def _hashable(row: Row) -> Row:
    return tuple(str(value) if isinstance(value, list | dict) else value for value in row)


def differing(left: State, right: State, salts: Collection[int] | None = None) -> list[int]:
    """Histories whose rows are not the same on both sides."""
    of = left.by_salt if salts is None else salts
    return [salt for salt in of if left.by_salt[salt] != right.by_salt[salt]]


def difference(left: State, right: State, salt: int | None) -> str:
    """What differs of one history (or of the shared rows), row by row and column by column."""
    a = left.shared if salt is None else left.by_salt[salt]
    b = right.shared if salt is None else right.by_salt[salt]
    lines: list[str] = []
    for table in sorted(a.keys() | b.keys()):
        only_a, only_b = a.get(table, Counter()), b.get(table, Counter())
        lines += [
            f"  {table} {side} {_told(left.columns[table], row)}"
            for side, rows in (("-", only_a - only_b), ("+", only_b - only_a))
            for row in rows
        ]
    return "\n".join(lines)


def _told(columns: list[str], row: Row) -> str:
    known = (f"{c}={_short(v)}" for c, v in zip(columns, row, strict=True) if v is not None)
    return " ".join(known)


def _short(value: Any) -> str:
    return re.sub(r"\b([0-9a-f]{6})[0-9a-f]{26}\b", r"\1", str(value))
