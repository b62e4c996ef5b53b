"""A data folder that was copied: what tools change heals, or is one line that says what to do."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from activation.conversions_ledger import ensure_states, states_path
from ctwa.errors import DataFolderError
from ctwa.files import private_files
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.event_log.source import land_event_log
from ingestion.lake.lake import Lake
from ingestion.parser.schema import EVENT_LOG
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, VaultUnavailableError
from keeping import data_folder
from keeping.data_folder import put_right

BODY = b'{"object": "whatsapp_business_account", "entry": []}'


@pytest.fixture(autouse=True)
def _as_every_command() -> Iterator[None]:
    with private_files():
        yield


@pytest.fixture
def own_key(make_settings: Callable[..., Settings]) -> Settings:
    """An installation with a key of its own, three envelopes in its vault and in its lake."""
    settings = make_settings(pii_key=None)
    receive(settings, 3)
    land_event_log(settings)
    (settings.data_dir / "marts_20260131T050312123456.duckdb").touch()
    return settings


def receive(settings: Settings, count: int) -> None:
    vault = open_vault(settings.vault_url)
    vault.append([NewEnvelope(i + 1, "whatsapp", BODY) for i in range(count)])
    vault.close()


def landed(settings: Settings) -> int:
    return Lake.from_settings(settings).max_value("event_log", "envelopes", "seq")


def modes(folder: Path) -> set[str]:
    return {
        f"{'d' if p.is_dir() else 'f'}{stat.S_IMODE(p.stat().st_mode):o}"
        for p in [folder, *folder.rglob("*")]
    }


@pytest.mark.parametrize(("files", "folders"), [(0o644, 0o755), (0o666, 0o777), (0o444, 0o555)])
def test_e95_dropped_modes_are_put_back(own_key: Settings, files: int, folders: int) -> None:
    (own_key.data_dir / "._vault.db").touch()
    (own_key.data_dir / ".DS_Store").touch()
    for path in [*own_key.data_dir.rglob("*"), own_key.data_dir]:
        path.chmod(folders if path.is_dir() else files)
    assert "by their owner only" in put_right(own_key)[0]
    assert modes(own_key.data_dir) == {"d700", "f600"}
    assert put_right(own_key) == [], "once"


def test_e95_what_others_keep_in_the_folder_is_left_alone(own_key: Settings) -> None:
    """A checkout whose data folder it is, too: its programs stay programs."""
    tool = own_key.data_dir / "bin" / "tool"
    tool.parent.mkdir()
    tool.touch()
    for path in (own_key.data_dir, tool.parent, tool):
        path.chmod(0o755)
    put_right(own_key)
    assert [stat.S_IMODE(p.stat().st_mode) for p in (own_key.data_dir, tool)] == [0o755, 0o755]


def test_e95_with_a_group_of_readers_the_marts_stay_open(
    own_key: Settings, make_settings: Callable[..., Settings]
) -> None:
    marts = own_key.data_dir / "marts_20260131T050312123456.duckdb"
    marts.chmod(0o640)
    own_key.data_dir.chmod(0o710)
    shared = make_settings(pii_key=None, marts_group="bi")
    assert put_right(shared) == []
    assert modes(own_key.data_dir / "lake") == {"d700", "f600"}
    put_right(own_key)
    assert stat.S_IMODE(marts.stat().st_mode) == 0o600


def test_e95_capitals_of_a_disk_without_small_letters_are_undone(own_key: Settings) -> None:
    data = own_key.data_dir
    for path in sorted(data.rglob("*"), key=lambda p: -len(p.parts)):
        path.rename(path.with_name(path.name.upper()))
    put_right(own_key)
    receive(own_key, 2)
    land_event_log(own_key)
    assert landed(own_key) == 5
    assert (data / "pii.key").exists()
    lake = Path(own_key.lake_url)
    assert not [p for p in lake.rglob("*") if p.name != p.name.lower()]


@pytest.mark.parametrize(
    "text", ["", "../secrets/pii.key", "0011\n2233", "abc"], ids=["empty", "link", "two", "cut"]
)
def test_e95_a_key_that_is_none_is_one_line(own_key: Settings, text: str) -> None:
    (own_key.data_dir / "pii.key").write_text(text)
    with pytest.raises(DataFolderError, match="put the key back from a backup") as error:
        put_right(own_key)
    assert "\n" not in str(error.value)
    with pytest.raises(DataFolderError):
        Pseudonymizer.from_settings(own_key)


def test_e95_a_lost_key_is_never_made_anew_while_rows_were_made_with_it(
    own_key: Settings,
) -> None:
    key = own_key.data_dir / "pii.key"
    before = key.read_text()
    key.unlink()
    receive(own_key, 2)
    for attempt in (put_right, Pseudonymizer.from_settings, land_event_log):
        with pytest.raises(DataFolderError, match=r"pii\.key is missing, and the lake holds rows"):
            attempt(own_key)  # type: ignore[operator]
    assert not key.exists()
    key.write_text(before + "\r\n", encoding="utf-8-sig")
    put_right(own_key)
    land_event_log(own_key)
    assert (landed(own_key), stat.S_IMODE(key.stat().st_mode)) == (5, 0o600)


def test_e95_a_new_installation_makes_its_key(make_settings: Callable[..., Settings]) -> None:
    """Also where the tables are there already, without a row."""
    settings = make_settings(pii_key=None)
    assert put_right(settings) == []
    Lake.from_settings(settings).ensure("event_log", EVENT_LOG)
    receive(settings, 1)
    assert put_right(settings) == []
    land_event_log(settings)
    assert landed(settings) == 1


def test_e95_a_lost_key_is_seen_in_a_lake_of_its_own(
    own_key: Settings, make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    shutil.move(Path(own_key.lake_url), tmp_path / "bucket")
    (own_key.data_dir / "pii.key").unlink()
    with pytest.raises(DataFolderError, match="With a new key"):
        put_right(make_settings(pii_key=None, lake_url=f"file://{tmp_path}/bucket"))


@pytest.mark.parametrize("name", ["lake", "activation", "dagster"])
def test_e95_a_folder_that_became_a_file_is_one_line(own_key: Settings, name: str) -> None:
    """As git, zip and object stores keep a link: a file with the path it led to."""
    path = own_key.data_dir / name
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("/mnt/disk/lake")
    with pytest.raises(
        DataFolderError, match=f"{name} is not a folder: a copy has turned a link into a file"
    ):
        put_right(own_key)
    path.unlink()
    path.symlink_to("/no/such/place")
    with pytest.raises(DataFolderError, match=f"{name} is not a folder"):
        put_right(own_key)


def test_e95_a_data_folder_that_is_a_file_is_one_line(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings()
    settings.data_dir.write_text("/mnt/disk/data")
    with pytest.raises(DataFolderError, match="a copy has turned a link into a file"):
        put_right(settings)


def test_e95_links_to_folders_elsewhere_are_followed(own_key: Settings, tmp_path: Path) -> None:
    shutil.move(own_key.data_dir / "lake", tmp_path / "disk")
    (own_key.data_dir / "lake").symlink_to(tmp_path / "disk")
    put_right(own_key)
    receive(own_key, 1)
    land_event_log(own_key)
    assert landed(own_key) == 4


@pytest.mark.parametrize(
    ("name", "text"), [("vault.db", "/x/vault.db"), ("activation/ledger.db", "cut")]
)
def test_e95_a_database_that_is_none_is_one_line(own_key: Settings, name: str, text: str) -> None:
    path = own_key.data_dir / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(DataFolderError, match="is not a database") as error:
        put_right(own_key)
    assert path.name in str(error.value)


def test_e95_a_log_without_its_database_is_kept(own_key: Settings) -> None:
    """SQLite would begin a new database and delete the log, with what was acknowledged in it."""
    path = own_key.data_dir / "vault.db"
    with sqlite3.connect(path) as busy:
        busy.execute("insert into vault_probe values (7, 7)")
        busy.commit()
        wal = path.with_name("vault.db-wal")
        kept = wal.read_bytes()
        assert kept
    busy.close()
    path.unlink()
    wal.write_bytes(kept)
    with pytest.raises(DataFolderError, match=r"missing beside its vault\.db-wal"):
        put_right(own_key)
    with pytest.raises(VaultUnavailableError, match=r"missing beside its vault\.db-wal"):
        open_vault(own_key.vault_url)
    assert wal.read_bytes() == kept
    assert not path.exists()


def test_e95_a_shared_memory_file_of_another_machine_does_no_harm(own_key: Settings) -> None:
    (own_key.data_dir / "vault.db-shm").write_bytes(b"stale" * 7000)
    put_right(own_key)
    receive(own_key, 1)
    land_event_log(own_key)
    assert landed(own_key) == 4


def test_e95_leftovers_of_copying_tools_in_the_lake_are_no_rows(own_key: Settings) -> None:
    lake = Path(own_key.lake_url)
    table = lake / "event_log" / "envelopes"
    (data,) = (p for p in table.glob("*.parquet") if p.name != "0.schema.parquet")
    (table / f".{data.name}.Xk2f9q").write_bytes(data.read_bytes()[:99])  # rsync, half-way
    (table / f"._{data.name}").write_bytes(b"\0\5\26\7Mac OS X")  # an archive of a Mac
    (table / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (lake / "event_log" / "_commits").mkdir(exist_ok=True)
    (lake / "event_log" / "_commits" / "._1.json").write_bytes(b"\0\5\26\7Mac OS X")
    (table / "0.schema.parquet").write_bytes(b"PAR1")  # half of it
    put_right(own_key)
    receive(own_key, 1)
    land_event_log(own_key)
    assert Lake.from_settings(own_key).query(
        "select count(*) as n from {e}", e="event_log/envelopes"
    ).to_pylist() == [{"n": 4}]


def test_e95_half_a_file_of_states_is_written_anew(settings: Settings) -> None:
    ensure_states(settings)
    whole = states_path(settings).read_bytes()
    states_path(settings).write_bytes(whole[:50])
    ensure_states(settings)
    assert states_path(settings).read_bytes() == whole


def test_e95_a_place_for_marts_that_is_none_is_made_free(own_key: Settings) -> None:
    own_key.marts_path.mkdir()
    parquet = own_key.marts_path.with_name("marts_parquet")
    parquet.write_text("/mnt/disk/marts_parquet")
    assert len(put_right(own_key)) == 2
    assert not own_key.marts_path.exists()
    assert not parquet.exists()
    assert len(list(own_key.data_dir.glob("marts*.broken-*"))) == 2


def test_e95_files_of_another_account_are_one_line(
    own_key: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root unpacked them: this account can neither read nor take them back."""
    monkeypatch.setattr(data_folder, "keep_private", lambda _: None)
    theirs = own_key.data_dir / "pii.key"
    able = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != theirs and able(path, mode))
    with pytest.raises(DataFolderError, match=r"pii\.key and 0 more .* chown -R") as error:
        put_right(own_key)
    assert "\n" not in str(error.value)
