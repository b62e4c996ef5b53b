"""Removes what has expired: bodies in the vault (`CTWA_VAULT_RETENTION_DAYS`) and leftovers of
nightly jobs (`CTWA_RUN_HISTORY_DAYS`).

A night writes some 8 MB of events into Dagster's storage, which never deletes them by itself. Old
runs are removed with their events, tags, logs and checks. The run of each asset's last success
stays, however old, because "data as of" is read from it, and runs that have not ended are not
touched. Also removed: damaged files that were set aside, drafts of killed processes, and dbt's
files of models that no longer exist.

Each part fails on its own and says so: a growing history must not stop a night.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

import logging
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable, SnapshotsTable

from ctwa.files import BROKEN
from ctwa.settings import Settings
from ingestion.lake.lake import Lake
from ingestion.vault import open_vault
from orchestration.alerts import ALERTS_FILE, open_alerts
from orchestration.instance import DATABASES
from orchestration.keys import ENVELOPES_KEY, HISTORY_RETENTION_KEY, OWNERS, VAULT_RETENTION_KEY
from orchestration.resources import RefreshLock
from orchestration.sources import status_of

log = logging.getLogger(__name__)

ENDED = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]
MOST_RUNS = 3000
"""At most so many are removed in one night; the first pruning may take several nights."""
_BATCH = 500
_DRAFT_SECONDS = 86_400
_SUCCEEDED = ("loaded", "sent")
_WAIT_SECONDS = 10.0
_WORTH_A_VACUUM = 0.2
"""Share of a SQLite file that must be empty."""
_STAMP = re.compile(re.escape(BROKEN) + r"([0-9]{8}T[0-9]{6})", re.IGNORECASE)
_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def build_retention_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The purges of old bodies and of old runs."""

    @dg.asset(
        key=VAULT_RETENTION_KEY,
        deps=[ENVELOPES_KEY],
        group_name="retention",
        owners=OWNERS,
        kinds={"python"},
        description=(
            f"Bodies older than {settings.vault_retention_days} days "
            "(CTWA_VAULT_RETENTION_DAYS) are removed from the vault once they are in the event log."
        ),
    )
    def vault_retention(lock: RefreshLock) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"purged_bodies": purge(settings)})

    return [vault_retention, _history_retention(settings)]


