"""The worker as a process that kills itself at the end of a step, or has a fault."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import publishing.marts
from ctwa.settings import Settings
from ingestion.lake.lake import Lake
from orchestration import live, live_cycle
from orchestration.live import Worker
from orchestration.rebuild import BuildState

STEPS = ("land", "ready_lake", "begin_build", "run_plan", "end_build", "record_restatements",
         "destinations", "write_files", "switch", "publish")  # fmt: skip


def _landed_seq(settings: Settings) -> int:
    return Lake.from_settings(settings).max_value("event_log", "envelopes", "seq")


def dying_after(step: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, after which nothing comes."""

    def last(*arguments: Any, **options: Any) -> None:
        step(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    return last


def main(settings: Settings, project_dir: Path, dies: str, bad: str) -> None:
    """Run until SIGTERM; ends the process with the worker's code."""
    module = publishing.marts if dies in ("write_files", "switch") else live_cycle
    if dies:
        setattr(module, dies, dying_after(getattr(module, dies)))
    if bad == "trusts what has landed":
        BuildState.published_seq = staticmethod(_landed_seq)  # type: ignore[method-assign]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    live.POLL_SECONDS = 0.05
    sys.exit(Worker(settings, stop=stop, project_dir=project_dir, rebuild=_no_need).run())


def _no_need() -> list[str]:
    os._exit(9)  # what a kill leaves must never need a whole refresh
