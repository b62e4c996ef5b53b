"""Ends runs whose process is gone, and frees their concurrency slots.

After a crash of the host, Dagster leaves its runs STARTED and their slots taken for ever: its
default launcher cannot tell that a worker is dead. Each of our runs has a tag that identifies its
process (host, boot, pid, start time), so that a dead one is known to be dead, not guessed.

    python -m orchestration.reaper [dagster-daemon run …]

reaps, then becomes the given command. It holds `<DAGSTER_HOME>/daemon.lock` all the time, and
refuses to start if another process holds it: one daemon per installation.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import time
from pathlib import Path

import dagster as dg

from ctwa.errors import CtwaError
from ctwa.process import boot_id, process_start, worker_id
from orchestration.resources import WORKER_TAG

log = logging.getLogger(__name__)

UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_WITH_WORKER = UNFINISHED[2:]
_UNTAGGED_SECONDS = 180
"""A run is tagged within seconds of its start; an older one without a tag never began."""

EXIT_BUSY = 75


class DaemonBusyError(CtwaError):
    """Another daemon uses this DAGSTER_HOME."""


def reap(instance: dg.DagsterInstance) -> list[str]:
    """End every run whose process is gone; returns their ids."""
    reaped = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=_WITH_WORKER)):
        run, age = record.dagster_run, time.time() - record.update_timestamp.timestamp()
        if not is_dead(run, age):
            continue
        instance.report_run_failed(run, "The process of this run is gone (killed or crashed).")
        if instance.event_log_storage.supports_global_concurrency_limits:
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        reaped.append(run.run_id)
    if reaped:
        log.warning("ended %d run(s) whose process is gone: %s", len(reaped), ", ".join(reaped))
    return reaped


def is_dead(run: dg.DagsterRun, untagged_age: float = 0.0) -> bool:
    """Whether a run's process is known to be gone; never true for runs of other hosts."""
    if run.status not in _WITH_WORKER:
        return False
    tag = run.tags.get(WORKER_TAG)
    if tag is None:
        return untagged_age > _UNTAGGED_SECONDS
    host, boot, pid, start = tag.rsplit(":", 3)
    if host != worker_id().rsplit(":", 3)[0]:
        return False
    return boot != boot_id() or process_start(int(pid)) != start


def hold_daemon_lock(home: Path) -> int:
    """Take the daemon's lock, inheritable; raises `DaemonBusyError` if it is taken."""
    home.mkdir(parents=True, exist_ok=True)
    fd = os.open(home / "daemon.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise DaemonBusyError(f"another Dagster daemon is running on {home}") from None
    os.set_inheritable(fd, True)
    return fd


def main(arguments: list[str]) -> int:
    """Reap, then become the command in `arguments`, if any, keeping the lock."""
    from ctwa.environment import export_environment
    from ctwa.errors import DataFolderError
    from ctwa.files import UMASK
    from ctwa.settings import SettingsError, load_settings
    from keeping.data_folder import put_right
    from orchestration.instance import prepare_home

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    os.umask(UMASK)
    try:
        settings = load_settings()
        put_right(settings)
    except (SettingsError, DataFolderError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    home = prepare_home(settings)
    try:
        hold_daemon_lock(home)
    except DaemonBusyError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_BUSY
    export_environment(settings)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        reap(instance)
    if arguments:
        os.execvp(arguments[0], arguments)  # noqa: S606 - it inherits the lock
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
