"""Installations that `ctwa live` can continue at once, and workers in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from multiprocessing.context import ForkServerProcess as Process
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from ctwa.environment import export_environment
from ctwa.live_state import LiveState
from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings
from keeping.erasure.steps import land
from orchestration.dbt_manifest import MARTS_SCHEMA
from orchestration.live import Worker
from orchestration.plan import Plan, plan_path, run_values, save_plan
from orchestration.plan_run import run_plan
from orchestration.publication import publish
from orchestration.rebuild import BuildState, begin_build, end_build, ready_lake
from tests.support import live_process

PATIENCE_SECONDS = 300.0


def built_whole(settings: Settings, plan: Plan, project_dir: Path = PROJECT_DIR) -> None:
    """What a whole refresh without Dagster leaves: everything landed, built and published."""
    save_plan(plan, plan_path(settings))
    day = datetime.now(ZoneInfo(settings.reporting_timezone)).date()
    with refresh_lock(settings.lock_path, wait_seconds=60):
        land(settings)
        lake = ready_lake(settings)
        settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
        begin_build(settings)
        run = run_plan(plan, settings.warehouse_path, run_values(settings, day), full=True)
        assert run.failures == []
        end_build(settings, was_unchecked=False)
        BuildState.current(settings, lake, project_dir).save(settings)
        marts = [n.table for n in plan.nodes if n.schema == MARTS_SCHEMA]
        publish(settings, as_of=day, marts=marts)


@contextmanager
def environment_of(settings: Settings) -> Iterator[None]:
    """Processes that are started in the block have these settings and no others of ours."""
    before = dict(os.environ)
    export_environment(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def until(is_so: Callable[[], bool], what: str = "it") -> None:
    """Wait for something; fails after `PATIENCE_SECONDS`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)


@contextmanager
def at_work(worker: Worker, stop: threading.Event) -> Iterator[list[int]]:
    """The worker in a thread, once it has begun; what it returned is in the list after that."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(worker.run()))
    thread.start()
    try:
        until(lambda: worker.has_begun or not thread.is_alive(), "its begin")
        yield codes
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.support.live_process"])


def start(
    settings: Settings, project_dir: Path = PROJECT_DIR, *, dies: str = "", bad: str = ""
) -> Process:
    """A worker in a process of its own, forked from one that has loaded everything.

    `dies`: the step at whose end it kills itself. `bad`: a fault to be found by tests.
    """
    process = _forks.Process(target=live_process.main, args=(settings, project_dir, dies, bad))
    process.start()
    return process


def code_of(process: Process) -> int:
    """Its exit code, once it has ended; `-9` if it was killed."""
    process.join(PATIENCE_SECONDS)
    assert process.exitcode is not None
    return process.exitcode


def end(process: Process) -> int:
    """Ask it to end after its cycle; its exit code."""
    process.terminate()
    return code_of(process)


def kill(process: Process) -> None:
    """`kill -9`."""
    process.kill()
    process.join()


def published_seq(settings: Settings) -> int:
    """The highest envelope that the worker says is in the marts."""
    state = LiveState.read(settings.data_dir)
    return state.published_seq if state else 0


def rows(settings: Settings, sql: str) -> list[tuple[object, ...]]:
    """What a reader who opens the published marts now finds."""
    with duckdb.connect(str(settings.marts_path), read_only=True) as reader:
        return reader.execute(sql).fetchall()
