"""What lies on this machine: versions, disk, key, vault, lake, marts, backups."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ctwa.publication import Publication
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.doctor import Finding, off, ok, wrong
from ingestion.lake import Lake, LakeError
from ingestion.webhook.vault import Vault, VaultError

MIN_FREE_BYTES = 2 * 2**30
MARTS_MAX_AGE = timedelta(hours=36)
BACKUP_MAX_AGE = timedelta(hours=36)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
_WATCHED = {
    "dagster", "dagster-dbt", "dagster-dlt", "dbt-core", "dbt-duckdb", "dlt", "duckdb", "pyarrow",
    "sqlglot", "sqlalchemy",
}  # fmt: skip
"""Packages of which another version than the tried one has been seen to break things."""


def versions(_settings: Settings) -> Iterator[Finding]:
    """The packages that must be those of the lock."""
    python = ".".join(map(str, sys.version_info[:3]))
    lock = PROJECT_DIR / "requirements.lock"
    pins = dict(_PIN.findall(lock.read_text())) if lock.exists() else {}
    other = []
    for name in sorted(_WATCHED & pins.keys()):
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "missing"
        if installed != pins[name]:
            other.append(f"{name} {installed} instead of {pins[name]}")
    if other:
        yield wrong("versions", "; ".join(other), "run `make setup` in the checkout")
    else:
        yield ok("versions", f"Python {python}, packages as in requirements.lock")


def data_directory(settings: Settings) -> Iterator[Finding]:
    """Writable, with room on its disk."""
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-"):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        yield wrong(
            "data directory",
            f"{folder} cannot be written: {error.strerror}",
            "give its owner write permission, or set CTWA_DATA_DIR to a folder on a local disk",
        )
        return
    room = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < MIN_FREE_BYTES:
        yield wrong("data directory", room, "free space: with a full disk the receiver answers 503")
    else:
        yield ok("data directory", room)


def stores(settings: Settings) -> Iterator[Finding]:
    """The key of the hashes, the vault, the lake."""
    try:
        lake = Lake.from_settings(settings)
        landed = lake.max_value("event_log", "envelopes", "seq")
    except (LakeError, OSError) as error:
        yield wrong(
            "lake", f"{settings.lake_url}: {error}", "check CTWA_LAKE_URL and its permissions"
        )
        landed = 0
    else:
        yield ok("lake", f"{settings.lake_url}, {landed} envelopes landed")
    yield _key(settings, landed)
    yield _vault(settings)


def _key(settings: Settings, landed: int) -> Finding:
    path = settings.data_dir / "pii.key"
    if settings.pii_key is not None:
        return ok("key", "CTWA_PII_KEY is set; keep a copy of it apart from the data")
    if not path.exists():
        if landed:
            return wrong(
                "key",
                f"{path} is gone, and the lake holds rows made with it",
                "put the key back from a backup: new rows cannot be linked to old ones without it",
            )
        return off("key", "none yet: the first landing makes one, pii.key in the data directory")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        return wrong(
            "key", f"{path} can be read by others (mode {mode:o})", f"run `chmod 600 {path}`"
        )
    return ok("key", f"{path}, readable by its owner only")


def _vault(settings: Settings) -> Finding:
    try:
        vault = Vault.open(settings.vault_url)
        try:
            vault.ping()
            last = vault.last_seq()
        finally:
            vault.close()
    except VaultError as error:
        return wrong("vault", str(error), "until then the receiver answers 503, and senders retry")
    return ok("vault", f"takes envelopes; {last} so far")


def marts(settings: Settings) -> Iterator[Finding]:
    """Published, and not long ago."""
    path = settings.marts_path
    if not path.exists():
        yield off("marts", "not published yet: run `ctwa refresh`")
        return
    publication = Publication.read(path)
    if publication is None or publication.published_at is None:
        yield wrong("marts", f"{path} cannot be read", "run `ctwa refresh`; it writes a new file")
        return
    published = publication.published_at
    found = f"as of {publication.as_of}, published {published:%Y-%m-%d %H:%M} UTC"
    if datetime.now(UTC) - published > MARTS_MAX_AGE:
        yield wrong(
            "marts", found, "the nightly refresh has not published: see its last run, `ctwa dev`"
        )
    else:
        yield ok("marts", found)


def backups(settings: Settings) -> Iterator[Finding]:
    """Where asked for: a folder that is there, with a backup of last night."""
    folder = settings.backup_dir
    if folder is None:
        yield off("backup", "CTWA_BACKUP_DIR is not set: vault, lake and key lie in one place only")
        return
    made = sorted(Path(folder).glob("*/"), key=lambda p: p.stat().st_mtime)
    if not made:
        yield wrong("backup", f"{folder} holds none", "run `ctwa backup`, best every night by cron")
        return
    at = datetime.fromtimestamp(made[-1].stat().st_mtime, UTC)
    if datetime.now(UTC) - at > BACKUP_MAX_AGE:
        yield wrong(
            "backup", f"the newest is of {at:%Y-%m-%d %H:%M} UTC", "run `ctwa backup` every night"
        )
    else:
        yield ok("backup", f"{made[-1].name}, {at:%Y-%m-%d %H:%M} UTC")
