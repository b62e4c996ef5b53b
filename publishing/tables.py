"""The tables of a publication, written to a new DuckDB file and Parquet files under draft names.

Tables that have not changed are carried over from the publication before (`publishing.carried`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

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
        marts = _marts(connection, contents)
        stamps = {mart: _stamp(connection, contents, mart) for mart in marts}
        old = _carried_over(contents, stamps, before, draft)
        writer = _Writer(connection, contents, draft)
        writer.begin(kept=old.tables)
        for mart in marts:
            if mart not in old.tables:
                writer.write_mart(mart)
        for table, content in contents.beside.items():
            writer.write_beside(table, content)
        rows = {table: writer.count(table) for table in (*marts, *contents.beside)}
        writer.describe(version, rows)
        tables = {}
        for table in (*rows, PUBLICATION):
            target = draft_folder / f"{table}.parquet"
            if not (table in old.tables and before and old.link_parquet(table, before[1], target)):
                writer.to_parquet(table, target)
            if contents.versions is not None and table in rows:
                stamp = stamps.get(table) or writer.stamp(table)
                tables[table] = Table(stamp, rows[table], fingerprint.of_file(target))
        is_dense = writer.end()
    can_be_carried = contents.versions is not None and is_dense
    return Carried(version, rows, tables, fingerprint.of_file(draft) if can_be_carried else "")


def _carried_over(
    contents: Contents,
    stamps: Mapping[str, str | None],
    before: tuple[Path, Path] | None,
    draft: Path,
) -> Carried:
    """The tables to carry over, with a copy of their file as the draft."""
    nothing = Carried("", {})
    if contents.versions is None or before is None or (known := Carried.read(before[0])) is None:
        return nothing
    tables = {
        mart: known.tables[mart]
        for mart, stamp in stamps.items()
        if stamp and mart in known.tables and known.tables[mart].stamp == stamp
    }
    # Else the file would be mostly what it held before.
    of_old, of_all = (sum(t.rows for t in found.values()) for found in (tables, known.tables))
    if not tables or 2 * of_old < of_all or not known.copy_file(before[0], draft):
        return nothing
    return Carried(known.version, known.rows, tables, known.file)


def _stamp(connection: duckdb.DuckDBPyConnection, contents: Contents, mart: str) -> str | None:
    """What a mart is made from; None where it is not known. Of a view it is never known: what was
    sent may have changed since it was built."""
    made_by = connection.execute(
        "select sql from duckdb_tables() where database_name = 'source'"
        " and schema_name = ? and table_name = ?",
        [contents.schema, mart],
    ).fetchone()
    version = (contents.versions or {}).get(mart)
    if version is None or made_by is None:
        return None
    comments = _comments(connection, contents.schema, mart)
    made_of = (version, made_by, comments, contents.group, duckdb.__version__)
    return hashlib.sha256(repr(made_of).encode()).hexdigest()


def schema_of(draft: Path) -> str:
    """The schema of the tables, so that `marts.<table>` works in every file.

    DuckDB names a file's catalog after the file. With a schema `marts` in `marts.duckdb`,
    `marts.fct_leads` is refused as ambiguous; with the tables in the default schema it means that
    catalog. In a file of another name, the schema must be called `marts`, and views give every
    table its bare name. So `<table>` alone works in every file and copy of one.
    """
    return "main" if draft.name.split(".")[0].lower() == "marts" else "marts"


def _marts(connection: duckdb.DuckDBPyConnection, contents: Contents) -> list[str]:
    expected = contents.expected
    found = [
        name
        for (name,) in connection.execute(
            # Views are read now: conversion_events shows what was sent after the build.
            "select table_name from information_schema.tables "
            "where table_catalog = 'source' and table_schema = ? order by table_name",
            [contents.schema],
        ).fetchall()
    ]
    missing = sorted(set(expected or ()) - set(found))
    if missing or not found:
        names = ", ".join(missing) or "all of them"
        raise PublishError(
            f"the warehouse lacks marts ({names}); run `ctwa refresh --full`. "
            "The previous marts stay published"
        )
    # Only what the project defines: a mart that was removed from it may still be in the file.
    left_out = {*contents.beside, PUBLICATION}
    return [m for m in found if m not in left_out and (expected is None or m in expected)]


def _comments(
    connection: duckdb.DuckDBPyConnection, schema: str, mart: str
) -> tuple[str | None, list[tuple[str, str]]]:
    """What the table and its columns mean, as far as the project says it."""
    told = meanings().get(mart)
    if told is None:
        return None, []
    columns = connection.execute(
        "select column_name from duckdb_columns() where database_name = 'source' "
        "and schema_name = ? and table_name = ? order by column_index",
        [schema, mart],
    ).fetchall()
    return told.about, [(c, told.columns[c]) for (c,) in columns if told.columns.get(c)]


class _Writer:
    """Writes tables of one publication; `schema` is where they are, with the database."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, contents: Contents, draft: Path
    ) -> None:
        self._connection, self._contents = connection, contents
        self._schema = schema_of(draft)
        connection.execute(
            f"attach {_text(draft)} as publication (storage_version '{STORAGE_VERSION}')"
        )

    def begin(self, kept: Collection[str]) -> None:
        """Remove what the file has besides the tables that it keeps."""
        self._connection.execute(f"create schema if not exists publication.{self._schema}")
        found = self._connection.execute(
            "select table_name from duckdb_tables() where database_name = 'publication'"
        ).fetchall()
        for (table,) in found:
            if table not in kept:
                self._connection.execute(f"drop table {self._name(table)}")

    def write_mart(self, mart: str) -> None:
        """Copy a mart of the source."""
        schema = self._contents.schema
        # The names are those of our own models.
        self._connection.execute(
            f'create table {self._name(mart)} as select * from source.{schema}."{mart}"'  # noqa: S608
        )
        self._comment(mart, *_comments(self._connection, schema, mart))

    def write_beside(self, table: str, content: pa.Table) -> None:
        """Write an Arrow table, described by the metadata `comment` of table and fields."""
        self._connection.register("beside", content)
        self._connection.execute(f"create table {self._name(table)} as from beside")
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

    def to_parquet(self, table: str, target: Path) -> None:
        """Write a table as a Parquet file, with what it means as metadata."""
        about, columns = (
            self._connection.execute(
                f"select {what} from {of} where database_name = 'publication'"  # noqa: S608
                " and schema_name = ? and table_name = ?",
                [self._schema, table],
            ).fetchall()
            for what, of in (
                ("comment", "duckdb_tables()"),
                ("column_name, coalesce(comment, '')", "duckdb_columns()"),
            )
        )
        metadata = parquet_metadata(
            self._connection.sql(f"from {self._name(table)} limit 0").to_arrow_table().schema,
            Meaning(about[0][0] or "", dict(columns)),
        )
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
