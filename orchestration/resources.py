"""What the assets of one run share: options and the lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import PrivateAttr

from ctwa.files import private_files
from ctwa.lock import refresh_lock
from ctwa.process import worker_id
from ctwa.settings import Settings

WORKER_TAG = "ctwa/worker"
"""Run tag: the process, boot and host that work on a run (see `reaper`)."""


class RefreshOptions(dg.ConfigurableResource):
    """Options of one refresh, set in the launchpad, the same for all assets of the run."""

    as_of: str = ""
    """Last day that the marts cover, `YYYY-MM-DD`; empty: today in the reporting time zone."""
    full: bool = False
    """Rebuild every model from the event log."""
    reparse: bool = False
    """Parse again every body still in the vault; implies `full`."""
    timezone: str = "UTC"

    _day: date = PrivateAttr()

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Fix the day once, so that a run over midnight has one day."""
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
        """Whether a rebuild was requested."""
        return self.full or self.reparse


class RefreshLock(dg.ConfigurableResource):
    """The one lock around load, build and publish, held as long as the run lives.

    The in-process executor creates each resource once per run, before the first asset that needs
    it, and ends it after the last: the lock is held that long.
    """

    path: str
    wait_seconds: float = 0.0

    @classmethod
    def of(cls, settings: Settings, wait_seconds: float) -> RefreshLock:
        """The lock of an installation. Its database is no config, which the UI shows."""

        class OfThese(cls):  # type: ignore[misc,valid-type]
            @property
            def place(self) -> Settings:
                return settings

        return OfThese(path=str(settings.lock_path), wait_seconds=wait_seconds)

    @property
    def place(self) -> Settings | Path:
        """What to lock."""
        return Path(self.path)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[RefreshLock]:
        """Wait for the lock, then hold it; raises `RefreshBusyError` after the wait."""
        if context.run is not None and context.instance is not None:
            # Before the wait: a waiting run is alive, too.
            context.instance.add_run_tags(context.run.run_id, {WORKER_TAG: worker_id()})
        with private_files(), refresh_lock(self.place, wait_seconds=self.wait_seconds):
            yield self
