"""Fingerprints of tables: equal where the same rows stand in them, in whatever order."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import duckdb

Prints = dict[str, tuple[int, str]]
"""Table -> (rows, SHA-256 of its sorted rows)."""


def prints(
    database: Path, *schemas: str, without: Mapping[str, Collection[str]] | None = None
) -> Prints:
    """Fingerprint of every table of `schemas` in a DuckDB file that nobody writes.

    `without`: table -> columns left out. A name there that does not exist is an error, so that
    no exception outlives its reason.
    """
    left_out = {table: set(columns) for table, columns in (without or {}).items()}
    found: Prints = {}
    with duckdb.connect(str(database), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        tables = connection.execute(
            "select table_name, list(column_name order by ordinal_position), table_schema "
            "from information_schema.columns where table_schema in (select unnest(?)) "
            "group by all order by all",
            [list(schemas)],
        ).fetchall()
        for table, columns, schema in tables:
            excluded = left_out.pop(table, set())
            assert excluded <= set(columns), f"{table} has no column {excluded - set(columns)}"
            chosen = ", ".join(f'"{c}"' for c in columns if c not in excluded)
            rows = connection.execute(f'select {chosen} from {schema}."{table}"').fetchall()
            found[table] = print_of(rows)
    assert found, f"{database} has no table in {schemas}"
    assert not left_out, f"{database} has no table {sorted(left_out)}"
    return found


def print_of(rows: Collection[object]) -> tuple[int, str]:
    """Fingerprint of some rows."""
    lines = sorted(map(repr, rows))
    return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()


def differing(left: Prints, right: Prints) -> dict[str, tuple[object, object]]:
    """Tables that differ, with what stands on each side."""
    return {
        table: (left.get(table), right.get(table))
        for table in sorted(left.keys() | right.keys())
        if left.get(table) != right.get(table)
    }
