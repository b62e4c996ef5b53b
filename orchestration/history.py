"""What Dagster's history says: last run, sources, daemon (`ctwa status`), how long runs took."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from ctwa.settings import Settings
from ingestion.source import Finding, off, ok, utc_text, wrong
from ingestion.sources import SOURCES
from orchestration.instance import open_instance
from orchestration.keys import FULL_TAG, LOADED, NIGHTLY, PROBLEM, REFRESH_JOBS
from orchestration.reaper import UNFINISHED, is_dead
from orchestration.sensors import end_of
from orchestration.sources import last_done, status_of

_HEARTBEAT = timedelta(minutes=5)


def look_at_history(settings: Settings, now: datetime) -> Iterator[Finding]:
    """How the last run ended, when each source was last read, whether the daemon is alive."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with open_instance(settings) as instance:
        yield _last_run(settings, instance)
        yield from _sources(settings, instance)
        yield _daemon(instance, now)


def last_seconds(settings: Settings, *, full: bool) -> tuple[datetime, float] | None:
    """When the newest successful nightly run ended, and its seconds; None if there is none.

    `full`: the newest that built every model again. Runs are kept for `CTWA_RUN_HISTORY_DAYS`, and
    those of versions before 0.2.0 do not say whether they did.
    """
    if not settings.dagster_home.exists():
        return None
    logging.getLogger("alembic").setLevel(logging.WARNING)
    wanted = dg.RunsFilter(
        job_name=NIGHTLY,
        statuses=[dg.DagsterRunStatus.SUCCESS],
        tags={FULL_TAG: "yes"} if full else {},
    )
    with open_instance(settings) as instance:
        for record in instance.get_run_records(wanted, limit=1):
            if record.start_time and record.end_time:
                ended = datetime.fromtimestamp(record.end_time, UTC)
                return ended, record.end_time - record.start_time
    return None


def _last_run(settings: Settings, instance: dg.DagsterInstance) -> Finding:
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
        return ok("last run", f"{name} has been running since {utc_text(record.start_time)}")
    ended = utc_text(record.end_time or record.update_timestamp.timestamp())
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
        since = never[0] if never else f"read completely {_readable(min(last for last, _ in read))}"
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
        last = f"; its last sign of life was {utc_text(max(beats))}" if beats else ""
        text = f"not running{last}: schedules and sensors stand still, unless cron does their work"
        return off("Dagster's daemon", text)
    return ok("Dagster's daemon", "running")


def _readable(last: str) -> str:
    return utc_text(datetime.fromisoformat(last).timestamp())
