"""The report's data: everything the page shows, read from the published marts only.

No row names a person: leads are counts, and the newest ones a list by pseudonym (`people.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson

from publishing.publication import Publication
from publishing.report import people, trust, verdicts
from publishing.report.columns import packed, table
from publishing.report.facts import ReportError, load_facts
from publishing.report.room import REPORT_BYTES, Room
from publishing.report.zones import Budget, encode_facts

FORMAT = 4
NEEDED = (
    "attribution_health", "channel_performance", "dim_accounts", "dim_ads", "dim_campaigns",
    "fct_ad_spend", "fct_leads", "spend_reconciliation",
)  # fmt: skip
"""Marts that must exist. Boards, alarms, restatements and conversion events may be missing."""


@dataclass(frozen=True)
class Payload:
    """What the page is made of."""

    content: dict[str, Any]
    rows: int
    """Number of rows of figures."""
    as_of: date


@dataclass(frozen=True)
class Limits:
    """How much a page may hold."""

    bytes: int = REPORT_BYTES
    """Of its data: figures are kept coarser until they fit beside everything else."""
    room: Room = field(default_factory=Room)
    budget: Budget = field(default_factory=Budget)


def read_payload(
    marts_path: Path, reporting_currency: str, limits: Limits | None = None
) -> Payload:
    """Everything the page shows. Raises `ReportError` if marts are missing or do not add up.

    `reporting_currency` is for marts of a version that did not record theirs.
    """
    publication = Publication.read(marts_path)
    if publication is None:
        raise ReportError(f"there are no published marts at {marts_path}; run `ctwa refresh` first")
    try:
        with duckdb.connect(str(marts_path), read_only=True) as connection:
            connection.execute("set timezone = 'UTC'")
            return _read(connection, publication, reporting_currency, limits or Limits())
    except duckdb.Error as error:
        raise ReportError(
            f"the marts at {marts_path} could not be read ({str(error).splitlines()[0]}); "
            "`ctwa refresh --full` publishes them again"
        ) from error


def _read(
    connection: duckdb.DuckDBPyConnection, publication: Publication, currency: str, limits: Limits
) -> Payload:
    found = connection.execute("select table_name from duckdb_tables()").fetchall()
    tables = {name for (name,) in found}
    missing = [name for name in NEEDED if name not in tables]
    if missing:
        raise ReportError(
            f"the published marts lack {', '.join(missing)}; run `ctwa refresh --full`"
        )
    says_unread = trust.says_unread(connection)
    small = load_facts(connection, says_unread=says_unread, room=limits.room)
    accounts = _accounts(connection)
    rules = dict(rule.split("=", 1) for rule in publication.rules.split(",") if "=" in rule)
    content: dict[str, Any] = {
        "format": FORMAT,
        "version": publication.version,
        "as_of": publication.as_of.isoformat(),
        "published_at": _instant(publication.published_at),
        "rule_version": publication.rule_version,
        "currency": rules.get("reporting_currency", currency),
        "timezone": rules.get("reporting_timezone", "UTC"),
        "accounts": packed(_ACCOUNT, accounts),
        "campaigns": _campaigns(connection),
        "ads": _ads(connection, has_board="creative_board" in tables),
        "others": small,
        "leads": people.leads(connection, has_conversations="fct_conversations" in tables),
        "boards": verdicts.boards(connection, tables),
        "health": trust.health(connection),
        "unread": trust.unread(connection, accounts, publication.as_of) if says_unread else {},
        "reconciliation": trust.reconciliation(connection, accounts),
    }
    parts = {
        "alarms": ("health_alarms", trust.alarms),
        "monday": ("monday", verdicts.monday),
        "targets": ("target_pacing", verdicts.targets),
        "forecast": ("cohort_forecast", verdicts.forecast),
        "answers": ("answer_performance", verdicts.answers),
        "budget_shift": ("budget_shift", verdicts.budget_shift),
        "conversions": ("conversion_events", trust.conversions),
    }
    for name, (mart, read) in parts.items():
        content[name] = read(connection) if mart in tables else None
    content["restatements"] = (
        trust.restatements(connection, publication.as_of) if "restatements" in tables else None
    )
    room = limits.bytes - len(orjson.dumps(content))
    facts = _fitting(connection, [(a[0], a[1]) for a in accounts], limits.budget, room)
    return Payload({**content, "facts": facts}, facts["rows"], publication.as_of)


_WHOLE = 3_300_000
"""About what figures take that use all of the budget."""


def _fitting(
    connection: duckdb.DuckDBPyConnection,
    accounts: Sequence[tuple[str, str]],
    budget: Budget,
    room: int,
) -> dict[str, Any]:
    """The figures, as fine as there is room for; the coarsest if there is none."""
    share = min(1.0, max(0.05, room / _WHOLE))
    while True:
        facts = encode_facts(connection, accounts, budget.of(share))
        size = len(orjson.dumps(facts))
        if size <= room or share < 0.02:
            return facts
        share *= min(0.9, 0.95 * room / size)


_ACCOUNT = ("platform", "id", "name", "currency", "timezone", "complete_through")


def _accounts(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    """Accounts by platform and id; those that only occur in the figures have nothing but an id."""
    return connection.execute(
        "select platform, account_id, account_name, currency, timezone, "
        "cast(spend_complete_through as varchar) from marts.dim_accounts union all "
        "select distinct platform, account, null, null, null, null from entities "
        "where platform is not null and account is not null and (platform, account) not in "
        "(select (platform, account_id) from marts.dim_accounts) order by 1, 2"
    ).fetchall()


def _campaigns(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """Campaigns that have figures and a place in the page."""
    rows = connection.execute(
        "select platform, campaign_id, campaign_name, effective_status from marts.dim_campaigns "
        "where (platform, campaign_id) in (select (platform, campaign) from entities) "
        "order by platform, campaign_id"
    ).fetchall()
    return table(("platform", "id", "name", "status"), rows)


def _ads(connection: duckdb.DuckDBPyConnection, *, has_board: bool) -> dict[str, Any]:
    """Ads that have a figure or a verdict, and a place in the page. Pictures, if wanted, are put in
    later."""
    used = "select platform, ad from entities where level = 0"
    if has_board:
        used += " union select platform, ad_id from marts.creative_board"
    rows = connection.execute(
        "select platform, ad_id, ad_name, adset_id, adset_name, campaign_id, headline, "  # noqa: S608
        "media_type, effective_status from marts.dim_ads "
        f"where (platform, ad_id) in ({used}) "
        "and (platform, ad_id) not in (select (platform, ad) from small_ads) "
        "order by platform, ad_id"
    ).fetchall()
    names = (
        "platform", "id", "name", "adset", "adset_name", "campaign", "headline", "media", "status",
    )  # fmt: skip
    return table(names, rows)


def _instant(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat(timespec="seconds")
