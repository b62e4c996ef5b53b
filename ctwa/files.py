"""Files that survive a power cut, that readers see whole or not at all, and that are private.

Everything in the data directory is made with mode 0600, folders 0700; `CTWA_MARTS_GROUP` opens the
published marts to a group (see `publishing.publication.open_to_group`). A copy by zip, an object
store or `docker cp` drops modes: `keeping.data_folder` restores them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path


def fsync(path: Path) -> None:
    """Make a file's contents, or a folder's entries, survive a power cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fsync_files(paths: Iterable[Path]) -> None:
    """Make files durable, and then the entries that name them and their folders."""
    folders: set[Path] = set()
    for path in paths:
        fsync(path)
        folders.update((path.parent, path.parent.parent))
    for folder in folders:
        fsync(folder)


def replace_durably(draft: Path, final: Path) -> None:
    """Rename a file or folder over another in the same folder: sync the contents, then the name."""
    fsync(draft)
    draft.replace(final)
    fsync(final.parent)


@contextmanager
def replacing(final: Path, *, mode: int | None = None, durably: bool = True) -> Iterator[Path]:
    """Yield the path of a draft beside `final`; when the block ends, the draft replaces it.

    Not `durably`: without waiting for the disk, for what a power cut may take.
    `mode` applies to the new file from the moment it exists; without it the umask decides. A block
    that raises leaves nothing behind; a killed process leaves the draft `<name>.<process>.tmp`,
    which the nightly pruning removes. Raises `OSError`.
    """
    draft = _draft_of(final)
    try:
        if mode is not None:
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
        yield draft
        if durably:
            replace_durably(draft, final)
        else:
            draft.replace(final)
    finally:
        draft.unlink(missing_ok=True)


def _draft_of(final: Path) -> Path:
    draft = final.with_name(f"{final.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    return draft


def write_durably(final: Path, content: bytes | str, *, mode: int | None = None) -> None:
    """Replace `final` with `content`, as `replacing` does."""
    with replacing(final, mode=mode) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def create_durably(path: Path, content: str, *, mode: int) -> None:
    """Create a file unless it exists. If several processes try at once, one succeeds."""
    draft = _draft_of(path)
    try:
        with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "w") as file:
            file.write(content)
        fsync(draft)
        with suppress(FileExistsError):
            os.link(draft, path)
        fsync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


# ---- readable by their owner only -------------------------------------------------------------

UMASK = 0o077
OTHERS = 0o077
BROKEN = ".broken-"
"""Part of the name of a damaged file that was set aside; the time follows it."""


@contextmanager
def private_files() -> Iterator[None]:
    """Files made inside the block, also by child processes, can be read by their owner only."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def create_private(path: Path) -> None:
    """Make an empty file of mode 0600, or give an existing file that mode. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    keep_private(path)


def keep_private(path: Path) -> None:
    """Make a file or folder readable and writable by its owner, and by nobody else.

    Does nothing if that is so already, if it is absent, or if it belongs to another account.
    """
    with suppress(OSError):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return
        wanted = 0o700 if stat.S_ISDIR(found.st_mode) else 0o600
        if found.st_mode & 0o777 != wanted:
            path.chmod(wanted)


def set_aside(path: Path) -> Path:
    """Rename a damaged file, with the logs of SQLite or DuckDB beside it; returns its new path.

    Raises `OSError`.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    kept = path.with_name(f"{path.name}{BROKEN}{stamp}")
    for ending in ("-wal", "-shm", "-journal", ".wal"):
        beside = path.with_name(path.name + ending)
        if beside.exists():
            beside.replace(kept.with_name(kept.name + ending))
    path.replace(kept)
    return kept
