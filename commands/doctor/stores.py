"""What is stored here: key, vault, lake, ledgers, and their backups."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.compute as pc

from activation.ledger import FILE as SENT
from activation.ledger import read_ledger
from ctwa.errors import CtwaError, DataFolderError, LockUnavailableError
from ctwa.files import BROKEN
from ctwa.lock import database_of, refresh_lock
from ctwa.pseudonym import read_key
from ctwa.settings import Settings
from ingestion.event_log.source import spans
from ingestion.identity.erased import FILE as ERASURES
from ingestion.identity.erased import Ledger, LedgerError
from ingestion.lake.check import check, put_back, rewrite_record
from ingestion.lake.commit import RECORDS
from ingestion.lake.lake import Damage, Lake, LakeDamagedError, LakeError
from ingestion.source import Finding, off, ok, wrong
from ingestion.vault import open_vault
from ingestion.vault.vault import VaultError
from keeping.backup import way_back, whole_copy
from keeping.erasure.forget import damaged_copies
from orchestration.alerts import ALERTS_COLUMNS, ALERTS_FILE, CHANNEL, damage_of

BACKUP_MAX_AGE = timedelta(hours=36)


def stores(settings: Settings) -> Iterator[Finding]:
    """The key of the hashes, the vault, the lake."""
    try:
        lake = Lake.from_settings(settings)
        landed = lake.max_value("event_log", "envelopes", "seq")
    except LakeDamagedError as error:
        yield wrong("lake", str(error), "run `ctwa doctor --deep`")
        landed = 0
    except (LakeError, OSError) as error:
        yield wrong(
            "lake", f"{settings.lake_url}: {error}", "check CTWA_LAKE_URL and its permissions"
        )
        landed = 0
    else:
        yield ok("lake", f"{settings.lake_url}, {landed} envelopes landed")
    yield _key(settings, landed)
    yield _vault(settings)
    for copy in damaged_copies(settings):
        yield wrong(
            copy.name,
            f"{copy.parent} has the damaged copy of a repaired vault, with personal messages",
            "delete it when no longer needed: `ctwa forget` and the nightly purge do not reach it",
        )


def lake_files(settings: Settings, *, deep: bool, fix: bool) -> Iterator[Finding]:
    """Whether every file is as it was written; without `deep`, only existence and size."""
    lake = Lake.from_settings(settings)
    with refresh_lock(settings) if deep else nullcontext():
        damages = check(lake, budget=None if deep else 0)
        back: list[Damage] = []
        rewritten: list[Damage] = []
        unreadable: list[str] = []
        for damage in damages if deep and fix else ():
            copy = whole_copy(settings, damage)
            if copy is not None:
                put_back(lake, damage, copy)
                back.append(damage)
            elif damage.table == RECORDS:
                unreadable += rewrite_record(lake, damage)
                rewritten.append(damage)
        if back or rewritten:  # only now can files be compared with their record
            damages = [*back, *rewritten, *check(lake)]
    done = [("restored from a backup", back), ("written again", rewritten)]
    for how, mended in done:
        if mended:
            names = ", ".join(d.name for d in mended)
            yield ok("lake files", f"{how}: {names}; now `ctwa refresh --full`")
    if unreadable:
        yield wrong(
            "lake files",
            f"could not be read and was set aside (_damaged): {', '.join(unreadable)}",
            "its rows are lost, except those that `ctwa refresh --reparse` reads again from the "
            "vault",
        )
    back += rewritten
    left = [d for d in damages if d not in back]
    if left:
        found = "; ".join(map(str, left))
        yield wrong("lake files", found, way_back(settings, left))
    elif not back:
        yield ok(
            "lake files",
            "every file is as it was written" if deep else "all there (`--deep` reads them)",
        )


def vault_bodies(settings: Settings, *, deep: bool) -> Iterator[Finding]:
    """With `deep`: whether every body in the vault matches the hash stored with it."""
    if not deep or not _has_vault(settings):
        return
    kept = 0
    damaged: list[int] = []
    try:
        vault = open_vault(settings.vault_url)
        try:
            for batch in vault.read_batches(0):
                kept += batch.num_rows
                is_damaged = pc.is_valid(batch.column("damage"))
                damaged += batch.filter(is_damaged).column("seq").to_pylist()
            known = vault.damage()
        finally:
            vault.close()
    except VaultError as error:
        yield wrong("vault bodies", str(error), "see *A damaged vault* in docs/operations.md")
        return
    if not damaged and not known:
        yield ok("vault bodies", f"all {kept} are as they were stored")
        return
    found = f"the vault is damaged: {known}; " if known else ""
    found += f"{len(damaged)} of {kept} cannot be read, or are not as they were stored"
    yield wrong(
        "vault bodies",
        f"{found} ({spans(damaged)})" if damaged else found,
        f"check the disk and its memory; {'run `ctwa mend-vault`, then ' if known else ''}"
        "`ctwa replay BACKUP/vault.db` brings back those that a backup still has",
    )


def ledgers(settings: Settings) -> Iterator[Finding]:
    """Damaged ledgers, and files that were set aside recently."""
    data = settings.data_dir
    alerts, sent = data / ALERTS_FILE, settings.activation_dir / SENT
    fine = []
    if damage := damage_of(alerts, ALERTS_COLUMNS):
        yield wrong(
            "ledger of alerts",
            f"{alerts} is damaged: {damage}",
            "the next alert sets it aside and starts a new one; check the disk",
        )
    elif alerts.exists():
        fine.append("alerts")
        yield from _undelivered(alerts)
    if database_of(settings):
        try:
            with read_ledger(settings) as ledger:
                fine += ["what was sent (in the vault's database)"] * (ledger is not None)
        except CtwaError as error:
            yield wrong("ledger of what was sent", str(error), "until then nothing is sent")
    elif damage := damage_of(sent):
        yield wrong(
            "ledger of what was sent",
            f"{sent} is damaged: {damage}",
            "restore it from a backup; until then nothing is sent, so that nothing is sent twice",
        )
    elif sent.exists():
        fine.append("what was sent")
    try:
        Ledger.of(settings)
        fine += ["erasures"] * (data / ERASURES).exists()
    except LedgerError as error:
        yield wrong("ledger of erasures", str(error), "restore it from the newest backup")
    except LockUnavailableError as error:
        yield wrong("ledger of erasures", str(error), "until then nothing lands")
    for path in _set_aside(settings):
        yield wrong(
            path.name,
            f"was damaged and set aside in {path.parent}",
            f"check the disk (`dmesg`, SMART), then delete it; it is removed automatically after "
            f"{settings.run_history_days} days",
        )
    if fine:
        yield ok("ledgers", f"intact: {', '.join(fine)}")


def backups(settings: Settings) -> Iterator[Finding]:
    """If a folder is set: whether it has a backup of last night."""
    folder = settings.backup_dir
    if folder is None:
        yield off(
            "backup", "CTWA_BACKUP_DIR is not set: vault, lake and key exist in one place only"
        )
        return
    made = sorted(Path(folder).glob("*/"), key=lambda p: p.stat().st_mtime)
    if not made:
        yield wrong(
            "backup",
            f"there is none in {folder}",
            "run `ctwa backup`; the nightly refresh makes one every night",
        )
        return
    at = datetime.fromtimestamp(made[-1].stat().st_mtime, UTC)
    if datetime.now(UTC) - at > BACKUP_MAX_AGE:
        yield wrong(
            "backup",
            f"the newest is of {at:%Y-%m-%d %H:%M} UTC",
            "the nightly refresh makes one: see its check installation/backup: made",
        )
    else:
        yield ok("backup", f"{made[-1].name}, {at:%Y-%m-%d %H:%M} UTC")


def _has_vault(settings: Settings) -> bool:
    file = settings.vault_url.removeprefix("sqlite:///")
    return file == settings.vault_url or Path(file).exists()


def _key(settings: Settings, landed: int) -> Finding:
    path = settings.data_dir / "pii.key"
    if settings.pii_key is not None:
        return ok("key", "CTWA_PII_KEY is set; keep a copy of it separate from the data")
    if not path.exists():
        if landed:
            return wrong(
                "key",
                f"{path} is missing, and the lake holds rows made with it",
                "restore it from a backup: without it, new rows cannot be linked to old ones",
            )
        return off("key", "none yet: the first landing creates pii.key in the data directory")
    try:
        read_key(path)
    except DataFolderError as error:
        found, _, fix = str(error).partition(": ")
        return wrong("key", found, fix)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        return wrong(
            "key", f"{path} can be read by others (mode {mode:o})", f"run `chmod 600 {path}`"
        )
    return ok("key", f"{path}, readable by its owner only")


def _vault(settings: Settings) -> Finding:
    try:
        vault = open_vault(settings.vault_url)
        try:
            vault.ping()
            last = vault.last_seq()
        finally:
            vault.close()
    except VaultError as error:
        return wrong(
            "vault", str(error), "until this is fixed the receiver answers 503, and senders retry"
        )
    return ok("vault", f"accepts envelopes; {last} so far")


def _undelivered(alerts: Path) -> Iterator[Finding]:
    with closing(sqlite3.connect(f"{alerts.as_uri()}?mode=ro", uri=True, timeout=2)) as found:
        rows = found.execute(
            "select name, text, at from firing where name like ? order by name", [f"{CHANNEL}%"]
        ).fetchall()
    for name, text, at in rows:
        channel = name.removeprefix(CHANNEL)
        yield wrong(
            f"alerts by {channel}",
            f"the last was not sent ({datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC): {text}",
            "check the channel's address (CTWA_ALERT_WEBHOOK_URL, CTWA_SMTP_URL) and the network",
        )


def _set_aside(settings: Settings) -> list[Path]:
    folders = {
        settings.data_dir, settings.marts_path.parent, settings.warehouse_path.parent,
        settings.dagster_home / "history", settings.dagster_home / "history" / "runs",
    }  # fmt: skip
    found = (p for folder in folders for p in folder.glob(f"*{BROKEN}*"))
    return sorted(p for p in found if not p.name.endswith(("-wal", "-shm", "-journal", ".wal")))
