"""The tables of a publication, written to a new DuckDB file and Parquet files under draft names.

Tables that have not changed are carried over from the publication before (`publishing.carried`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ctwa import __version__, fingerprint
from ctwa.errors import CtwaError
from publishing.carried import Carried, Table
from publishing.meanings import (
    PUBLICATION_MEANING,
    Meaning,
    meaning_of,
    meanings,
    parquet_metadata,
)
from publishing.publication import TABLE as PUBLICATION
from publishing.publication import Publication

STORAGE_VERSION = "v1.0.0"
SMALL_FILE_BYTES = 64 * 2**20
"""Up to this size a published file is copied, however little of it stays."""
DAY = "report_date"
MANY_ROWS = 100_000
"""A mart of so many rows and with a `DAY` is written for those days only that have changed."""


@dataclass(frozen=True)
class Contents:
    """What a new file is made of."""

    source: Path
    as_of: date
    beside: Mapping[str, pa.Table]
    expected: Sequence[str] | None = None
    rules: str = ""
    group: str = ""
    """Who may read the new files besides their owner."""
    again: Publication | None = None
    """Set if the source is itself a publication: its marts stay, the tables beside them change."""
    schema: str = field(default="marts")
    versions: Mapping[str, str] | None = None
    """Mart -> what its content is known by; None: nothing is carried over."""


class PublishError(CtwaError):
    """The marts could not be published; the previous ones stay published."""


def write_files(
    contents: Contents,
    draft: Path,
    draft_folder: Path,
    version: str,
    before: tuple[Path, Path] | None = None,
) -> Carried:
    """Write the new DuckDB file and Parquet files under draft names.

    `before`: what is published now, the file and the parent of its folder of Parquet files.
    """
    draft_folder.mkdir(parents=True)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"attach {_text(contents.source)} as source (read_only)")
        source = _Source(connection, contents)
        marts = source.marts()
        stamps = source.stamps(marts)
        continued = {
            mart: source.shape(mart).digest for mart in marts if source.shape(mart).has_days
        }
        old = _carried_over(contents, stamps, continued, before, draft)
        kept = {t for t, known in old.tables.items() if stamps.get(t) == known.stamp}
        writer = _Writer(connection, contents, draft)
        wanted = {*marts, *contents.beside}
        writer.begin({t: known.shape for t, known in old.tables.items() if t in wanted})
        for mart in marts:
            if mart not in kept:
                writer.write_mart(mart, source.shape(mart))
        for table, content in contents.beside.items():
            if table not in kept:
                writer.write_beside(table, content)
        rows = {table: writer.count(table) for table in (*marts, *contents.beside)}
        writer.describe(version, rows)
        told = writer.meanings()
        tables = {}
        for table in (*rows, PUBLICATION):
            target = draft_folder / f"{table}.parquet"
            if not (table in kept and before and old.link_parquet(table, before[1], target)):
                writer.to_parquet(table, target, told[table])
            if contents.versions is not None and table in rows:
                stamp = stamps.get(table) or writer.stamp(table)
                shape = source.shape(table).digest if table in marts else ""
                tables[table] = Table(stamp, rows[table], fingerprint.of_file(target), shape)
        is_dense = writer.end()
    can_be_carried = contents.versions is not None and is_dense
    return Carried(version, rows, tables, fingerprint.of_file(draft) if can_be_carried else "")


def _carried_over(
    contents: Contents,
    stamps: Mapping[str, str | None],
    continued: Mapping[str, str],
    before: tuple[Path, Path] | None,
    draft: Path,
) -> Carried:
    """The publication before, with a copy of its file as the draft; without tables where the draft
    is to be a new file. `continued`: shapes of the marts that are written by day."""
    nothing = Carried("", {})
    if contents.versions is None or before is None or (known := Carried.read(before[0])) is None:
        return nothing
    tables = known.tables
    kept = sum(
        t.rows
        for name, t in tables.items()
        if stamps.get(name) == t.stamp
        or (t.rows >= MANY_ROWS and continued.get(name, "") == t.shape)
    )
    # Else a large file would be mostly what it held before.
    is_small = before[0].exists() and before[0].stat().st_size <= SMALL_FILE_BYTES
    is_worth_it = is_small or 2 * kept >= sum(t.rows for t in tables.values())
    return known if tables and is_worth_it and known.copy_file(before[0], draft) else nothing


def schema_of(draft: Path) -> str:
    """The schema of the tables, so that `marts.<table>` works in every file.

    DuckDB names a file's catalog after the file. With a schema `marts` in `marts.duckdb`,
    `marts.fct_leads` is refused as ambiguous; with the tables in the default schema it means that
    catalog. In a file of another name, the schema must be called `marts`, and views give every
    table its bare name. So `<table>` alone works in every file and copy of one.
    """
    return "main" if draft.name.split(".")[0].lower() == "marts" else "marts"


@dataclass(frozen=True)
class _Shape:
    """What a table is but for its rows."""

    made_by: str | None
    """Its statement; None of a view."""
    about: str | None
    columns: Sequence[tuple[str, str]]
    """Column and what it means, where that is said."""
    has_days: bool = False
    """Whether it has the column `DAY`."""

    @property
    def digest(self) -> str:
        """The same for the same shape."""
        return hashlib.sha256(repr(self).encode()).hexdigest()


class _Source:
    """The marts to publish, and what is known of them, looked up at once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, contents: Contents) -> None:
        self._contents = contents
        of_source = "where database_name = 'source' and schema_name = ?"
        # Views are read now: conversion_events shows what was sent after the build.
        self._made_by: dict[str, str | None] = dict(
            connection.execute(
                f"select table_name, sql from duckdb_tables() {of_source} union all "  # noqa: S608
                f"select view_name, null from duckdb_views() {of_source}",
                [contents.schema, contents.schema],
            ).fetchall()
        )
        self._columns: dict[str, list[str]] = {}
        for table, column in connection.execute(
            f"select table_name, column_name from duckdb_columns() {of_source} "  # noqa: S608
            "order by table_name, column_index",
            [contents.schema],
        ).fetchall():
            self._columns.setdefault(table, []).append(column)

    def marts(self) -> list[str]:
        """Names of all that are published. Raises `PublishError` where one is missing."""
        expected = self._contents.expected
        missing = sorted(set(expected or ()) - self._made_by.keys())
        if missing or not self._made_by:
            names = ", ".join(missing) or "all of them"
            raise PublishError(
                f"the warehouse lacks marts ({names}); run `ctwa refresh --full`. "
                "The previous marts stay published"
            )
        # Only what the project defines: a mart that was removed from it may still be in the file.
        left_out = {*self._contents.beside, PUBLICATION}
        found = sorted(self._made_by.keys() - left_out)
        return [m for m in found if expected is None or m in expected]

    def shape(self, mart: str) -> _Shape:
        """With what table and columns mean, as far as the project says it."""
        told = meanings().get(mart)
        if told is None:
            return _Shape(self._made_by[mart], None, [])
        names = self._columns[mart]
        columns = [(c, told.columns[c]) for c in names if told.columns.get(c)]
        return _Shape(self._made_by[mart], told.about, columns, DAY in names)

    def stamps(self, marts: Sequence[str]) -> dict[str, str | None]:
        """What each mart, and each table beside them, is made from; None where it is not known. Of
        a view it never is: what was sent may have changed since it was built."""
        contents = self._contents
        made_of: dict[str, Any] = {table: _bytes(t) for table, t in contents.beside.items()}
        for mart in marts:
            version, shape = (contents.versions or {}).get(mart), self.shape(mart)
            known = version is not None and shape.made_by is not None
            made_of[mart] = (version, shape) if known else None
        same = (contents.group, duckdb.__version__)
        return {
            table: hashlib.sha256(repr((of, *same)).encode()).hexdigest() if of else None
            for table, of in made_of.items()
        }


