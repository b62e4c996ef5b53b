"""What the assets of one run share: options, the lock, dbt."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
from dagster_dbt import DbtCliInvocation, DbtCliResource
from pydantic import PrivateAttr

from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings
from orchestration.dbt_manifest import dbt_executable
from orchestration.dbt_process import LOCK_VARIABLE

WORKER_TAG = "ctwa/worker"
"""Run tag: which process of which boot of which host works on a run (see `reaper`)."""


class RefreshOptions(dg.ConfigurableResource):
    """Options of one refresh, settable in the launchpad; the same for all assets of the run."""

    as_of: str = ""
    """Last day the marts speak of, `YYYY-MM-DD`; empty: today in the reporting time zone."""
    full: bool = False
    """Rebuild every model from the event log."""
    reparse: bool = False
    """Parse again every body still in the vault; implies `full`."""
    timezone: str = "UTC"

    _day: date = PrivateAttr()

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Fix the day once, so that a run over midnight speaks of one day."""
        self._day = (
            date.fromisoformat(self.as_of)
            if self.as_of
            else datetime.now(ZoneInfo(self.timezone)).date()
        )

    @property
    def day(self) -> date:
        """The run's `as_of`."""
        return self._day

    @property
    def full_refresh(self) -> bool:
        """Whether somebody asked for a rebuild."""
        return self.full or self.reparse


class RefreshLock(dg.ConfigurableResource):
    """The one lock around load, build and publish, held as long as the run lives.

    The in-process executor makes each resource once per run, before the first asset that needs
    it, and ends it after the last: that is the span of the lock.
    """

    path: str
    wait_seconds: float = 0.0

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[RefreshLock]:
        """Wait for the lock, then hold it; raises `RefreshBusyError` after the wait."""
        if context.run is not None and context.instance is not None:
            # Before the wait: a run that waits is alive too.
            context.instance.add_run_tags(context.run.run_id, {WORKER_TAG: worker_id()})
        with refresh_lock(Path(self.path), wait_seconds=self.wait_seconds):
            yield self


class LeanDbtCli(DbtCliResource):
    """dagster-dbt's resource without the adapter it opens in the Dagster process.

    The adapter serves column lineage, which is off by default: it costs four CPU seconds per
    invocation and more per model, and a read-only connection left open makes the next step that
    opens the warehouse fail. Should dagster-dbt rename the method, its own behaviour returns.
    """

    has_lineage: bool = False

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:
        return super()._initialize_dbt_core_adapter(args) if self.has_lineage else None

    def events_of(self, build: DbtCliInvocation) -> Iterator[Any]:
        """What dbt tells, with the lineage of columns where that is on."""
        if not self.has_lineage:
            yield from build.stream()
            return
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        try:
            yield from build.stream().fetch_column_metadata()
        finally:
            # Its threads' connections first: each keeps the file open.
            if build.adapter is not None:
                build.adapter.cleanup_connections()
                DuckDBConnectionManager.env().close()
            DuckDBConnectionManager.close_all_connections()


def dbt_resource(project_dir: Path = PROJECT_DIR, *, has_lineage: bool = False) -> LeanDbtCli:
    """dbt by `ctwa-dbt`, which dies with its parent."""
    return LeanDbtCli(
        has_lineage=has_lineage,
        project_dir=os.fspath(project_dir),
        profiles_dir=os.fspath(project_dir),
        dbt_executable=os.fspath(dbt_executable()),
        global_config_flags=["--no-use-colors"],
    )


@contextmanager
def dbt_environment(settings: Settings, as_of: date) -> Iterator[None]:
    """Settings for dbt in this process's environment, which dagster-dbt hands to its child."""
    values = settings.dbt_environment(as_of)
    values[LOCK_VARIABLE] = f"{settings.lock_path}.dbt"
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def worker_id(pid: int | None = None) -> str:
    """`host:boot:pid:start` of a process: unlike a pid, never given twice."""
    pid = os.getpid() if pid is None else pid
    return f"{socket.gethostname()}:{boot_id()}:{pid}:{process_start(pid)}"


def boot_id() -> str:
    """Identifies this start of the machine (or container); empty where unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def process_start(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The name, in parentheses, may hold blanks and parentheses itself.
    return text.rpartition(")")[2].split()[19]
