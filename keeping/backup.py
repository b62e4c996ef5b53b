"""Backup and restore of what cannot be fetched again: vault, lake, ledgers, key of the hashes.

The lake is copied first, under the refresh lock; then the vault, by SQLite's online backup, while
the receiver goes on writing. So the copy of the vault always reaches at least as far as the copy of
the lake, and the next refresh lands the rest. Warehouse, marts and the lake's tables of persons are
not copied: a refresh makes them again. After a restore, the next landing carries out every erasure
that the backup does not know about, so that erased people stay erased. The restored ledger does not
know what was sent after the backup: a mark beside it prevents sending anything older than the
restore.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from activation.ledger import FILE as SENT
from activation.ledger import RESTORED
from ctwa import __version__, fingerprint
from ctwa.errors import CtwaError, DataFolderError
from ctwa.files import fsync, replacing
from ctwa.lock import refresh_lock
from ctwa.pseudonym import lake_has_hashes, read_key
from ctwa.settings import Settings
from ingestion.identity.erased import FILE as LEDGER
from ingestion.identity.erased import Ledger, LedgerError
from ingestion.identity.tables import DATASET as IDENTITY
from ingestion.lake.check import check, is_whole
from ingestion.lake.commit import RECORDS
from ingestion.lake.lake import Damage, Lake, LakeDamagedError
from ingestion.vault import open_vault
from ingestion.vault.sqlite_file import damage_mark
from ingestion.vault.vault import VaultError
from keeping.formats import FORMATS, Formats

log = logging.getLogger(__name__)

KEEP = 14
"""How many backups are kept in the folder; older ones are deleted."""

_SENT_COPY = "activation.db"
_MANIFEST = "manifest.json"
_SQLITE = "sqlite:///"


class BackupError(CtwaError):
    """A backup cannot be made or restored; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A complete, verified backup: its folder, number of files, and bytes."""

    path: Path
    files: int
    size: int


def backup(settings: Settings, folder: Path | None = None) -> Backup:
    """Copy everything that cannot be fetched again into a new folder below `folder`.

    A file of the lake that has been damaged is taken from an earlier backup. If none has it
    intact, nothing is backed up, so that no good backup is deleted in favour of a bad one.

    Files of the lake never change once written, so those of the previous backup are linked, not
    copied. The folder gets its final name only when it is complete and verified.
    """
    root = folder or settings.backup_dir
    if root is None:
        raise BackupError("CTWA_BACKUP_DIR is not set: give a folder, ideally on another disk")
    vault_path = _vault_path(settings)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    before = complete_backups(root)
    name = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    draft = root / f"{name}.partial"
    draft.mkdir(mode=0o700)
    try:
        with refresh_lock(settings, wait_seconds=600):
            _copy_lake(settings, draft, before[-1] if before else None)
            _check_key_and_erasures(settings)
            if (settings.data_dir / LEDGER).exists():
                shutil.copy2(settings.data_dir / LEDGER, draft / LEDGER)
            _copy_sent(settings.activation_dir / SENT, draft / _SENT_COPY)
        if vault_path.exists():
            vault = open_vault(settings.vault_url)
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
    fsync(root)
    for old in [*complete_backups(root)[:-KEEP], *root.glob("*.partial")]:
        shutil.rmtree(old, ignore_errors=True)
    return Backup(final, len(verify(final)), size)


def _check_key_and_erasures(settings: Settings) -> None:
    """Check key and ledger of erasures: a bad copy must not displace the last good one."""
    key = settings.data_dir / "pii.key"
    try:
        Ledger.of(settings)
        if settings.pii_key is None and key.exists():
            read_key(key)
    except (LedgerError, DataFolderError) as error:
        raise BackupError(f"nothing was backed up: {error}") from None
    if settings.pii_key is None and not key.exists() and lake_has_hashes(settings):
        raise BackupError(
            f"nothing was backed up: {key} is missing, and the lake holds rows made with it. "
            "Restore it from a backup"
        )


def verify(folder: Path) -> list[str]:
    """Compare every file with the manifest; returns their names. Raises `BackupError`."""
    manifest = folder / _MANIFEST
    if not manifest.exists():
        raise BackupError(f"{folder} is not a complete backup: it has no {_MANIFEST}")
    files: dict[str, str] = json.loads(manifest.read_text())["files"]
    for name, digest in files.items():
        path = folder / name
        if not path.exists():
            raise BackupError(f"{folder}: {name} is missing; use an older backup")
        if fingerprint.of_file(path) != digest:
            raise BackupError(f"{folder}: {name} is damaged; use an older backup")
    return list(files)


def restore(settings: Settings, folder: Path) -> Backup:
    """Put a verified backup into an installation that has no vault and no lake yet.

    `folder` is one backup, or a folder of backups, of which the newest is used. Never overwrites
    data: move it away first. Raises `BackupError`.
    """
    if not (folder / _MANIFEST).exists():
        complete = complete_backups(folder) if folder.is_dir() else []
        if not complete:
            raise BackupError(f"no complete backup in {folder}")
        folder = complete[-1]
    files = verify(folder)
    _refuse_newer(folder)
    vault_path, lake = _vault_path(settings), Path(settings.lake_url)
    # SQLite would apply a log left over from another vault to the restored one.
    beside = [vault_path.with_name(vault_path.name + ending) for ending in ("-wal", "-journal")]
    for taken in (vault_path, *beside, lake, settings.warehouse_path):
        if taken.exists():
            raise BackupError(f"{taken} exists: move it away first, restore never overwrites data")
    try:
        ledger = _ledger_after(settings, folder)
    except LedgerError as error:
        raise BackupError(str(error)) from None
    with refresh_lock(settings):
        vault_path.parent.mkdir(parents=True, exist_ok=True)
        if (folder / "lake").exists():
            shutil.copytree(folder / "lake", lake)
        if (folder / "vault.db").exists():
            vault_path.with_name(f"{vault_path.name}-shm").unlink(missing_ok=True)
            damage_mark(vault_path).unlink(missing_ok=True)  # belongs to a former file
            shutil.copy2(folder / "vault.db", vault_path)
            vault_path.chmod(0o600)
        key = settings.data_dir / "pii.key"
        if (folder / "pii.key").exists() and not key.exists():
            shutil.copy2(folder / "pii.key", key)
            key.chmod(0o600)
        if ledger.erasures:
            ledger.save()
        _restore_sent(settings, folder / _SENT_COPY)
        if lake.exists():
            damages = check(Lake.from_settings(settings))
            if damages:
                raise BackupError(f"restored, but {LakeDamagedError(damages)}")
    return Backup(folder, len(files), sum((folder / f).stat().st_size for f in files))


def _refuse_newer(folder: Path) -> None:
    """Raises `BackupError` for a backup that only a newer version can go on with."""
    made = json.loads((folder / _MANIFEST).read_text())
    backup = Formats(str(made.get("version", "")), made.get("formats", {}))
    if backup.newer:
        raise BackupError(
            f"{folder} was made by ctwa-attribution {backup.version} (format "
            f"{', '.join(backup.newer)}), and this is {__version__}: restore it with "
            f"{backup.version} or later"
        )


def _copy_lake(settings: Settings, draft: Path, before: Path | None) -> None:
    lake = Lake.from_settings(settings)
    if not lake.is_local:
        raise BackupError(
            f"the lake is a bucket ({settings.lake_url}): turn on its versioning or replication, "
            "and back up the vault separately, with a folder as lake or your database's tools"
        )
    root = Path(settings.lake_url)
    datasets = sorted(p.name for p in root.glob("*") if p.is_dir() and p.name != IDENTITY)
    for dataset in datasets:
        lake.sweep(dataset)
    damaged = {
        root / d.dataset / d.table / d.name: (d, whole_copy(settings, d, draft.parent))
        for d in check(lake, datasets)
    }
    lost = [damage for damage, copy in damaged.values() if copy is None]
    if lost:
        raise BackupError(str(LakeDamagedError(lost, way_back(settings, lost))))
    files = {p for d in datasets for p in (root / d).rglob("*") if p.is_file()} | damaged.keys()
    for path in sorted(p for p in files if "_damaged" not in p.relative_to(root).parts):
        target = draft / "lake" / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        earlier = before / "lake" / path.relative_to(root) if before else None
        damage, whole = damaged.get(path, (None, None))
        if whole is not None:
            log.warning("%s: taken from %s", damage, whole)
            os.link(whole, target)
        elif (
            earlier is not None
            and path.suffix == ".parquet"
            and earlier.exists()
            and earlier.stat().st_size == path.stat().st_size
        ):
            os.link(earlier, target)
        else:
            shutil.copy2(path, target)


def _copy_sent(ledger: Path, target: Path) -> None:
    """Copy the ledger of what was sent, including its write-ahead log."""
    if not ledger.exists():
        return
    try:
        with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
            found = str(copy.execute("pragma quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise BackupError(
            f"nothing was backed up: {ledger} is damaged ({found.splitlines()[0]}). Restore it "
            f"from a backup, where it is called {_SENT_COPY}"
        )
    target.chmod(0o600)


def _restore_sent(settings: Settings, copy: Path) -> None:
    """Restore it, unless one is there: that one is newer and knows more of what was sent."""
    folder = settings.activation_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / RESTORED).touch(mode=0o600)
    fsync(folder)  # the mark first: no ledger may exist without it
    if copy.exists() and not (folder / SENT).exists():
        with replacing(folder / SENT) as draft:
            shutil.copy2(copy, draft)


def _ledger_after(settings: Settings, folder: Path) -> Ledger:
    """The backup's own ledger, plus, as pending, what any other ledger found here knows."""
    restored = Ledger.read(folder / LEDGER)
    others = [settings.data_dir / LEDGER, folder.parent / LEDGER]
    others += sorted(folder.parent.glob(f"*/{LEDGER}"))
    restored.learn(Ledger.read(path) for path in others)
    restored.path = settings.data_dir / LEDGER
    return restored


