"""The report's data: everything the page shows, read from the published marts only.

No row is about one person: leads, outcomes and conversion events are counts only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from ctwa.errors import CtwaError
from publishing.publication import Publication
from publishing.report.facts import COLUMNS, amounts, counts, encode_facts, read_facts, words

FORMAT = 1
NEEDED = (
    "attribution_health", "channel_performance", "dim_accounts", "dim_ads", "dim_campaigns",
    "fct_ad_spend", "fct_leads", "spend_reconciliation",
)  # fmt: skip
"""Marts that must exist. The creative board and conversion events may be missing."""

HEALTH = (
    "conversations", "with_referral", "resolved", "pending", "foreign", "gone", "ad_suspected",
    "direct", "outbound", "platform_conversations", "unmatched_outcomes", "envelopes",
    "quarantined_envelopes", "excluded_leads", "web_leads", "repeats",
)  # fmt: skip
"""Columns of attribution_health, by day."""


class ReportError(CtwaError):
    """The report could not be made; the previous one stays."""


@dataclass(frozen=True)
class Payload:
    """What the page is made of."""

    content: dict[str, Any]
    rows: int
    """Number of rows of figures."""
    as_of: date


def read_payload(marts_path: Path, reporting_currency: str) -> Payload:
    """Everything the page shows. Raises `ReportError` if marts are missing or do not add up.

    `reporting_currency` is for marts of a version that did not record theirs.
    """
    publication = Publication.read(marts_path)
    if publication is None:
        raise ReportError(f"there are no published marts at {marts_path}; run `ctwa refresh` first")
    try:
        with duckdb.connect(str(marts_path), read_only=True) as connection:
            connection.execute("set timezone = 'UTC'")
            return _read(connection, publication, reporting_currency)
    except duckdb.Error as error:
        raise ReportError(
            f"the marts at {marts_path} could not be read ({str(error).splitlines()[0]}); "
            "`ctwa refresh --full` publishes them again"
        ) from error


def _read(
    connection: duckdb.DuckDBPyConnection, publication: Publication, currency: str
) -> Payload:
    found = connection.execute("select table_name from duckdb_tables()").fetchall()
    tables = {name for (name,) in found}
    missing = [name for name in NEEDED if name not in tables]
    if missing:
        raise ReportError(
            f"the published marts lack {', '.join(missing)}; run `ctwa refresh --full`"
        )
    says_unread = _says_unread(connection)
    facts = read_facts(connection, says_unread=says_unread)
    _check_totals(connection, facts)
    accounts = _accounts(connection, facts)
    rules = dict(rule.split("=", 1) for rule in publication.rules.split(",") if "=" in rule)
    board = creative_board(connection) if "creative_board" in tables else None
    content = {
        "format": FORMAT,
        "version": publication.version,
        "as_of": publication.as_of.isoformat(),
        "published_at": _instant(publication.published_at),
        "rule_version": publication.rule_version,
        "currency": rules.get("reporting_currency", currency),
        "timezone": rules.get("reporting_timezone", "UTC"),
        "accounts": _described_accounts(accounts),
        "campaigns": _campaigns(connection),
        "ads": _ads(connection, facts, board),
        "facts": encode_facts(facts, [(a[0], a[1]) for a in accounts]),
        "health": _health(connection),
        "unread": _unread(connection, accounts, publication.as_of) if says_unread else [],
        "reconciliation": _reconciliation(connection, accounts),
        "creative_board": board,
        "budget_shift": budget_shift(connection) if "budget_shift" in tables else None,
        "conversions": _conversions(connection) if "conversion_events" in tables else None,
    }
    return Payload(content, len(facts), publication.as_of)


def _says_unread(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether all marts concerned say which spend was not read."""
    marts = {"ad_performance", "channel_performance", "spend_reconciliation"}
    found = connection.execute(
        "select table_name from duckdb_columns() where column_name = 'spend_status'"
    ).fetchall()
    return marts <= {name for (name,) in found}


