"""The one lock around load, build and publish.

Neither DuckDB's lock (held per connection) nor Dagster's pool (freed while an orphan still
writes) protects two refreshes from each other; an flock that children inherit does: it is free
only when the last process of the run has ended.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_held: dict[Path, int] = {}
_guard = threading.Lock()


class RefreshBusyError(RuntimeError):
    """Another process holds the lock."""


@contextmanager
def refresh_lock(path: Path, *, wait_seconds: float = 0) -> Iterator[None]:
    """Hold the lock; reentrant within this process. Raises `RefreshBusyError` after the wait."""
    path = path.absolute()
    with _guard:
        nested = path in _held
        if nested:
            _held[path] += 1
    fd = -1 if nested else _acquire(path, wait_seconds)
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


def _acquire(path: Path, wait_seconds: float) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(fd, 64, 0).decode(errors="replace").strip() or "unknown"
                os.close(fd)
                raise RefreshBusyError(
                    f"another refresh is running, or a comparison of rules or an erasure "
                    f"(process {holder}); wait until it ends, "
                    f"or look at it with `ps -p {holder}`"
                ) from None
            time.sleep(0.2)
            continue
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        os.set_inheritable(fd, True)
        return fd
