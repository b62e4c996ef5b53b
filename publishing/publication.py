"""A published file: what it says about itself, and how it reaches its readers."""

from __future__ import annotations

import functools
import grp
import logging
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb

from ctwa.files import fsync, replace_durably

TABLE = "publication"
"""Table of one row beside the marts."""


@dataclass(frozen=True)
class Publication:
    """One published file."""

    path: Path
    version: str
    as_of: date
    """The last day that its marts cover."""
    rule_version: str = ""
    rules: str = ""
    """`name=value` of each rule setting, comma-separated; empty for files of older versions."""
    published_at: datetime | None = None

    @classmethod
    def read(cls, path: Path) -> Publication | None:
        """What `path` says; None if it is absent, damaged, or not a publication."""
        try:
            found = path.stat()
            return _read(path, (found.st_ino, found.st_mtime_ns, found.st_size))
        except (FileNotFoundError, NotADirectoryError, duckdb.Error):
            return None  # the next publication replaces it


@functools.lru_cache(maxsize=8)
def _read(path: Path, _file: tuple[int, int, int]) -> Publication | None:
    """What this very file says: opening one costs more than all else that is asked of it."""
    with duckdb.connect(str(path), read_only=True) as connection:
        columns = dict(
            connection.execute(
                "select column_name, schema_name from duckdb_columns() where table_name = ?",
                [TABLE],
            ).fetchall()
        )
        if not {"version", "as_of"} <= columns.keys():
            return None
        chosen = ", ".join(
            c if c in columns else f"null as {c}"
            for c in ("version", "as_of", "rule_version", "rules")
        )
        # As seconds: DuckDB's own conversion of a time with zone needs another package.
        chosen += ", epoch(published_at)" if "published_at" in columns else ", null"
        sql = f'select {chosen} from "{columns["version"]}".{TABLE}'  # noqa: S608
        row = connection.execute(sql).fetchone()
    if row is None:
        return None
    at = None if row[4] is None else datetime.fromtimestamp(row[4], UTC)
    return Publication(path, row[0], row[1], row[2] or "", row[3] or "", at)


# ---- group, links, removal of old files -------------------------------------------------------

log = logging.getLogger(__name__)


def open_to_group(paths: Iterable[Path], group: str) -> None:
    """Let a group on this machine read files and folders, and enter their parent folder.

    Without `group`, only the owner can read what is published. If this account may not give files
    to the group, this is logged and they stay private.
    """
    if not group:
        return
    try:
        number = grp.getgrnam(group).gr_gid
        for path in paths:
            os.chown(path, -1, number)
            path.chmod(0o750 if path.is_dir() else 0o640)
            above = path.parent.stat()
            if above.st_gid != number or not above.st_mode & 0o010:
                os.chown(path.parent, -1, number)
                # Permission to enter it, not to list it.
                path.parent.chmod((above.st_mode & 0o700) | 0o010)
    except (KeyError, OSError) as error:
        log.warning(
            "CTWA_MARTS_GROUP: the published files cannot be given to group %s (%s); is there such "
            "a group, and is this account in it?",
            group, type(error).__name__,
        )  # fmt: skip


def point_link(link: Path, target_name: str) -> None:
    """Make `link` a symbolic link to a sibling, in one step for its readers.

    If a copy by zip, an object store or `rsync -L` has turned the link into a folder or a file,
    that is replaced. On a disk without links, `link` becomes a folder with the same files, in two
    steps.
    """
    draft = link.with_name(f"{link.name}.tmp")
    remove_files([draft])
    try:
        draft.symlink_to(target_name)
    except OSError:
        draft.mkdir()
        for file in sorted(link.with_name(target_name).iterdir()):
            link_or_copy(file, draft / file.name)
    if (link.is_dir() and not link.is_symlink()) or (draft.is_dir() and not draft.is_symlink()):
        old = link.with_name(f"{link.name}.old.tmp")
        remove_files([old])
        if link.exists() or link.is_symlink():
            link.replace(old)
        replace_durably(draft, link)
        remove_files([old])
        return
    replace_durably(draft, link)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a finished file another name; a copy if links are not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        fsync(target)


def remove_files(paths: Iterable[Path]) -> None:
    """Delete files and folders; what does not exist is not an error."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
