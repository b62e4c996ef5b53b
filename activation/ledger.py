"""The ledger of what was sent: one SQLite file that survives a crash at any instruction.

`<data>/activation/ledger.db`, mode 0600, every commit on disk before the call returns. It is not in
the warehouse, which may be deleted and rebuilt; backups contain it and erasures reach it. The
module of each destination creates its tables (`SCHEMA` scripts, idempotent).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctwa.settings import Settings
from ingestion.source import SourceError

FILE = "ledger.db"

RESTORED = "restored"
"""Marker file beside a ledger from a backup, which does not know what was sent since. The next
sending ends the activation and removes the marker (`activation.conversions_ledger`)."""


class LedgerError(SourceError):
    """The ledger cannot be read: nothing may be sent, as it is unknown what was sent before."""


def ledger_path(settings: Settings) -> Path:
    """Path of the ledger."""
    return settings.activation_dir / FILE


@contextmanager
def open_ledger(settings: Settings, schema: str) -> Iterator[sqlite3.Connection]:
    """A connection in autocommit mode, with the tables of `schema` created. Raises `LedgerError`.

    The caller holds the refresh lock: there is one writer. Use `with transaction(connection)`
    for statements that belong together.
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
            f"{path} is damaged, and nothing was sent: restore it from a backup, or move it away; "
            "sending then starts with what happens from then on"
        ) from None
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of its statements are on disk at the end, or none of them."""
    connection.execute("begin immediate")
    try:
        yield
    except BaseException:
        connection.execute("rollback")
        raise
    connection.execute("commit")
