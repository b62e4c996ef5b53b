"""What the marts advise and expect: boards, budget shift, Monday, forecast, answer times.

A reason is a sentence in English in the marts; the page says it in the reader's language, from
the codes and columns that made it. Every mart here may be missing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb

from publishing.report.columns import amounts, counts, packed, shown, words

BOARDS = {
    "ad": ("creative_board", "ad_id", "select (platform, ad) from small_ads"),
    "adset": ("adset_board", "adset_id", "select (platform, adset_id) from small_adsets"),
    "campaign": (
        "campaign_board", "campaign_id", "select (platform, campaign) from small_campaigns",
    ),
}  # fmt: skip
"""Mart, key, and which of them have no place of their own in the page (`room.py`)."""
FORECASTS, ANSWERS, TARGETS = 5_000, 2_500, 1_000
"""Rows of the page at most: of the accounts and campaigns with the most leads, the latest."""
_BOARD = """
select
    platform, {key}, verdict, account_id, currency, {code} as code, window_days, leads,
    qualified_leads,
    spend, shrunk_qualified_rate, qualified_rate_low, qualified_rate_high,
    expected_cost_per_qualified_lead_low, expected_cost_per_qualified_lead_high,
    peer_cost_per_qualified_lead, peer_qualified_leads, unread_days
from marts.{mart}
where (platform, {key}) not in ({small})
order by window_days, platform, {key}
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
_MONDAY = (
    "rank", "kind", "what", "money_at_stake_reporting", "money_at_stake_low_reporting",
    "money_at_stake_high_reporting", "reason_code", "reason_values", "platform", "account_id",
    "account_name", "campaign_id", "campaign_name", "adset_id", "adset_name", "ad_id", "ad_name",
    "alarm", "evidence",
)  # fmt: skip
# The page shows weeks and months of the whole, of accounts and channels, and months of campaigns,
# each of the leads that qualify within 90 days.
_FORECAST = """
select
    level, entity_key, grain, basis, reason_code, spend_status,
    period_start - date '1970-01-01', leads, qualified_so_far,
    expected_qualified, expected_qualified_low, expected_qualified_high,
    expected_cost_per_qualified_lead_reporting, expected_cost_per_qualified_lead_low_reporting,
    expected_cost_per_qualified_lead_high_reporting, backtest_coverage, is_out_of_range
from (
    select
        *, level in ('account', 'campaign') as is_part,
        sum(leads) over (partition by level, entity_key, grain) as all_leads
    from marts.cohort_forecast
    where horizon_days = 90 and (
        (level in ('company', 'account', 'channel') and grain in ('week', 'month'))
        or (level = 'campaign' and grain = 'month')
    )
    order by is_part, all_leads desc, level, entity_key, grain, period_start desc
    limit {limit}
)
order by level, entity_key, grain, period_start
"""
_FORECAST_WORDS = ("level", "entity", "grain", "basis", "reason", "spend_status")
_FORECAST_NUMBERS = (
    "start", "leads", "qualified", "expected", "low", "high", "cost", "cost_low", "cost_high",
    "coverage", "is_out_of_range",
)  # fmt: skip
_TARGETS = (
    "level", "platform", "account_id", "account_name", "campaign_id", "campaign_name", "currency",
    "target_cost_per_qualified_lead", "monthly_budget", "month_start", "spend_so_far",
    "expected_spend", "budget_status", "cost_month", "expected_cost_per_qualified_lead",
    "expected_cost_per_qualified_lead_low", "expected_cost_per_qualified_lead_high",
    "cost_status", "cost_reason_code", "unread_days", "problem_code",
)  # fmt: skip
_ANSWERS = (
    "scope", "platform", "account_id", "campaign_id", "compared", "answer_group", "group_order",
    "reference_group", "leads", "qualified_leads", "qualified_rate", "median_response_seconds",
    "compared_leads", "rate_difference", "rate_difference_low", "rate_difference_high",
    "verdict_code", "caution_code",
)  # fmt: skip


def boards(connection: duckdb.DuckDBPyConnection, tables: set[str]) -> dict[str, Any]:
    """The boards that there are, by what they judge: one row per ad, ad set or campaign and
    window, with counts, the likely rate with its 90 % interval, and the verdict."""
    return {
        name: _board(connection, mart, key, small)
        for name, (mart, key, small) in BOARDS.items()
        if mart in tables
    }


