"""Copies the marts to PostgreSQL (`CTWA_MARTS_URL`), every table in one transaction.

A reader sees the marts of one publication or of the one before, never a mixture and never an empty
table: rows are deleted and copied in one transaction, which blocks no reader. Tables are kept, and
with them grants and views on them. A table whose columns have changed is created again; if one of
your views is in the way, the error names it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import sqlalchemy as sa

from ctwa.lock import confirm_lock
from publishing.marts import PublishError

if TYPE_CHECKING:
    import psycopg

SCHEMA = "marts"
_BATCH = 10_000
_LOCK = 0x63747761  # "ctwa": one publisher at a time
_TYPES = {
    "VARCHAR": "text",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "DOUBLE": "double precision",
    "TINYINT": "smallint",
}


@dataclass(frozen=True)
class PublishedToPostgres:
    """What was published: rows by mart, and how long it took in seconds."""

    rows: dict[str, int]
    seconds: float


def publish_to_postgres(url: str, marts_path: Path) -> PublishedToPostgres:
    """Copy the published file into schema `marts` of the database. Raises `PublishError`."""
    started = time.monotonic()
    try:
        import psycopg
    except ImportError:
        raise PublishError(
            "CTWA_MARTS_URL is set, but the PostgreSQL client is not installed: "
            "pip install 'ctwa-attribution[postgres]'"
        ) from None
    address = sa.make_url(url).set(drivername="postgresql")
    try:
        with (
            duckdb.connect(str(marts_path), read_only=True) as marts,
            psycopg.connect(address.render_as_string(hide_password=False)) as target,
        ):
            marts.execute("set timezone = 'UTC'")
            rows = _copy_all(marts, target)
            confirm_lock()
    except psycopg.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise PublishError(
            f"publishing to PostgreSQL at {address.host}/{address.database} failed, the previous "
            f"marts stay there: {reason}"
        ) from error
    return PublishedToPostgres(rows, time.monotonic() - started)


def _copy_all(marts: duckdb.DuckDBPyConnection, target: psycopg.Connection) -> dict[str, int]:
    target.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
    target.execute(f"create schema if not exists {SCHEMA}")
    tables = marts.execute(
        "select schema_name, table_name from duckdb_tables() order by table_name"
    ).fetchall()
    rows: dict[str, int] = {}
    for schema, table in tables:
        columns = marts.execute(
            "select column_name, data_type from duckdb_columns() "
            "where schema_name = ? and table_name = ? order by column_index",
            [schema, table],
        ).fetchall()
        _prepare(target, table, [(name, _TYPES.get(kind, kind.lower())) for name, kind in columns])
        rows[table] = _copy(marts, target, schema, table)
        _comment(marts, target, schema, table)
    return rows


def _comment(
    marts: duckdb.DuckDBPyConnection, target: psycopg.Connection, schema: str, table: str
) -> None:
    """Give table and columns the comments that they have in the file, where they differ."""
    from psycopg import sql

    name = sql.Identifier(SCHEMA, table)
    wanted: dict[str | None, str | None] = dict(
        marts.execute(
            "select null, comment from duckdb_tables() where schema_name = ? and table_name = ? "
            "union all select column_name, comment from duckdb_columns() "
            "where schema_name = ? and table_name = ?",
            [schema, table, schema, table],
        ).fetchall()
    )
    there: dict[str | None, str | None] = dict(
        target.execute(
            "select null, obj_description(to_regclass(%s), 'pg_class') union all "
            "select attname, col_description(attrelid, attnum) from pg_attribute "
            "where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped",
            (f'"{SCHEMA}"."{table}"',) * 2,
        ).fetchall()
    )
    for column, text in wanted.items():
        if there.get(column) != text:
            what = (
                sql.SQL("table {}").format(name)
                if column is None
                else sql.SQL("column {}.{}").format(name, sql.Identifier(column))
            )
            target.execute(sql.SQL("comment on {} is {}").format(what, sql.Literal(text)))


def _prepare(target: psycopg.Connection, table: str, columns: list[tuple[str, str]]) -> None:
    """Provide an empty table with these columns: the existing one, or a new one."""
    from psycopg import sql

    name = sql.Identifier(SCHEMA, table)
    there = target.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute "
        "where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped order by attnum",
        (f'"{SCHEMA}"."{table}"',),
    ).fetchall()
    wanted = [(n, _spelled(k)) for n, k in columns]
    if there == wanted:
        target.execute(sql.SQL("delete from {}").format(name))
        return
    if there:
        target.execute(sql.SQL("drop table {}").format(name))
    body = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(k)) for n, k in columns
    )
    target.execute(sql.SQL("create table {} ({})").format(name, body))


def _spelled(kind: str) -> str:
    """A type as PostgreSQL reports it."""
    if kind == "timestamptz":
        return "timestamp with time zone"
    return kind.replace("decimal", "numeric")


def _copy(
    marts: duckdb.DuckDBPyConnection, target: psycopg.Connection, schema: str, table: str
) -> int:
    from psycopg import sql

    source = marts.execute(f'select * from "{schema}"."{table}"')  # noqa: S608
    statement = sql.SQL("copy {} from stdin").format(sql.Identifier(SCHEMA, table))
    count = 0
    with target.cursor() as cursor, cursor.copy(statement) as copy:
        while batch := source.fetchmany(_BATCH):
            for row in batch:
                copy.write_row([_storable(v) for v in row])
            count += len(batch)
    return count


def _storable(value: Any) -> Any:
    """Drop NULs, which PostgreSQL's text cannot hold."""
    return value.replace("\x00", "") if isinstance(value, str) else value
