"""Backup and restore of the record of truth: vault, lake, ledgers, key of the hashes.

The lake is copied first, under the refresh lock, the vault after it by SQLite's online backup
while the receiver goes on writing: so the copy of the vault always reaches at least as far as the
copy of the lake, and the next refresh lands the rest. The warehouse and the marts are not copied:
a refresh builds them again. After a restore the next landing carries out every erasure that the
backup does not know of: whoever was erased stays so. What was sent after the backup is not in its
ledger of what went out: a mark beside it ends the sending of anything older than the restore.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ctwa import __version__
from ctwa.lock import refresh_lock
from ctwa.settings import Settings
from ingestion.erasure.ledger import FILE as LEDGER
from ingestion.erasure.ledger import Ledger, LedgerError
from ingestion.erasure.outbound import FILE as SENT
from ingestion.lake import Lake
from ingestion.webhook.vault import Vault

KEEP = 14
"""Backups kept in the folder; the oldest go."""

RESTORED = "restored"
"""File beside the ledger of what went out: it was put back and does not know what was sent since.
The next sending ends the activation and removes the file (`activation.conversions_ledger`)."""

_SENT_COPY = "activation.db"
_MANIFEST = "manifest.json"
_SQLITE = "sqlite:///"


class BackupError(RuntimeError):
    """A backup cannot be made or restored; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A complete, verified backup: its folder, number of files and bytes."""

    path: Path
    files: int
    size: int


def backup(settings: Settings, folder: Path | None = None) -> Backup:
    """Copy everything that cannot be fetched again into a new folder below `folder`.

    Files of the lake never change once written, so those of the backup before are linked, not
    copied. The folder appears under its name only when it is whole and verified.
    """
    root = folder or settings.backup_dir
    if root is None:
        raise BackupError("CTWA_BACKUP_DIR is not set: name a folder, best on another disk")
    vault_path = _vault_path(settings)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    before = complete_backups(root)
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    draft = root / f"{name}.partial"
    draft.mkdir(mode=0o700)
    try:
        with refresh_lock(settings.lock_path, wait_seconds=600):
            _copy_lake(settings, draft, before[-1] if before else None)
            if (settings.data_dir / LEDGER).exists():
                shutil.copy2(settings.data_dir / LEDGER, draft / LEDGER)
            _copy_sent(settings.activation_dir / SENT, draft / _SENT_COPY)
        if vault_path.exists():
            vault = Vault.open(settings.vault_url)
            try:
                vault.backup(draft / "vault.db")
            finally:
                vault.close()
        key = settings.data_dir / "pii.key"
        if settings.pii_key is None and key.exists():
            shutil.copy2(key, draft / "pii.key")
        size = _write_manifest(draft)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    final = root / name
    draft.rename(final)
    _fsync(root)
    for old in [*complete_backups(root)[:-KEEP], *root.glob("*.partial")]:
        shutil.rmtree(old, ignore_errors=True)
    return Backup(final, len(verify(final)), size)


def verify(folder: Path) -> list[str]:
    """Compare every file with the manifest; names of the files. Raises `BackupError`."""
    manifest = folder / _MANIFEST
    if not manifest.exists():
        raise BackupError(f"{folder} is not a complete backup: it has no {_MANIFEST}")
    files: dict[str, str] = json.loads(manifest.read_text())["files"]
    for name, digest in files.items():
        path = folder / name
        if not path.exists():
            raise BackupError(f"{folder}: {name} is missing; take an older backup")
        if _digest(path) != digest:
            raise BackupError(f"{folder}: {name} is damaged; take an older backup")
    return list(files)


def restore(settings: Settings, folder: Path) -> Backup:
    """Put a verified backup into an installation that has no vault and no lake yet.

    `folder` is one backup, or the folder of backups: then the newest. Never writes over data:
    move what is there away first. Raises `BackupError`.
    """
    if not (folder / _MANIFEST).exists():
        complete = complete_backups(folder) if folder.is_dir() else []
        if not complete:
            raise BackupError(f"no complete backup in {folder}")
        folder = complete[-1]
    files = verify(folder)
    vault_path, lake = _vault_path(settings), Path(settings.lake_url)
    for taken in (vault_path, lake, settings.warehouse_path):
        if taken.exists():
            raise BackupError(f"{taken} exists: move it away first, restore never writes over data")
    try:
        ledger = _ledger_after(settings, folder)
    except LedgerError as error:
        raise BackupError(str(error)) from None
    with refresh_lock(settings.lock_path):
        vault_path.parent.mkdir(parents=True, exist_ok=True)
        if (folder / "lake").exists():
            shutil.copytree(folder / "lake", lake)
        if (folder / "vault.db").exists():
            shutil.copy2(folder / "vault.db", vault_path)
            vault_path.chmod(0o600)
        key = settings.data_dir / "pii.key"
        if (folder / "pii.key").exists() and not key.exists():
            shutil.copy2(folder / "pii.key", key)
            key.chmod(0o600)
        if ledger.erasures:
            ledger.save()
        _restore_sent(settings, folder / _SENT_COPY)
    return Backup(folder, len(files), sum((folder / f).stat().st_size for f in files))


def _copy_lake(settings: Settings, draft: Path, before: Path | None) -> None:
    lake = Lake.from_settings(settings)
    if not lake.is_local:
        raise BackupError(
            f"the lake is a bucket ({settings.lake_url}): switch on its versioning or replication "
            "and back up the vault alone by a folder lake, or with your database's tools"
        )
    root = Path(settings.lake_url)
    for dataset in sorted(p for p in root.glob("*") if p.is_dir()):
        lake.sweep(dataset.name)
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        target = draft / "lake" / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        earlier = before / "lake" / path.relative_to(root) if before else None
        if (
            earlier is not None
            and path.suffix == ".parquet"
            and earlier.exists()
            and earlier.stat().st_size == path.stat().st_size
        ):
            os.link(earlier, target)
        else:
            shutil.copy2(path, target)


def _copy_sent(ledger: Path, target: Path) -> None:
    """The ledger of what went out, whole with what its write-ahead log holds."""
    if not ledger.exists():
        return
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    target.chmod(0o600)


def _restore_sent(settings: Settings, copy: Path) -> None:
    """Put it back, unless a newer one is there: that one knows more of what was sent."""
    folder = settings.activation_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / RESTORED).touch(mode=0o600)
    _fsync(folder)  # before the ledger: none without its mark
    if copy.exists() and not (folder / SENT).exists():
        draft = folder / f"{SENT}.tmp"
        shutil.copy2(copy, draft)
        _fsync(draft)
        draft.replace(folder / SENT)
        _fsync(folder)


def _ledger_after(settings: Settings, folder: Path) -> Ledger:
    """The backup's own ledger, and as pending what any other that can be found knows besides."""
    restored = Ledger.read(folder / LEDGER)
    others = [settings.data_dir / LEDGER, folder.parent / LEDGER]
    others += sorted(folder.parent.glob(f"*/{LEDGER}"))
    restored.learn(Ledger.read(path) for path in others)
    restored.path = settings.data_dir / LEDGER
    return restored


def _write_manifest(draft: Path) -> int:
    files = sorted(p for p in draft.rglob("*") if p.is_file())
    digests = {str(p.relative_to(draft)): _digest(p) for p in files}
    for path in files:
        _fsync(path)
    manifest = draft / _MANIFEST
    manifest.write_text(json.dumps({"version": __version__, "files": digests}, indent=1))
    _fsync(manifest)
    return sum(p.stat().st_size for p in files)


def complete_backups(root: Path) -> list[Path]:
    """Folders below `root` that are whole backups, oldest first."""
    return sorted(p for p in root.iterdir() if (p / _MANIFEST).exists() and p.suffix != ".partial")


def _vault_path(settings: Settings) -> Path:
    if not settings.vault_url.startswith(_SQLITE):
        raise BackupError(
            "the vault is not SQLite: back it up and restore it with your database's own tools "
            "(pg_dump, pg_restore); take the lake's copy first, the vault's after it"
        )
    return Path(settings.vault_url.removeprefix(_SQLITE))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
