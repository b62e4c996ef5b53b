"""Verdicts and proposals of the marts, with the values from which the page words their reasons.

A reason is a sentence in English in the marts; the page says it in the reader's language, from
the columns that made it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from publishing.report.columns import amounts, counts, shown, words

_BOARD = """
select
    platform, ad_id, verdict, account_id, currency, {code} as code, window_days, leads,
    qualified_leads,
    spend, shrunk_qualified_rate, qualified_rate_low, qualified_rate_high,
    expected_cost_per_qualified_lead_low, expected_cost_per_qualified_lead_high,
    peer_cost_per_qualified_lead, peer_qualified_leads, unread_days
from marts.creative_board
order by window_days, platform, ad_id
"""
_SHIFT = """
select
    platform, account_id, currency, from_ad_id, from_ad_name, from_campaign_name, to_ad_id,
    to_ad_name, to_campaign_name, window_days, suggested_daily_amount,
    expected_weekly_gain, expected_weekly_gain_low, expected_weekly_gain_high,
    from_expected_cost_per_qualified_lead, to_expected_cost_per_qualified_lead
from marts.budget_shift
order by window_days, platform, account_id, currency, pair_number, from_ad_id, to_ad_id
"""
_SHIFT_WORDS = (
    "platform", "account", "currency", "from_ad", "from_name", "from_campaign", "to_ad",
    "to_name", "to_campaign",
)  # fmt: skip


def creative_board(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """One row per ad and window: counts, the likely rate with its 90 % interval, the verdict."""
    has_code = connection.execute(
        "select count(*) from duckdb_columns() where table_name = 'creative_board' "
        "and column_name = 'reason_code'"
    ).fetchone()
    code = "reason_code" if has_code and has_code[0] else "cast(null as varchar)"
    columns = _query(connection, _BOARD.format(code=code))
    return {
        **_words(("platform", "ad", "verdict", "account", "currency", "code"), columns),
        "window": columns[6],
        "leads": counts(columns[7]),
        "qualified": counts(columns[8]),
        "spend": amounts(columns[9]),
        **{
            name: shown(columns[i])
            for i, name in enumerate(
                ("rate", "low", "high", "cost_low", "cost_high", "peer_cost"), start=10
            )
        },
        "peer_qualified": columns[16],
        "unread_days": counts(columns[17]),
    }


def budget_shift(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """One row per proposal: from which ad to which, how much a day, the expected weekly gain."""
    columns = _query(connection, _SHIFT)
    return {
        **_words(_SHIFT_WORDS, columns),
        "window": columns[9],
        "amount": amounts(columns[10]),
        **{
            name: shown(columns[i])
            for i, name in enumerate(("gain", "low", "high", "from_cost", "to_cost"), start=11)
        },
    }


def _query(connection: duckdb.DuckDBPyConnection, query: str) -> list[list[Any]]:
    cursor = connection.execute(query)
    width = len(cursor.description or ())
    rows = cursor.fetchall()
    return [[row[i] for row in rows] for i in range(width)]


def _words(names: Sequence[str], columns: Sequence[list[Any]]) -> dict[str, Any]:
    return {name: words(column) for name, column in zip(names, columns, strict=False)}
