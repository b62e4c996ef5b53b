"""The lake: append-only Parquet in a folder or bucket, and when a file of it counts.

`<lake>/<dataset>/<table>/<commit id>.<file number>.parquet`. A file counts when a commit record
names it (`ingestion.lake.commit`); others are left over from a killed run. After `sweep`, which
deletes those, a plain glob is correct, so readers need no catalogue. Every table also has
`0.schema.parquet`: no rows, all columns.

Callers hold `ctwa.lock.refresh_lock`: one writer at a time.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from ctwa.lock import confirm_lock
from ctwa.settings import Settings
from ingestion.lake import pipeline
from ingestion.lake.commit import (
    RECORDS,
    Commit,
    Record,
    lost_records,
    prune_records,
    read_records,
    tables_in,
)
from ingestion.lake.files import (
    SCHEMA_FILE,
    Damage,
    FileNote,
    LakeDamagedError,
    LakeError,
    bounds_of,
    find_damage,
    is_local,
    names_in,
    whole_file,
)
from ingestion.lake.pipeline import Batch, conform

log = logging.getLogger(__name__)

SMALL_FILE_BYTES = 32 * 2**20
MAX_SMALL_FILES = 48


class Lake:
    """The files of one lake. `url`: a folder, or anything fsspec knows, e.g. `s3://bucket/lake`.

    `pipelines_dir`: where dlt works; without one, rows do not pass through dlt.
    """

    def __init__(self, url: str, pipelines_dir: Path | None = None) -> None:
        self.url = url.rstrip("/")
        self.fs, self.root = fsspec.core.url_to_fs(self.url)
        self._pipelines_dir = pipelines_dir
        self._loaded: set[str] = set()

    @classmethod
    def from_settings(cls, settings: Settings, *, with_dlt: bool = True) -> Lake:
        """The installation's lake; dlt works in `<data>/dlt`, never in the home folder.

        Without dlt the same rows become the same files; `dlt pipeline … info` does not show them.
        """
        return cls(settings.lake_url, settings.data_dir / "dlt" if with_dlt else None)

    @property
    def is_local(self) -> bool:
        """Whether files are on this machine, so that we are responsible for durability."""
        return is_local(self.fs)

    # ---- reading -------------------------------------------------------------------------

    def table_glob(self, dataset: str, table: str) -> str:
        """Pattern of a table's files, for `read_parquet(…, union_by_name=true)`."""
        path = f"{self.root}/{dataset}/{table}/*.parquet"
        return path if self.is_local else str(self.fs.unstrip_protocol(path))

    def files(self, dataset: str, table: str) -> list[str]:
        """Names of a table's data files that count, in the order in which they were loaded."""
        counts = self._counting(dataset)
        names = sorted(names_in(self.fs, f"{self._base(dataset)}/{table}"))
        return [name for name in names if counts(table, name)]

    def _counting(self, dataset: str) -> Callable[[str, str], bool]:
        """Whether the rows of a file count, by table and name.

        Decided by path, not by the id in it: a duplicate (`… (1).parquet`) has the same id.
        """
        records = self._records(dataset)
        there = {path for r in records for path in (*r.add, *r.files)}
        there -= {path for r in records for path in r.remove}
        return lambda table, name: f"{table}/{name}" in there

    def max_value(self, dataset: str, table: str, column: str) -> int:
        """Highest value of an integer column in all files that count, from footers; 0 if none."""
        return max(
            (self.bounds(dataset, table, n, column)[1] for n in self.files(dataset, table)),
            default=0,
        )

    def bounds(self, dataset: str, table: str, name: str, column: str) -> tuple[int, int]:
        """Lowest and highest value of an integer column of one file, from its footer."""
        try:
            with self.fs.open(f"{self._base(dataset)}/{table}/{name}", "rb") as file:
                return bounds_of(pq.ParquetFile(file), column)
        except (pa.ArrowInvalid, OSError) as error:
            note = self.notes(dataset).get(f"{table}/{name}")
            reason = f"cannot be read ({type(error).__name__})"
            raise LakeDamagedError([Damage(dataset, table, name, reason, note)]) from error

    def query(self, sql: str, **tables: str | pa.Table) -> pa.Table:
        """Run SQL with `{name}` standing for `dataset/table` given as `name="dataset/table"`.

        An Arrow table can be given too, to join it with what the lake holds.

        >>> lake.query("select count(*) from {m}", m="event_log/messages")  # doctest: +SKIP
        """
        parts = {
            name: "read_parquet('{}', union_by_name = true)".format(
                self.table_glob(*table.split("/")).replace("'", "''")
            )
            if isinstance(table, str)
            else f"arrow_{name}"
            for name, table in tables.items()
        }
        # A file system that is registered is visible to everyone who shares the database.
        database = _shared_database(os.getpid()) if self.is_local else _database()
        with database.cursor() as connection:
            if not self.is_local:
                connection.register_filesystem(self.fs)
            for name, table in tables.items():
                if isinstance(table, pa.Table):
                    connection.register(f"arrow_{name}", table)
            return connection.sql(sql.format(**parts)).to_arrow_table()

    def read(self, dataset: str, table: str, names: Sequence[str]) -> Iterator[pa.Table]:
        """Row groups of the named files of a table, one at a time.

        Raises `LakeDamagedError` before the first row of a file that is not as it was written, so
        that rewriting rows never gives a damaged value a fresh checksum.
        """
        notes = self.notes(dataset)
        for name in names:
            path = f"{table}/{name}"
            damage = find_damage(self.fs, self._base(dataset), path, notes.get(path))
            if damage is not None:
                raise LakeDamagedError([damage])
            with self.fs.open(f"{self._base(dataset)}/{path}", "rb") as file:
                parquet = pq.ParquetFile(file)
                for group in range(parquet.num_row_groups):
                    yield parquet.read_row_group(group)

    # ---- damage --------------------------------------------------------------------------

    def datasets(self) -> list[str]:
        """Datasets with tables."""
        self.fs.invalidate_cache()
        return sorted(
            n
            for n in names_in(self.fs, self.root)
            if any(self.fs.isdir(f"{self.root}/{n}/{t}") for t in (RECORDS, *self.tables(n)))
        )

    def notes(self, dataset: str) -> dict[str, FileNote]:
        """`<table>/<file>` of every file that counts -> what it must hold; none of early
        versions."""
        records = self._records(dataset)
        gone = {path for record in records for path in record.remove}
        return {p: n for record in records for p, n in record.files.items() if p not in gone}

    def set_aside(self, damage: Damage) -> None:
        """Keep a copy of a damaged file where no reader looks; the next erasure deletes it."""
        base = self._base(damage.dataset)
        path, copy = (f"{base}{part}/{damage.table}/{damage.name}" for part in ("", "/_damaged"))
        if self.fs.exists(path):
            self.fs.makedirs(copy.rsplit("/", 1)[0], exist_ok=True)
            self.fs.copy(path, copy)

    def drop_set_aside(self, dataset: str) -> None:
        """Delete what `set_aside` kept."""
        with suppress(FileNotFoundError):
            self.fs.rm(f"{self._base(dataset)}/_damaged", recursive=True)

    # ---- writing -------------------------------------------------------------------------

    def ensure(self, dataset: str, schemas: Mapping[str, pa.Schema]) -> None:
        """Give every table a file with no rows, so that readers always find all columns."""
        for table, schema in schemas.items():
            path = f"{self._base(dataset)}/{table}/{SCHEMA_FILE}"
            # A file that cannot be read, such as an incomplete copy, is replaced.
            with suppress(FileNotFoundError, pa.ArrowInvalid), self.fs.open(path, "rb") as file:
                if pq.read_schema(file).equals(schema):
                    continue
            self.fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            with whole_file(self.fs, path) as file:
                pq.write_table(schema.empty_table(), file)

    def sweep(self, dataset: str) -> int:
        """Delete files that killed commits left or removed; returns how many were deleted.

        Raises `LakeDamagedError`, and deletes nothing, if records of commits are lost.
        """
        base = self._base(dataset)
        self._loaded.discard(dataset)
        if self._pipelines_dir is not None:
            pipeline.forget_killed(self._pipelines_dir, dataset)
        if lost := lost_records(self.fs, base):
            raise LakeDamagedError(lost)
        counts = self._counting(dataset)
        doomed = [
            f"{base}/{table}/{name}"
            for table in self.tables(dataset)
            for name in names_in(self.fs, f"{base}/{table}")
            if name != SCHEMA_FILE and not counts(table, name)
        ]
        for path in doomed:
            self.fs.rm_file(path)
        if doomed:
            log.warning("lake %s: removed %d file(s) of unfinished loads", dataset, len(doomed))
        return len(doomed)

    def load(
        self, dataset: str, batches: Iterable[Batch], schemas: Mapping[str, pa.Schema]
    ) -> dict[str, int]:
        """Land batches as one commit, through dlt if this lake has a folder for its pipelines.

        Every table is brought to its schema by column name first. Returns rows by table (0 for
        tables without new rows). An exception of `batches` is raised as it is, not wrapped by dlt.
        """
        rows = dict.fromkeys(schemas, 0)

        def conformed() -> Iterator[Batch]:
            for batch in batches:
                yield {t: conform(found, schemas[t]) for t, found in batch.items() if len(found)}
                for table, found in batch.items():
                    rows[table] += len(found)

        with self.commit(dataset) as commit:
            if self._pipelines_dir is None:
                for batch in conformed():
                    for table, found in batch.items():
                        commit.write(table, found)
                return rows
            if dataset not in self._loaded:
                pipeline.forget(self._pipelines_dir, dataset)  # it describes a single landing
            self._loaded.add(dataset)
            pipeline.load(commit.add, dataset, schemas, conformed(), self._pipelines_dir)
        return rows

    @contextmanager
    def commit(self, dataset: str) -> Iterator[Commit]:
        """Write and remove files of several tables as one step: all of it counts, or nothing."""
        commit = Commit(self.fs, self._base(dataset))
        try:
            yield commit
            commit.finish()
        except BaseException:
            commit.abandon()
            raise

    def replace(
        self, dataset: str, table: str, new: pa.Table | Iterable[pa.Table], old_files: Iterable[str]
    ) -> None:
        """Replace `old_files` (names, as `files` returns them) by `new`."""
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
        """Merge small files of tables that have too many; returns the names of these tables.

        Files are merged in the order of their first `seq` (or `read_no`); ranges of loads do not
        overlap, so row groups stay sorted and a reader of new rows skips the old ones.
        """
        merged = []
        for table, schema in schemas.items():
            base = f"{self._base(dataset)}/{table}"
            names = self.files(dataset, table)
            small = [n for n in names if self.fs.size(f"{base}/{n}") < SMALL_FILE_BYTES]
            if len(small) <= max_small_files:
                continue
            key = next((c for c in ("seq", "read_no") if c in schema.names), None)
            if key is not None:
                small.sort(key=lambda n: (self.bounds(dataset, table, n, key)[0], n))
            self.replace(
                dataset,
                table,
                (conform(t, schema) for t in self.read(dataset, table, small)),
                small,
            )
            merged.append(table)
        if merged:
            prune_records(self.fs, self._base(dataset))
        return merged

    # ---- single files, of datasets without tables (restatements) ---------------------------

    def pages(self, dataset: str) -> list[str]:
        """Names of the Parquet files right below a dataset, in order."""
        self.fs.invalidate_cache()
        return sorted(n for n in names_in(self.fs, self._base(dataset)) if n.endswith(".parquet"))

    def read_page(self, dataset: str, name: str) -> pa.Table:
        """The rows of one such file."""
        with self.fs.open(f"{self._base(dataset)}/{name}", "rb") as file:
            return pq.read_table(file, page_checksum_verification=True)

    def write_page(self, dataset: str, name: str, rows: pa.Table) -> None:
        """Write one such file; it appears complete, or not at all."""
        self.fs.makedirs(self._base(dataset), exist_ok=True)
        confirm_lock()
        with whole_file(self.fs, f"{self._base(dataset)}/{name}") as file:
            pq.write_table(rows, file, compression="zstd", write_page_checksum=True)

    def remove_pages(self, dataset: str, names: Iterable[str]) -> None:
        """Delete such files."""
        for name in names:
            self.fs.rm_file(f"{self._base(dataset)}/{name}")

    # ---- details -------------------------------------------------------------------------

    def tables(self, dataset: str) -> list[str]:
        """Tables of a dataset."""
        return tables_in(self.fs, self._base(dataset))

    def _base(self, dataset: str) -> str:
        return f"{self.root}/{dataset}"

    def _records(self, dataset: str) -> list[Record]:
        return read_records(self.fs, self._base(dataset))


