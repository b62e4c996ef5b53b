"""Repair of a damaged SQLite vault: a new file with everything that can still be read."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import sqlalchemy as sa

from ctwa.files import fsync, replace_durably
from ingestion.vault.sqlite import SqliteVault
from ingestion.vault.sqlite_file import (
    connect,
    create_private,
    create_tables,
    damage_mark,
    known_damage,
    mark_damaged,
)
from ingestion.vault.vault import (
    UNREADABLE,
    NewEnvelope,
    Vault,
    VaultDamagedError,
    VaultError,
    row_of,
)

NOTHING_READABLE = (
    "nothing of the vault can be read: move it away, with its -wal and .damaged, and put a "
    "backup's vault.db in its place, or restart the receiver for an empty one; then run "
    "`ctwa adopt-vault` and `ctwa refresh`"
)
"""What to do if no repair is possible."""

_SELECT_WITHOUT_BODY = (
    "select seq, received_at_us, source, size, body_sha256 from envelopes "
    "where seq > ? and seq < ? and body is null order by seq"
)
_INSERT = (
    "insert into envelopes (seq, received_at_us, source, size, body_sha256, body) "
    "values (?, ?, ?, ?, ?, ?)"
)


class Repaired(NamedTuple):
    """What `repair` did: rows that could be read, rows that could not, and where the old file
    is."""

    kept: int
    lost: int
    aside: Path


def repair(vault: Vault) -> Repaired:
    """Replace a damaged file by a new one with everything that can still be read.

    Numbers stay as they are; a row that cannot be read becomes a row without a body. The damaged
    file is kept as `<name>.damaged-copy`, with all the personal data in it. The repair may be
    killed at any point and run again. Raises `VaultError` if nothing is damaged, nothing can be
    read, or the vault is not in SQLite.
    """
    if not isinstance(vault, SqliteVault):
        raise VaultError("repair this vault with its database's own tools, or from a backup")
    real = vault.path.resolve()
    if real != vault.path:  # SQLite keeps its other files next to the target of a link
        return repair(SqliteVault(sa.make_url(f"sqlite:///{real}")))
    return _Repair(vault).run()


class _Repair:
    """One repair; the new file is written next to the damaged one until it replaces it."""

    def __init__(self, vault: SqliteVault) -> None:
        self._vault, self._path = vault, vault.path
        self._aside = vault.path.with_name(f"{vault.path.name}.damaged-copy")
        self._draft = vault.path.with_name(f".{vault.path.name}.mending")

    def run(self) -> Repaired:
        aside = self._aside
        try:
            self._undo_killed_repair()
            if aside.exists():
                raise VaultError(f"{aside} is from an earlier repair: move it away, or delete it")
            if known_damage(self._path) is None:
                self._find_damage()
            return self._replace()
        except VaultDamagedError:
            self._remove_draft()
            raise VaultError(NOTHING_READABLE) from None
        except (OSError, sqlite3.Error) as error:
            with suppress(OSError):
                self._remove_draft()
            raise VaultError(f"the vault was not repaired: {error}") from None

    def _find_damage(self) -> None:
        """Check every page and body, and mark the file. Raises `VaultError` if all is well."""
        with self._vault.reader() as connection:
            try:
                found = str(connection.execute("pragma integrity_check(1)").fetchone()[0])
            except sqlite3.Error as error:
                found = str(error)
        if found == "ok":
            raise VaultError(f"vault {self._path} is not damaged: nothing to repair")
        mark_damaged(self._path, found.splitlines()[0][:200])

    def _replace(self) -> Repaired:
        self._remove_draft()
        create_private(self._draft)
        create_tables(self._draft)
        with self._vault.without_writer():
            guard = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            try:
                # The mark stops new writers; this waits for a writer that had already begun.
                with suppress(sqlite3.DatabaseError):
                    guard.execute("begin immediate")
                kept, lost = self._copy()
                fsync(self._draft)
                wal = Path(f"{self._path}-wal")
                if wal.exists():  # SQLite would read it into the new file
                    wal.rename(f"{self._aside}-wal")
                Path(f"{self._path}-shm").unlink(missing_ok=True)
                os.link(self._path, self._aside)
                replace_durably(self._draft, self._path)
                damage_mark(self._path).unlink(missing_ok=True)
            finally:
                guard.close()
        return Repaired(kept, lost, self._aside)

    def _remove_draft(self) -> None:
        for part in ("", "-wal", "-shm"):
            Path(f"{self._draft}{part}").unlink(missing_ok=True)

    def _undo_killed_repair(self) -> None:
        """Undo what a killed repair left behind, before its new file was in place."""
        if self._aside.exists() and self._path.samefile(self._aside):
            self._aside.unlink()
        wal = Path(f"{self._aside}-wal")
        if not self._aside.exists() and wal.exists():
            wal.rename(f"{self._path}-wal")

    def _copy(self) -> tuple[int, int]:
        """Copy all rows, including those without a body; returns how many could be read, and how
        many could not."""
        first, last = self._vault.before_first(), self._vault.last_seq()
        kept = lost = 0
        target = connect(self._draft)
        try:
            done, at_us = first, 0
            for batch in self._vault.read_batches(first, up_to_seq=last):
                rows: list[tuple[Any, ...]] = []
                times = batch.column("received_at").cast(pa.int64()).to_pylist()
                for row, at_us in zip(batch.to_pylist(), times, strict=True):
                    rows += self._without_body(done, row["seq"], at_us)
                    item = NewEnvelope(at_us, row["source"], row["body"])
                    if row["damage"] is None:
                        kept += 1
                        rows.append((row["seq"], *row_of(item)))
                    else:  # an empty body without its hash is reported again on every read
                        lost += 1
                        rows.append((row["seq"], at_us, row["source"], 0, b"", b""))
                    done = row["seq"]
                target.execute("begin")
                target.executemany(_INSERT, rows)
                target.execute("commit")
            target.executemany(_INSERT, self._without_body(done, last + 1, at_us))
            target.execute("pragma wal_checkpoint(truncate)")
        finally:
            target.close()
        return kept, lost

    def _without_body(self, after: int, before: int, at_us: int) -> list[tuple[Any, ...]]:
        """The rows between two numbers, which have no body; unreadable ones get a stand-in."""
        if before - after < 2:
            return []
        found: dict[int, tuple[Any, ...]] = {}
        with suppress(sqlite3.Error), self._vault.reader() as source:
            rows = source.execute(_SELECT_WITHOUT_BODY, (after, before)).fetchall()
            kinds = int, int, str, int, bytes
            found = {row[0]: row for row in rows if tuple(map(type, row)) == kinds}
        stand_in = at_us, UNREADABLE, 0, b""
        return [(*found.get(n, (n, *stand_in)), None) for n in range(after + 1, before)]
