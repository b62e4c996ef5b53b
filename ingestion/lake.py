"""The lake: append-only Parquet in a folder or bucket, and when a file of it counts.

`<lake>/<dataset>/<table>/<load id>.<file id>.parquet`. A load counts when its id stands in dlt's
`_dlt_loads` or in a commit record of ours (`_commits/<id>.json`); files of others are remains of
a killed run. After `sweep`, which finishes or removes such remains, a plain glob is right, so
readers need no catalogue. Every table also has `0.schema.parquet`: no rows, all columns.

Callers hold `ctwa.lock.refresh_lock`: one writer at a time.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.extract import DltSource

from ctwa.settings import Settings
from ingestion import dlt_runtime
from ingestion.lake_commit import SCHEMA_FILE, Commit, load_id_of, read_records

log = logging.getLogger(__name__)

SMALL_FILE_BYTES = 32 * 2**20
MAX_SMALL_FILES = 48


class LakeError(RuntimeError):
    """The lake cannot be read or written; the text says where and what to do."""


class Lake:
    """Files of one lake. `url` is a folder or anything fsspec knows, e.g. `s3://bucket/lake`."""

    def __init__(self, url: str, work_dir: Path | None = None) -> None:
        self.url = url.rstrip("/")
        self._fs, self._root = fsspec.core.url_to_fs(self.url)
        self._work_dir = work_dir

    @classmethod
    def from_settings(cls, settings: Settings) -> Lake:
        """The installation's lake; dlt works in `<data>/work`, never in the home folder."""
        return cls(settings.lake_url, settings.data_dir / "work")

    @property
    def is_local(self) -> bool:
        """Whether files lie on this machine, so that durability is ours to see to."""
        return "file" in _protocols(self._fs)

    # ---- reading -------------------------------------------------------------------------

    def table_glob(self, dataset: str, table: str) -> str:
        """Pattern of a table's files, for `read_parquet(…, union_by_name=true)`."""
        return self._address(f"{self._root}/{dataset}/{table}/*.parquet")

    def complete_load_ids(self, dataset: str) -> set[str]:
        """Ids of loads and commits whose files count."""
        self._fs.invalidate_cache()
        markers = self._names(f"{dataset}/_dlt_loads")
        loads = {m.rsplit("__", 1)[1].removesuffix(".jsonl") for m in markers if "__" in m}
        return loads | {r.id for r in read_records(self._fs, f"{self._root}/{dataset}")}

    def files(self, dataset: str, table: str) -> list[str]:
        """Names of the data files of a table that count, in the order they were loaded."""
        complete = self.complete_load_ids(dataset)
        gone = {
            path
            for record in read_records(self._fs, f"{self._root}/{dataset}")
            for path in record.remove
        }
        return [
            name
            for name in sorted(self._names(f"{dataset}/{table}"))
            if name.endswith(".parquet")
            and name != SCHEMA_FILE
            and load_id_of(name) in complete
            and f"{table}/{name}" not in gone
        ]

    def max_value(self, dataset: str, table: str, column: str) -> int:
        """Highest value of an integer column over all that counts, from footers; 0 when empty."""
        return max(
            (self.bounds(dataset, table, n, column)[1] for n in self.files(dataset, table)),
            default=0,
        )

    def bounds(self, dataset: str, table: str, name: str, column: str) -> tuple[int, int]:
        """Lowest and highest value of an integer column of one file, from its footer."""
        path = f"{self._root}/{dataset}/{table}/{name}"
        try:
            with self._fs.open(path, "rb") as file:
                return _bounds(pq.ParquetFile(file), column)
        except (pa.ArrowInvalid, OSError) as error:
            raise LakeError(
                f"{path} cannot be read ({type(error).__name__}); restore it from a backup, or "
                f"remove it and run `ctwa refresh --reparse`"
            ) from error

    def query(self, sql: str, **tables: str) -> pa.Table:
        """Run SQL with `{name}` standing for `dataset/table` given as `name="dataset/table"`.

        >>> lake.query("select count(*) from {m}", m="event_log/messages")  # doctest: +SKIP
        """
        parts = {
            name: "read_parquet('{}', union_by_name = true)".format(
                self.table_glob(*path.split("/")).replace("'", "''")
            )
            for name, path in tables.items()
        }
        # Another file system would be known to all who share a database.
        database = _shared_database(os.getpid()) if self.is_local else _database()
        with database.cursor() as connection:
            if not self.is_local:
                connection.register_filesystem(self._fs)
            return connection.sql(sql.format(**parts)).to_arrow_table()

    def read(self, dataset: str, table: str, names: Sequence[str]) -> Iterator[pa.Table]:
        """Row groups of the named files of a table, one at a time."""
        for name in names:
            with self._fs.open(f"{self._root}/{dataset}/{table}/{name}", "rb") as file:
                parquet = pq.ParquetFile(file)
                for group in range(parquet.num_row_groups):
                    yield parquet.read_row_group(group)

    # ---- writing -------------------------------------------------------------------------

    def ensure(self, dataset: str, schemas: Mapping[str, pa.Schema]) -> None:
        """Give every table its file of zero rows, so that readers always find all columns."""
        for table, schema in schemas.items():
            path = f"{self._root}/{dataset}/{table}/{SCHEMA_FILE}"
            if self._fs.exists(path):
                with self._fs.open(path, "rb") as file:
                    if pq.read_schema(file).equals(schema):
                        continue
            self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            draft = path.removesuffix(".parquet") + ".tmp"
            with self._fs.open(draft, "wb") as file:
                pq.write_table(schema.empty_table(), file)
            self._fs.mv(draft, path)

    def sweep(self, dataset: str) -> int:
        """Finish half-done replacements, delete what killed runs left; number of files deleted."""
        if self._work_dir is not None:
            shutil.rmtree(self._work_dir / "dlt", ignore_errors=True)
        base = f"{self._root}/{dataset}"
        complete = self.complete_load_ids(dataset)
        doomed: list[str] = []
        for record in read_records(self._fs, base):
            doomed += [p for p in (f"{base}/{r}" for r in record.remove) if self._fs.exists(p)]
        for table in self._tables(dataset):
            for name in self._names(f"{dataset}/{table}"):
                path = f"{base}/{table}/{name}"
                if name == SCHEMA_FILE or path in doomed:
                    continue
                if not name.endswith(".parquet") or load_id_of(name) not in complete:
                    doomed.append(path)
        for path in doomed:
            self._fs.rm_file(path)
        if doomed:
            log.warning("lake %s: removed %d file(s) of unfinished loads", dataset, len(doomed))
        return len(doomed)

    def load(
        self, dataset: str, source: DltSource, schemas: Mapping[str, pa.Schema]
    ) -> dict[str, int]:
        """Run a dlt source of Arrow tables into the lake as one complete load.

        Every table is brought to its schema by column name first. Returns rows by table (0 for
        tables without new rows). What a resource raises comes out as itself, not wrapped by dlt.
        """
        rows = dict.fromkeys(schemas, 0)
        for name, resource in source.selected_resources.items():
            if name in schemas:
                resource.add_filter(_has_rows)
                resource.add_map(_Conform(name, schemas[name], rows))
        with self._pipeline_dir() as work:
            pipeline = dlt_runtime.pipeline(dataset, self._address(self._root), work)
            try:
                info = pipeline.run(source, loader_file_format="parquet")
            except Exception as error:  # noqa: BLE001 - unwrapped and raised again
                cause = dlt_runtime.root_cause(error)
                if cause is error:
                    raise LakeError(f"loading {dataset} into {self.url} failed: {error}") from None
                raise cause from None
            info.raise_on_failed_jobs()
            if pipeline.has_pending_data:
                raise LakeError(f"loading {dataset} stopped half-way; run the refresh again")
        return rows

    @contextmanager
    def commit(self, dataset: str) -> Iterator[Commit]:
        """Write and remove files of several tables as one step: all of it counts, or none."""
        commit = Commit(self._fs, f"{self._root}/{dataset}", self.is_local)
        try:
            yield commit
            commit.finish()
        except BaseException:
            commit.abandon()
            raise

    def replace(
        self, dataset: str, table: str, new: pa.Table | Iterable[pa.Table], old_files: Iterable[str]
    ) -> None:
        """Put `new` in the place of `old_files` (names, as `files` gives them)."""
        tables = [new] if isinstance(new, pa.Table) else new
        with self.commit(dataset) as commit:
            for part in tables:
                commit.write(table, part)
            commit.remove(table, old_files)

    def compact(
        self,
        dataset: str,
        schemas: Mapping[str, pa.Schema],
        *,
        max_small_files: int = MAX_SMALL_FILES,
    ) -> list[str]:
        """Merge small files of tables that have too many; names of the tables merged.

        Files are joined in the order of their first `seq` (or `read_no`), which loads keep
        apart: row groups stay sorted and a reader of new rows skips the old ones.
        """
        merged = []
        for table, schema in schemas.items():
            small = [
                n
                for n in self.files(dataset, table)
                if self._size(dataset, table, n) < SMALL_FILE_BYTES
            ]
            if len(small) <= max_small_files:
                continue
            key = next((c for c in ("seq", "read_no") if c in schema.names), None)
            if key is not None:
                small = self._in_order(dataset, table, small, key)
            self.replace(
                dataset,
                table,
                (conform(t, schema) for t in self.read(dataset, table, small)),
                small,
            )
            merged.append(table)
        if merged:
            self._prune(dataset)
        return merged

    # ---- single files, of datasets without tables (restatements) ---------------------------

    def pages(self, dataset: str) -> list[str]:
        """Names of the Parquet files right below a dataset, in order."""
        self._fs.invalidate_cache()
        return sorted(n for n in self._names(dataset) if n.endswith(".parquet"))

    def read_page(self, dataset: str, name: str) -> pa.Table:
        """The rows of one such file."""
        with self._fs.open(f"{self._root}/{dataset}/{name}", "rb") as file:
            return pq.read_table(file)

    def write_page(self, dataset: str, name: str, rows: pa.Table) -> None:
        """Write one such file; it appears whole, or not at all."""
        final = f"{self._root}/{dataset}/{name}"
        draft = final.removesuffix(".parquet") + ".tmp"
        self._fs.makedirs(final.rsplit("/", 1)[0], exist_ok=True)
        with self._fs.open(draft, "wb") as file:
            pq.write_table(rows, file, compression="zstd")
        if self.is_local:
            dlt_runtime.fsync_files([Path(draft)])
        self._fs.mv(draft, final)
        if self.is_local:
            dlt_runtime.fsync_files([Path(final)])

    def remove_pages(self, dataset: str, names: Iterable[str]) -> None:
        """Delete such files."""
        for name in names:
            self._fs.rm_file(f"{self._root}/{dataset}/{name}")

    # ---- details -------------------------------------------------------------------------

    def _in_order(self, dataset: str, table: str, names: list[str], key: str) -> list[str]:
        return sorted(names, key=lambda name: (self.bounds(dataset, table, name, key)[0], name))

    def _prune(self, dataset: str) -> None:
        """Drop markers and records that no longer name any file."""
        base = f"{self._root}/{dataset}"
        alive = {
            load_id_of(n) for t in self._tables(dataset) for n in self._names(f"{dataset}/{t}")
        }
        for name in self._names(f"{dataset}/_dlt_loads"):
            if name.rsplit("__", 1)[-1].removesuffix(".jsonl") not in alive:
                self._fs.rm_file(f"{base}/_dlt_loads/{name}")
        for record in read_records(self._fs, base):
            if record.id not in alive and not any(
                self._fs.exists(f"{base}/{r}") for r in record.remove
            ):
                self._fs.rm_file(f"{base}/_commits/{record.id}.json")

    def _tables(self, dataset: str) -> list[str]:
        return [n for n in self._names(dataset) if not n.startswith("_") and n != "init"]

    def _names(self, path: str) -> list[str]:
        full = f"{self._root}/{path}"
        if not self._fs.isdir(full):
            return []
        return [p.rstrip("/").rsplit("/", 1)[-1] for p in self._fs.ls(full, detail=False)]

    def _size(self, dataset: str, table: str, name: str) -> int:
        return int(self._fs.size(f"{self._root}/{dataset}/{table}/{name}") or 0)

    def _address(self, path: str) -> str:
        if self.is_local:
            return path
        return str(self._fs.unstrip_protocol(path))

    @contextmanager
    def _pipeline_dir(self) -> Iterator[Path]:
        """A folder for one run of dlt, gone after it; `sweep` clears that of a killed run."""
        if self._work_dir is None:
            with tempfile.TemporaryDirectory(prefix="ctwa-dlt-") as folder:
                yield Path(folder)
            return
        folder_path = self._work_dir / "dlt" / uuid.uuid4().hex
        folder_path.mkdir(parents=True)
        try:
            yield folder_path
        finally:
            shutil.rmtree(folder_path, ignore_errors=True)


