"""SQLite files as the vault needs them: private, durable, and one library at a time.

The reader uses ADBC (a third of the CPU of `sqlite3` per row), which brings a second copy of the
SQLite library. POSIX locks belong to a process: when one library closes a file, the other loses
its locks on it, and a third process could then reset the WAL under it. So within one process
only one of the two may have a vault open at a time; `LIBRARIES` sees to that.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from ingestion.webhook.vault import METADATA

BUSY_SECONDS = 5.0
"""How long a commit waits for another process (retention, backup) before it gives up."""

_PRAGMAS = (
    "page_size = 16384",  # bodies of 1-2 kB: a third less CPU per row than 4 kB pages
    "journal_mode = wal",
    "synchronous = full",
    "fullfsync = on",  # macOS: an fsync that reaches the disk
    "checkpoint_fullfsync = on",
    "secure_delete = on",
    "journal_size_limit = 67108864",
)


class _OneLibrary:
    """Which library has which file open in this process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._open: Counter[str] = Counter()

    @contextmanager
    def standard(self, path: str) -> Iterator[None]:
        """Around the life of a `sqlite3` connection."""
        self.opened(path)
        try:
            yield
        finally:
            self.closed(path)

    def opened(self, path: str) -> None:
        """A `sqlite3` connection is about to be opened; waits until no ADBC read goes on."""
        with self._lock:
            self._open[path] += 1

    def closed(self, path: str) -> None:
        """A `sqlite3` connection was closed."""
        with self._lock:
            self._open[path] -= 1

    @contextmanager
    def adbc(self, path: str) -> Iterator[bool]:
        """True: no `sqlite3` connection is open, and none will be until the block ends."""
        with self._lock:
            yield self._open[path] == 0


LIBRARIES = _OneLibrary()


def create_private(path: Path) -> None:
    """An empty file that only its owner can read, its name durable too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        sync_to_disk(path.parent)


def create_tables(path: Path) -> None:
    """Make what is missing of the vault's tables."""
    connection = connect(path)
    try:
        connection.execute(f"pragma busy_timeout = {BUSY_SECONDS * 1000:.0f}")
        for table in METADATA.sorted_tables:
            # In one statement: several first starts at once agree.
            ddl = CreateTable(table, if_not_exists=True).compile(dialect=sqlite.dialect())
            connection.execute(str(ddl))
    finally:
        connection.close()


def connect(path: Path) -> sqlite3.Connection:
    """A connection for writing: WAL, every commit on the disk before it returns."""
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in _PRAGMAS:
            patiently(connection, f"pragma {pragma}", BUSY_SECONDS)
    except sqlite3.Error:
        connection.close()
        raise
    connection.execute("pragma busy_timeout = 0")  # `patiently` waits, in small steps
    return connection


def patiently(connection: sqlite3.Connection, sql: str, wait_seconds: float) -> None:
    """Run `sql` as soon as no other process is in the way. SQLite's own wait sleeps too long
    for a commit, and a change to WAL does not wait at all."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            connection.execute(sql)
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() >= deadline:
                raise
        time.sleep(0.002)


def identity(path: Path) -> tuple[int, int]:
    """Which file is at `path` now. Raises `OSError` if there is none."""
    found = path.stat()
    return found.st_dev, found.st_ino


def sync_to_disk(path: Path) -> None:
    """fsync of a file or folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
