"""The report's data: everything the page shows, read from the published marts and nothing else.

No row speaks of one person: leads are counts, outcomes and conversion events are counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from ctwa.publication import Publication
from publishing.report.columns import amounts, counts, words
from publishing.report.facts import COLUMNS, FACTS, encode_facts
from publishing.report.verdicts import budget_shift, creative_board

FORMAT = 1
NEEDED = (
    "attribution_health", "channel_performance", "dim_accounts", "dim_ads", "dim_campaigns",
    "fct_ad_spend", "fct_leads", "spend_reconciliation",
)  # fmt: skip
"""Marts that have to be there. The verdicts on creatives and conversion events may be missing."""

HEALTH = (
    "conversations", "with_referral", "resolved", "pending", "foreign", "gone", "ad_suspected",
    "direct", "outbound", "platform_conversations", "unmatched_outcomes", "envelopes",
    "quarantined_envelopes", "excluded_leads", "web_leads", "repeats",
)  # fmt: skip
"""Columns of attribution_health, by day."""


class ReportError(RuntimeError):
    """The report could not be made; the one of before stays."""


@dataclass(frozen=True)
class Payload:
    """What the page is made of."""

    content: dict[str, Any]
    rows: int
    """Rows of figures."""
    as_of: date


def read_payload(marts_path: Path, reporting_currency: str) -> Payload:
    """Everything the page shows. Raises `ReportError` where marts are missing or do not add up.

    `reporting_currency`: for marts of a version that did not say theirs.
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
    facts = connection.execute(FACTS).fetchall()
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
        "reconciliation": _reconciliation(connection, accounts),
        "creative_board": board,
        "budget_shift": budget_shift(connection) if "budget_shift" in tables else None,
        "conversions": _conversions(connection) if "conversion_events" in tables else None,
    }
    return Payload(content, len(facts), publication.as_of)


def _check_totals(connection: duckdb.DuckDBPyConnection, facts: Sequence[tuple[Any, ...]]) -> None:
    """Every lead and every amount stands in channel_performance exactly once (rule R12)."""
    row = connection.execute(
        "select coalesce(sum(leads), 0), coalesce(sum(qualified_leads), 0), "
        "coalesce(sum(spend_reporting), 0) from marts.channel_performance"
    ).fetchone()
    told = tuple(row or ())
    day, channel, spend, leads, qualified = (
        COLUMNS.index(c) for c in ("day", "channel", "spend", "leads", "qualified")
    )
    sums: dict[tuple[Any, Any], Any] = {}  # as there: one amount without a rate, and it is null
    for fact in facts:
        key = (fact[day], fact[channel])
        both = (sums.get(key, 0), fact[spend])
        sums[key] = None if None in both else sum(both)
    counted = (
        sum(fact[leads] for fact in facts),
        sum(fact[qualified] for fact in facts),
        sum(amount for amount in sums.values() if amount is not None),
    )
    if counted != told:
        raise ReportError(
            "leads, qualified leads and spend of fct_leads and fct_ad_spend "
            f"({', '.join(map(str, counted))}) are not those of channel_performance "
            f"({', '.join(map(str, told))}); `ctwa refresh --full` builds both again"
        )


def _accounts(
    connection: duckdb.DuckDBPyConnection, facts: Sequence[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Accounts by platform and id; those that only figures name have nothing but their id."""
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
    """Ads that have a figure or a verdict. Pictures stay out: the page asks the network nothing."""
    used = {(f[1], f[4]) for f in facts}
    if board is not None:
        used |= set(zip(_said(board["platform"]), _said(board["ad"]), strict=True))
    rows = connection.execute(
        "select platform, ad_id, ad_name, adset_name, campaign_id, headline, media_type, "
        "effective_status from marts.dim_ads order by platform, ad_id"
    ).fetchall()
    names = ("platform", "id", "name", "adset", "campaign", "headline", "media", "status")
    return _columns(names, [row for row in rows if (row[0], row[1]) in used])


def _said(column: Any) -> list[str | None]:
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
        "unallocated from marts.spend_reconciliation order by spend_date, platform, account_id"
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