def _database() -> duckdb.DuckDBPyConnection:
    """A database in memory that keeps nothing of the files it reads."""
    database = duckdb.connect(config={"enable_external_file_cache": False})
    database.execute("set global timezone = 'UTC'")
    return database


@functools.cache
def _shared_database(_process: int) -> duckdb.DuckDBPyConnection:
    """One for all queries of a process: creating it costs ten times as much as a small query.

    Per process, because the threads of a database do not survive a fork.
    """
    return _database()


def read_alone(
    dataset: str, schemas: Mapping[str, pa.Schema], land: Callable[[Lake], object]
) -> Iterator[Batch]:
    """Land on an empty lake in a temporary folder, and yield the rows of every table.

    For sources in anybody's own dlt pipeline, without an installation's lake; nothing passes
    through dlt here, because one dlt pipeline cannot run inside another. A table without rows is
    yielded once, empty. Raises what `land` raises.
    """
    with TemporaryDirectory(prefix="ctwa-read-") as folder:
        lake = Lake(folder)
        lake.ensure(dataset, schemas)
        land(lake)
        for table, schema in schemas.items():
            yield {table: schema.empty_table()}
            for rows in lake.read(dataset, table, lake.files(dataset, table)):
                yield {table: conform(rows, schema)}


__all__ = ["Damage", "Lake", "LakeDamagedError", "LakeError", "conform", "read_alone"]
