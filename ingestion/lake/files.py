"""Files of the lake: how they are written, what each must hold, and what is wrong with one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ctwa.errors import CtwaError
from ctwa.files import fsync, fsync_files

SCHEMA_FILE = "0.schema.parquet"
"""Of every table: no rows, all columns."""
_NAMED = 3
"""How many damaged files an error names; of the others it says the number."""


class LakeError(CtwaError):
    """The lake cannot be read or written; the text says where and what to do."""


@dataclass(frozen=True, slots=True)
class FileNote:
    """What a file held when it was written. `seqs`: its lowest and highest `seq`, where it has one.

    Parquet as written here has no checksums of its own: about four in ten flipped bits change a
    value without any reader noticing.
    """

    sha256: str
    size: int
    rows: int
    seqs: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Damage:
    """A file that is not as it was written. `note`: what it must hold, if that is known."""

    dataset: str
    table: str
    name: str
    reason: str
    note: FileNote | None = None

    def __str__(self) -> str:
        text = f"{self.dataset}/{self.table}/{self.name} {self.reason}"
        if self.note is None:
            return text
        rows = f"{self.note.rows} rows"
        if self.note.seqs is not None:
            rows += f" of envelopes {self.note.seqs[0]} to {self.note.seqs[1]}"
        return f"{text} ({rows})"


class LakeDamagedError(LakeError):
    """Files of the lake are not as they were written."""

    def __init__(self, damages: Sequence[Damage], way_back: str = "") -> None:
        self.damages = list(damages)
        named = "; ".join(str(d) for d in self.damages[:_NAMED])
        more = f"; {len(self.damages) - _NAMED} more" if len(self.damages) > _NAMED else ""
        way_back = way_back or "`ctwa doctor --deep` says how to bring it back"
        super().__init__(f"the lake is damaged: {named}{more}. {way_back}")


def is_local(fs: Any) -> bool:
    """Whether files are on this machine, so that we are responsible for durability."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol))


def names_in(fs: Any, folder: str) -> list[str]:
    """Names of files and folders in a folder; none if it does not exist."""
    if not fs.isdir(folder):
        return []
    return [path.rstrip("/").rsplit("/", 1)[-1] for path in fs.ls(folder, detail=False)]


@contextmanager
def whole_file(fs: Any, path: str) -> Iterator[IO[bytes]]:
    """A file that appears at `path` complete or not at all, and survives a power cut."""
    with fs.open(f"{path}.tmp", "wb") as file:
        yield file
    if is_local(fs):
        fsync(Path(f"{path}.tmp"))
    fs.mv(f"{path}.tmp", path)
    if is_local(fs):
        fsync_files([Path(path)])


def note_of(fs: Any, path: str) -> FileNote:
    """The note of a file as it is now. Raises `pa.ArrowInvalid`, `OSError`."""
    with fs.open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.seek(0, 2)
        file.seek(0)
        parquet = pq.ParquetFile(file)
        bounds = bounds_of(parquet, "seq") if "seq" in parquet.schema_arrow.names else None
        return FileNote(digest, size, parquet.metadata.num_rows, bounds)


def bounds_of(parquet: pq.ParquetFile, column: str) -> tuple[int, int]:
    """Lowest and highest value of an integer column; (0, 0) for a file without rows."""
    index = parquet.schema_arrow.get_field_index(column)
    found: list[int] = []
    for group in range(parquet.num_row_groups):
        chunk = parquet.metadata.row_group(group).column(index)
        if chunk.statistics is not None and chunk.statistics.has_min_max:
            found += [int(chunk.statistics.min), int(chunk.statistics.max)]
        elif chunk.num_values:
            found += parquet.read_row_group(group, [column])[column].to_pylist()
    return min(found, default=0), max(found, default=0)


def find_damage(
    fs: Any, base: str, path: str, note: FileNote | None, *, deep: bool = True
) -> Damage | None:
    """What is wrong with the file `<table>/<file>`: compared with its note, or read if it has none.

    Not `deep`: only whether it is there and has its size.
    """
    full, (table, name) = f"{base}/{path}", path.split("/")
    try:
        if not fs.exists(full):
            reason = "is missing"
        elif note is not None and fs.size(full) != note.size:
            reason = f"has {fs.size(full)} bytes instead of {note.size}"
        elif not deep:
            return None
        elif note is None:
            with fs.open(full, "rb") as file:
                parquet = pq.ParquetFile(file)
                for group in range(parquet.num_row_groups):
                    parquet.read_row_group(group)
            return None
        else:
            with fs.open(full, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == note.sha256:
                    return None
            reason = "does not hold the bytes that were written"
    except (pa.ArrowException, OSError) as error:
        reason = f"cannot be read ({type(error).__name__})"
    return Damage(base.rsplit("/", 1)[-1], table, name, reason, note)