def _board(
    connection: duckdb.DuckDBPyConnection, mart: str, key: str, small: str
) -> dict[str, Any]:
    found = connection.execute(
        "select count(*) from duckdb_columns() where table_name = ? and column_name = ?",
        [mart, "reason_code"],
    ).fetchone()
    code = "reason_code" if found and found[0] else "cast(null as varchar)"
    columns = _query(connection, _BOARD.format(key=key, code=code, mart=mart, small=small))
    numbers = ("rate", "low", "high", "cost_low", "cost_high", "peer_cost")
    return {
        **_words(("platform", "id", "verdict", "account", "currency", "code"), columns),
        "window": columns[6],
        "leads": counts(columns[7]),
        "qualified": counts(columns[8]),
        "spend": amounts(columns[9]),
        **{name: shown(columns[i]) for i, name in enumerate(numbers, start=10)},
        "peer_qualified": columns[16],
        "unread_days": counts(columns[17]),
    }


def budget_shift(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """One row per proposal: from which ad to which, how much a day, the expected weekly gain."""
    columns = _query(connection, _SHIFT)
    numbers = ("gain", "low", "high", "from_cost", "to_cost")
    return {
        **_words(_SHIFT_WORDS, columns),
        "window": columns[9],
        "amount": amounts(columns[10]),
        **{name: shown(columns[i]) for i, name in enumerate(numbers, start=11)},
    }


def monday(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """What to do first: at most seven lines, with the values of their reasons and the evidence."""
    rows = connection.execute(
        f"select {', '.join(_MONDAY)} from marts.monday order by rank"  # noqa: S608
    ).fetchall()
    made = []
    for row in rows:
        line = dict(zip(_MONDAY, row, strict=True))
        for name in ("reason_values", "evidence"):
            line[name] = json.loads(line[name] or "{}")
        for name in _MONDAY[3:6]:
            line[name] = None if line[name] is None else float(line[name])
        made.append(line)
    return made


def targets(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """How the month goes for each target; days as ISO dates, amounts in the target's currency."""
    # Names that the page has already, which may be long, are not told twice.
    rows = connection.execute(
        f"select {', '.join(_TARGETS)} from (select * replace ("  # noqa: S608
        "case when (platform, campaign_id) not in (select (platform, campaign) from entities "
        "where campaign is not null and platform is not null) then campaign_name end "
        f"as campaign_name) from marts.target_pacing limit {TARGETS}) "
        "order by level, platform, account_id, campaign_id, entity_key"
    ).fetchall()
    return packed(_TARGETS, [[_plain(value) for value in row] for row in rows])


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, date) else value


def forecast(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What is expected of young cohorts, with 80 % intervals; null where it is refused."""
    columns = _query(connection, _FORECAST.format(limit=FORECASTS))
    start = len(_FORECAST_WORDS)
    return {
        **_words(_FORECAST_WORDS, columns),
        **{
            name: shown(columns[i]) if i > start + 2 else columns[i]
            for i, name in enumerate(_FORECAST_NUMBERS, start=start)
        },
    }


def answers(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Qualified rates by time to the first answer and by who answered."""
    rows = connection.execute(
        f"select {', '.join(_ANSWERS)} from ("  # noqa: S608
        "select *, sum(leads) over (partition by scope, platform, account_id, campaign_id) "
        "as all_leads "
        "from marts.answer_performance "
        "order by scope <> 'all', scope, all_leads desc, platform, account_id, campaign_id, "
        f"compared, group_order, answer_group limit {ANSWERS}) "
        "order by scope, platform, account_id, campaign_id, compared, group_order, answer_group"
    ).fetchall()
    return packed(_ANSWERS, [[_plain(value) for value in row] for row in rows])


def _query(connection: duckdb.DuckDBPyConnection, query: str) -> list[list[Any]]:
    cursor = connection.execute(query)
    width = len(cursor.description or ())
    rows = cursor.fetchall()
    return [[row[i] for row in rows] for i in range(width)]


def _words(names: Sequence[str], columns: Sequence[list[Any]]) -> dict[str, Any]:
    return {name: words(column) for name, column in zip(names, columns, strict=False)}
