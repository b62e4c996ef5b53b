"""Several files in, several out, as one step: the commit records of the lake.

1. new files are written under the id of the commit and synced;
2. the record `_commits/<id>.json` (`add`, `remove`: paths below the dataset) appears by rename:
   from here on the new files count and the old ones do not;
3. the old files are deleted.
A kill before 2 leaves files that `Lake.sweep` deletes; one after it, files that it deletes too.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ingestion.dlt_runtime import fsync_files

SCHEMA_FILE = "0.schema.parquet"
ROW_GROUP_ROWS = 122_880


@dataclass(frozen=True, slots=True)
class Record:
    """What one commit added and removed; paths are `<table>/<file>`."""

    id: str
    add: tuple[str, ...]
    remove: tuple[str, ...]


def load_id_of(name: str) -> str:
    """Id of the load or commit that wrote a file: `<load id>.<file id>.parquet`."""
    return name.rsplit(".", 2)[0]


def read_records(fs: Any, base: str) -> list[Record]:
    """Every commit record of a dataset, oldest first."""
    folder = f"{base}/_commits"
    if not fs.isdir(folder):
        return []
    records = []
    for path in sorted(fs.ls(folder, detail=False)):
        if path.endswith(".json"):
            data = orjson.loads(fs.cat_file(path))
            records.append(Record(data["id"], tuple(data["add"]), tuple(data["remove"])))
    return records


class Commit:
    """Files being written; nothing of it counts before `finish`."""

    def __init__(self, fs: Any, base: str, is_local: bool) -> None:
        # The time in front keeps names in the order they were written, as dlt's ids do.
        self.id = f"{time.time():.6f}-{uuid.uuid4().hex[:8]}"
        self._fs, self._base, self._is_local = fs, base, is_local
        self._writers: dict[str, _TableWriter] = {}
        self._remove: list[str] = []

    def write(self, table: str, rows: pa.Table) -> None:
        """Append rows to this commit's file of `table`."""
        if not rows.num_rows:
            return
        writer = self._writers.get(table)
        if writer is None:
            name = f"{self.id}.0.parquet"
            self._fs.makedirs(f"{self._base}/{table}", exist_ok=True)
            writer = _TableWriter(self._fs, f"{self._base}/{table}/{name}", rows.schema)
            self._writers[table] = writer
        writer.write(rows)

    def remove(self, table: str, names: Iterable[str]) -> None:
        """Take files of `table` out of what counts, with this commit."""
        self._remove += [f"{table}/{name}" for name in names]

    def finish(self) -> None:
        """Make the new files count and delete the old ones."""
        if not self._writers and not self._remove:
            return
        paths = [writer.close() for writer in self._writers.values()]
        if self._is_local:
            fsync_files(Path(p) for p in paths)
        self._publish([f"{table}/{self.id}.0.parquet" for table in self._writers])
        for name in self._remove:
            with suppress(FileNotFoundError):
                self._fs.rm_file(f"{self._base}/{name}")

    def abandon(self) -> None:
        """Leave no trace of what was written, unless it counts already."""
        if self._fs.exists(f"{self._base}/_commits/{self.id}.json"):
            return
        for writer in self._writers.values():
            with suppress(Exception):
                writer.close()
            with suppress(FileNotFoundError):
                self._fs.rm_file(writer.path)

    def _publish(self, added: list[str]) -> None:
        folder = f"{self._base}/_commits"
        self._fs.makedirs(folder, exist_ok=True)
        draft, final = f"{folder}/{self.id}.tmp", f"{folder}/{self.id}.json"
        record = {"id": self.id, "add": added, "remove": self._remove}
        self._fs.pipe_file(draft, orjson.dumps(record))
        if self._is_local:
            fsync_files([Path(draft)])
        self._fs.mv(draft, final)
        if self._is_local:
            fsync_files([Path(final)])


class _TableWriter:
    """One Parquet file whose row groups are full even when rows come in small parts."""

    def __init__(self, fs: Any, path: str, schema: pa.Schema) -> None:
        self.path = path
        self._file = fs.open(path, "wb")
        self._parquet = pq.ParquetWriter(self._file, schema, compression="zstd")
        self._held: list[pa.Table] = []
        self._held_rows = 0

    def write(self, rows: pa.Table) -> None:
        self._held.append(rows)
        self._held_rows += rows.num_rows
        if self._held_rows >= ROW_GROUP_ROWS:
            self._flush()

    def close(self) -> str:
        if not self._file.closed:
            self._flush()
            self._parquet.close()
            self._file.close()
        return self.path

    def _flush(self) -> None:
        if self._held:
            self._parquet.write_table(pa.concat_tables(self._held))
        self._held, self._held_rows = [], 0
