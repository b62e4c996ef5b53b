"""How the installation is doing (`ctwa status`): runs, marts, sources, alarms, what waits.

Reads what is there and asks no one: no API, no receiver (`ctwa doctor` does).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import duckdb

from commands.doctor import installation
from ctwa.errors import CtwaError
from ctwa.live_state import STUCK_SECONDS, takes_envelopes
from ctwa.setting_types import previous_run
from ctwa.settings import Settings
from ingestion.source import Finding, off, ok, wrong
from ingestion.sources import SOURCES
from publishing.publication import Publication

if TYPE_CHECKING:
    import dagster as dg

log = logging.getLogger(__name__)

_PUBLISHED_WITHIN = timedelta(hours=3)
"""After the hour of the schedule: a full build of a large installation takes as long."""
_WAITS_AT_MOST = timedelta(hours=30)
"""Of a body in the vault, without `ctwa live`; as in the check `receiver_fills_this_vault`."""
_HEARTBEAT = timedelta(minutes=5)


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


# ---- runs and sources ---------------------------------------------------------------------------


def _history(settings: Settings, now: datetime) -> Iterator[Finding]:
    if not settings.dagster_home.exists():
        yield wrong("last run", "there was none yet", "run `ctwa refresh`")
        return
    from orchestration.instance import open_instance

    logging.getLogger("alembic").setLevel(logging.WARNING)
    with open_instance(settings) as instance:
        yield _last_run(settings, instance)
        yield from _sources(settings, instance)
        yield _daemon(instance, now)


def _last_run(settings: Settings, instance: dg.DagsterInstance) -> Finding:
    import dagster as dg

    from orchestration.keys import REFRESH_JOBS
    from orchestration.reaper import UNFINISHED, is_dead
    from orchestration.sensors import end_of

    newest = [
        record
        for job in REFRESH_JOBS
        for record in instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)
    ]
    if not newest:
        return wrong("last run", "there was none yet", "run `ctwa refresh`")
    record = max(newest, key=lambda r: r.create_timestamp)
    run = record.dagster_run
    name = f"{run.job_name} {run.run_id[:8]}"
    if run.status in UNFINISHED and not is_dead(run):
        return ok("last run", f"{name} has been running since {_when(record.start_time)}")
    ended = _when(record.end_time or record.update_timestamp.timestamp())
    if run.status is dg.DagsterRunStatus.SUCCESS:
        return ok("last run", f"{name} succeeded, {ended}")
    if run.status in UNFINISHED:
        return wrong("last run", f"the process of {name} is gone, {ended}", "run `ctwa refresh`")
    failures = end_of(instance, settings, run).failures or [run.status.value.lower()]
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    found = f"{name} failed, {ended}: {' '.join(failures[0].split())[:600]}{more}"
    return wrong("last run", found, "fix what it names, then `ctwa refresh`")


def _sources(settings: Settings, instance: dg.DagsterInstance) -> Iterator[Finding]:
    """For each source that is on, when it was last read completely: its oldest landing counts."""
    import dagster as dg

    from orchestration.keys import LOADED, PROBLEM
    from orchestration.sources import last_done, status_of

    for source in SOURCES:
        if reason := source.off_because(settings):
            yield off(source.title, f"off: {reason}")
            continue
        keys = [dg.AssetKey([source.dataset, landing.tables[0]]) for landing in source.landings]
        read = [(last_done(instance, key), key) for key in keys]
        failed = []
        for _, key in read:
            latest = instance.get_latest_materialization_event(key)
            made = latest.asset_materialization if latest is not None else None
            if made is not None and status_of(made) == "failed":
                problem = made.metadata.get(PROBLEM)
                failed.append(str(problem.value) if problem else f"its check {LOADED} says why")
        never = [last for last, _ in read if not last[:1].isdigit()]
        since = never[0] if never else f"read completely {min(last for last, _ in read)}"
        if failed:
            found = f"last {since}: {' '.join(failed[0].split())[:600]}"
            yield wrong(source.title, found, "as it says, then `ctwa doctor`")
        elif never:
            yield wrong(source.title, since, "run `ctwa refresh`")
        else:
            yield ok(source.title, since)


def _daemon(instance: dg.DagsterInstance, now: datetime) -> Finding:
    beats = [beat.timestamp for beat in instance.get_daemon_heartbeats().values()]
    if not beats or now.timestamp() - max(beats) > _HEARTBEAT.total_seconds():
        last = f"; its last sign of life was {_when(max(beats))}" if beats else ""
        text = f"not running{last}: schedules and sensors stand still, unless cron does their work"
        return off("Dagster's daemon", text)
    return ok("Dagster's daemon", "running")


# ---- marts and alarms ---------------------------------------------------------------------------


def _marts(settings: Settings, now: datetime) -> Iterator[Finding]:
    publication = Publication.read(settings.marts_path)
    if publication is None:
        yield wrong("marts", f"none are published at {settings.marts_path}", "run `ctwa refresh`")
        return
    at = publication.published_at
    found = f"as of {publication.as_of}" + (f", published {_when(at.timestamp())}" if at else "")
    due = previous_run(settings.nightly_cron, now.astimezone(ZoneInfo(settings.reporting_timezone)))
    if at is not None and at < due <= now - _PUBLISHED_WITHIN:
        mend = "see the last run; is the daemon running, or cron calling `ctwa refresh`?"
        yield wrong(
            "marts", f"{found}: nothing since the run that was due {due:%Y-%m-%d %H:%M}", mend
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
        yield wrong(f"alarm {alarm}", found, mend or f"see docs/runbooks.md#{alarm}")
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
    found = f"the oldest body has been waiting for {_span(waits)}, since {_when(since.timestamp())}"
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


def _when(at: float | None) -> str:
    return "now" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
