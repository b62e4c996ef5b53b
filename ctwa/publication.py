"""What a published marts file says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

TABLE = "publication"
"""Table of one row beside the marts: version, as_of, published_at, rule_version, rules, rows."""


@dataclass(frozen=True)
class Publication:
    """One published file."""

    path: Path
    version: str
    as_of: date
    """The last day its marts speak of."""
    rule_version: str = ""
    rules: str = ""
    """`name=value` of each rule setting, comma-separated; empty where the file is older."""
    published_at: datetime | None = None

    @classmethod
    def read(cls, path: Path) -> Publication | None:
        """What `path` says; None where it is absent, damaged, or not a publication."""
        if not path.exists():
            return None
        try:
            return cls._read(path)
        except duckdb.Error:
            return None  # the next publication replaces it

    @classmethod
    def _read(cls, path: Path) -> Publication | None:
        with duckdb.connect(str(path), read_only=True) as connection:
            columns = dict(
                connection.execute(
                    "select column_name, schema_name from duckdb_columns() where table_name = ?",
                    [TABLE],
                ).fetchall()
            )
            if not {"version", "as_of"} <= columns.keys():
                return None
            chosen = ", ".join(
                c if c in columns else f"null as {c}"
                for c in ("version", "as_of", "rule_version", "rules")
            )
            # Seconds: DuckDB's own conversion of a time with zone needs another package.
            chosen += ", epoch(published_at)" if "published_at" in columns else ", null"
            sql = f'select {chosen} from "{columns["version"]}".{TABLE}'  # noqa: S608
            row = connection.execute(sql).fetchone()
        if row is None:
            return None
        at = None if row[4] is None else datetime.fromtimestamp(row[4], UTC)
        return cls(path, row[0], row[1], row[2] or "", row[3] or "", at)
