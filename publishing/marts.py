"""The marts for BI tools: a DuckDB file and Parquet files, each switched in one step.

BI tools never open the warehouse. The marts are copied from it into a new file beside the published
one, checked, synced and renamed over it. A reader that has the old file open goes on reading it, a
new one sees the new file, and none sees half of one. The last versions stay beside it, named by
their time (`marts_20260131T050312123456.duckdb`), in case somebody wants to go back.

    <marts path>                          the published file
    <marts>_<version>.duckdb              the last three
    <marts>_parquet/<version>/*.parquet   the last three
    <marts>_parquet/current               link to the newest
    <marts>.duckdb.contents.json          of what it was made: `publishing.carried`
    <marts>_baseline.duckdb               the last one of an earlier day, for `restatements`

The file is written in the storage version of DuckDB 1.0, so that clients of DuckDB 1.x open it.
In it `marts.<table>` and `<table>` name every mart, whatever the file is called (see
`tables.schema_of`). Tables and columns say what they mean (`publishing.meanings`).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from ctwa.files import fsync, replace_durably
from ctwa.lock import confirm_lock
from ctwa.settings import Settings
from publishing.publication import (
    Publication,
    link_or_copy,
    open_to_group,
    point_link,
    remove_files,
)
from publishing.tables import Contents, PublishError, schema_of, write_files

__all__ = ["PublishError", "Published", "publish_marts", "republish"]

log = logging.getLogger(__name__)

KEPT_VERSIONS = 3


@dataclass(frozen=True)
class Published:
    """What was published."""

    path: Path
    version: str
    as_of: date
    rows: Mapping[str, int]
    """Rows by mart."""
    bytes: int
    """Size of the DuckDB file."""
    seconds: float


def publish_marts(
    settings: Settings,
    *,
    as_of: date,
    expected: Sequence[str] | None = None,
    beside: Mapping[str, pa.Table] | None = None,
    versions: Mapping[str, str] | None = None,
    kept_seconds: float = 0,
) -> Published:
    """Copy schema `marts` of the warehouse to `CTWA_MARTS_PATH`; the caller holds the lock.

    `expected` names marts that must exist: a half-built warehouse publishes nothing. `beside`:
    further tables by name, described by the metadata `comment` of table and fields.
    `versions` says by what each mart's content is known: what is known by the same as in the
    publication before is carried over from it; without, everything is written.
    `kept_seconds`: Parquet files stay for so long, even if many publications follow. Raises
    `PublishError`.
    """
    if not settings.warehouse_path.exists():
        raise PublishError(
            f"there is no warehouse at {settings.warehouse_path}; run `ctwa refresh`"
        )
    return _publish(
        settings.marts_path,
        Contents(
            settings.warehouse_path,
            as_of,
            beside or {},
            expected,
            settings.rules_text,
            settings.marts_group,
            versions=versions,
        ),
        kept_seconds,
    )


def republish(settings: Settings, beside: Mapping[str, pa.Table]) -> Published | None:
    """Publish the published marts again, with other tables beside them; the caller holds the lock.

    They are not taken from the warehouse, which may contain what a failed check keeps from being
    published. None if nothing is published yet. Raises `PublishError`.
    """
    now = Publication.read(settings.marts_path)
    if now is None:
        return None
    schema = schema_of(settings.marts_path)
    return _publish(
        settings.marts_path,
        Contents(
            settings.marts_path,
            now.as_of,
            beside,
            group=settings.marts_group,
            again=now,
            schema=schema,
        ),
    )


def _publish(final: Path, contents: Contents, kept_seconds: float = 0) -> Published:
    started = time.monotonic()
    final.parent.mkdir(parents=True, exist_ok=True)
    sweep(final)
    version = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    draft = final.with_name(f"{final.name}.{version}.tmp")
    draft_folder = parquet_folder(final) / f"{version}.tmp"
    try:
        before = (final, parquet_folder(final) / "current")
        written = write_files(contents, draft, draft_folder, version, before)
        sync_files(draft, draft_folder)
        opened = (draft, draft_folder, *draft_folder.iterdir())
        open_to_group(opened, contents.group)
        _keep_baseline(final, contents.as_of)
    except PublishError:
        sweep(final)
        raise
    except (duckdb.Error, OSError) as error:
        sweep(final)
        raise PublishError(
            f"publishing to {final} failed, the previous marts stay published: {error}"
        ) from error
    confirm_lock()
    switch(draft, final, draft_folder, version)
    written.save(final)
    _forget_old(final, version, kept_seconds)
    seconds = time.monotonic() - started
    log.info("published %d marts as of %s in %.1f s", len(written.rows), contents.as_of, seconds)
    return Published(final, version, contents.as_of, written.rows, final.stat().st_size, seconds)


def parquet_folder(marts_path: Path) -> Path:
    """Folder of the Parquet files that belong to a published file."""
    return marts_path.with_name(f"{marts_path.stem}_parquet")


def versions(marts_path: Path) -> list[Path]:
    """The published files that are kept, oldest first."""
    stem, suffix = re.escape(marts_path.stem), re.escape(marts_path.suffix)
    # Ignores case: a copy may have been on a disk that does, too.
    pattern = re.compile(stem + r"_[0-9]{8}T[0-9]{12}" + suffix, re.IGNORECASE)
    return sorted(p for p in marts_path.parent.iterdir() if pattern.fullmatch(p.name))


def baseline_path(marts_path: Path) -> Path:
    """The last publication of an earlier day than the newest one."""
    return marts_path.with_name(f"{marts_path.stem}_baseline{marts_path.suffix}")


def published_before(settings: Settings, as_of: date) -> Publication | None:
    """The last publication of an earlier day than `as_of` that still exists."""
    path = settings.marts_path
    found = [Publication.read(p) for p in (path, baseline_path(path))]
    earlier = [p for p in found if p is not None and p.as_of < as_of]
    return max(earlier, key=lambda p: (p.as_of, p.version), default=None)


def _keep_baseline(final: Path, as_of: date) -> None:
    """Keep the current publication under another name, if the next one is of a later day."""
    now = Publication.read(final)
    if now is None or now.as_of >= as_of:
        return
    draft = final.with_name(f"{final.name}.baseline.tmp")
    link_or_copy(final, draft)
    replace_durably(draft, baseline_path(final))


def sweep(marts_path: Path) -> None:
    """Remove what killed publications left behind."""
    remove_files(marts_path.parent.glob(f"{marts_path.name}.*.tmp*"))
    remove_files(parquet_folder(marts_path).glob("*.tmp"))


def sync_files(draft: Path, draft_folder: Path) -> None:
    """Sync the draft to disk; a WAL beside it would be content that a rename loses."""
    wal = draft.with_name(draft.name + ".wal")
    if wal.exists():
        raise PublishError(f"{wal} was left behind: the new file is not complete")
    # Files that got another name here were synced when they were written.
    written = [path for path in draft_folder.iterdir() if path.stat().st_nlink == 1]
    for path in (draft, *written, draft_folder):
        fsync(path)


def switch(draft: Path, final: Path, draft_folder: Path, version: str) -> None:
    """Make the drafts the published files. For readers, each rename is one step."""
    whole = draft_folder.with_suffix("")
    draft_folder.replace(whole)
    fsync(whole.parent)
    link_or_copy(draft, final.with_name(f"{final.stem}_{version}{final.suffix}"))
    replace_durably(draft, final)
    point_link(whole.parent / "current", whole.name)


def _forget_old(marts_path: Path, newest: str, kept_seconds: float) -> None:
    """Remove all but the last versions; never the newest, even if a wrong clock misplaces it.

    A reader opens the files of a folder one after the other, so young folders stay longer.
    """
    folder = parquet_folder(marts_path)
    whole = sorted(p for p in folder.iterdir() if p.is_dir() and _is_version(p))
    remove_files(p for p in versions(marts_path)[:-KEPT_VERSIONS] if newest not in p.name)
    before = time.time() - kept_seconds
    remove_files(
        p for p in whole[:-KEPT_VERSIONS] if newest not in p.name and p.stat().st_mtime <= before
    )


def _is_version(path: Path) -> bool:
    """Whether it is not `current`, which is a folder on a disk without links."""
    return path.name[:8].isdigit() and not path.is_symlink()
