"""SQLite files as the vault needs them: private, durable, and one library at a time.

The reader uses ADBC (a third of the CPU per row that `sqlite3` takes), which contains a second copy
of the SQLite library. POSIX locks belong to a process: when one library closes a file, the other
loses its locks on it, and a third process could then reset the WAL under it. So within one process
only one of the two may have a vault open at a time; `LIBRARIES` ensures that.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from ctwa import files
from ctwa.files import fsync, write_durably
from ingestion.vault.tables import METADATA
from ingestion.vault.vault import VaultDamagedError, VaultError, VaultUnavailableError

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
        """Surrounds the lifetime of a `sqlite3` connection."""
        self.opened(path)
        try:
            yield
        finally:
            self.closed(path)

    def opened(self, path: str) -> None:
        """A `sqlite3` connection is about to be opened; waits until no ADBC read is running."""
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
    """Create an empty file that only its owner can read; its name is durable too."""
    if not path.exists():
        files.create_private(path)
        fsync(path.parent)


def create_tables(path: Path) -> None:
    """Create those of the vault's tables that are missing."""
    connection = connect(path)
    try:
        connection.execute(f"pragma busy_timeout = {BUSY_SECONDS * 1000:.0f}")
        for table in METADATA.sorted_tables:
            # One statement each, so that several first starts at once do not conflict.
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
    """Run `sql` as soon as no other process blocks it. SQLite's own wait sleeps too long for a
    commit, and a change to WAL does not wait at all."""
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


def identity(path: Path | str) -> tuple[int, int]:
    """Which file is at `path` now. Raises `OSError` if there is none."""
    found = os.stat(path)  # noqa: PTH116 - asked twice per commit, and a `Path` costs more
    return found.st_dev, found.st_ino


def is_damage(error: Exception) -> bool:
    """Whether an error of SQLite means that the file itself is damaged."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or code == (
        sqlite3.SQLITE_IOERR_CORRUPTFS
    )


def why(error: Exception) -> str:
    """The text of an error of SQLite or the system, and what to do about it."""
    remedies = {
        sqlite3.SQLITE_FULL: "free space on its disk",
        sqlite3.SQLITE_IOERR: "its disk fails or is full: see the system's log",
        sqlite3.SQLITE_READONLY: "check the permissions of the file and its folder",
        sqlite3.SQLITE_PERM: "check the permissions of the file and its folder",
        sqlite3.SQLITE_CANTOPEN: "check the permissions of its folder and the disk's space",
        sqlite3.SQLITE_BUSY: "another process holds it",
    }
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    remedy = remedies.get(code, "check the disk's space and permissions")
    return f"{error}; {remedy}"


def damage_mark(path: Path) -> Path:
    """The file that tells every process that the vault at `path` is damaged."""
    return path.with_name(f"{path.name}.damaged")


def mark_damaged(path: Path, reason: str) -> None:
    """Stop every process from writing to the file at `path` until another file replaces it.

    Best effort: if the mark cannot be written, each process finds the damage by itself.
    """
    mark = damage_mark(path)
    with suppress(OSError):
        if known_damage(path) is None:
            at = datetime.now(UTC).isoformat(timespec="seconds")
            text = json.dumps({"file": identity(path), "found_at": at, "error": reason})
            write_durably(mark, text, mode=0o600)


def known_damage(path: Path) -> str | None:
    """What a mark says about the file that is at `path` now; None if there is no mark."""
    mark = damage_mark(path)
    if not mark.exists():
        return None
    try:
        found = json.loads(mark.read_text())
        if tuple(found["file"]) == identity(path):
            return f"{found['error']} (found {found['found_at']})"
        mark.unlink()  # it is about a file that is no longer here
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_lost_database(path: Path) -> None:
    """Refuse to create a database next to the WAL of a lost one: that would delete acknowledged
    bodies."""
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size and not path.exists():
        raise VaultUnavailableError(
            f"vault {path} is missing beside its {wal.name}: put both back from where they came"
        )


class BusyError(VaultUnavailableError):
    """Another process holds the write lock."""


def as_vault_error(path: Path, error: Exception) -> VaultError:
    """The error to raise for an error of SQLite or the system; marks a damaged file."""
    if is_damage(error):
        mark_damaged(path, str(error))
        return damaged_error(path, str(error))
    return VaultUnavailableError(f"vault {path}: {why(error)}")


def damaged_error(path: Path, reason: str) -> VaultDamagedError:
    """The error for a damaged file; `reason`: what was found."""
    return VaultDamagedError(
        f"vault {path} is damaged: {reason}. Nothing more is written to it, and webhooks are "
        "answered 503, so that senders try again; what can be read still lands. Check the disk, "
        "then run `ctwa mend-vault` (docs/operations.md)"
    )


PAGE = pa.schema(
    [
        ("seq", pa.int64()),
        ("received_at_us", pa.int64()),
        ("source", pa.string()),
        ("body", pa.binary()),
        ("body_sha256", pa.binary()),
    ]
)
"""Columns of `Vault._page`."""


def read_page(connection: sqlite3.Connection, sql: str) -> pa.Table:
    """The rows of a query as `PAGE`. Raises `ValueError` if values have the wrong type."""
    connection.text_factory = _text
    rows = connection.execute(sql).fetchall()
    kinds = int, int, str, bytes, bytes
    if not all(type(v) is kind for row in rows for v, kind in zip(row, kinds, strict=True)):
        raise ValueError("values of another kind than were written")
    columns = zip(*rows, strict=True) if rows else ([] for _ in PAGE)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, PAGE, strict=True)], PAGE)


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
