"""Fingerprints: of the rows of a DuckDB table, and of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb


def of_table(
    connection: duckdb.DuckDBPyConnection, schema: str, table: str, database: str = ""
) -> str:
    """The same for the same columns and rows, in whatever order; other rows have another one.

    Of a table or view of `database`, by default the current one. Different rows have the same
    fingerprint by chance only, one time in 2^64.
    """
    if not database:
        ((database,),) = connection.execute("select current_database()").fetchall()
    name = f"{_name(database)}.{_name(schema)}.{_name(table)}"
    # Looking into the catalog costs more than most tables.
    found = connection.execute(f"from {name} limit 0")
    columns = [(column, str(kind)) for column, kind, *_ in found.description or []]
    found.fetchall()
    names = ", ".join(_name(column) for column, _ in columns)
    # Hashed twice: sums tell rows apart only as far as each bit of the hashes depends on all.
    (rows,) = connection.execute(
        f"select count(*), sum(cast(hash(hash({names})) as hugeint)) "  # noqa: S608
        f"from {name}"
    ).fetchall()
    return hashlib.sha256(repr((columns, rows)).encode()).hexdigest()


def of_file(path: Path) -> str:
    """SHA-256 of the content. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