def _bytes(table: pa.Table) -> bytes:
    """The same for the same content and meaning."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


class _Writer:
    """Writes tables of one publication; `schema` is where they are, with the database."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, contents: Contents, draft: Path
    ) -> None:
        self._connection, self._contents = connection, contents
        self._schema = schema_of(draft)
        self._shapes: Mapping[str, str] = {}
        connection.execute(
            f"attach {_text(draft)} as publication (storage_version '{STORAGE_VERSION}')"
        )

    def begin(self, shapes: Mapping[str, str]) -> None:
        """Remove what the file has besides these tables, whose shapes are known."""
        self._shapes = shapes
        self._connection.execute(f"create schema if not exists publication.{self._schema}")
        found = self._connection.execute(
            "select table_name from duckdb_tables() where database_name = 'publication'"
        ).fetchall()
        for (table,) in found:
            if table not in shapes:
                self._connection.execute(f"drop table {self._name(table)}")

    def write_mart(self, mart: str, shape: _Shape) -> None:
        """Copy a mart of the source."""
        name = self._name(mart)
        # The names are those of our own models.
        rows = f'from source.{self._contents.schema}."{mart}"'
        if not shape.made_by or self._shapes.get(mart) != shape.digest:
            self._connection.execute(f"create or replace table {name} as {rows}")
            self._comment(mart, shape.about, shape.columns)
            return
        # A statement for the meaning of each column costs more than the rows.
        changed = ""
        if shape.has_days and self.count(mart) >= MANY_ROWS:
            self._note_same_days(name, rows)
            # Rows without a day, of a model of one's own, are always written.
            changed = f"where {DAY} is null or {DAY} not in (from same_days)"
        self._connection.execute(f"delete from {name} {changed}")  # noqa: S608
        self._connection.execute(f"insert into {name} {rows} {changed}")

    def _note_same_days(self, name: str, rows: str) -> None:
        """Find the days with the same rows as in the publication before: of a long history most."""
        days = (
            f"select {DAY}, count(*) as n, sum(cast(hash(hash(t)) as hugeint)) as digest "
            "{} as t group by all"
        )
        self._connection.execute(
            f"create or replace temporary table same_days as select {DAY} from "  # noqa: S608
            f"({days.format(rows)} intersect {days.format('from ' + name)}) "
            f"where {DAY} is not null"
        )

    def write_beside(self, table: str, content: pa.Table) -> None:
        """Write an Arrow table, described by the metadata `comment` of table and fields."""
        self._connection.register("beside", content)
        self._connection.execute(f"create or replace table {self._name(table)} as from beside")
        self._connection.unregister("beside")
        told = meaning_of(content.schema)
        self._comment(table, told.about, [*told.columns.items()])

    def _comment(self, table: str, about: str | None, columns: Sequence[tuple[str, str]]) -> None:
        name = self._name(table)
        self._connection.begin()
        if about:
            self._connection.execute(f"comment on table {name} is {_text(about)}")
        for column, comment in columns:
            if comment:
                self._connection.execute(f'comment on column {name}."{column}" is {_text(comment)}')
        self._connection.commit()

    def describe(self, version: str, rows: Mapping[str, int]) -> None:
        """Write the row of `publication`; marts published again keep their time of publication."""
        self._describe(version, rows)
        self._comment(
            PUBLICATION, PUBLICATION_MEANING.about, [*PUBLICATION_MEANING.columns.items()]
        )

    def _describe(self, version: str, rows: Mapping[str, int]) -> None:
        contents, name = self._contents, self._name(PUBLICATION)
        if contents.again is not None:
            self._connection.execute(
                f"create table {name} as select * replace (cast(? as varchar) as version, "  # noqa: S608
                f"cast(? as bigint) as mart_rows) from source.{contents.schema}.{PUBLICATION}",
                [version, sum(rows.values())],
            )
            return
        rule_version = None
        if "fct_touches" in rows:
            with_rule = "select max(rule_version) from source.marts.fct_touches"
            rule_version = (self._connection.execute(with_rule).fetchone() or (None,))[0]
        self._connection.execute(
            f"create table {name} as select cast(? as varchar) as version, cast(? as date) as "
            "as_of, cast(? as timestamptz) as published_at, cast(? as varchar) as rule_version, "
            "cast(? as varchar) as rules, cast(? as varchar) as project_version, "
            "cast(? as bigint) as mart_rows",
            [version, contents.as_of, datetime.now(UTC), rule_version, contents.rules, __version__,
             sum(rows.values())],
        )  # fmt: skip

    def count(self, table: str) -> int:
        """Rows of a table as it will be published."""
        found = self._connection.execute(f"select count(*) from {self._name(table)}").fetchall()  # noqa: S608
        return int(found[0][0])

    def stamp(self, table: str) -> str:
        """What the content of a table is known by where nothing else says it."""
        return fingerprint.of_table(self._connection, self._schema, table, "publication")

    def meanings(self) -> dict[str, Meaning]:
        """What all tables of the publication mean, as they say it."""
        of_file = "where database_name = 'publication' and schema_name = ?"
        about, columns = (
            self._connection.execute(f"{what} {of_file}", [self._schema]).fetchall()
            for what in (
                "select table_name, comment from duckdb_tables()",
                "select table_name, column_name, coalesce(comment, '') from duckdb_columns()",
            )
        )
        found: dict[str, dict[str, str]] = {table: {} for table, _ in about}
        for table, column, comment in columns:
            found.setdefault(table, {})[column] = comment
        return {table: Meaning(text or "", found[table]) for table, text in about}

    def to_parquet(self, table: str, target: Path, told: Meaning) -> None:
        """Write a table as a Parquet file, with what it means as metadata."""
        schema = self._connection.sql(f"from {self._name(table)} limit 0").to_arrow_table().schema
        metadata = parquet_metadata(schema, told)
        written = ", ".join(f"{_text(key)}: {_text(text)}" for key, text in metadata.items())
        self._connection.execute(
            f"copy {self._name(table)} to {_text(target)} "
            f"(format parquet, compression zstd, kv_metadata {{{written}}})"
        )

    def end(self) -> bool:
        """Close the file; returns whether it is more than half tables, and not room of old ones."""
        self._name_bare()
        self._connection.execute("checkpoint publication")
        used, free = self._connection.execute(
            "select used_blocks, free_blocks from pragma_database_size()"
            " where database_name = 'publication'"
        ).fetchall()[0]
        self._connection.execute("detach publication")
        return bool(used >= free)

    def _name_bare(self) -> None:
        """Let `<table>` name each table too, where it is not in the default schema already."""
        if self._schema == "main":
            return
        found = self._connection.execute(
            "select table_name from duckdb_tables() where database_name = 'publication'"
        ).fetchall()
        self._connection.execute("use publication")  # so that the views do not name the database
        for (table,) in found:
            self._connection.execute(
                f'create or replace view main."{table}" as from {self._schema}."{table}"'
            )
        self._connection.execute("use memory")

    def _name(self, table: str) -> str:
        return f'publication.{self._schema}."{table}"'


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"
