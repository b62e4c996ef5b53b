"""Backup and restore: whole under load, verified, and nothing is ever written over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from commands.doctor.stores import lake_files, stores
from ctwa.settings import Settings
from ingestion.identity.update import land_identity
from ingestion.lake.lake import Lake, LakeDamagedError
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from keeping.backup import KEEP, BackupError, backup, restore, verify
from keeping.erasure.steps import land


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
    vault = open_vault(settings.vault_url)
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
    land(settings)
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
    counts = land(elsewhere)  # what the vault has beyond the lake is landed now
    land(settings)
    assert made.files == len(verify(made.path))
    vault = open_vault(elsewhere.vault_url)
    restored = _message_keys(elsewhere)
    assert len(restored) == vault.last_seq() == 50 + counts.envelopes
    vault.close()
    # Every restored row is the original's: same key of the pseudonyms, no row invented.
    assert set(restored) <= set(_message_keys(settings))


def test_unchanged_lake_files_are_linked_not_copied(settings: Settings, tmp_path: Path) -> None:
    _append(settings, 0, 10)
    land(settings)
    first = backup(settings, tmp_path / "backups").path
    second = backup(settings, tmp_path / "backups").path
    name = next(p.relative_to(first) for p in first.rglob("messages/1*.parquet"))
    assert (first / name).stat().st_ino == (second / name).stat().st_ino


def test_tables_of_persons_are_left_out_and_made_again(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    _append(settings, 0, 3)
    land(settings)
    land_identity(settings)
    made = backup(settings, tmp_path / "backups")
    assert not (made.path / "lake" / "identity").exists()

    restore(elsewhere, tmp_path / "backups")
    land_identity(elsewhere)

    tables = Lake.from_settings(settings).tables("identity")
    assert tables
    assert Lake.from_settings(elsewhere).tables("identity") == tables


def test_a_damaged_backup_is_named_and_not_restored(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    _append(settings, 0, 10)
    made = backup(settings, tmp_path / "backups").path
    data = bytearray((made / "vault.db").read_bytes())
    data[len(data) // 2] ^= 1
    (made / "vault.db").write_bytes(data)
    with pytest.raises(BackupError, match=r"vault\.db is damaged; use an older backup"):
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


def _damage_the_lake(settings: Settings) -> Path:
    lake = Lake.from_settings(settings)
    path = Path(lake.root) / "event_log" / "messages" / lake.files("event_log", "messages")[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path


def test_e99_a_damaged_file_never_replaces_a_good_copy(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    _append(settings, 0, 5)
    land(settings)
    backup(settings, tmp_path / "backups")
    before = _message_keys(settings)
    _damage_the_lake(settings)
    backup(settings, tmp_path / "backups")
    restore(elsewhere, tmp_path / "backups")
    assert _message_keys(elsewhere) == before


def test_e99_what_no_backup_holds_whole_is_not_backed_up(
    settings: Settings, tmp_path: Path
) -> None:
    _append(settings, 0, 5)
    land(settings)
    path = _damage_the_lake(settings)
    with pytest.raises(BackupError, match=path.name):
        backup(settings, tmp_path / "backups")
    assert list((tmp_path / "backups").iterdir()) == []


def test_e99_doctor_puts_a_damaged_file_back_from_a_backup(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings(backup_dir=tmp_path / "backups")
    _append(settings, 0, 5)
    land(settings)
    backup(settings)
    before = _message_keys(settings)
    path = _damage_the_lake(settings)

    (shallow,) = lake_files(settings, deep=False, fix=False)
    assert shallow.status == "ok"
    (found,) = lake_files(settings, deep=True, fix=False)
    assert found.status == "wrong"
    assert path.name in found.found
    assert "5 rows of envelopes 1 to 5" in found.found
    assert "ctwa doctor --deep --fix" in found.fix
    (mended,) = lake_files(settings, deep=True, fix=True)
    assert mended.status == "ok"
    assert _message_keys(settings) == before


@pytest.mark.parametrize("has_backup", [True, False])
def test_e99_doctor_brings_the_record_of_a_commit_back(
    make_settings: Callable[..., Settings], tmp_path: Path, has_backup: bool
) -> None:
    settings = make_settings(backup_dir=tmp_path / "backups")
    for n in range(2):
        _append(settings, 5 * n, 5)
        land(settings)
    if has_backup:
        backup(settings)
    before = _message_keys(settings)
    min((Path(settings.lake_url) / "event_log" / "_commits").glob("*.json")).write_bytes(b"{")
    with pytest.raises(LakeDamagedError, match="ctwa doctor --deep"):
        land(settings)
    (found,) = lake_files(settings, deep=True, fix=False)
    assert "ctwa doctor --deep --fix" in found.fix
    (mended,) = lake_files(settings, deep=True, fix=True)
    assert ("from a backup" if has_backup else "written again") in mended.found
    land(settings)
    assert _message_keys(settings) == before


def test_a_restore_never_reads_the_log_of_another_vault(
    settings: Settings, elsewhere: Settings, tmp_path: Path
) -> None:
    """SQLite would take what a log holds for newer pages of whatever file stands beside it."""
    _append(settings, 0, 1)
    made = backup(settings, tmp_path / "backups").path
    elsewhere.data_dir.mkdir(parents=True)
    log = elsewhere.data_dir / "vault.db-wal"
    log.write_bytes(b"frames")
    with pytest.raises(BackupError, match=r"vault\.db-wal exists: move it away"):
        restore(elsewhere, made)
    log.unlink()
    mark = elsewhere.data_dir / "vault.db.damaged"
    mark.write_text("{}")  # of the vault that was here
    restore(elsewhere, made)
    assert not mark.exists()


@pytest.mark.parametrize("spoilt", ["pii.key", "no pii.key", "erasures.json", "ledger.db"])
def test_a_backup_takes_nothing_small_that_is_damaged(
    make_settings: Callable[..., Settings], tmp_path: Path, spoilt: str
) -> None:
    """Fourteen such nights, and no backup would hold a whole one."""
    settings = make_settings(pii_key=None)
    _append(settings, 0, 1)
    land(settings)
    key = settings.data_dir / "pii.key"
    if spoilt == "no pii.key":
        key.unlink()
    elif spoilt == "ledger.db":
        settings.activation_dir.mkdir()
        (settings.activation_dir / spoilt).write_bytes(b"no database" * 500)
    else:
        (settings.data_dir / spoilt).write_text("{")
    with pytest.raises(BackupError, match=f"nothing was backed up: .*{spoilt.split()[-1]}"):
        backup(settings, tmp_path / "backups")
    assert list((tmp_path / "backups").iterdir()) == []
    keys = [f for f in stores(settings) if f.subject == "key"]
    assert [f.status for f in keys] == ["wrong" if "pii.key" in spoilt else "ok"]
