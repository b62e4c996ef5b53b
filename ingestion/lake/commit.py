"""The only way rows enter or leave the lake: several files in, several out, as one step.

1. new files are written under the id of the commit and synced;
2. the record `_commits/<id>.json` (`add`, `remove`: paths below the dataset; `files`: what each
   added file must hold, with its checksum; `check`: a checksum of the record itself) appears by
   rename: from here on the new files count and the old ones do not;
3. the old files are deleted.
A process killed before or after step 2 leaves files that `Lake.sweep` deletes.

Loads of early versions are marked by dlt's `_dlt_loads/<schema>__<load id>.jsonl`. `read_records`
reads those as records without checksums, so that nothing else needs to know about them.
"""

from __future__ import annotations

import hashlib
import itertools
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ctwa.files import fsync_files
from ctwa.lock import confirm_lock
from ingestion.lake.files import (
    SCHEMA_FILE,
    Damage,
    FileNote,
    LakeDamagedError,
    is_local,
    names_in,
    note_of,
    whole_file,
)

ROW_GROUP_ROWS = 122_880
RECORDS = "_commits"
"""Folder of the records; `Damage.table` of a record that is damaged or missing."""
_DLT_LOADS = "_dlt_loads"
UNREADABLE = ValueError, KeyError, TypeError, AttributeError
"""What `parse_record` raises."""


@dataclass(frozen=True, slots=True)
class Record:
    """What one commit added and removed; paths are `<table>/<file>` below the dataset.

    `path`: its own file. `files` is empty in records of early versions.
    """

    id: str
    path: str
    add: tuple[str, ...]
    remove: tuple[str, ...]
    files: Mapping[str, FileNote] = field(default_factory=dict)


def load_id_of(name: str) -> str:
    """Id of the commit that wrote a file: `<commit id>.<file number>.parquet`."""
    return name.rsplit(".", 2)[0]


def tables_in(fs: Any, base: str) -> list[str]:
    """Tables of the dataset in the folder `base`."""
    return [n for n in names_in(fs, base) if not n.startswith("_") and n != "init"]


def read_records(fs: Any, base: str) -> list[Record]:
    """Every commit record of a dataset, oldest first. Raises `LakeDamagedError`."""
    fs.invalidate_cache()
    records, damages = _records_of_dlt(fs, base), []
    for name in sorted(names_in(fs, f"{base}/{RECORDS}")):
        # Hidden files come from other programs, e.g. in archives made on a Mac.
        if name.endswith(".json") and not name.startswith("."):
            try:
                records.append(parse_record(name, fs.cat_file(f"{base}/{RECORDS}/{name}")))
            except (OSError, *UNREADABLE) as error:
                reason = f"cannot be read ({type(error).__name__})"
                damages.append(Damage(base.rsplit("/", 1)[-1], RECORDS, name, reason))
    if damages:
        raise LakeDamagedError(damages)
    return records


def _records_of_dlt(fs: Any, base: str) -> list[Record]:
    """Loads of early versions: all files of a load count if dlt wrote its marker."""
    markers = {
        name.rsplit("__", 1)[1].removesuffix(".jsonl"): name
        for name in names_in(fs, f"{base}/{_DLT_LOADS}")
        if "__" in name
    }
    added: dict[str, list[str]] = defaultdict(list)
    for table in tables_in(fs, base) if markers else ():
        for name in names_in(fs, f"{base}/{table}"):
            if name.endswith(".parquet") and name != SCHEMA_FILE:
                added[load_id_of(name)].append(f"{table}/{name}")
    return [
        Record(load_id, f"{_DLT_LOADS}/{name}", tuple(added[load_id]), ())
        for load_id, name in sorted(markers.items())
    ]


def parse_record(name: str, content: bytes) -> Record:
    """The record of this file name. Raises `UNREADABLE` if it is not as it was written."""
    data = orjson.loads(content)
    check = data.pop("check", None)  # none in records of early versions
    if data["id"] != name.removesuffix(".json") or check not in (None, _check_of(data)):
        raise ValueError("not the record that was written")
    files = {
        path: FileNote(n["sha256"], n["size"], n["rows"], n["seqs"] and tuple(n["seqs"]))
        for path, n in data.get("files", {}).items()
    }
    return Record(data["id"], f"{RECORDS}/{name}", tuple(data["add"]), tuple(data["remove"]), files)


def _check_of(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(record)).hexdigest()


def publish(
    fs: Any,
    base: str,
    commit_id: str,
    add: Sequence[str],
    remove: Sequence[str],
    *,
    note: Sequence[str] = (),
) -> None:
    """Make the files of `add` count and those of `remove` not, in one step; paths below `base`.

    `note`: files that count already, recorded now because their own record has no checksums.
    """
    fs.makedirs(f"{base}/{RECORDS}", exist_ok=True)
    if is_local(fs):
        fsync_files(Path(f"{base}/{path}") for path in add)
    confirm_lock()
    files = {path: asdict(note_of(fs, f"{base}/{path}")) for path in (*add, *note)}
    record = {"id": commit_id, "add": list(add), "remove": list(remove), "files": files}
    with whole_file(fs, f"{base}/{RECORDS}/{commit_id}.json") as file:
        file.write(orjson.dumps({**record, "check": _check_of(record)}))


