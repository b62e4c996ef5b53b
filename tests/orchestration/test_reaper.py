"""Runs of dead processes are ended, those of living ones left alone; one daemon only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from ctwa.process import boot_id, worker_id
from ctwa.settings import Settings
from orchestration.instance import open_instance
from orchestration.reaper import DaemonBusyError, hold_daemon_lock, is_dead, main, reap
from orchestration.resources import WORKER_TAG


def gone() -> str:
    """The worker tag of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    tag = worker_id(child.pid)
    child.communicate(b"\n")
    return tag


def started(instance: dg.DagsterInstance, tag: str | None) -> dg.DagsterRun:
    run: dg.DagsterRun = create_run_for_test(
        instance,
        status=dg.DagsterRunStatus.STARTED,
        tags={WORKER_TAG: tag} if tag else {},
    )
    return run


def test_a_run_of_a_dead_process_is_ended_and_one_at_work_is_not(settings: Settings) -> None:
    host = socket.gethostname()
    with open_instance(settings) as instance:
        instance.event_log_storage.set_concurrency_slots("duckdb", 1)
        dead = started(instance, gone())
        earlier_boot = started(instance, f"{host}:another-boot:{os.getpid()}:1")
        working = started(instance, worker_id())
        elsewhere = started(instance, f"another-host:{boot_id()}:1:1")
        young = started(instance, None)
        instance.event_log_storage.claim_concurrency_slot("duckdb", dead.run_id, "step")

        reaped = reap(instance)

        assert set(reaped) == {dead.run_id, earlier_boot.run_id}
        for run in (dead, earlier_boot):
            assert _status(instance, run) is dg.DagsterRunStatus.FAILURE
        for run in (working, elsewhere, young):
            assert _status(instance, run) is dg.DagsterRunStatus.STARTED
        info = instance.event_log_storage.get_concurrency_info("duckdb")
        assert info.active_slot_count == 0
        assert reap(instance) == []


def test_a_run_that_never_began_is_dead_after_a_while(settings: Settings) -> None:
    with open_instance(settings) as instance:
        run = started(instance, None)
    assert not is_dead(run, untagged_age=10)
    assert is_dead(run, untagged_age=3600)


def test_a_second_daemon_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fd = hold_daemon_lock(settings.dagster_home)
    with pytest.raises(DaemonBusyError, match="another Dagster daemon"):
        hold_daemon_lock(settings.dagster_home)
    monkeypatch.setenv("CTWA_DATA_DIR", str(settings.data_dir))
    assert main([]) == 75
    assert "another Dagster daemon" in capsys.readouterr().err
    os.close(fd)


def test_the_command_goes_on_with_the_lock(settings: Settings) -> None:
    """`python -m orchestration.reaper <daemon>`: the daemon holds the lock as long as it lives."""
    environment = {**os.environ, "CTWA_DATA_DIR": str(settings.data_dir)}
    command = [sys.executable, "-c", "print('up', flush=True); input()"]
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "orchestration.reaper", *command],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"up\n"
        with pytest.raises(DaemonBusyError):
            hold_daemon_lock(settings.dagster_home)
        daemon.communicate(b"\n")
    os.close(hold_daemon_lock(settings.dagster_home))


def _status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status
