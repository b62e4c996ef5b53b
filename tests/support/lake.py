"""Rows straight into a lake, for tests that start behind the parser or behind Meta's API.

`write_rows` writes what the landing would have written: Parquet with the schema of
`EVENT_LOG`/`ADS`, one file per call, beside the empty `0.schema.parquet` of each table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ingestion.sources import SOURCES

SCHEMAS = {source.dataset: dict(source.schemas) for source in SOURCES}
"""Dataset -> table -> schema of everything dbt reads."""

DEFAULT_TIME = datetime(2026, 1, 1, tzinfo=UTC)

# What a column that may not be null gets where a test does not care.
_DEFAULTS: dict[str, Any] = {
    "seq": 1,
    "origin": "live",
    "direction": "inbound",
    "sent_at_source": "message",
    "status_at_source": "message",
    "status": "sent",
    "source": "crm",
    "link_kind": "message",
    "parser_version": 1,
    "read_no": 1,
    "spend_level": "ad",
}
_file_numbers = itertools.count(1)


def ensure_lake(lake_root: Path) -> None:
    """Give every table its folder and its file of zero rows, as `Lake.ensure` does."""
    for dataset, tables in SCHEMAS.items():
        for table, schema in tables.items():
            folder = lake_root / dataset / table
            folder.mkdir(parents=True, exist_ok=True)
            empty = folder / "0.schema.parquet"
            if not empty.exists():
                pq.write_table(schema.empty_table(), empty)


def write_rows(
    lake_root: Path, dataset: str, table: str, rows: Iterable[Mapping[str, Any]]
) -> Path | None:
    """Append `rows` to one table of the lake; return the new file, None where there are no rows.

    A column left out is null, or a harmless default where null is not allowed (`seq` 1, `ordinal`
    the row's place, times 2026-01-01, numbers 0, text ""). Times may be ISO texts (UTC where no
    offset stands), money may be text or int. A column that the table does not have is an error.
    """
    ensure_lake(lake_root)
    schema = SCHEMAS[dataset][table]
    if "platform" in schema.names:
        rows = ({"platform": dataset.removesuffix("_ads"), **row} for row in rows)
    filled = [_fill(schema, f"{dataset}.{table}", place, row) for place, row in enumerate(rows)]
    if not filled:
        return None
    path = lake_root / dataset / table / f"{next(_file_numbers):06d}.0.parquet"
    pq.write_table(pa.Table.from_pylist(filled, schema=schema), path)
    return path


def clear_lake(lake_root: Path) -> None:
    """Remove every row; the tables stay."""
    for file in lake_root.glob("*/*/*.parquet"):
        file.unlink()
    ensure_lake(lake_root)


def _fill(schema: pa.Schema, name: str, place: int, row: Mapping[str, Any]) -> dict[str, Any]:
    unknown = set(row) - set(schema.names)
    if unknown:
        raise KeyError(f"{name} has no column {sorted(unknown)}; it has {schema.names}")
    return {
        field.name: _typed(field.type, row[field.name])
        if field.name in row
        else _default(field, place)
        for field in schema
    }


def _default(field: pa.Field, place: int) -> Any:
    if field.nullable:
        return None
    if field.name == "ordinal":
        return place
    if field.name in _DEFAULTS:
        return _DEFAULTS[field.name]
    if pa.types.is_timestamp(field.type):
        return DEFAULT_TIME
    if pa.types.is_date(field.type):
        return DEFAULT_TIME.date()
    if pa.types.is_boolean(field.type):
        return False
    if pa.types.is_decimal(field.type):
        return Decimal(0)
    return 0 if pa.types.is_integer(field.type) else ""


def _typed(kind: pa.DataType, value: Any) -> Any:
    if value is None:
        return None
    if pa.types.is_timestamp(kind):
        return utc(value)
    if pa.types.is_date(kind) and isinstance(value, str):
        return date.fromisoformat(value)
    if pa.types.is_decimal(kind):
        return Decimal(str(value))
    return value


def utc(value: str | datetime) -> datetime:
    """An ISO text or a datetime as a UTC datetime; naive values are UTC already."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def sorted_rows(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows in an order that needs no comparison of unlike values."""
    return sorted(rows, key=lambda row: tuple((value is not None, str(value)) for value in row))