def _write_manifest(draft: Path) -> int:
    files = sorted(p for p in draft.rglob("*") if p.is_file())
    digests = {str(p.relative_to(draft)): fingerprint.of_file(p) for p in files}
    for path in files:
        fsync(path)
    manifest = draft / _MANIFEST
    manifest.write_text(
        json.dumps({"version": __version__, "formats": FORMATS, "files": digests}, indent=1)
    )
    fsync(manifest)
    return sum(p.stat().st_size for p in files)


def complete_backups(root: Path) -> list[Path]:
    """Folders below `root` that are complete backups, oldest first."""
    return sorted(p for p in root.iterdir() if (p / _MANIFEST).exists() and p.suffix != ".partial")


def way_back(settings: Settings, damages: Sequence[Damage]) -> str:
    """How to get the rows of damaged files back, and how many of them are lost."""
    rest = [d for d in damages if whole_copy(settings, d) is None]
    texts = []
    if len(rest) < len(damages):
        texts.append("A backup has the file intact: `ctwa doctor --deep --fix` restores it")
    records = [d for d in rest if d.table == RECORDS]
    if records:
        texts.append(
            "No backup has the record of the commit intact: `ctwa doctor --deep --fix` writes it "
            "again for those of its files that exist, as they are now"
        )
    rest = [d for d in rest if d.table != RECORDS]
    of_log = [d for d in rest if d.dataset == "event_log"]
    if of_log:
        texts.append(
            "No backup has the file intact: `ctwa refresh --reparse` sets it aside and reads its "
            f"envelopes again from the vault. {_kept_bodies(settings, of_log)}"
        )
    for dataset in sorted({d.dataset for d in rest} - {"event_log"}):
        texts.append(
            f"No backup has the file intact: move {settings.lake_url}/{dataset} away and refresh; "
            "it is read again, as far back as for a new installation. Older names and figures are "
            "lost"
        )
    return ". ".join(texts)


