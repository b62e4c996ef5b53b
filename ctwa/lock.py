"""The one lock around load, build and publish.

Neither DuckDB's lock (held per connection) nor Dagster's pool (freed while an orphan still
writes) protects two refreshes from each other; an flock that child processes inherit does: it is
freed only when the last process of the run has ended.

`ctwa live` holds it for a few seconds again and again, and marks it as held `briefly`. So a process
that needs the lock waits for the end of such a cycle instead of giving up, and no cycle begins
while another process waits (`someone_waits`).
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctwa.errors import CtwaError

BRIEF_SECONDS = 300.0
"""How long a process waits for a lock that is held briefly: longer than any cycle takes."""
_POLL_SECONDS = 0.1
_BRIEFLY = "briefly"
_held: dict[Path, int] = {}
_guard = threading.Lock()


class RefreshBusyError(CtwaError):
    """Another process holds the lock. Exits with 75 (EX_TEMPFAIL): try the same command later."""

    exit_code = 75


@contextmanager
def refresh_lock(path: Path, *, wait_seconds: float = 0, briefly: bool = False) -> Iterator[None]:
    """Hold the lock; reentrant within this process. Raises `RefreshBusyError` after the wait.

    `briefly`: for so short a time that other processes wait for it and do not give up.
    """
    path = path.absolute()
    with _guard:
        nested = path in _held
        if nested:
            _held[path] += 1
    fd = -1 if nested else _acquire(path, wait_seconds, briefly)
    if not nested:
        with _guard:
            _held[path] = 1
    try:
        yield
    finally:
        with _guard:
            _held[path] -= 1
            if _held[path] == 0:
                del _held[path]
        if fd >= 0:
            os.close(fd)  # a child that inherited it keeps the lock until it ends


def someone_waits(path: Path) -> bool:
    """Whether a process waits for the lock now."""
    with _queue(path.absolute()) as queue:
        try:
            fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _acquire(path: Path, wait_seconds: float, briefly: bool) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        if not _try(fd):
            with _queue(path) as queue:
                fcntl.flock(queue, fcntl.LOCK_SH)
                _wait(fd, wait_seconds)
    except BaseException:
        os.close(fd)
        raise
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}{' ' + _BRIEFLY if briefly else ''}\n".encode(), 0)
    os.set_inheritable(fd, True)
    return fd


def _wait(fd: int, wait_seconds: float) -> None:
    started = time.monotonic()
    while not _try(fd):
        waited = time.monotonic() - started
        holder, mark = _holder(fd)
        # One that has just taken the lock may not have written who it is.
        patience = BRIEF_SECONDS if mark == _BRIEFLY else 3 * _POLL_SECONDS
        if waited >= max(wait_seconds, patience):
            raise RefreshBusyError(
                f"another refresh is running, or a comparison of rules or an erasure "
                f"(process {holder}); wait until it ends, "
                f"or look at it with `ps -p {holder}`"
            )
        time.sleep(_POLL_SECONDS)


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fd: int) -> tuple[str, str]:
    """Id of the process that holds the lock, and its mark."""
    pid, _, mark = os.pread(fd, 64, 0).decode(errors="replace").strip().partition(" ")
    return pid or "unknown", mark


@contextmanager
def _queue(path: Path) -> Iterator[int]:
    """A file that those who wait share; the kernel frees it when they end, however they end."""
    fd = os.open(path.with_name(f"{path.name}.queue"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)
