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
from os.path import exists
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import sqlalchemy as sa

from ctwa.files import keep_private, replace_durably
from ingestion.vault.sqlite_file import (
    BUSY_SECONDS,
    LIBRARIES,
    PAGE,
    BusyError,
    as_vault_error,
    connect,
    create_private,
    create_tables,
    damage_mark,
    damaged_error,
    identity,
    is_damage,
    known_damage,
    patiently,
    read_page,
    refuse_lost_database,
)
from ingestion.vault.tables import (
    RENUMBER,
    SET_MARK,
    SET_MARK_ONCE,
    STAND_INS,
    first_stand_in,
    page_sql,
)
from ingestion.vault.vault import (
    NewEnvelope,
    Vault,
    VaultDamagedError,
    VaultError,
    VaultUnavailableError,
    microseconds,
    row_of,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

_PURGE_ROWS = 500

_INSERT = (
    "insert into envelopes (received_at_us, source, size, body_sha256, body) values (?, ?, ?, ?, ?)"
)


_PAGE_ROWS = 1_000
"""More than the rows of any page of the file."""


class SqliteVault(Vault):
    """See `Vault`. The file is created with mode 0600, which the WAL and its index inherit."""

    def __init__(self, url: sa.URL) -> None:
        if not url.database or url.database == ":memory:":
            raise VaultError("CTWA_VAULT_URL: a vault in memory keeps nothing; name a file")
        self.path = Path(url.database).expanduser().absolute()
        # As text, for what is asked at every commit.
        self._name, self._damage_mark = str(self.path), str(damage_mark(self.path))
        self._writing = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._inode = (0, 0)
        try:
            refuse_lost_database(self.path)
            create_private(self.path)
            for ending in ("", "-wal", "-shm"):
                keep_private(self.path.with_name(self.path.name + ending))
            self._inode = identity(self.path)
            with LIBRARIES.standard(self._name):
                create_tables(self.path)
        except (OSError, sqlite3.Error) as error:
            known = as_vault_error(self.path, error)
            if not isinstance(known, VaultDamagedError) or not self._can_be_read():
                raise known from None

    def append(self, items: Sequence[NewEnvelope]) -> None:
        self._write(lambda c: c.executemany(_INSERT, map(row_of, items)), BUSY_SECONDS)

    def append_nowait(self, items: Sequence[NewEnvelope]) -> bool:
        try:
            self._write(lambda c: c.executemany(_INSERT, map(row_of, items)), 0)
        except BusyError:
            return False
        return True

    def _mark(self, mark: int, value: int, *, once: bool) -> None:
        sql = SET_MARK_ONCE if once else SET_MARK
        self._write(lambda c: c.execute(sql, {"mark": mark, "value": value}), BUSY_SECONDS)

    def purge_bodies(self, received_before: datetime, up_to_seq: int) -> int:
        """Works in small commits, so that the receiver's commits never wait long; then empties the
        WAL.

        `secure_delete` overwrites the bytes in the file; truncating the WAL removes those in it.
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
        """As `purge_bodies`, and deletes the hashes: they could identify a copy of a body."""
        erased = 0
        for first in range(0, len(seqs), _PURGE_ROWS):
            part = ",".join(str(int(seq)) for seq in seqs[first : first + _PURGE_ROWS])
            with_body = f"select count(*) from envelopes where seq in ({part}) and body is not null"  # noqa: S608
            empty = f"update envelopes set body = null, body_sha256 = x'' where seq in ({part})"  # noqa: S608

            def work(c: sqlite3.Connection, with_body: str = with_body, empty: str = empty) -> int:
                found = int(c.execute(with_body).fetchone()[0])
                c.execute(empty)
                return found

            erased += self._write(work, 60)
        if seqs:
            self._truncate_wal()
        return erased

    def renumber(self, after_seq: int, above: int) -> int:
        def work(connection: sqlite3.Connection) -> int:
            for statement in RENUMBER:
                moved = connection.execute(statement.format(after=after_seq, above=above)).rowcount
            now = time.time_ns() // 1000
            connection.execute(
                STAND_INS.format(
                    first=first_stand_in(after_seq, above), above=above, now=now, empty="x''"
                )
            )
            # The counter of AUTOINCREMENT; it has no row if nothing was ever inserted.
            connection.execute(
                "insert into sqlite_sequence (name, seq) select 'envelopes', 0 "
                "where not exists (select 1 from sqlite_sequence where name = 'envelopes')"
            )
            connection.execute(
                "update sqlite_sequence set seq = max(seq, ?, "
                "(select coalesce(max(seq), 0) from envelopes)) where name = 'envelopes'",
                (above,),
            )
            return moved

        return self._write(work, 60)

    def backup(self, target: Path) -> None:
        target = target.absolute()
        draft = target.with_name(f".{target.name}.part")
        try:
            draft.unlink(missing_ok=True)
            create_private(draft)
            with self.reader() as connection:
                connection.execute("vacuum into ?", (str(draft),))
            replace_durably(draft, target)
        except (OSError, sqlite3.Error) as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            if is_damage(error):
                raise as_vault_error(self.path, error) from None
            raise VaultError(f"backup of the vault to {target} failed: {error}") from None

    def close(self) -> None:
        with self._writing:
            self._drop_writer()

    def _write(self, work: Callable[[sqlite3.Connection], T], wait_seconds: float) -> T:
        """Run `work` in one durable transaction; `BusyError` if the lock is not free in that
        time."""
        with self._writing:
            connection = self._connection()
            try:
                patiently(connection, "begin immediate", wait_seconds)
                # Again under the lock: the file may have been repaired while we waited.
                if not self._stands():
                    connection.execute("rollback")
                    connection = self._connection()
                    patiently(connection, "begin immediate", wait_seconds)
                result = work(connection)
                connection.execute("commit")
            except sqlite3.Error as error:
                # SQLite has often rolled back itself (disk full): then nothing is left to undo.
                with suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("rollback")
                code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
                if code == sqlite3.SQLITE_BUSY:
                    raise BusyError(
                        f"vault {self.path} is locked by another process for over "
                        f"{wait_seconds:g} s; see `fuser {self.path}`"
                    ) from None
                if code != sqlite3.SQLITE_FULL:
                    self._drop_writer()  # the next write starts with a fresh connection
                raise as_vault_error(self.path, error) from None
            return result

    def _connection(self) -> sqlite3.Connection:
        """The writing connection, to the file that is at the path now."""
        try:
            found = identity(self._name)
        except OSError:
            # A deleted file takes bodies that can never be read; a new one would start at seq 1.
            self._drop_writer()
            raise VaultUnavailableError(
                f"vault {self.path} has disappeared; put it back, or restart for an empty one"
            ) from None
        damage = known_damage(self.path) if self._is_marked() else None
        if damage is not None:
            self._drop_writer()
            raise damaged_error(self.path, damage)
        if self._writer is not None and found == self._inode:
            return self._writer
        self._drop_writer()
        LIBRARIES.opened(self._name)
        try:
            self._writer = connect(self.path)
        except (OSError, sqlite3.Error) as error:
            LIBRARIES.closed(self._name)
            raise as_vault_error(self.path, error) from None
        self._inode = found
        return self._writer

    def _stands(self) -> bool:
        """Whether the writer's file is the one at the path and not known to be damaged."""
        try:
            same = identity(self._name) == self._inode
        except OSError:
            return False
        return same and not self._is_marked()

    def _is_marked(self) -> bool:
        return exists(self._damage_mark)  # noqa: PTH110 - a `Path` costs five times as much

    @contextmanager
    def without_writer(self) -> Iterator[None]:
        """Keep this process from writing while the block runs."""
        with self._writing, LIBRARIES.standard(self._name):
            self._drop_writer()
            yield

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

    def _can_be_read(self) -> bool:
        """Whether rows can be read from a file that cannot be opened for writing (truncated,
        say)."""
        try:
            return self.last_seq() > 0
        except VaultError:
            return False

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """A connection for a single short read."""
        if not self.path.exists():
            raise VaultUnavailableError(f"vault {self.path} has disappeared; put it back")
        with LIBRARIES.standard(self._name):
            connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            try:
                # Otherwise SQLite refuses a file that is shorter than its header says.
                connection.execute("pragma writable_schema = on")
                yield connection
            finally:
                connection.close()

    def damage(self) -> str | None:
        return known_damage(self.path)

    def last_seq(self) -> int:
        """As `Vault.last_seq`; if the last page is damaged, the highest number ever assigned.

        That number is on another page. If the two disagree, the number of rows decides.
        """
        given: int | None = None
        with suppress(VaultError):
            given = self._scalar("select max(seq) from sqlite_sequence where name = 'envelopes'")
        try:
            last = super().last_seq()
            if given is None or last == given:
                return last
            if last < given <= last + _PAGE_ROWS:
                return given  # rows at the end that a damaged page no longer shows
            rows = int(self._scalar("select count(*) from envelopes"))
            return last if rows == last - self.before_first() else given
        except VaultDamagedError:
            if given is None:
                raise
            return given

    def before_first(self) -> int:
        # AUTOINCREMENT leaves no holes: the numbers of a failed transaction are reused.
        try:
            lowest = self._scalar("select min(seq) from envelopes")
        except VaultDamagedError:
            return 0
        return self.last_seq() if lowest is None else int(lowest) - 1

    def _is_whole(self, after: int, up_to: int, with_body: int) -> bool:
        if with_body == up_to - after:
            return True
        # A damaged row may look like one without a body: check the types of the other columns.
        sql = (
            "select count(*) from envelopes where seq > :after and seq <= :up_to and body is null "
            "and typeof(received_at_us) = 'integer' and typeof(source) = 'text' "
            "and typeof(size) = 'integer' and typeof(body_sha256) = 'blob'"
        )
        return with_body + int(self._scalar(sql, after=after, up_to=up_to)) == up_to - after

    def _scalar(self, sql: str, **values: int) -> Any:
        try:
            with self.reader() as connection:
                return connection.execute(sql, values).fetchone()[0]
        except sqlite3.Error as error:
            raise as_vault_error(self.path, error) from None

    def _rows(self, sql: str, **values: int) -> Sequence[Any]:
        try:
            with self.reader() as connection:
                return connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise as_vault_error(self.path, error) from None

    def _page(self, after: int, up_to: int) -> pa.Table:
        import adbc_driver_sqlite.dbapi as adbc  # imports pandas: not for the receiver

        sql = page_sql(after, up_to)
        with LIBRARIES.adbc(self._name) as free:
            if free:
                # What ADBC cannot read is tried again below, with errors that have codes.
                with suppress(adbc.Error, pa.ArrowException, UnicodeError):
                    with adbc.connect(self._name) as source, source.cursor() as cursor:
                        cursor.execute(sql)
                        page = cursor.fetch_arrow_table()
                    page.column("source").validate(full=True)
                    if page.schema.types == PAGE.types or not page.num_rows:
                        return page
        try:
            with self.reader() as connection:
                return read_page(connection, sql)
        except ValueError as error:
            raise damaged_error(self.path, str(error)) from None
        except sqlite3.Error as error:
            raise as_vault_error(self.path, error) from None
