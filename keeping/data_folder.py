"""Repair of a data folder after a copy that changed more than its location.

Archives, object stores, `docker cp` and `rsync -L` drop modes, follow links or turn them into small
files, change the case of names, or leave out empty folders, hidden files or a database's `-wal`.
`put_right` runs before each refresh. It repairs what it can and raises `DataFolderError` if going
on would lose or spoil something. A folder that was never copied is left as it is.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ctwa.errors import DataFolderError, LockUnavailableError
from ctwa.files import keep_private, set_aside
from ctwa.pseudonym import KEY_FILE, check_key_of_all_hosts, check_no_key_is_lost, read_key
from ctwa.settings import Settings
from keeping.formats import mark, refuse_newer

log = logging.getLogger("ctwa.data")

_FOLDERS = ("lake", "activation", "dagster", "dbt")
_NAMES = """
format.json vault.db vault.db-wal vault.db-shm pii.key erasures.json alerts.db warehouse.duckdb
warehouse.duckdb.wal warehouse.duckdb.build.json warehouse.duckdb.stamps.json
warehouse.duckdb.unchecked marts.duckdb marts.duckdb.contents.json marts_parquet lake
activation ledger.db ledger.db-wal ledger.db-shm conversions.parquet restored dagster dbt dlt
"""
_LOWER = frozenset(_NAMES.split())
"""Names that are restored. Versions of the marts, and files set aside, do have capitals."""
_OURS = re.compile(
    r"(\._|\.)?"  # drafts, and what Mac archives put beside each file
    r"((vault|alerts|warehouse|marts\w*|ledger)\.(db|duckdb)\b.*|marts\w*_parquet|report\.html.*|"
    r"pii\.key.*|format\.json.*|erasures\.json.*|refresh\.lock.*|live\.(json|lock).*|lake|activation|dagster|dbt|"
    r"dlt|work|comparisons|thumbnails|ds_store)",
    re.IGNORECASE,
)
"""Names at the top of a data folder that belong to this product; others are left alone."""
_MARTS = re.compile(r"marts\w*\.duckdb|marts\w*_parquet|report\.html")
_LINK_CHARS = 4096
_MAGIC = b"SQLite format 3\0"


def put_right(settings: Settings) -> list[str]:
    """Repair what a copy has changed; returns a line per repair. Raises `DataFolderError`."""
    data = settings.data_dir
    if not data.is_dir():
        if data.exists() or data.is_symlink():
            raise DataFolderError(_no_folder(data))
        return []
    found = refuse_newer(settings)
    repaired = [*_modes(settings), *_names(settings)]
    for name in _FOLDERS:
        path = data / name
        if path.is_file() or (path.is_symlink() and not path.exists()):
            raise DataFolderError(_no_folder(path))
    kind, _, vault = settings.vault_url.partition("sqlite:///")
    databases = [data / "activation" / "ledger.db", *([] if kind else [Path(vault.split("?")[0])])]
    for database in databases:
        _whole_database(database)
    for path in _in_place_of_marts(settings):
        repaired.append(f"{path.name} was not a file of marts: kept as {set_aside(path).name}")
    if settings.pii_key is None:
        if (data / KEY_FILE).exists():
            read_key(data / KEY_FILE)
        else:
            check_no_key_is_lost(settings)
    with suppress(LockUnavailableError):  # the landing asks again, and cannot do without
        check_key_of_all_hosts(settings)
    mark(settings, found)
    for text in repaired:
        log.warning("data folder: %s", text)
    return repaired


def _no_folder(path: Path) -> str:
    reason = ""
    if path.is_file() and path.stat().st_size < _LINK_CHARS:
        reason = ": a copy has turned a link into a file"
    return (
        f"{path} is not a folder{reason}. Put the folder itself there, or name it in the settings"
    )


def _modes(settings: Settings) -> Iterator[str]:
    """Make files readable by their owner only."""
    data, changed = settings.data_dir, 0
    shared = bool(settings.marts_group)
    entries = sorted(data.iterdir()) if os.access(data, os.R_OK | os.X_OK) else []
    if not shared and (not entries or all(_OURS.fullmatch(p.name) for p in entries)):
        changed += _kept_private(data)
        entries = entries or sorted(data.iterdir())
    tops = [p for p in entries if _OURS.fullmatch(p.name) and not (shared and _MARTS.match(p.name))]
    lake = Path(settings.lake_url)
    if lake.is_absolute() and lake.parent != data and lake.is_dir():
        tops.append(lake)
    foreign: list[Path] = []
    for top in tops:
        changed += _kept_private(top)
        for path in _walk(top):
            changed += _kept_private(path)
            if path != top and path.is_symlink():
                continue  # to the package's files (ctwa/project.py), which belong to others
            if path.exists() and not os.access(path, os.R_OK | os.W_OK):
                foreign.append(path)
    if not os.access(data, os.W_OK | os.X_OK):
        foreign.insert(0, data)
    if foreign:
        raise DataFolderError(
            f"{foreign[0]} and {len(foreign) - 1} more cannot be read and written by this account: "
            f"run `sudo chown -R $(id -u) {data}`, or mount the disk writable"
        )
    if changed:
        yield f"{changed} files and folders could be read by others: now by their owner only"


def _kept_private(path: Path) -> int:
    try:
        before = path.lstat().st_mode
        keep_private(path)
        return int(path.lstat().st_mode != before)
    except FileNotFoundError:  # the receiver and the daemon go on working
        return 0


def _walk(top: Path) -> Iterator[Path]:
    """A folder and everything below it; each folder is made accessible before it is read."""
    keep_private(top)
    yield top
    if not top.is_dir() or top.is_symlink():
        return
    try:
        with os.scandir(top) as found:
            entries = sorted(found, key=lambda e: e.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        else:
            yield Path(entry.path)


def _names(settings: Settings) -> Iterator[str]:
    """Restore lower case, in case a file system that ignores it was on the way."""
    changed = [_lowered(f, _LOWER) for f in (settings.data_dir, settings.data_dir / "activation")]
    lake = Path(settings.lake_url)
    if lake.is_absolute():
        changed.append(_lowered(lake))
        for dataset in _folders(lake):
            # Pages of restatements have capitals in their names.
            if dataset.name != "restatements":
                changed += [_lowered(dataset), *(_lowered(table) for table in _folders(dataset))]
    if sum(changed):
        yield f"{sum(changed)} names had capitals: now lower case again"


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []


def _lowered(folder: Path, names: frozenset[str] | None = None) -> int:
    """Rename files whose names differ from `names` only by case; without `names`, all files."""
    changed = 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        lower = path.name.lower()
        is_ours = path.name != lower and (names is None or lower in names)
        # A file system that ignores case has it already.
        if is_ours and not path.with_name(lower).exists():
            path.rename(path.with_name(lower))
            changed += 1
    return changed


def _whole_database(path: Path) -> None:
    """Refuse a write-ahead log without its database, and a file that is not a database."""
    wal = path.with_name(path.name + "-wal")
    if not path.exists():
        if wal.exists() and wal.stat().st_size:
            raise DataFolderError(
                f"{path} is missing beside its {wal.name}: copy both again, with the receiver "
                "stopped, or use `ctwa backup`"
            )
        return
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head and head != _MAGIC:
        raise DataFolderError(
            f"{path} is not a database: a copy has replaced or truncated it. Copy it again, or "
            "restore it from a backup"
        )


def _in_place_of_marts(settings: Settings) -> Iterator[Path]:
    """Files or folders that a publication could not replace. The marts are written again."""
    marts = settings.marts_path
    for path in (marts, marts.with_name(f"{marts.stem}_baseline{marts.suffix}")):
        if path.is_dir():
            yield path
    parquet = marts.with_name(f"{marts.stem}_parquet")
    if (parquet.exists() or parquet.is_symlink()) and not parquet.is_dir():
        yield parquet
