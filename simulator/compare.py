"""Published marts against the truth: row by row, in both directions, decimals exactly."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from simulator.truth import Expected, Row, Rows, Truth

_SHOWN = 12


@dataclass(slots=True)
class Comparison:
    """Differences as lines for people, and how many rows were compared of each table."""

    differences: list[str] = field(default_factory=list)
    compared: dict[str, int] = field(default_factory=dict)
    campaigns_compared: int = 0

    @property
    def is_equal(self) -> bool:
        """Whether anything was compared and nothing differs."""
        return not self.differences and all(self.compared.values()) and bool(self.compared)

    @property
    def leads_compared(self) -> int:
        """Rows of `fct_leads`."""
        return self.compared.get("fct_leads", 0)

    @property
    def campaign_days_compared(self) -> int:
        """Rows of `campaign_performance`."""
        return self.compared.get("campaign_performance", 0)

    def summary(self) -> str:
        """One line: all equal, or how many differences."""
        if self.differences:
            return f"{len(self.differences)} differences between marts and truth"
        return (
            f"all equal: {self.leads_compared} leads, {self.campaigns_compared} campaigns, "
            f"{self.campaign_days_compared} campaign-days compared"
        )


def compare(truth: Truth, marts_path: Path) -> Comparison:
    """Compare every table of the truth with the published marts."""
    result = Comparison()
    with duckdb.connect(str(marts_path), read_only=True) as marts:
        for table in truth.tables:
            try:
                found = _read(marts, table)
            except duckdb.Error as error:
                reason = str(error).splitlines()[0]
                result.differences.append(f"{table.name}: cannot be read: {reason}")
                continue
            result.differences += _differences(table, found)
            result.compared.setdefault(table.name, len(table.rows.keys() & found.keys()))
            if table.name == "campaign_performance":
                result.campaigns_compared = len({key[2] for key in table.rows})
    return result


def _read(marts: duckdb.DuckDBPyConnection, table: Expected) -> Rows:
    """The mart's rows by key. A repeated key stays apart, so that it shows as a row too many."""
    columns = sorted({c for row in table.rows.values() for c in row})
    quoted = ", ".join(f'"{c}"' for c in (*table.keys, *columns))
    source = table.source or f'marts."{table.name}"'
    records = marts.sql(f"select {quoted} from {source} as t").to_arrow_table().to_pylist()  # noqa: S608
    rows: Rows = {}
    for record in records:
        key = tuple(record.pop(k) for k in table.keys)
        while key in rows:
            key = (*key, "repeated")
        rows[key] = record
    return rows


def _differences(table: Expected, found: Rows) -> list[str]:
    lines = []
    for key in sorted(table.rows.keys() - found.keys(), key=str):
        lines.append(f"{table.name} {_label(table, key)}: missing; expected {_short(table, key)}")
    for key in sorted(found.keys() - table.rows.keys(), key=str):
        lines.append(f"{table.name} {_label(table, key)}: one too many: {found[key]}")
    for key in sorted(table.rows.keys() & found.keys(), key=str):
        wrong = [
            f"{column} is {_show(found[key][column])}, expected {_show(value)}"
            for column, value in table.rows[key].items()
            if not _same(found[key][column], value)
        ]
        if wrong:
            lines.append(f"{table.name} {_label(table, key)}: {'; '.join(wrong)}")
    return lines


def _same(found: Any, expected: Any) -> bool:
    """Strict equality: a float is never a decimal, and None is never 0."""
    if isinstance(expected, datetime) and isinstance(found, datetime):
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return found == expected
    if isinstance(expected, Decimal):
        return isinstance(found, (Decimal, int)) and found == expected
    return type(found) is type(expected) and found == expected


def _label(table: Expected, key: tuple[Any, ...]) -> str:
    names = (*table.keys, *("note" for _ in key[len(table.keys) :]))
    return " ".join(f"{name}={value}" for name, value in zip(names, key, strict=True))


def _short(table: Expected, key: tuple[Any, ...]) -> Row:
    return dict(list(table.rows[key].items())[:_SHOWN])


def _show(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return repr(value) if isinstance(value, str) else str(value)
