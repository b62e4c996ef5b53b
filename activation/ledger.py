"""The ledger of what was sent: one SQLite file that survives a crash at any instruction.

`<data>/activation/ledger.db`, mode 0600, every commit on disk before the call returns. Not in the
warehouse, which may be deleted and built again; it is in the backup, and erasures reach it. The
tables of each destination are made by its own module (`SCHEMA` scripts, idempotent).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctwa.settings import Settings
from ingestion.errors import SourceError

FILE = "ledger.db"


class LedgerError(SourceError):
    """The ledger cannot be read: nothing may be sent, as nobody knows what was."""


def ledger_path(settings: Settings) -> Path:
    """Where the ledger lies."""
    return settings.activation_dir / FILE


@contextmanager
def open_ledger(settings: Settings, schema: str) -> Iterator[sqlite3.Connection]:
    """A connection in autocommit mode, with the tables of `schema` there.

    The caller holds the refresh lock: there is one writer. Use `with transaction(connection)`
    for several statements that count together.
    """
    path = ledger_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    try:
        connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = wal", "synchronous = full", "fullfsync = on",
                       "secure_delete = on"):  # fmt: skip
            connection.execute(f"pragma {pragma}")
        connection.executescript(schema)
    except sqlite3.DatabaseError as error:
        connection.close()
        if "not a database" not in str(error) and "malformed" not in str(error):
            raise
        raise LedgerError(
            f"{path} is damaged, and nothing was sent: put it back from a backup, or move it away; "
            "sending then begins anew with what happens from then on"
        ) from None
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it on disk at the end, or nothing of it."""
    connection.execute("begin immediate")
    try:
        yield
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")
