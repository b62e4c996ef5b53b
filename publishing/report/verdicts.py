"""Verdicts on creatives and what to shift, where the published marts have them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import duckdb

from publishing.report.columns import amounts, counts, words

_BOARD = """
select
    platform, ad_id, verdict, reason, window_days, leads, qualified_leads,
    shrunk_qualified_rate, qualified_rate_low, qualified_rate_high
from marts.creative_board
order by window_days, platform, ad_id
"""
_SHIFT = """
select
    platform, account_id, currency, from_ad_id, from_ad_name, from_campaign_name, to_ad_id,
    to_ad_name, to_campaign_name, reason, window_days, suggested_daily_amount,
    expected_weekly_gain, expected_weekly_gain_low, expected_weekly_gain_high
from marts.budget_shift
order by window_days, platform, account_id, currency, pair_number, from_ad_id, to_ad_id
"""
_SHIFT_TEXTS = (
    "platform", "account", "currency", "from_ad", "from_name", "from_campaign", "to_ad",
    "to_name", "to_campaign", "reason",
)  # fmt: skip


def creative_board(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """One row per ad and window: counts, the likely rate with its 90 % interval, the verdict."""
    columns = _columns(connection, _BOARD)
    return {
        **_texts(("platform", "ad", "verdict", "reason"), columns),
        "window": columns[4],
        "leads": counts(columns[5]),
        "qualified": counts(columns[6]),
        **{name: _shown(columns[i]) for i, name in enumerate(("rate", "low", "high"), start=7)},
    }


def budget_shift(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """One row per proposal: from which ad to which, how much a day, what a week may gain."""
    columns = _columns(connection, _SHIFT)
    return {
        **_texts(_SHIFT_TEXTS, columns),
        "window": columns[10],
        "amount": amounts(columns[11]),
        **{name: _shown(columns[i]) for i, name in enumerate(("gain", "low", "high"), start=12)},
    }


def _columns(connection: duckdb.DuckDBPyConnection, query: str) -> list[list[Any]]:
    cursor = connection.execute(query)
    width = len(cursor.description or ())
    rows = cursor.fetchall()
    return [[row[i] for row in rows] for i in range(width)]


def _texts(names: Sequence[str], columns: Sequence[list[Any]]) -> dict[str, Any]:
    return {name: words(column) for name, column in zip(names, columns, strict=False)}


def _shown(values: Sequence[Decimal | float | None]) -> list[float | None]:
    """For reading, not for sums: six digits are more than some dozens of leads can tell."""
    return [None if v is None else round(float(v), 6) for v in values]
