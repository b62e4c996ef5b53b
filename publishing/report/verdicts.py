"""Verdicts on creatives and what to shift, where the published marts have them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import duckdb

from publishing.report.columns import amounts, counts, words

_LOW = ("qualified_rate_low", "qualified_rate_lower", "rate_low")
_HIGH = ("qualified_rate_high", "qualified_rate_upper", "rate_high")


def creative_board(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """One row per ad and window: counts, the rate with its 90 % interval, verdict and reason."""
    has = _columns_of(connection, "creative_board")
    low, high = _first(has, _LOW), _first(has, _HIGH)
    rows = connection.execute(
        "select platform, ad_id, verdict, reason, window_days, leads, qualified_leads, "
        f"cast(cost_per_qualified_lead as decimal(18, 6)), qualified_rate, {low}, {high} "
        "from marts.creative_board order by window_days, platform, ad_id"
    ).fetchall()
    columns = list(zip(*rows, strict=True)) or [[] for _ in range(11)]
    texts = dict(zip(("platform", "ad", "verdict", "reason"), map(words, columns), strict=False))
    return {
        **texts,
        "window": list(columns[4]),
        "leads": counts(columns[5]),
        "qualified": counts(columns[6]),
        "cost": amounts(columns[7]),
        **{name: _rates(columns[i]) for i, name in enumerate(("rate", "low", "high"), start=8)},
    }


def budget_shift(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """One row per proposal: from which ad to which, how much, and what is expected of it."""
    rows = connection.execute("from marts.budget_shift").fetchall()
    return {"rows": len(rows)}


def _rates(values: Sequence[Decimal | float | None]) -> list[float | None]:
    """Six digits: more than an interval of some dozens of leads can tell."""
    return [None if v is None else round(float(v), 6) for v in values]


def _columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> set[str]:
    rows = connection.execute(
        "select column_name from duckdb_columns() where table_name = ?", [table]
    ).fetchall()
    return {name for (name,) in rows}


def _first(has: set[str], names: Sequence[str]) -> str:
    return next((name for name in names if name in has), "null")
