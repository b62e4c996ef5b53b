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

from ctwa.errors import DataFolderError
from ctwa.files import private_files
from ctwa.lock import RefreshBusyError, refresh_lock
from ctwa.project import project_of
from ctwa.settings import Settings
from keeping.data_folder import put_right
from publishing.publication import Publication

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
    """Whether the marts were published; otherwise the earlier ones stay."""
    rows: int = 0
    """Rows published, over all marts."""
    sources: dict[str, str] = field(default_factory=dict)
    """Source -> from when its data is; without those that are off."""
    before: Publication | None = None
    """What was published before this run, and still is where it published nothing."""
    run_id: str = ""
    seconds: float = 0.0

    def summary(self) -> list[str]:
        """For a failed run, in lines: what readers see now, and from when each source's data is."""
        if self.published:
            stale = [name for name, since in self.sources.items() if since.startswith("as of")]
            lacks = f", without the newest of {', '.join(stale)}" if stale else ""
            lines = [f"published nevertheless: {self.rows:,} rows{lacks}"]
        elif self.before is None:
            lines = ["nothing was published, and nothing was before"]
        else:
            at = self.before.published_at
            when = f", published {at:%Y-%m-%d %H:%M} UTC" if at else ""
            lines = [f"nothing was published: the marts as of {self.before.as_of}{when} stay"]
        if self.sources:
            lines.append("data: " + ", ".join(f"{n} {since}" for n, since in self.sources.items()))
        return lines


def refresh(
    settings: Settings,
    *,
    full: bool = False,
    reparse: bool = False,
    as_of: date | None = None,
    wait: float = 0,
    sources: bool = True,
    project_dir: Path | None = None,
) -> RefreshResult:
    """Read every source, build every model, publish; under the lock.

    Without `sources` no API is asked and nothing is sent: what is in vault and lake is built and
    published. `full` rebuilds all from the event log, `reparse` from the vault's bodies; `as_of` is
    the last day the marts speak of (default: today in the reporting time zone). Raises
    `RefreshBusyError` when another refresh holds the lock for longer than `wait` seconds.
    """
    started = time.monotonic()
    try:
        put_right(settings)
    except DataFolderError as error:
        _alert(settings, [str(error)])
        return RefreshResult(False, [str(error)], before=Publication.read(settings.marts_path))
    with private_files(), refresh_lock(settings, wait_seconds=wait), _quiet_tools():
        before = Publication.read(settings.marts_path)
        try:
            options = _options(settings, full, reparse, as_of)
            project = project_dir or project_of(settings)
            outcome = _run(settings, project, options, sources=sources)
        except Exception as error:
            _alert(settings, [f"it could not run: {type(error).__name__}; see its log"])
            raise
    seconds = time.monotonic() - started
    result = RefreshResult(**outcome, before=before, seconds=seconds)
    for warning in result.warnings:
        log.warning("check: %s", warning)
    if result.ok:
        log.info("published %s rows to %s", f"{result.rows:,}", settings.marts_path)
        log.info("refresh done in %.1f s", seconds)
    else:
        count = len(result.failures)
        log.error("refresh FAILED in %.1f s: %d thing%s to fix", seconds, count, "s"[: count - 1])
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


def _run(
    settings: Settings, project_dir: Path, options: dict[str, object], *, sources: bool
) -> dict[str, Any]:
    from orchestration.alerts import RunEnd, send_alerts
    from orchestration.dbt_manifest import ManifestError
    from orchestration.definitions import build_definitions, of_what_is_here
    from orchestration.instance import open_instance
    from orchestration.keys import NIGHTLY
    from orchestration.outcome import DbtOutput, checks_of, outcome_of, plain_console
    from orchestration.reaper import reap

    with open_instance(settings, held=True) as instance:
        reap(instance)
        try:
            definitions = build_definitions(
                settings,
                project_dir=project_dir,
                lock_wait_seconds=0,
                console=plain_console(),
            )
        except ManifestError as error:
            _alert(settings, [str(error)])
            return {"ok": False, "failures": [str(error)]}
        job = definitions.resolve_job_def(NIGHTLY)
        selected = None if sources else of_what_is_here(job)
        with redirect_stdout(DbtOutput()):
            result: dg.ExecuteInProcessResult = job.execute_in_process(
                instance=instance,
                asset_selection=selected,
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
        send_alerts(
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


def _alert(settings: Settings, failures: list[str]) -> None:
    """Report a refresh that came to no run."""
    from orchestration.alerts import RunEnd, send_alerts
    from orchestration.keys import NIGHTLY

    send_alerts(settings, RunEnd(NIGHTLY, failures=failures, published=False))


_CHATTY = ("alembic", "dagster.builtin", "fsspec", "urllib3")


@contextmanager
def _quiet_tools() -> Iterator[None]:
    """Only errors from the tools below, and no telemetry, while a refresh runs."""
    levels = {name: logging.getLogger(name).level for name in _CHATTY}
    before = os.environ.get("DAGSTER_DISABLE_TELEMETRY")
    os.environ["DAGSTER_DISABLE_TELEMETRY"] = "yes"
    for name in _CHATTY:
        # Warnings of asset code come through the run's own console.
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
