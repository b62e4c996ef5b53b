"""Dagster's SQLite storage with connections that are kept.

Dagster opens a connection, on an engine of its own, two or three times for each of the thousand
events of a run, and closes it again: this cost more than building the marts. Here the files in use
stay open. Files, locks and write-ahead log are Dagster's own, so the UI and the daemon read and
write the same files meanwhile, and an installation can go back to Dagster's class at any time.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from sqlalchemy.pool import NullPool, StaticPool

_OPEN_FILES = 4
"""The index of all runs, and the runs that are being written or looked at."""


class KeptEventLogStorage(SqliteEventLogStorage):
    """Dagster's, but for how its files are opened: one connection each, used by one thread at a
    time, which Dagster's own lock sees to."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        # A process that was forked must not use its parent's connections, hence the process id.
        self._kept: OrderedDict[tuple[int, str], sqlalchemy.Engine] = OrderedDict()
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[sqlalchemy.Connection]:
        with self._db_lock, self._engine(shard).connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> sqlalchemy.Engine:
        """The engine of a file, which is made on first use."""
        place = (os.getpid(), shard)
        if not Path(self.path_for_shard(shard)).exists():  # never made, or of a deleted run
            self._initialized_dbs.discard(shard)
            self._close(place)
        if place not in self._kept:
            address = self.conn_string_for_shard(shard)
            timeout = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
            if shard not in self._initialized_dbs:
                self._initdb(
                    sqlalchemy.create_engine(address, poolclass=NullPool, connect_args=timeout)
                )
                self._initialized_dbs.add(shard)
            engine = sqlalchemy.create_engine(
                address, poolclass=StaticPool, connect_args={**timeout, "check_same_thread": False}
            )
            sqlalchemy.event.listen(engine, "connect", _without_waiting_for_the_disk)
            self._kept[place] = engine
        self._kept.move_to_end(place)
        while len(self._kept) > _OPEN_FILES:
            self._close(next(iter(self._kept)))
        return self._kept[place]

    def _close(self, place: tuple[int, str]) -> None:
        if engine := self._kept.pop(place, None):
            engine.dispose()

    def has_table(self, table_name: str) -> bool:
        """Whether the index has this table; one that was found is not looked for again."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def wipe(self) -> None:
        """Delete all events."""
        self._close_all()
        self._tables.clear()
        super().wipe()

    def dispose(self) -> None:
        """Close the files."""
        super().dispose()
        self._close_all()

    def _close_all(self) -> None:
        with self._db_lock:
            for place in list(self._kept):
                self._close(place)


def _without_waiting_for_the_disk(connection: Any, _: object) -> None:
    """A power cut may take the newest events, never the file: its log is written ahead."""
    connection.execute("pragma synchronous = normal")


class KeptSqliteStorage(DagsterSqliteStorage):
    """For one process that runs a job; `base_dir` is Dagster's home."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        super().__init__(base_dir, inst_data)
        folder = self._event_log_storage._base_dir
        self._event_log_storage = KeptEventLogStorage(folder)

    @classmethod
    def from_config_value(
        cls, inst_data: Any, config_value: Mapping[str, Any]
    ) -> KeptSqliteStorage:
        """As Dagster calls it."""
        return cls(inst_data=inst_data, **config_value)