def _kept_bodies(settings: Settings, damages: Sequence[Damage]) -> str:
    ranges = [d.note.seqs for d in damages if d.note is not None and d.note.seqs is not None]
    if not ranges:
        return "How many of them have been purged is unknown"
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    try:
        vault = open_vault(settings.vault_url)
        try:
            kept = vault.count_after(low - 1) - vault.count_after(high)
        finally:
            vault.close()
    except VaultError as error:
        return f"How many the vault still holds is unknown: {error}"
    gone = max(0, high - low + 1 - kept)
    lost = f"the rows of the other {gone} are lost" if gone else "nothing is lost"
    return f"It still holds {kept} of the {high - low + 1} bodies: {lost}"


def whole_copy(settings: Settings, damage: Damage, folder: Path | None = None) -> Path | None:
    """The newest intact copy of the file in a backup; None if there is none."""
    folder = folder or settings.backup_dir
    if folder is None or not folder.is_dir():
        return None
    for backup in reversed(complete_backups(folder)):
        copy = backup / "lake" / damage.dataset / damage.table / damage.name
        if copy.exists() and is_whole(damage, copy):
            return copy
    return None


def _vault_path(settings: Settings) -> Path:
    if not settings.vault_url.startswith(_SQLITE):
        raise BackupError(
            "the vault is not SQLite: back its database up, which has the ledgers too, and restore "
            "it with its own tools (pg_dump, pg_restore); copy the lake first, then the database"
        )
    return Path(settings.vault_url.removeprefix(_SQLITE))
