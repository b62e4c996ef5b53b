"""What sources of APIs share: Arrow tables stamped with their read, and what is known already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import dlt
import pyarrow as pa
from dlt.extract import DltResource, DltSource

from ingestion.lake import Lake

Row = dict[str, Any]


def arrow_source(
    name: str, table_names: Sequence[str], tables: Mapping[str, pa.Table] | None
) -> DltSource:
    """A dlt source of ready Arrow tables, appended; without tables it only names its resources."""

    @dlt.source(name=name)
    def source() -> list[DltResource]:
        return [
            dlt.resource(_items((tables or {}).get(table)), name=table, write_disposition="append")
            for table in table_names
        ]

    return source()


def _items(table: pa.Table | None) -> list[pa.Table]:
    return [] if table is None else [table]


def stamped(schema: pa.Schema, rows: Sequence[Row], read_no: int, read_at: datetime) -> pa.Table:
    """Rows of one table, stamped with the pull they came with; absent columns are null."""
    read: Row = {"read_no": read_no, "read_at": read_at}
    # By columns: half the time of `from_pylist`.
    columns = [
        pa.array(
            [read[f.name]] * len(rows) if f.name in read else [r.get(f.name) for r in rows], f.type
        )
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def current(
    lake: Lake, path: str, keys: Sequence[str], columns: Sequence[str]
) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Content of the newest row of every object of `dataset/table`: key to `columns`."""
    newest = lake.query(
        "select * from {t} qualify row_number() over "  # noqa: S608 - names of ours
        f"(partition by {', '.join(keys)} order by read_no desc) = 1",
        t=path,
    )
    return {
        tuple(row[k] for k in keys): tuple(row[c] for c in columns) for row in newest.to_pylist()
    }


def next_read_no(lake: Lake, dataset: str, tables: Sequence[str]) -> int:
    """One more than any pull of a dataset has had that landed."""
    return 1 + max(lake.max_value(dataset, table, "read_no") for table in tables)
