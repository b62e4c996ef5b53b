"""What people have been told already: `<data>/alerts.db`.

Two processes may see the end of one run, the refresh itself and the daemon's sensor; whoever claims
it first tells it. A warning is told when it is new, and forgotten when its check passes again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

_SCHEMA = """
create table if not exists told (event text primary key, at real not null);
create table if not exists firing (name text primary key, text text not null, at real not null);
"""
_KEPT_SECONDS = 90 * 86_400


class AlertLedger:
    """Open by `open_alerts`; every call is a transaction of its own."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def claim(self, event: str) -> bool:
        """Whether it is ours to tell; False when another has it."""
        self._db.execute("delete from told where at < ?", (time.time() - _KEPT_SECONDS,))
        taken = self._db.execute("insert or ignore into told values (?, ?)", (event, time.time()))
        return taken.rowcount == 1

    def release(self, event: str) -> None:
        """Nobody could be told: another may try."""
        self._db.execute("delete from told where event = ?", (event,))

    def firing(self) -> dict[str, tuple[str, float]]:
        """What has been told and still is so: name -> text and when it was told."""
        rows = self._db.execute("select name, text, at from firing")
        return {name: (text, at) for name, text, at in rows}

    def fire(self, texts: Mapping[str, str]) -> None:
        """Remember these as told."""
        rows = [(name, text, time.time()) for name, text in texts.items()]
        self._db.executemany("insert or replace into firing values (?, ?, ?)", rows)

    def quiet(self, names: Iterator[str] | list[str] | set[str]) -> None:
        """Forget these: told again when they come back."""
        self._db.executemany("delete from firing where name = ?", [(name,) for name in names])


@contextmanager
def open_alerts(path: Path) -> Iterator[AlertLedger]:
    """The ledger, made where there is none. Raises `sqlite3.Error` where it cannot be kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        connection.executescript(_SCHEMA)
        yield AlertLedger(connection)
