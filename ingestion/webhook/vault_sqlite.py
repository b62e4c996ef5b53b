"""The vault in SQLite: WAL, `synchronous=FULL`, one writing connection.

`FULL`, not `NORMAL`: with NORMAL a power cut loses acknowledged commits.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import sqlalchemy as sa

from ingestion.webhook.sqlite_file import (
    BUSY_SECONDS,
    LIBRARIES,
    connect,
    create_private,
    create_tables,
    identity,
    patiently,
    sync_to_disk,
)
from ingestion.webhook.vault import (
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

_PURGE_ROWS = 500

_INSERT = (
    "insert into envelopes (received_at_us, source, size, body_sha256, body) values (?, ?, ?, ?, ?)"
)


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
            create_private(self.path)
            with LIBRARIES.standard(self._name):
                create_tables(self.path)
            self._inode = identity(self.path)
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

    def erase_bodies(self, seqs: Sequence[int]) -> int:
        """As `purge_bodies`; the hashes go, too: by them a copy of a body could be recognised."""
        erased = 0
        for first in range(0, len(seqs), _PURGE_ROWS):
            part = ",".join(str(int(seq)) for seq in seqs[first : first + _PURGE_ROWS])
            kept = f"select count(*) from envelopes where seq in ({part}) and body is not null"  # noqa: S608
            empty = f"update envelopes set body = null, body_sha256 = x'' where seq in ({part})"  # noqa: S608

            def work(c: sqlite3.Connection, kept: str = kept, empty: str = empty) -> int:
                found = int(c.execute(kept).fetchone()[0])
                c.execute(empty)
                return found

            erased += self._write(work, 60)
        if seqs:
            self._truncate_wal()
        return erased

    def backup(self, target: Path) -> None:
        target = target.absolute()
        draft = target.with_name(f".{target.name}.part")
        try:
            draft.unlink(missing_ok=True)
            create_private(draft)
            with self._reader() as connection:
                connection.execute("vacuum into ?", (str(draft),))
            sync_to_disk(draft)
            draft.replace(target)
            sync_to_disk(target.parent)
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
                patiently(connection, "begin immediate", wait_seconds)
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
            found = identity(self.path)
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
        LIBRARIES.opened(self._name)
        try:
            self._writer = connect(self.path)
        except (OSError, sqlite3.Error) as error:
            LIBRARIES.closed(self._name)
            raise _unavailable(self.path, error) from None
        self._inode = found
        return self._writer

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(sqlite3.Error):
                writer.close()
            LIBRARIES.closed(self._name)

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
        with LIBRARIES.standard(self._name):
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
            with LIBRARIES.adbc(self._name) as free:
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


def _unavailable(path: Path, error: Exception) -> VaultUnavailableError:
    cause = getattr(error, "orig", None) or error
    return VaultUnavailableError(f"vault {path}: {cause}; check the disk's space and permissions")
