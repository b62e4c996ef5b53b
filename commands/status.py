"""How the installation is doing (`ctwa status`): runs, marts, sources, alarms, what waits.

Reads what is there and asks no one: no API, no receiver (`ctwa doctor` does).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from commands.doctor import installation
from ctwa.errors import CtwaError
from ctwa.live_state import STUCK_SECONDS, takes_envelopes
from ctwa.setting_types import previous_run
from ctwa.settings import Settings
from ingestion.source import Finding, ok, utc_text, wrong
from publishing.publication import Publication

log = logging.getLogger(__name__)

_PUBLISHED_WITHIN = timedelta(hours=3)
"""After the hour of the schedule: a full build of a large installation takes as long."""
_WAITS_AT_MOST = timedelta(hours=30)
"""Of a body in the vault, without `ctwa live`; as in the check `receiver_fills_this_vault`."""


def status(settings: Settings, now: datetime | None = None) -> list[Finding]:
    """Every finding; `wrong` where somebody has something to do. Never raises."""
    at = now or datetime.now(UTC)
    parts: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("runs", lambda: _history(settings, at)),
        ("marts", lambda: _marts(settings, at)),
        ("vault", lambda: _vault(settings, at)),
        ("live", lambda: installation.live(settings)),
        ("schedules", lambda: installation.schedules(settings)),
    ]
    findings: list[Finding] = []
    for name, part in parts:
        try:
            findings += part()
        except (CtwaError, OSError) as error:
            findings.append(wrong(name, str(error), "as it says, then `ctwa doctor`"))
        except Exception as error:
            log.debug("%s", name, exc_info=True)
            findings.append(
                wrong(name, f"could not be read: {type(error).__name__}", "run `ctwa doctor`")
            )
    return findings


def _history(settings: Settings, now: datetime) -> Iterator[Finding]:
    if not settings.dagster_home.exists():
        yield wrong("last run", "there was none yet", "run `ctwa refresh`")
        return
    from orchestration.history import look_at_history

    yield from look_at_history(settings, now)


# ---- marts and alarms ---------------------------------------------------------------------------


def _marts(settings: Settings, now: datetime) -> Iterator[Finding]:
    publication = Publication.read(settings.marts_path)
    if publication is None:
        yield wrong("marts", f"none are published at {settings.marts_path}", "run `ctwa refresh`")
        return
    at = publication.published_at
    found = f"as of {publication.as_of}" + (f", published {utc_text(at.timestamp())}" if at else "")
    due = previous_run(settings.nightly_cron, now.astimezone(ZoneInfo(settings.reporting_timezone)))
    if at is not None and at < due <= now - _PUBLISHED_WITHIN:
        fix = "see the last run; is the daemon running, or cron calling `ctwa refresh`?"
        yield wrong(
            "marts", f"{found}: nothing since the run that was due {due:%Y-%m-%d %H:%M}", fix
        )
    else:
        yield ok("marts", found)
    with duckdb.connect(str(settings.marts_path), read_only=True) as marts:
        yield from _unread_spend(marts)
        yield from _alarms(marts)


def _unread_spend(marts: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    rows = _rows(
        marts,
        "dim_accounts",
        "select platform, account_id, spend_unread_since from {mart} "
        "where spend_unread_since is not null order by all",
    )
    for platform, account, since in rows:
        yield wrong(
            f"spend of {platform} {account}",
            f"not completely read since {since}: spend and costs of these days are not known",
            "run `ctwa doctor`, then `ctwa refresh`",
        )


def _alarms(marts: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    rows = _rows(
        marts,
        "health_alarms",
        "select alarm, status, message, since, mend from {mart} order by place, alarm",
    )
    standing = [row for row in rows if row[1] == "warn"]
    for alarm, _, message, since, mend in standing:
        found = f"{message} (since {since})" if since else message
        more = f"docs/runbooks.md#{alarm}"
        yield wrong(f"alarm {alarm}", found, f"{mend} ({more})" if mend else f"see {more}")
    if rows and not standing:
        judged = sum(row[1] == "ok" for row in rows)
        yield ok("alarms", f"none of {judged}; {len(rows) - judged} have too little to judge by")


def _rows(marts: duckdb.DuckDBPyConnection, mart: str, sql: str) -> list[tuple[Any, ...]]:
    try:
        return marts.execute(sql.format(mart=f"marts.{mart}")).fetchall()
    except (duckdb.CatalogException, duckdb.BinderException):  # marts of an earlier version
        return []


# ---- the vault ----------------------------------------------------------------------------------


def _vault(settings: Settings, now: datetime) -> Iterator[Finding]:
    from orchestration.sensors import waiting_since

    since = waiting_since(settings)
    if since is None:
        yield ok("vault", "everything received is in the event log")
        return
    waits = now - since
    found = (
        f"the oldest body has been waiting for {_span(waits)}, since {utc_text(since.timestamp())}"
    )
    is_late = waits > (
        timedelta(seconds=STUCK_SECONDS) if takes_envelopes(settings) else _WAITS_AT_MOST
    )
    if is_late:
        yield wrong("vault", found, "run `ctwa refresh`, and see what stopped the last run")
    else:
        yield ok("vault", found)


def _span(length: timedelta) -> str:
    seconds = max(0, round(length.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
