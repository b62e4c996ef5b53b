"""The last comparison of rules, kept in `<data>/comparison.duckdb` and published from there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from comparison.credit import CreditDifference
from comparison.tables import CREDIT_TABLES
from ctwa.settings import Settings


def comparison_path(settings: Settings) -> Path:
    """Where the last comparison lies."""
    return settings.data_dir / "comparison.duckdb"


def credit_tables(
    difference: CreditDifference, *, rules_a: str, rules_b: str, as_of: date
) -> dict[str, pa.Table]:
    """The three tables of a comparison, under a new comparison_id."""
    made_at = datetime.now(UTC)
    name = made_at.strftime("%Y%m%dT%H%M%S%f")
    about = {
        "comparison_id": name, "rules_a": rules_a, "rules_b": rules_b, "as_of": as_of,
        "made_at": made_at,
    }  # fmt: skip
    return {
        "credit_diff": _named(difference.leads, name),
        "credit_diff_campaigns": _named(difference.campaigns, name),
        "credit_diff_about": pa.Table.from_pylist(
            [about], schema=CREDIT_TABLES["credit_diff_about"]
        ),
    }


def keep(settings: Settings, tables: Mapping[str, pa.Table]) -> None:
    """Put a comparison in the place of the one before, in one step."""
    final = comparison_path(settings)
    draft = final.with_name(final.name + ".tmp")
    final.parent.mkdir(parents=True, exist_ok=True)
    draft.unlink(missing_ok=True)
    with duckdb.connect(str(draft)) as connection:
        for name, table in tables.items():
            connection.register("incoming", table)
            connection.execute(f'create table "{name}" as from incoming')
            connection.unregister("incoming")
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(final)


def kept(settings: Settings) -> dict[str, pa.Table]:
    """The last comparison; tables without rows where there is none, or none that fits."""
    path = comparison_path(settings)
    tables = {name: schema.empty_table() for name, schema in CREDIT_TABLES.items()}
    if not path.exists():
        return tables
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            connection.execute("set timezone = 'UTC'")
            found = {n: connection.sql(f'from "{n}"').to_arrow_table() for n in tables}
            return {n: found[n].cast(CREDIT_TABLES[n]) for n in tables}
    except (duckdb.Error, pa.ArrowInvalid, ValueError):
        # Of an older version: a comparison is made again in a minute, marts are not held up.
        return tables


def drop(settings: Settings) -> None:
    """Forget the last comparison, as after an erasure."""
    comparison_path(settings).unlink(missing_ok=True)


def _named(table: pa.Table, name: str) -> pa.Table:
    index = table.schema.get_field_index("comparison_id")
    return table.set_column(
        index, table.schema.field(index), pa.array([name] * len(table), pa.string())
    )