class _Conform:
    """Brings each Arrow item of a resource to the table's schema and counts its rows."""

    def __init__(self, table: str, schema: pa.Schema, rows: dict[str, int]) -> None:
        self._table, self._schema, self._rows = table, schema, rows

    def __call__(self, item: Any) -> pa.Table:
        if isinstance(item, pa.RecordBatch):
            item = pa.Table.from_batches([item])
        if not isinstance(item, pa.Table):
            raise TypeError(f"{self._table}: expected an Arrow table, got {type(item).__name__}")
        self._rows[self._table] += item.num_rows
        return conform(item, self._schema)


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with exactly the columns of `schema`: by name, absent ones null, types cast."""
    if table.schema.equals(schema):
        return table
    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _has_rows(item: Any) -> bool:
    return bool(item.num_rows)


def _bounds(parquet: pq.ParquetFile, column: str) -> tuple[int, int]:
    """Lowest and highest value of an integer column; (0, 0) for a file without rows."""
    index = parquet.schema_arrow.get_field_index(column)
    low: list[int] = []
    high: list[int] = []
    for group in range(parquet.num_row_groups):
        chunk = parquet.metadata.row_group(group).column(index)
        if chunk.statistics is None or not chunk.statistics.has_min_max:
            if chunk.num_values:
                values = parquet.read_row_group(group, [column])[column].to_pylist()
                low.append(min(values))
                high.append(max(values))
            continue
        low.append(int(chunk.statistics.min))
        high.append(int(chunk.statistics.max))
    return min(low, default=0), max(high, default=0)


def _database() -> duckdb.DuckDBPyConnection:
    """A database in memory that keeps nothing of the files it reads."""
    database = duckdb.connect(config={"enable_external_file_cache": False})
    database.execute("set global timezone = 'UTC'")
    return database


@functools.cache
def _shared_database(_process: int) -> duckdb.DuckDBPyConnection:
    """One for all queries of a process: making it costs ten times what a small query does.

    By process, because threads of a database do not live on in a fork.
    """
    return _database()


def _protocols(fs: Any) -> Sequence[str]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


__all__ = ["Lake", "LakeError", "conform"]
