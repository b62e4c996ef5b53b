"""What must outlive a host, in tables beside the vault, where that is PostgreSQL.

What was sent and who was erased is written by whoever holds the refresh lock, in transactions that
hold the row of its lease (`Lease.guard`). So a host that has lost the lock writes nothing more,
not even one that was paused between a question and its write; and a host that takes the lock
sees everything that was written before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from ctwa import lease
from ctwa.lock import database_of, lease_of, refresh_lock
from ctwa.settings import Settings

_NOTE = "select mark from ctwa_marks where name = %s"
_SET_NOTE = """
insert into ctwa_marks (name, mark) values (%s, %s)
on conflict (name) do update set mark = excluded.mark
"""


@dataclass(slots=True)
class Result:
    """The rows of a statement, read to their end, as a DB-API cursor gives them."""

    rowcount: int
    description: list[tuple[str]] = field(default_factory=list)
    """Names of the columns."""
    _rows: list[Any] = field(default_factory=list)

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        rows, self._rows = self._rows, []
        return rows

    def fetchone(self) -> Any:
        """The next row; None after the last one."""
        return self._rows.pop(0) if self._rows else None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())


class Shared:
    """The tables as this process may use them: without `held` they are only read.

    Raises `LockLostError` once another host has the lock, `LockUnavailableError` if the database
    cannot be used.
    """

    def __init__(self, url: str, held: lease.Lease | None) -> None:
        self._url, self._held = url, held
        self._inside: sa.Connection | None = None

    @classmethod
    def of(cls, settings: Settings) -> Shared:
        """Those of the installation, whose vault is PostgreSQL; to write, hold the lock first."""
        return cls(database_of(settings), lease_of(settings))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of its statements count at the end, or none; within another one it is a part."""
        if self._inside is not None:
            yield
            return
        with closing(lease.connect(self._url)) as connection:
            try:
                with self._explained():
                    connection.exec_driver_sql("begin" if self._held else "begin read only")
                    if self._held:
                        self._held.guard(connection)
                self._inside = connection
                yield
                with self._explained():
                    connection.exec_driver_sql("commit")
            except BaseException:
                with suppress(sa.exc.SQLAlchemyError):
                    connection.exec_driver_sql("rollback")
                raise
            finally:
                self._inside = None

    def execute(self, sql: str, values: Sequence[object] = ()) -> Result:
        """One statement, `%s` for values; in a transaction of its own unless one is open."""
        return self._run(sql, tuple(values) or None)

    def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> Result:
        """The statement with each of the rows; `rowcount` is that of all of them."""
        many = [tuple(row) for row in rows]
        return self._run(sql, many) if many else Result(0)

    def note(self, name: str) -> str | None:
        """What was noted under a name; None if nothing was."""
        row = self.execute(_NOTE, (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_note(self, name: str, text: str) -> None:
        """Note it in place of what was noted."""
        self.execute(_SET_NOTE, (name, text))

    def vacuum(self, *tables: str) -> None:
        """Give the space of deleted rows free. PostgreSQL does not overwrite it at once."""
        with closing(lease.connect(self._url)) as connection, self._explained():
            connection.exec_driver_sql(f"vacuum {', '.join(tables)}")

    def _run(self, sql: str, values: Any) -> Result:
        with self.transaction(), self._explained():
            assert self._inside is not None
            found = self._inside.exec_driver_sql(sql, values)
            if not found.returns_rows:
                return Result(found.rowcount)
            names = [(name,) for name in found.keys()]  # noqa: SIM118 - of a result, not a dict
            return Result(found.rowcount, names, [tuple(row) for row in found])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            raise lease.unavailable(self._url, error) from None


def note_of(settings: Settings, name: str) -> str | None:
    """What was noted for all hosts; the lock is not needed."""
    return Shared(database_of(settings), None).note(name)


def set_note(settings: Settings, name: str, text: str) -> None:
    """Note it for all hosts, as who holds the lock."""
    with refresh_lock(settings):  # which the caller holds
        Shared.of(settings).set_note(name, text)