_UNREAD_RANGES = """
with days as (
    select
        platform, account_id, spend_status, spend_unread_reason as reason, spend_date as day,
        spend_date - cast(row_number() over (
            partition by platform, account_id, spend_status, spend_unread_reason
            order by spend_date
        ) as integer) as island
    from marts.spend_reconciliation
    where spend_status <> 'read' and spend_date < ?
)
select
    platform, account_id, spend_status, reason, min(day) - date '1970-01-01' as first_day,
    max(day) - date '1970-01-01' as last_day
from days
group by platform, account_id, spend_status, reason, island
order by first_day, last_day, platform, account_id
"""


def _unread(
    connection: duckdb.DuckDBPyConnection, accounts: Sequence[tuple[Any, ...]], as_of: date
) -> list[dict[str, Any]]:
    """Ranges of account days whose spend is unknown or incomplete, without `as_of` (rule R13).

    `account`: its index among the accounts, -1 for a platform that was never read.
    `trailing`: it reaches the day before `as_of`, so a period should end before it starts.
    """
    index = {(a[0], a[1]): i for i, a in enumerate(accounts)}
    yesterday = (as_of - date(1970, 1, 1)).days - 1
    ranges = [
        {
            "platform": platform, "account": index.get((platform, account), -1),
            "status": status, "reason": reason, "from": first, "to": last,
        }
        for platform, account, status, reason, first, last in connection.execute(
            _UNREAD_RANGES, [as_of]
        ).fetchall()
    ]  # fmt: skip
    # Backwards from the last: a day read only in part belongs to the unread days that follow it.
    tail: dict[Any, int] = {}
    for found in reversed(ranges):
        key = (found["platform"], found["account"])
        found["trailing"] = found["account"] >= 0 and found["to"] == tail.get(key, yesterday)
        if found["trailing"]:
            tail[key] = found["from"] - 1
    return ranges


def _check_totals(connection: duckdb.DuckDBPyConnection, facts: Sequence[tuple[Any, ...]]) -> None:
    """Check that every lead and amount is in channel_performance exactly once (rule R12)."""
    row = connection.execute(
        "select coalesce(sum(leads), 0), coalesce(sum(qualified_leads), 0), "
        "coalesce(sum(spend_reporting), 0) from marts.channel_performance"
    ).fetchone()
    published = tuple(row or ())
    day, channel, spend, leads, qualified = (
        COLUMNS.index(c) for c in ("day", "channel", "spend", "leads", "qualified")
    )
    sums: dict[tuple[Any, Any], Any] = {}  # as there: null if one amount has no rate
    for fact in facts:
        key = (fact[day], fact[channel])
        both = (sums.get(key, 0), fact[spend])
        sums[key] = None if None in both else sum(both)
    counted = (
        sum(fact[leads] for fact in facts),
        sum(fact[qualified] for fact in facts),
        sum(amount for amount in sums.values() if amount is not None),
    )
    if counted != published:
        raise ReportError(
            "leads, qualified leads and spend of fct_leads and fct_ad_spend "
            f"({', '.join(map(str, counted))}) differ from those of channel_performance "
            f"({', '.join(map(str, published))}); `ctwa refresh --full` rebuilds both"
        )


