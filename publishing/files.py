"""Files that appear whole or not at all: written beside, synced, renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path


def fsync(path: Path) -> None:
    """Make a file's contents, or a folder's entries, survive a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_durably(draft: Path, final: Path) -> None:
    """Rename a synced file over another; both names are in the same folder."""
    draft.replace(final)
    fsync(final.parent)


def point_link(link: Path, target_name: str) -> None:
    """Make `link` a symbolic link to a sibling, in one step for whoever reads through it."""
    draft = link.with_name(f"{link.name}.tmp")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target_name)
    replace_durably(draft, link)


def link_or_copy(source: Path, target: Path) -> None:
    """Another name for a file that will not be written again; a copy where links are refused."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        fsync(target)


def remove(paths: Iterable[Path]) -> None:
    """Delete files and folders; what is gone already is no error."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
