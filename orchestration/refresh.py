"""`ctwa refresh`: the nightly job once, in this process, without a UI.

The run is recorded in the same Dagster instance that the UI shows. Dagster and dbt are imported
only when the lock is held: a second refresh must say at once that it is not needed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctwa.lock import RefreshBusyError, refresh_lock
from ctwa.settings import PROJECT_DIR, Settings

if TYPE_CHECKING:
    import dagster as dg

__all__ = ["RefreshBusyError", "RefreshResult", "refresh"]

log = logging.getLogger("ctwa.refresh")


@dataclass(frozen=True)
class RefreshResult:
    """How a refresh ended."""

    ok: bool
    """Every asset and every check of severity ERROR passed."""
    failures: list[str]
    """What failed and what to do, one text each; empty when ok."""
    warnings: list[str] = field(default_factory=list)
    """Checks of severity WARN that failed: data to look at, nothing that stops a run."""
    published: bool = False
    """Whether the marts were published; without it, those of before stay."""
    rows: int = 0
    """Rows published, over all marts."""
    run_id: str = ""
    seconds: float = 0.0


def refresh(
    settings: Settings,
    *,
    full: bool = False,
    reparse: bool = False,
    as_of: date | None = None,
    wait: float = 0,
    project_dir: Path = PROJECT_DIR,
) -> RefreshResult:
    """Read every source, build every model, publish; under the lock.

    `full` rebuilds all from the event log, `reparse` from the vault's bodies; `as_of` is the last
    day the marts speak of (default: today in the reporting time zone). Raises `RefreshBusyError`
    when another refresh holds the lock for longer than `wait` seconds.
    """
    started = time.monotonic()
    with refresh_lock(settings.lock_path, wait_seconds=wait), _quiet_tools():
        try:
            outcome = _run(settings, project_dir, _options(settings, full, reparse, as_of))
        except Exception as error:
            _tell_of(settings, [f"it could not run: {type(error).__name__}; see its log"])
            raise
    seconds = time.monotonic() - started
    result = RefreshResult(**outcome, seconds=seconds)
    for warning in result.warnings:
        log.warning("check: %s", warning)
    if result.published:
        log.info("published %s rows to %s", f"{result.rows:,}", settings.marts_path)
    elif not result.ok:
        log.error("nothing was published; the marts of before stay")
    log.info("refresh %s in %.1f s", "done" if result.ok else "FAILED", seconds)
    return result


def _options(
    settings: Settings, full: bool, reparse: bool, as_of: date | None
) -> dict[str, object]:
    return {
        "as_of": as_of.isoformat() if as_of else "",
        "full": full,
        "reparse": reparse,
        "timezone": settings.reporting_timezone,
    }


def _run(settings: Settings, project_dir: Path, options: dict[str, object]) -> dict[str, Any]:
    from orchestration.alerts import RunEnd, tell_run
    from orchestration.console import Progress, plain_console
    from orchestration.dbt_manifest import ManifestError
    from orchestration.definitions import build_definitions
    from orchestration.instance import open_instance
    from orchestration.jobs import NIGHTLY
    from orchestration.outcome import checks_of, outcome_of
    from orchestration.reaper import reap

    log.info("preparing")
    with open_instance(settings) as instance, Progress() as progress:
        reap(instance)
        try:
            definitions = build_definitions(
                settings,
                project_dir=project_dir,
                lock_wait_seconds=0,
                console=plain_console(progress),
            )
        except ManifestError as error:
            _tell_of(settings, [str(error)])
            return {"ok": False, "failures": [str(error)]}
        job = definitions.resolve_job_def(NIGHTLY)
        with redirect_stdout(progress):
            result: dg.ExecuteInProcessResult = job.execute_in_process(
                instance=instance,
                run_config={
                    "resources": {"options": {"config": options}},
                    # Named, or Dagster adds its own console beside it.
                    "loggers": {"console": {"config": {}}},
                },
                raise_on_error=False,
                tags={"ctwa/started_by": "ctwa refresh"},
            )
        outcome = outcome_of(result, settings)
        checks = checks_of(result.all_events)
        tell_run(
            settings,
            RunEnd(
                NIGHTLY,
                result.run_id,
                outcome["failures"],
                checks.warnings,
                checks.passed,
                outcome["published"],
            ),
        )
    return outcome


def _tell_of(settings: Settings, failures: list[str]) -> None:
    """Of a refresh that came to no run."""
    from orchestration.alerts import RunEnd, tell_run
    from orchestration.jobs import NIGHTLY

    tell_run(settings, RunEnd(NIGHTLY, failures=failures, published=False))


_CHATTY = ("alembic", "dagster.builtin", "fsspec", "urllib3")


@contextmanager
def _quiet_tools() -> Iterator[None]:
    """Only errors of the tools below, and no telemetry, while a refresh runs."""
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    before = os.environ.get("DAGSTER_DISABLE_TELEMETRY")
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    for name in _CHATTY:
        # What asset code warns of comes by the run's own console.
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        if before is None:
            del os.environ["DAGSTER_DISABLE_TELEMETRY"]
        else:
            os.environ["DAGSTER_DISABLE_TELEMETRY"] = before
