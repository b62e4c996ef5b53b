"""Is the lake as it was written?

Storage loses bits silently: a changed value in a Parquet file reads as well as the right one. So
every commit records the checksum of each file it adds (`ingestion.lake.commit`), every night some
of them are compared within a budget, and `ctwa doctor --deep`, backup and restore compare all.
"""

from __future__ import annotations

import logging
import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path

import fsspec
import pyarrow as pa

from ingestion.lake.commit import (
    RECORDS,
    UNREADABLE,
    lost_records,
    new_commit_id,
    parse_record,
    publish,
)
from ingestion.lake.files import (
    Damage,
    FileNote,
    LakeDamagedError,
    LakeError,
    find_damage,
    note_of,
    whole_file,
)
from ingestion.lake.lake import Lake

log = logging.getLogger(__name__)

NIGHTLY_BYTES = 512 * 2**20
"""Bytes compared in one night: under a second of one core. A larger lake takes several nights."""


def check(
    lake: Lake,
    datasets: Iterable[str] | None = None,
    *,
    budget: int | None = None,
    turn: int = 0,
) -> list[Damage]:
    """Files that are missing, or whose size or bytes are not what was written.

    Every file's size is compared, and about `budget` bytes of content: increase `turn` with each
    call, and after enough turns every file has been compared. With a budget of 0 no content is, and
    nothing is written. Files of early versions have no checksum: they are read once and get one.
    """
    found: list[tuple[str, str, FileNote | None]] = []
    damages: list[Damage] = []
    for dataset in lake.datasets() if datasets is None else datasets:
        try:
            known = lake.notes(dataset)
        except LakeDamagedError as error:  # the records themselves
            damages += error.damages
            continue
        damages += lost_records(lake.fs, f"{lake.root}/{dataset}")
        here = {f"{t}/{n}" for t in lake.tables(dataset) for n in lake.files(dataset, t)}
        found += [(dataset, path, known.get(path)) for path in sorted(here | known.keys())]
    total = sum(note.size for _, _, note in found if note is not None)
    turns = max(1, -(-total // budget)) if budget else 1
    unnoted: dict[str, list[str]] = {}
    for dataset, path, note in found:
        base = f"{lake.root}/{dataset}"
        due = note is None or zlib.crc32(path.encode()) % turns == turn % turns
        damage = find_damage(lake.fs, base, path, note, deep=due and budget != 0)
        if damage is not None:
            damages.append(damage)
        elif note is None and budget != 0:
            unnoted.setdefault(dataset, []).append(path)
    for dataset, paths in unnoted.items():
        publish(lake.fs, f"{lake.root}/{dataset}", new_commit_id(), [], [], note=paths)
    return damages


def put_back(lake: Lake, damage: Damage, copy: Path) -> None:
    """Replace a damaged file by an intact copy. Raises `LakeError` if the copy is not intact."""
    if not is_whole(damage, copy):
        raise LakeError(f"{copy} is not an intact copy of {damage.name}")
    final = f"{lake.root}/{damage.dataset}/{damage.table}/{damage.name}"
    with copy.open("rb") as source, whole_file(lake.fs, final) as file:
        shutil.copyfileobj(source, file)
    log.warning("lake: %s put back from %s", damage.name, copy)


def is_whole(damage: Damage, copy: Path) -> bool:
    """Whether a file holds what the damaged one must hold: by its note; a record, by itself."""
    try:
        if damage.table == RECORDS:
            parse_record(damage.name, copy.read_bytes())
            return True
        local, _ = fsspec.core.url_to_fs(str(copy))
        return damage.note is not None and note_of(local, str(copy)) == damage.note
    except (pa.ArrowException, OSError, *UNREADABLE):
        return False


def rewrite_record(lake: Lake, damage: Damage) -> list[str]:
    """Write the lost record of a commit again, from the files it added.

    What those files held is no longer known: they are read completely and recorded as they are.
    Returns the names of those that cannot be read, which are set aside.
    """
    base, commit_id = f"{lake.root}/{damage.dataset}", damage.name.removesuffix(".json")
    added, unreadable = [], []
    for table in lake.tables(damage.dataset):
        for full in lake.fs.glob(f"{base}/{table}/{commit_id}.*.parquet"):
            path = f"{table}/{full.rsplit('/', 1)[-1]}"
            found = find_damage(lake.fs, base, path, None)
            if found is None:
                added.append(path)
            else:
                lake.set_aside(found)
                lake.fs.rm_file(full)
                unreadable.append(path)
    publish(lake.fs, base, commit_id, added, [])
    log.warning("lake: record %s written again for %d files", damage.name, len(added))
    return unreadable


__all__ = ["NIGHTLY_BYTES", "check", "is_whole", "put_back", "rewrite_record"]
