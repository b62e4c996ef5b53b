"""The vault in PostgreSQL, for several receivers or a managed database.

Identity numbers are handed out before commits, so with several writers number 6 can be readable
while 5 is not yet: a reader that continues after 6 never sees 5. Each insert therefore takes one
advisory lock before it takes numbers and holds it until its commit is visible. Then `seq` order is
commit order across all writers and a plain `seq > :last` misses nothing. (A filter on transaction
ids is not enough: a lower number may belong to a higher transaction.) The lock is held for one
statement with its commit, never during a round trip, so a writer that hangs does not hold it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from ingestion.vault.tables import (
    METADATA,
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

WRITE_LOCK = 0x637477615F7631
"""Key of the advisory lock: `ctwa_v1` as a number."""

# The materialized CTE is read before any row is made, and so before any number is taken.
INSERT = f"""
with ahead as materialized (select pg_advisory_xact_lock({WRITE_LOCK}))
insert into envelopes (received_at_us, source, size, body_sha256, body)
select r.received_at_us, r.source, r.size, r.body_sha256, r.body
from ahead, unnest(%s::bigint[], %s::text[], %s::int[], %s::bytea[], %s::bytea[]) with ordinality
    as r (received_at_us, source, size, body_sha256, body, place)
order by r.place
"""  # noqa: S608

_CONNECT = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,  # ms: notices a network that drops packets
    "application_name": "ctwa-vault",
}
# If the server acknowledged before its disk has the rows, our 200 would be a lie.
_DURABLE = (
    "select set_config('synchronous_commit', 'on', false) "
    "where current_setting('synchronous_commit') = 'off'"
)
_PURGE_ROWS = 2_000


class PostgresVault(Vault):
    """See `Vault`. Needs the `postgres` extra; the account must own the schema it writes to."""

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        try:
            import adbc_driver_postgresql  # noqa: F401
            import psycopg  # noqa: F401
        except ImportError:
            raise VaultError(
                "a PostgreSQL vault needs: pip install 'ctwa-attribution[postgres]'"
            ) from None
        if url.get_driver_name() != "psycopg":
            raise VaultError("CTWA_VAULT_URL: write the driver out: postgresql+psycopg://...")
        self._engine = sa.create_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=2,
            max_overflow=2,
            pool_timeout=5,
            hide_parameters=True,
            connect_args={k: v for k, v in _CONNECT.items() if k not in url.query},
        )
        sa.event.listen(self._engine, "connect", _make_durable)
        with self._connection() as connection:
            # Two starts at once must not both create the tables.
            connection.execute(sa.text(f"select pg_advisory_lock({WRITE_LOCK})"))
            try:
                METADATA.create_all(connection)
            finally:
                connection.execute(sa.text(f"select pg_advisory_unlock({WRITE_LOCK})"))

    def append(self, items: Sequence[NewEnvelope]) -> None:
        columns = [list(column) for column in zip(*map(row_of, items), strict=True)]
        if not columns:
            return
        try:
            self._insert(columns)
        except _ConnectionLostError:
            # A pooled connection had died while idle. If the first attempt was committed after
            # all, the rows are there twice: a repeat, which is harmless.
            self._insert(columns)

    def _insert(self, columns: list[list[Any]]) -> None:
        with self._connection() as connection:
            connection.exec_driver_sql(INSERT, tuple(columns))

    def _mark(self, mark: int, value: int, *, once: bool) -> None:
        with self._connection() as connection:
            sql = SET_MARK_ONCE if once else SET_MARK
            connection.execute(sa.text(sql), {"mark": mark, "value": value})

    def purge_bodies(self, received_before: datetime, up_to_seq: int) -> int:
        """Works in small commits; then VACUUM, so that the space is reused.

        PostgreSQL does not overwrite freed bytes: encrypt its disk.
        """
        sql = sa.text(
            "update envelopes set body = null where seq in (select seq from envelopes "
            "where seq > :after and seq <= :up_to and received_at_us < :before "
            "and body is not null order by seq limit :rows) returning seq"
        )
        before, after, purged = microseconds(received_before), 0, 0
        with self._connection() as connection:
            while True:
                values = {"after": after, "up_to": up_to_seq, "before": before, "rows": _PURGE_ROWS}
                found: Sequence[int] = connection.execute(sql, values).scalars().all()
                purged += len(found)
                if len(found) < _PURGE_ROWS:
                    break
                after = max(found)
            if purged:
                connection.execute(sa.text("vacuum envelopes"))
        return purged

    def erase_bodies(self, seqs: Sequence[int]) -> int:
        """As `purge_bodies`, also about freed bytes; the hashes are deleted too."""
        with_body = sa.text(
            "select count(*) from envelopes where seq = any(:seqs) and body is not null"
        )
        empty = sa.text(
            "update envelopes set body = null, body_sha256 = ''::bytea where seq = any(:seqs)"
        )
        erased = 0
        with self._connection() as connection:
            for first in range(0, len(seqs), _PURGE_ROWS):
                part = {"seqs": list(seqs[first : first + _PURGE_ROWS])}
                erased += int(connection.execute(with_body, part).scalar_one())
                connection.execute(empty, part)
            if seqs:
                connection.execute(sa.text("vacuum envelopes"))
        return erased

    def renumber(self, after_seq: int, above: int) -> int:
        with self._connection() as connection:
            connection.exec_driver_sql("begin")
            try:
                connection.exec_driver_sql(f"select pg_advisory_xact_lock({WRITE_LOCK})")
                for statement in RENUMBER:
                    moved = connection.exec_driver_sql(
                        statement.format(after=after_seq, above=above)
                    ).rowcount
                now = time.time_ns() // 1000
                connection.exec_driver_sql(
                    STAND_INS.format(
                        first=first_stand_in(after_seq, above),
                        above=above,
                        now=now,
                        empty="''::bytea",
                    )
                )
                connection.exec_driver_sql(
                    "select setval(pg_get_serial_sequence('envelopes', 'seq'), greatest(%s, "
                    "(select coalesce(max(seq), 0) from envelopes), "
                    "nextval(pg_get_serial_sequence('envelopes', 'seq'))))",
                    (above,),
                )
                connection.exec_driver_sql("commit")
            except BaseException:
                connection.exec_driver_sql("rollback")
                raise
            return moved

    def backup(self, target: Path) -> None:
        raise VaultError(
            "a PostgreSQL vault is backed up by its own tools, with the ledgers beside it: "
            "pg_dump --format=custom --file=vault.dump <database>"
        )

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            if _is_damage(getattr(error.orig, "sqlstate", None)):
                raise self._damaged(error.orig) from None
            kind = _ConnectionLostError if error.connection_invalidated else VaultUnavailableError
            raise kind(self._say(error.orig)) from None
        except sa.exc.TimeoutError as error:
            raise VaultUnavailableError(self._say(error)) from None

    def _say(self, error: BaseException | None) -> str:
        # The first line only: details of PostgreSQL's errors quote the row.
        first = (str(error).splitlines() or [""])[0]
        where = self._url.render_as_string(hide_password=True)
        remedy = _REMEDIES.get(str(getattr(error, "sqlstate", None))[:3], "is the database up?")
        return f"vault {where}: {type(error).__name__}: {first}; {remedy}"

    def _damaged(self, error: BaseException | None) -> VaultDamagedError:
        where = self._url.render_as_string(hide_password=True)
        return VaultDamagedError(
            f"vault {where} is damaged: {type(error).__name__} "
            f"{getattr(error, 'sqlstate', '')}. What can be read still lands; check the disk, then "
            "restore the database from its backup"
        )

    def _scalar(self, sql: str, **values: int) -> Any:
        with self._connection() as connection:
            return connection.execute(sa.text(sql), values).scalar()

    def _rows(self, sql: str, **values: int) -> Sequence[Any]:
        with self._connection() as connection:
            return connection.execute(sa.text(sql), values).all()

    def _page(self, after: int, up_to: int) -> pa.Table:
        import adbc_driver_postgresql.dbapi as adbc

        uri = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            with adbc.connect(uri) as source, source.cursor() as cursor:
                cursor.execute(page_sql(after, up_to))
                return cursor.fetch_arrow_table()
        except adbc.Error as error:
            if _is_damage(error.sqlstate):
                raise self._damaged(error) from None
            raise VaultUnavailableError(self._say(error)) from None


_DAMAGE = ("XX001", "XX002")
"""SQLSTATE of PostgreSQL: data corrupted, index corrupted (its appendix A)."""
_REMEDIES = {
    "531": "free space on its disk",  # 53100, disk full
    "425": "grant its user the rights on the schema",  # 42501, insufficient privilege
    "280": "check user and password",  # 28000, 28P01
    "28P": "check user and password",
    "250": "it is read-only now (a standby?)",  # 25006, read-only transaction
    "533": "it has too many connections",  # 53300
}


def _is_damage(state: str | None) -> bool:
    return state in _DAMAGE


class _ConnectionLostError(VaultUnavailableError):
    """The connection broke; a new one may work."""


def _make_durable(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_DURABLE)
    if not connection.autocommit:
        connection.commit()
