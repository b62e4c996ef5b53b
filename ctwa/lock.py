"""The one lock around load, build and publish.

Neither DuckDB's lock (held per connection) nor Dagster's pool (freed while an orphan still
writes) protects two refreshes from each other; an flock that child processes inherit does: it is
freed only when the last process of the run has ended.

`ctwa live` holds it for a few seconds again and again, and marks it as held `briefly`. So a process
that needs the lock waits for the end of such a cycle instead of giving up, and no cycle begins
while another process waits (`someone_waits`).

Where the vault is PostgreSQL, several hosts may work on it, so there the lock is a lease in its
database as well (`ctwa.lease`). The host that has it can lose it, if it is paused for long: what
makes a run count asks `confirm_lock` first.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ctwa.errors import CtwaError
from ctwa.progress import and_then_as_before, doing

if TYPE_CHECKING:
    from ctwa.lease import Held, Lease
    from ctwa.settings import Settings

BRIEF_SECONDS = 300.0
"""How long a process waits for a lock that is held briefly: longer than any cycle takes."""
_POLL_SECONDS = 0.1
_BRIEFLY = "briefly"
LOCK_FILE = "refresh.lock"
LIVE_LOCK = "live.lock"
"""Held by `ctwa live` as long as it runs."""
_held: dict[Path, int] = {}
_leases: dict[Path, Lease] = {}
_guard = threading.Lock()


class RefreshBusyError(CtwaError):
    """Another process holds the lock. Exits with 75 (EX_TEMPFAIL): try the same command later."""

    exit_code = 75

    def __init__(self, who: str, advice: str = "") -> None:
        super().__init__(
            f"another refresh is running, or a comparison of rules or an erasure ({who}); "
            f"wait until it ends{advice}"
        )
        self.who = who
        """`process 4711`, or `process 4711 on db-host`."""


@contextmanager
def refresh_lock(
    place: Settings | Path,
    *,
    wait_seconds: float = 0,
    briefly: bool = False,
    file: str = LOCK_FILE,
) -> Iterator[None]:
    """Hold the lock; reentrant within this process. Raises `RefreshBusyError` after the wait.

    With settings it is the lock `file` of this data directory and, where the vault is PostgreSQL,
    of all hosts; then also raises `LockUnavailableError` if the database is away. A path is a lock
    of this host. `briefly`: for so short a time that other processes wait for it and do not give
    up.
    """
    path = (place if isinstance(place, Path) else place.data_dir / file).absolute()
    with _guard:
        nested = path in _held
        if nested:
            _held[path] += 1
    fd = -1
    if not nested:
        started = time.monotonic()
        fd = _acquire(path, wait_seconds, briefly)
        try:
            if url := database_of(place):
                left = wait_seconds - (time.monotonic() - started)
                _leases[path] = _lease(url, file, left, briefly)
        except BaseException:
            os.close(fd)
            raise
        with _guard:
            _held[path] = 1
    try:
        yield
    finally:
        with _guard:
            _held[path] -= 1
            is_over = _held[path] == 0
            if is_over:
                del _held[path]
        if is_over and (lease := _leases.pop(path, None)):
            lease.free()
        if fd >= 0:
            os.close(fd)  # a child that inherited it keeps the lock until it ends


def lease_of(settings: Settings) -> Lease | None:
    """The lease behind the refresh lock that this process holds; None where there is none."""
    return _leases.get(settings.lock_path.absolute())


def someone_waits(place: Settings | Path) -> bool:
    """Whether a process waits for the lock now."""
    path = (place if isinstance(place, Path) else place.lock_path).absolute()
    with _queue(path) as queue:
        try:
            fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    if url := database_of(place):
        from ctwa.lease import is_wanted

        return is_wanted(url, LOCK_FILE)
    return False


def confirm_lock() -> None:
    """Called before anything counts for others: a commit of the lake, a request to a platform, a
    publication. Raises `LockLostError` if another host has taken a lock of this process since."""
    for lease in list(_leases.values()):
        lease.confirm()


def lock_is_lost() -> bool:
    """Whether another host is known to have taken a lock of this process. Asks nobody: while
    something long goes on, the database may be away for a while."""
    return any(lease.is_lost for lease in list(_leases.values()))


def database_of(place: Settings | Path) -> str:
    """The database that all hosts share, if the vault is PostgreSQL; else empty."""
    url = "" if isinstance(place, Path) else place.vault_url
    return url if url.startswith("postgresql") else ""


def _lease(url: str, name: str, wait_seconds: float, briefly: bool) -> Lease:
    """As `_wait`, among hosts. Gives up at a sign of life only: without any it frees itself."""
    from ctwa import lease

    started = time.monotonic()
    now = lease.take(url, name, briefly=briefly)
    with and_then_as_before():
        while isinstance(now, lease.Held):
            before = now
            if not now.is_gone:
                lease.want(url, name)
                doing(_waiting(now))
                time.sleep(_POLL_SECONDS)
            now = lease.take(url, name, briefly=briefly, gone=before if before.is_gone else None)
            if isinstance(now, lease.Held) and now.expires_at != before.expires_at:
                patience = BRIEF_SECONDS if now.is_brief else 0.0
                if time.monotonic() - started >= max(wait_seconds, patience):
                    raise RefreshBusyError(lease.in_words(now.holder))
    return now


def _waiting(held: Held) -> str:
    from ctwa.lease import BEAT_SECONDS, LEASE_SECONDS, in_words

    text = f"waiting for the lock, which {in_words(held.holder)} has"
    if held.silent_seconds < 2 * BEAT_SECONDS:
        return text
    left = max(0.0, LEASE_SECONDS - held.silent_seconds)
    return f"{text}; no sign of life for {held.silent_seconds:.0f} s, free in {left:.0f} s"


def _acquire(path: Path, wait_seconds: float, briefly: bool) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        if not _try(fd):
            with _queue(path) as queue:
                fcntl.flock(queue, fcntl.LOCK_SH)
                with and_then_as_before():
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
            raise RefreshBusyError(f"process {holder}", f", or look at it with `ps -p {holder}`")
        doing(f"waiting for the lock, which process {holder} has")
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
