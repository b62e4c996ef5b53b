"""The vault in SQLite: WAL, `synchronous=FULL`, one writing connection.

`FULL`, not `NORMAL`: with NORMAL a power cut loses acknowledged commits.

The reader uses ADBC (a third of the CPU of `sqlite3` per row), which brings a second copy of the
SQLite library. POSIX locks belong to a process: when one library closes a file, the other loses
its locks on it, and a third process could then reset the WAL under it. So within one process
only one of the two may have a vault open at a time; `_OneLibrary` sees to that.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from ingestion.webhook.vault import (
    METADATA,
    NewEnvelope,
    Vault,
    VaultError,
    VaultUnavailableError,
    microseconds,
    page_sql,
    row_of,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

BUSY_SECONDS = 5.0
"""How long a commit waits for another process (retention, backup) before it gives up."""
_PURGE_ROWS = 500

_INSERT = (
    "insert into envelopes (received_at_us, source, size, body_sha256, body) values (?, ?, ?, ?, ?)"
)
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
        with self._lock:
            self._open[path] += 1

    def closed(self, path: str) -> None:
        with self._lock:
            self._open[path] -= 1

    @contextmanager
    def adbc(self, path: str) -> Iterator[bool]:
        """True: no `sqlite3` connection is open, and none will be until the block ends."""
        with self._lock:
            yield self._open[path] == 0


_LIBRARIES = _OneLibrary()


class SqliteVault(Vault):
    """See `Vault`. The file is made with mode 0600; WAL and index take that mode over."""

    def __init__(self, url: sa.URL) -> None:
        if not url.database or url.database == ":memory:":
            raise VaultError("CTWA_VAULT_URL: a vault in memory keeps nothing; name a file")
        self.path = Path(url.database).expanduser().absolute()
        self._name = str(self.path)
        self._writing = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._inode = (0, 0)
        try:
            _create_private(self.path)
            with _LIBRARIES.standard(self._name):
                _create_tables(self.path)
            self._inode = _identity(self.path)
        except (OSError, sqlite3.Error) as error:
            raise _unavailable(self.path, error) from None

    def append(self, items: Sequence[NewEnvelope]) -> None:
        self._write(lambda c: c.executemany(_INSERT, map(row_of, items)), BUSY_SECONDS)

    def append_nowait(self, items: Sequence[NewEnvelope]) -> bool:
        try:
            self._write(lambda c: c.executemany(_INSERT, map(row_of, items)), 0)
        except _BusyError:
            return False
        return True

    def ping(self) -> None:
        upsert = (
            "insert into vault_probe (id, written_at_us) values (1, ?) "
            "on conflict (id) do update set written_at_us = excluded.written_at_us"
        )
        now = time.time_ns() // 1000
        self._write(lambda c: c.execute(upsert, (now,)), BUSY_SECONDS)

    def purge_bodies(self, received_before: datetime, up_to_seq: int) -> int:
        """In small commits, so that the receiver's own never wait long; then empties the WAL.

        `secure_delete` overwrites the bytes in the file, the truncated checkpoint those in the WAL.
        """
        sql = (
            "update envelopes set body = null where seq in (select seq from envelopes "
            "where seq > ? and seq <= ? and received_at_us < ? and body is not null "
            "order by seq limit ?) returning seq"
        )
        before, after, purged = microseconds(received_before), 0, 0
        while True:
            values = (after, up_to_seq, before, _PURGE_ROWS)
            found = self._write(lambda c, v=values: c.execute(sql, v).fetchall(), 60)  # type: ignore[misc]
            purged += len(found)
            if len(found) < _PURGE_ROWS:
                break
            after = max(row[0] for row in found)
            time.sleep(0.01)
        self._truncate_wal()
        return purged

    def backup(self, target: Path) -> None:
        target = target.absolute()
        draft = target.with_name(f".{target.name}.part")
        try:
            draft.unlink(missing_ok=True)
            _create_private(draft)
            with self._reader() as connection:
                connection.execute("vacuum into ?", (str(draft),))
            _sync(draft)
            draft.replace(target)
            _sync(target.parent)
        except (OSError, sqlite3.Error) as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise VaultError(f"backup of the vault to {target} failed: {error}") from None

    def close(self) -> None:
        with self._writing:
            self._drop_writer()

    def _write(self, work: Callable[[sqlite3.Connection], T], wait_seconds: float) -> T:
        """Run `work` in one durable transaction; `_BusyError` if the lock is taken that long."""
        with self._writing:
            connection = self._connection()
            try:
                _patiently(connection, "begin immediate", wait_seconds)
                result = work(connection)
                connection.execute("commit")
            except sqlite3.Error as error:
                # SQLite has often rolled back itself (disk full): then there is nothing to undo.
                with suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("rollback")
                code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
                if code == sqlite3.SQLITE_BUSY:
                    raise _BusyError(
                        f"vault {self.path} is locked by another process for over "
                        f"{wait_seconds:g} s; see `fuser {self.path}`"
                    ) from None
                if code != sqlite3.SQLITE_FULL:
                    self._drop_writer()  # a fresh connection next time finds what is true then
                raise _unavailable(self.path, error) from None
            return result

    def _connection(self) -> sqlite3.Connection:
        """The writing connection, onto the file that is at the path now."""
        try:
            found = _identity(self.path)
        except OSError:
            # Writing on into a deleted file would acknowledge what nobody can ever read, and a
            # new empty file would start at seq 1 again: below what was already read.
            self._drop_writer()
            raise VaultUnavailableError(
                f"vault {self.path} has disappeared; put it back, or restart for an empty one"
            ) from None
        if self._writer is not None and found == self._inode:
            return self._writer
        self._drop_writer()
        _LIBRARIES.opened(self._name)
        try:
            self._writer = _connect(self.path)
        except (OSError, sqlite3.Error) as error:
            _LIBRARIES.closed(self._name)
            raise _unavailable(self.path, error) from None
        self._inode = found
        return self._writer

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(sqlite3.Error):
                writer.close()
            _LIBRARIES.closed(self._name)

    def _truncate_wal(self) -> None:
        with self._writing:
            connection = self._connection()
            for _ in range(100):
                busy = connection.execute("pragma wal_checkpoint(truncate)").fetchone()[0]
                if not busy:
                    return
                time.sleep(0.05)
        log.warning("a long read keeps purged bodies in the vault's WAL until the next purge")

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        if not self.path.exists():
            raise VaultUnavailableError(f"vault {self.path} has disappeared; put it back")
        with _LIBRARIES.standard(self._name):
            connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            try:
                yield connection
            finally:
                connection.close()

    def _scalar(self, sql: str, **values: int) -> Any:
        try:
            with self._reader() as connection:
                return connection.execute(sql, values).fetchone()[0]
        except sqlite3.Error as error:
            raise _unavailable(self.path, error) from None

    def _page(self, after: int, up_to: int) -> pa.Table:
        import adbc_driver_sqlite.dbapi as adbc  # imports pandas: not for the receiver

        sql = page_sql(after, up_to)
        try:
            with _LIBRARIES.adbc(self._name) as free:
                if free:
                    with adbc.connect(self._name) as source, source.cursor() as cursor:
                        cursor.execute(sql)
                        return cursor.fetch_arrow_table()
            with self._reader() as connection:
                rows = connection.execute(sql).fetchall()
        except (sqlite3.Error, adbc.Error) as error:
            raise _unavailable(self.path, error) from None
        names = ["seq", "received_at_us", "source", "body"]
        return pa.table(dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {})


class _BusyError(VaultUnavailableError):
    """Another process holds the write lock."""


def _create_private(path: Path) -> None:
    """An empty file that only its owner can read, its name durable too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        _sync(path.parent)


def _create_tables(path: Path) -> None:
    connection = _connect(path)
    try:
        connection.execute(f"pragma busy_timeout = {BUSY_SECONDS * 1000:.0f}")
        for table in METADATA.sorted_tables:
            # In one statement: several first starts at once agree.
            ddl = CreateTable(table, if_not_exists=True).compile(dialect=sqlite.dialect())
            connection.execute(str(ddl))
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in _PRAGMAS:
            _patiently(connection, f"pragma {pragma}", BUSY_SECONDS)
    except sqlite3.Error:
        connection.close()
        raise
    connection.execute("pragma busy_timeout = 0")  # `_patiently` waits, in small steps
    return connection


def _patiently(connection: sqlite3.Connection, sql: str, wait_seconds: float) -> None:
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


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unavailable(path: Path, error: Exception) -> VaultUnavailableError:
    cause = getattr(error, "orig", None) or error
    return VaultUnavailableError(f"vault {path}: {cause}; check the disk's space and permissions")