def new_commit_id() -> str:
    """The time in front keeps names in the order they were written."""
    return f"{time.time():.6f}-{uuid.uuid4().hex[:8]}"


class Commit:
    """Files being written; none of them counts before `finish`."""

    def __init__(self, fs: Any, base: str) -> None:
        self.id = new_commit_id()
        self._fs, self._base = fs, base
        self._numbers = itertools.count()
        self._writers: dict[str, TableWriter] = {}
        self._add: list[str] = []
        self._remove: list[str] = []

    def write(self, table: str, rows: pa.Table) -> None:
        """Append rows to this commit's file of `table`."""
        if not rows.num_rows:
            return
        writer = self._writers.get(table)
        if writer is None:
            name = self._new_name(table)
            self._add.append(name)
            writer = TableWriter(self._fs.open(f"{self._base}/{name}", "wb"), rows.schema)
            self._writers[table] = writer
        writer.write(rows)

    def add(self, table: str, file: Path) -> None:
        """Copy a finished Parquet file into `table`. Several threads may do so at the same time.

        A copy that fails is not part of the commit, so it can be tried again.
        """
        name = self._new_name(table)
        try:
            self._fs.put_file(str(file), f"{self._base}/{name}")
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(f"{self._base}/{name}")
            raise
        self._add.append(name)

    def remove(self, table: str, names: Iterable[str]) -> None:
        """Make files of `table` stop counting, with this commit."""
        self._remove += [f"{table}/{name}" for name in names]

    def finish(self) -> None:
        """Make the new files count and delete the old ones."""
        if not self._add and not self._remove:
            return
        for writer in self._writers.values():
            writer.close()
        self._publish()
        for name in self._remove:
            with suppress(FileNotFoundError):
                self._fs.rm_file(f"{self._base}/{name}")

    def abandon(self) -> None:
        """Remove what was written, unless it counts already."""
        if self._fs.exists(f"{self._base}/{RECORDS}/{self.id}.json"):
            return
        for writer in self._writers.values():
            with suppress(Exception):
                writer.close()
        for name in self._add:
            with suppress(FileNotFoundError):
                self._fs.rm_file(f"{self._base}/{name}")

    def _new_name(self, table: str) -> str:
        self._fs.makedirs(f"{self._base}/{table}", exist_ok=True)
        return f"{table}/{self.id}.{next(self._numbers)}.parquet"

    def _publish(self) -> None:
        publish(self._fs, self._base, self.id, self._add, self._remove)


class TableWriter:
    """One Parquet file whose row groups are full even if rows come in small parts."""

    def __init__(self, file: IO[bytes], schema: pa.Schema) -> None:
        self.schema = schema
        self._file = file
        self._parquet = pq.ParquetWriter(self._file, schema, compression="zstd")
        self._held: list[pa.Table] = []
        self._held_rows = 0

    def write(self, rows: pa.Table) -> None:
        self._held.append(rows)
        self._held_rows += rows.num_rows
        if self._held_rows >= ROW_GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        if not self._file.closed:
            self._flush()
            self._parquet.close()
            self._file.close()

    def _flush(self) -> None:
        if self._held:
            self._parquet.write_table(pa.concat_tables(self._held))
        self._held, self._held_rows = [], 0


def lost_records(fs: Any, base: str) -> list[Damage]:
    """Records that must once have existed, inferred from the files that their commits added.

    A killed run leaves files of one commit, newer than every record, because the next run starts by
    removing them. All other files had a record: deleting them would lose rows that counted.
    """
    records = read_records(fs, base)
    known = {record.id for record in records}
    orphans: Counter[str] = Counter()
    for table in tables_in(fs, base):
        for name in names_in(fs, f"{base}/{table}"):
            is_ours = name.endswith(".parquet") and not name.startswith(".")
            if is_ours and name != SCHEMA_FILE and load_id_of(name) not in known:
                orphans[load_id_of(name)] += 1
    newest = max((r.id for r in records if r.add or r.path.startswith(_DLT_LOADS)), default="")
    is_lost = len(orphans) > 1 or any(id_ < newest for id_ in orphans)
    if orphans and not is_lost:  # of a commit that replaced files: those are gone
        gone = {path for record in records for path in record.remove}
        recorded = {path for record in records for path in record.files} - gone
        is_lost = not all(fs.exists(f"{base}/{path}") for path in recorded)
    dataset, reason = base.rsplit("/", 1)[-1], "is missing; its files that are here:"
    return [
        Damage(dataset, RECORDS, f"{id_}.json", f"{reason} {n}")
        for id_, n in sorted(orphans.items())
        if is_lost
    ]


def prune_records(fs: Any, base: str) -> None:
    """Delete records that no longer name any file."""
    alive = {
        load_id_of(name)
        for table in tables_in(fs, base)
        for name in names_in(fs, f"{base}/{table}")
    }
    records = read_records(fs, base)
    # The record that says a file is gone must outlive the records that still name the file.
    named = {path for record in records if record.id in alive for path in record.files}
    for record in records:
        here = any(fs.exists(f"{base}/{path}") for path in (*record.remove, *record.files))
        if record.id not in alive and not here and named.isdisjoint(record.remove):
            fs.rm_file(f"{base}/{record.path}")