def _history_retention(settings: Settings) -> dg.AssetsDefinition:
    check = dg.AssetCheckSpec(
        "pruned",
        asset=HISTORY_RETENTION_KEY,
        description="Warns if something expired could not be removed. Stops nothing.",
    )

    @dg.asset(
        key=HISTORY_RETENTION_KEY,
        check_specs=[check],
        group_name="retention",
        owners=OWNERS,
        kinds={"python"},
        description=(
            f"Runs that ended more than {settings.run_history_days} days ago "
            "(CTWA_RUN_HISTORY_DAYS) are removed from Dagster's history with their logs, as are "
            "damaged files that were set aside and drafts of killed processes."
        ),
    )
    def history_retention(
        context: dg.AssetExecutionContext, lock: RefreshLock
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        done = prune(settings, context.instance)
        figures = {"runs": done.runs, "files": done.files, "bytes": done.bytes, "left": done.left}
        yield dg.MaterializeResult(metadata={"removed_" + n: v for n, v in figures.items()})
        yield dg.AssetCheckResult(
            check_name="pruned",
            passed=not done.problems,
            severity=dg.AssetCheckSeverity.WARN,
            description="; ".join(done.problems) or "everything expired was removed",
        )

    return history_retention


def purge(settings: Settings) -> int:
    """Purge bodies that have expired and landed; returns how many."""
    landed = Lake.from_settings(settings).max_value("event_log", "envelopes", "seq")
    before = datetime.now(UTC) - timedelta(days=settings.vault_retention_days)
    vault = open_vault(settings.vault_url)
    try:
        return vault.purge_bodies(before, landed) if landed else 0
    finally:
        vault.close()


@dataclass
class Pruned:
    """What was removed. `problems`: what could not be removed, one text each."""

    runs: int = 0
    files: int = 0
    bytes: int = 0
    left: int = 0
    """Expired runs that are left for the next night."""
    problems: list[str] = field(default_factory=list)

    @contextmanager
    def tolerating(self, what: str) -> Iterator[None]:
        """Run a part that may fail."""
        try:
            yield
        except Exception as error:
            log.warning("%s could not be pruned", what, exc_info=True)
            self.problems.append(f"{what}: {type(error).__name__}")


def prune(settings: Settings, instance: dg.DagsterInstance, now: datetime | None = None) -> Pruned:
    """Remove what is older than the settings allow; the caller holds the refresh lock.

    The daemon and the UI may be running. Never raises.
    """
    at = now or datetime.now(UTC)
    before = at - timedelta(days=settings.run_history_days)
    home, done = settings.dagster_home, Pruned()
    size = size_of(home)
    with done.tolerating("runs"):
        _runs(instance, before, done, home)
    with done.tolerating("checks, tags and snapshots"):
        _rows(instance, before)
    with done.tolerating("ticks of schedules and sensors"):
        for state in instance.all_instigator_state():
            instance.purge_ticks(
                state.instigator_origin_id, state.selector_id, before=before.timestamp()
            )
    with done.tolerating("logs of runs"):
        _remove(done, _orphans(instance, home, before))
    with done.tolerating("dbt's files"):
        _remove(done, _of_dbt(settings.dbt_target_dir, before))
    with done.tolerating("damaged files and drafts"):
        _remove(done, [*_set_aside(settings, before), *_drafts(settings, at)])
    with done.tolerating("alerts that were sent"):
        if (settings.data_dir / ALERTS_FILE).exists():
            with open_alerts(settings.data_dir / ALERTS_FILE) as alerts:
                alerts.forget(before.timestamp())
    for name in DATABASES:
        with done.tolerating(f"the space of {name}"):
            _vacuum(home / name)
    done.bytes += max(0, size - size_of(home))
    return done


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder and below; 0 if there is none."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size  # noqa: PTH118 - thousands
            except OSError:  # deleted in the meantime
                continue
    return total


def _runs(instance: dg.DagsterInstance, before: datetime, done: Pruned, home: Path) -> None:
    """Remove runs that ended before `before`, except those still referred to."""
    old = dg.RunsFilter(statuses=ENDED, updated_before=before)
    found = instance.get_run_records(old, limit=MOST_RUNS + _BATCH, ascending=True)
    if not found:
        return
    referred = _referred_to(instance)
    doomed = [r.dagster_run.run_id for r in found if r.dagster_run.run_id not in referred]
    done.left = max(0, len(doomed) - MOST_RUNS)
    for run_id in doomed[:MOST_RUNS]:
        instance.delete_run(run_id)
        for ending in ("", "-wal", "-shm", "-journal"):
            (home / "history" / "runs" / f"{run_id}.db{ending}").unlink(missing_ok=True)
        shutil.rmtree(home / "storage" / run_id, ignore_errors=True)
        done.runs += 1


def _referred_to(instance: dg.DagsterInstance) -> set[str]:
    """The run of each asset's last success, however old: "data as of" is read from it."""
    kept = set()
    for key in instance.get_asset_keys():
        cursor = None
        while True:
            page = instance.fetch_materializations(key, limit=100, cursor=cursor)
            statuses = [
                (status_of(r.asset_materialization), r.run_id)
                for r in page.records
                if r.asset_materialization
            ]
            success = next((run for status, run in statuses if status in _SUCCEEDED), None)
            if success:
                kept.add(success)
            # Nothing refers to assets without a status.
            if success or not page.has_more or not any(status for status, _ in statuses):
                break
            cursor = page.cursor
    return kept


def _rows(instance: dg.DagsterInstance, before: datetime) -> None:
    """Delete what a deleted run leaves: check results, tags, snapshots, events without a run."""
    checks, events = AssetCheckExecutionsTable, SqlEventLogStorageTable
    plain = before.astimezone(UTC).replace(tzinfo=None)
    storage: Any = instance.event_log_storage
    with storage.index_connection() as connection:
        newest = sa.select(sa.func.max(checks.c.id)).group_by(
            checks.c.asset_key, checks.c.check_name
        )
        connection.execute(
            checks.delete().where(
                checks.c.create_timestamp < plain, checks.c.id.not_in(newest.scalar_subquery())
            )
        )
        connection.execute(events.delete().where(events.c.run_id == "", events.c.timestamp < plain))
    runs: Any = instance.run_storage
    used = {
        snapshot
        for run in instance.get_runs()
        for snapshot in (run.job_snapshot_id, run.execution_plan_snapshot_id)
    }
    with runs.connect() as connection:
        present = sa.select(RunsTable.c.run_id)
        connection.execute(
            RunTagsTable.delete().where(RunTagsTable.c.run_id.not_in(present.scalar_subquery()))
        )
        found = connection.execute(sa.select(SnapshotsTable.c.snapshot_id)).scalars()
        for unused in set(found) - used:
            connection.execute(
                SnapshotsTable.delete().where(SnapshotsTable.c.snapshot_id == unused)
            )


def _orphans(instance: dg.DagsterInstance, home: Path, before: datetime) -> Iterator[Path]:
    """Files of runs that are no longer in the history, after a kill."""
    for folder in (home / "history" / "runs", home / "storage"):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            run_id = _RUN_ID.match(path.name)
            if run_id and _is_older(path, before) and not instance.has_run(run_id[0]):
                yield path


def _of_dbt(target: Path, before: datetime) -> Iterator[Path]:
    """Rotated logs, and SQL of models that are no longer built."""
    run = target / "run"
    for path in [*run.glob("dbt.log.*"), *(target / "logs").glob("*")]:
        if _is_older(path, before):
            yield path
    for part in ("compiled", "run"):
        for path in (run / part).rglob("*"):
            if path.is_file() and _is_older(path, before):
                yield path


def _set_aside(settings: Settings, before: datetime) -> Iterator[Path]:
    """Damaged files that were set aside before `before`, by their name."""
    for folder in _folders(settings):
        for path in folder.glob(f"*{BROKEN}*"):
            stamp = _STAMP.search(path.name)
            at = (
                datetime.strptime(stamp[1].upper(), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
                if stamp
                else None
            )
            if at is not None and at < before:
                yield path


def _drafts(settings: Settings, now: datetime) -> Iterator[Path]:
    """Half-written files of killed processes."""
    yesterday = now - timedelta(seconds=_DRAFT_SECONDS)
    patterns = ("*.tmp", "pii.key.[0-9]*", ".doctor-*", "dagster.yaml.[0-9]*")
    for folder in _folders(settings):
        for pattern in patterns:
            yield from (p for p in folder.glob(pattern) if _is_older(p, yesterday))


def _folders(settings: Settings) -> list[Path]:
    lake, home = Path(settings.lake_url), settings.dagster_home
    folders = {
        settings.data_dir, settings.marts_path.parent, settings.warehouse_path.parent,
        settings.activation_dir, settings.dbt_target_dir / "manifest", home, home / "history",
        home / "history" / "runs", home / "schedules", lake / "restatements",
    }  # fmt: skip
    return sorted(f for f in folders if f.is_dir())


def _is_older(path: Path, before: datetime) -> bool:
    try:
        return path.lstat().st_mtime < before.timestamp()
    except OSError:
        return False


def _remove(done: Pruned, paths: Iterable[Path]) -> None:
    for path in list(paths):
        is_folder = path.is_dir() and not path.is_symlink()
        size = size_of(path) if is_folder else path.lstat().st_size
        if is_folder:
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        done.files += 1
        done.bytes += size


def _vacuum(path: Path) -> None:
    """Free the space of deleted rows if it is worth it; does not wait long for locks."""
    if not path.exists():
        return
    with closing(sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)) as found:
        free, pages = (_number(found, f"pragma {n}") for n in ("freelist_count", "page_count"))
        if pages and free / pages >= _WORTH_A_VACUUM:
            found.execute("vacuum")
        found.execute("pragma wal_checkpoint(truncate)")


def _number(connection: sqlite3.Connection, sql: str) -> int:
    return int(connection.execute(sql).fetchone()[0])
