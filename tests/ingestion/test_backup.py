"""Backup and restore: whole under load, verified, and nothing is ever written over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from ctwa.settings import Settings
from ingestion.backup import KEEP, BackupError, backup, restore, verify
from ingestion.lake import Lake
from ingestion.sources.event_log import land_event_log
from ingestion.webhook.vault import NewEnvelope, Vault


def _body(n: int) -> bytes:
    message = {"from": "5511987654321", "id": f"wamid.{n}", "timestamp": "1780000000"}
    value = {
        "metadata": {"display_phone_number": "551140000000", "phone_number_id": "1"},
        "messages": [message | {"type": "text", "text": {"body": "oi"}}],
    }
    change = {"field": "messages", "value": value}
    return orjson.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "2", "changes": [change]}]}
    )


def _append(settings: Settings, first: int, count: int) -> None:
    vault = Vault.open(settings.vault_url)
    now = time.time_ns() // 1000
    vault.append([NewEnvelope(now, "whatsapp", _body(first + n)) for n in range(count)])
    vault.close()


def _message_keys(settings: Settings) -> list[str]:
    table = Lake.from_settings(settings).query(
        "select message_key from {m} order by 1", m="event_log/messages"
    )
    return table["message_key"].to_pylist()


@pytest.fixture
def elsewhere(make_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    return make_settings(data_dir=tmp_path / "restored")


def test_a_backup_taken_under_load_is_whole(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    _append(settings, 0, 50)
    land_event_log(settings)
    stop = threading.Event()

    def write() -> None:
        n = 1000
        while not stop.is_set():
            _append(settings, n, 5)
            n += 5

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = backup(settings, tmp_path / "backups")
    finally:
        stop.set()
        writer.join()
    restore(elsewhere, tmp_path / "backups")
    counts = land_event_log(elsewhere)  # what the vault has beyond the lake is landed now
    land_event_log(settings)
    assert made.files == len(verify(made.path))
    vault = Vault.open(elsewhere.vault_url)
    restored = _message_keys(elsewhere)
    assert len(restored) == vault.last_seq() == 50 + counts.envelopes
    vault.close()
    # Every restored row is the original's: same key of the pseudonyms, no row invented.
    assert set(restored) <= set(_message_keys(settings))


def test_unchanged_lake_files_are_linked_not_copied(settings: Settings, tmp_path: Path) -> None:
    _append(settings, 0, 10)
    land_event_log(settings)
    first = backup(settings, tmp_path / "backups").path
    second = backup(settings, tmp_path / "backups").path
    name = next(p.relative_to(first) for p in first.rglob("messages/1*.parquet"))
    assert (first / name).stat().st_ino == (second / name).stat().st_ino


def test_a_damaged_backup_is_named_and_not_restored(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    _append(settings, 0, 10)
    made = backup(settings, tmp_path / "backups").path
    data = bytearray((made / "vault.db").read_bytes())
    data[len(data) // 2] ^= 1
    (made / "vault.db").write_bytes(data)
    with pytest.raises(BackupError, match=r"vault\.db is damaged; take an older backup"):
        restore(elsewhere, made)
    assert not Path(elsewhere.vault_url.removeprefix("sqlite:///")).exists()


def test_restore_never_writes_over_data(settings: Settings, tmp_path: Path) -> None:
    _append(settings, 0, 10)
    made = backup(settings, tmp_path / "backups").path
    with pytest.raises(BackupError, match="move it away first"):
        restore(settings, made)


def test_a_half_made_backup_is_not_a_backup(elsewhere: Settings, tmp_path: Path) -> None:
    (tmp_path / "backups" / "20260101T000000.000000Z.partial" / "lake").mkdir(parents=True)
    with pytest.raises(BackupError, match="no complete backup"):
        restore(elsewhere, tmp_path / "backups")


def test_old_backups_go(settings: Settings, tmp_path: Path) -> None:
    _append(settings, 0, 1)
    for _ in range(KEEP + 2):
        last = backup(settings, tmp_path / "backups").path
    kept = sorted(p.name for p in (tmp_path / "backups").iterdir())
    assert len(kept) == KEEP
    assert kept[-1] == last.name


def test_without_a_folder_the_setting_is_named(settings: Settings) -> None:
    with pytest.raises(BackupError, match="CTWA_BACKUP_DIR is not set"):
        backup(settings)