def _accounts(
    connection: duckdb.DuckDBPyConnection, facts: Sequence[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Accounts by platform and id; those that only occur in the figures have nothing but an id."""
    known = connection.execute(
        "select platform, account_id, account_name, currency, timezone, "
        "cast(spend_complete_through as varchar) from marts.dim_accounts"
    ).fetchall()
    named = {(row[0], row[1]) for row in known}
    seen = {(f[1], f[2]) for f in facts if f[1] is not None and f[2] is not None} - named
    return sorted([*known, *((*key, None, None, None, None) for key in seen)], key=lambda a: a[:2])


def _described_accounts(accounts: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    names = ("platform", "id", "name", "currency", "timezone", "complete_through")
    return [dict(zip(names, account, strict=True)) for account in accounts]


def _campaigns(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    rows = connection.execute(
        "select platform, campaign_id, campaign_name, effective_status from marts.dim_campaigns "
        "order by platform, campaign_id"
    ).fetchall()
    return _columns(("platform", "id", "name", "status"), rows)


def _ads(
    connection: duckdb.DuckDBPyConnection,
    facts: Sequence[tuple[Any, ...]],
    board: dict[str, Any] | None,
) -> dict[str, Any]:
    """Ads that have a figure or a verdict. No pictures: the page makes no network requests."""
    used = {(f[1], f[4]) for f in facts}
    if board is not None:
        used |= set(zip(_texts(board["platform"]), _texts(board["ad"]), strict=True))
    rows = connection.execute(
        "select platform, ad_id, ad_name, adset_name, campaign_id, headline, media_type, "
        "effective_status from marts.dim_ads order by platform, ad_id"
    ).fetchall()
    names = ("platform", "id", "name", "adset", "campaign", "headline", "media", "status")
    return _columns(names, [row for row in rows if (row[0], row[1]) in used])


def _texts(column: Any) -> list[str | None]:
    return [None if i < 0 else column["w"][i] for i in column["i"]]


def _health(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    chosen = ", ".join(f'"{c}"' for c in HEALTH)
    rows = connection.execute(
        f"select report_date - date '1970-01-01', {chosen} "  # noqa: S608
        "from marts.attribution_health order by report_date"
    ).fetchall()
    columns = {c: counts([r[i] for r in rows]) for i, c in enumerate(HEALTH, start=1)}
    return {"day": [row[0] for row in rows], **columns}


def _reconciliation(
    connection: duckdb.DuckDBPyConnection, accounts: Sequence[tuple[Any, ...]]
) -> dict[str, Any]:
    """By account and day, in the account's currency."""
    index = {(a[0], a[1]): i for i, a in enumerate(accounts)}
    rows = connection.execute(
        "select platform, account_id, spend_date - date '1970-01-01', account_spend, ads_spend, "
        "unallocated from marts.spend_reconciliation where account_id <> 'unknown' "
        "order by spend_date, platform, account_id"
    ).fetchall()
    return {
        "day": [row[2] for row in rows],
        "account": [index.get((row[0], row[1]), -1) for row in rows],
        **{
            name: amounts([row[place] for row in rows])
            for place, name in enumerate(("billed", "ads", "unallocated"), start=3)
        },
    }


def _conversions(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Conversion events by UTC day of the outcome, stage, name, status and reason."""
    rows = connection.execute(
        "select cast(floor(epoch(occurred_at) / 86400) as integer) as day, funnel_stage, "
        "event_name, status, reason, count(*) from marts.conversion_events group by all "
        "order by day, funnel_stage, event_name, status, reason"
    ).fetchall()
    texts = {name: words([r[i] for r in rows]) for i, name in enumerate(_EVENT_TEXTS, start=1)}
    return {"day": [r[0] for r in rows], **texts, "events": [r[5] for r in rows]}


_EVENT_TEXTS = ("stage", "event", "status", "reason")


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    return {name: words([row[i] for row in rows]) for i, name in enumerate(names)}


def _instant(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat(timespec="seconds")


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
_SHIFT_WORDS = (
    "platform", "account", "currency", "from_ad", "from_name", "from_campaign", "to_ad",
    "to_name", "to_campaign", "reason",
)  # fmt: skip


def creative_board(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """One row per ad and window: counts, the likely rate with its 90 % interval, the verdict."""
    columns = _query(connection, _BOARD)
    return {
        **_words(("platform", "ad", "verdict", "reason"), columns),
        "window": columns[4],
        "leads": counts(columns[5]),
        "qualified": counts(columns[6]),
        **{name: _shown(columns[i]) for i, name in enumerate(("rate", "low", "high"), start=7)},
    }


def budget_shift(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """One row per proposal: from which ad to which, how much a day, the expected weekly gain."""
    columns = _query(connection, _SHIFT)
    return {
        **_words(_SHIFT_WORDS, columns),
        "window": columns[10],
        "amount": amounts(columns[11]),
        **{name: _shown(columns[i]) for i, name in enumerate(("gain", "low", "high"), start=12)},
    }


def _query(connection: duckdb.DuckDBPyConnection, query: str) -> list[list[Any]]:
    cursor = connection.execute(query)
    width = len(cursor.description or ())
    rows = cursor.fetchall()
    return [[row[i] for row in rows] for i in range(width)]


def _words(names: Sequence[str], columns: Sequence[list[Any]]) -> dict[str, Any]:
    return {name: words(column) for name, column in zip(names, columns, strict=False)}


def _shown(values: Sequence[Decimal | float | None]) -> list[float | None]:
    """For display, not for sums: six digits are more than a few dozen leads can support."""
    return [None if v is None else round(float(v), 6) for v in values]
