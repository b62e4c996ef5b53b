"""Damaged pages of the vault: named for what they are, gone round, never written to, mended."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from commands.cli import app
from commands.doctor.stores import stores, vault_bodies
from ctwa.settings import Settings
from ingestion.event_log.replay import replay
from ingestion.event_log.source import VaultDamageError, land_event_log
from ingestion.vault import open_vault
from ingestion.vault.repair import repair
from ingestion.vault.sqlite_file import damage_mark
from ingestion.vault.vault import (
    BODY_DAMAGED,
    UNREADABLE,
    NewEnvelope,
    Vault,
    VaultDamagedError,
    VaultError,
)
from ingestion.webhook.server import running
from tests.ingestion.webhook.clients import APP_SECRET, get, post_whatsapp

ROWS = 400
RECEIVED = 1_781_000_000_000_000
PAGE = 16_384


def _body(number: int) -> bytes:
    """Every fortieth is so long that it lies on pages of its own."""
    size = 60_000 if number % 40 == 0 else 900
    return b'{"object":"whatsapp_business_account","entry":[],"n":%d,"x":"%s"}' % (
        number,
        b"x" * size,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vault of some hundred bodies in one file, without a WAL."""
    path = tmp_path_factory.mktemp("whole") / "vault.db"
    vault = open_vault(f"sqlite:///{path}")
    for first in range(1, ROWS + 1, 50):
        vault.append(
            [NewEnvelope(RECEIVED + n, "whatsapp", _body(n)) for n in range(first, first + 50)]
        )
    vault.close()
    assert not Path(f"{path}-wal").exists()
    return path


@pytest.fixture
def path(whole: Path, settings: Settings) -> Path:
    """A copy of it where the settings have their vault."""
    found = settings.data_dir / "vault.db"
    found.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(whole, found)
    found.chmod(0o600)
    return found


def pages(path: Path) -> dict[str, list[int]]:
    """Numbers of the pages of `envelopes`, by kind; from the tree itself, without dbstat."""
    with sqlite3.connect(path) as connection:
        root = connection.execute(
            "select rootpage from sqlite_master where name = 'envelopes'"
        ).fetchone()[0]
    data = path.read_bytes()
    found: dict[str, list[int]] = {"interior": [], "leaf": [], "overflow": []}
    waiting = [root]
    while waiting:
        number = waiting.pop(0)
        page = data[(number - 1) * PAGE : number * PAGE]
        cells = int.from_bytes(page[3:5], "big")
        if page[0] == 5:
            found["interior"].append(number)
            places = [int.from_bytes(page[12 + 2 * n : 14 + 2 * n], "big") for n in range(cells)]
            waiting += [int.from_bytes(page[at : at + 4], "big") for at in places]
            waiting.append(int.from_bytes(page[8:12], "big"))
        else:
            assert page[0] == 13
            found["leaf"].append(number)
    known = {1, root, *found["interior"], *found["leaf"]}
    # What begins with text of a long body; the numbers of its next page stand before it.
    found["overflow"] = [
        n
        for n in range(2, len(data) // PAGE + 1)
        if n not in known and data[(n - 1) * PAGE + 100 : (n - 1) * PAGE + 140] == b"x" * 40
    ]
    return found


def spoil(path: Path, number: int, how: str = "zero") -> None:
    """Zero a page, or fill it with noise, or flip one byte in its middle."""
    with path.open("r+b") as file:
        file.seek((number - 1) * PAGE)
        page = bytearray(file.read(PAGE))
        if how == "zero":
            page = bytearray(PAGE)
        elif how == "noise":
            page = bytearray(random.Random(number).randbytes(PAGE))
        else:
            page[page.index(b"x" * 500) + 250] ^= 0x41
        file.seek((number - 1) * PAGE)
        file.write(page)


def read(vault: Vault, after: int = 0) -> dict[int, tuple[bytes, str | None]]:
    """What is read of it: seq to body and damage; in order, each once."""
    rows = [row for batch in vault.read_batches(after) for row in batch.to_pylist()]
    seqs = [row["seq"] for row in rows]
    assert seqs == sorted(set(seqs))
    return {row["seq"]: (row["body"], row["damage"]) for row in rows}


@pytest.mark.parametrize("is_open", [False, True], ids=["adbc", "sqlite3"])
@pytest.mark.parametrize("how", ["zero", "noise"])
@pytest.mark.parametrize("kind", ["first leaf", "leaf", "last leaf", "overflow", "several"])
def test_e99_damaged_pages_are_gone_round(
    path: Path, settings: Settings, kind: str, how: str, is_open: bool
) -> None:
    found = pages(path)
    leaf, overflow = found["leaf"], found["overflow"]
    assert len(leaf) > 20
    assert len(overflow) > 20
    spoiled = {
        "first leaf": leaf[:1],
        "leaf": [leaf[len(leaf) // 2]],
        "last leaf": leaf[-1:],
        "overflow": [overflow[7]],
        "several": [*leaf[3:5], overflow[11], leaf[-4]],
    }[kind]
    for number in spoiled:
        spoil(path, number, how)
    vault = open_vault(settings.vault_url)
    if is_open:
        vault._connection()  # type: ignore[attr-defined]
    rows = read(vault)
    vault.close()
    assert set(rows) == set(range(1, ROWS + 1))
    lost = {seq for seq, (_, damage) in rows.items() if damage}
    assert 1 <= len(lost) < 30 * len(spoiled)
    for seq, (body, damage) in rows.items():
        assert body == (b"" if damage else _body(seq))
    assert {damage for _, damage in rows.values() if damage} <= {UNREADABLE, BODY_DAMAGED}


def test_e99_a_flipped_bit_in_a_body_is_seen_by_its_hash(path: Path, settings: Settings) -> None:
    found = pages(path)
    for number in (found["leaf"][5], found["overflow"][3]):
        spoil(path, number, "flip")
    vault = open_vault(settings.vault_url)
    rows = read(vault)
    lost = [seq for seq, (_, damage) in rows.items() if damage]
    assert [rows[seq] for seq in lost] == [(b"", BODY_DAMAGED)] * 2
    vault.append([NewEnvelope(RECEIVED, "whatsapp", b"{}")])  # the database itself is whole
    assert not damage_mark(path).exists()
    vault.close()


@pytest.mark.parametrize("seed", range(12))
def test_e99_whatever_is_spoiled_nothing_false_is_read(
    path: Path, settings: Settings, seed: int
) -> None:
    """Bits flipped anywhere but in the header: each row is right, or said to be damaged."""
    choice = random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(60):
        data[choice.randrange(PAGE, len(data))] ^= 1 << choice.randrange(8)
    path.write_bytes(data)
    vault = open_vault(settings.vault_url)
    try:
        rows = read(vault)
    except VaultDamagedError:
        return
    finally:
        vault.close()
    # The highest number that was ever given stands elsewhere, and may be hit, too.
    assert set(range(1, ROWS + 1)) <= set(rows)
    for seq, (body, damage) in rows.items():
        assert body == (b"" if damage else _body(seq))


def test_e99_a_number_that_was_never_given_is_not_believed(path: Path, settings: Settings) -> None:
    """The last row's own number, spoiled: without a bound its search would never end."""
    with sqlite3.connect(path) as connection:
        connection.execute("pragma writable_schema = on")
        connection.execute(f"update envelopes set seq = {2**40} where seq = {ROWS}")
        connection.execute(f"update sqlite_sequence set seq = {ROWS}")
    vault = open_vault(settings.vault_url)
    assert vault.last_seq() == ROWS
    rows = read(vault)
    vault.close()
    assert rows.pop(ROWS) == (b"", UNREADABLE)
    assert rows == {n: (_body(n), None) for n in range(1, ROWS)}


def test_e99_a_time_that_cannot_be_is_damage(path: Path, settings: Settings) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"update envelopes set received_at_us = {2**62} where seq = 9")
    vault = open_vault(settings.vault_url)
    rows = [row for batch in vault.read_batches(0) for row in batch.to_pylist()]
    vault.close()
    assert [row["seq"] for row in rows if row["damage"]] == [9]
    assert rows[8]["received_at"] == rows[7]["received_at"]


@pytest.mark.parametrize("what", ["header", "root"])
def test_e99_where_nothing_can_be_read_it_says_damaged_not_disk_or_permissions(
    path: Path, settings: Settings, what: str
) -> None:
    spoil(path, 1 if what == "header" else pages(path)["interior"][0])

    def write() -> None:
        open_vault(settings.vault_url).append([NewEnvelope(RECEIVED, "whatsapp", b"{}")])

    with pytest.raises(VaultDamagedError, match=r"is damaged: .*mend-vault") as caught:
        write()
    assert "permissions" not in str(caught.value)
    assert any("is damaged" in f.found for f in stores(settings) if f.status == "wrong")


# --- the receiver -------------------------------------------------------------------------------


@pytest.fixture
def receiver(make_settings: Callable[..., Settings], path: Path) -> Iterator[str]:
    with running(make_settings(meta_app_secret=APP_SECRET)) as url:
        yield url


def test_e99_a_damaged_vault_is_not_ready_and_takes_nothing(
    receiver: str, path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert post_whatsapp(receiver).status == 200
    assert get(receiver, "/readyz").status == 200
    spoil(path, pages(path)["leaf"][3])
    # Nobody knows yet; the landing finds it, in another process as a rule.
    with pytest.raises(VaultDamageError):
        land_event_log(settings)
    assert post_whatsapp(receiver).status == 503
    ready = get(receiver, "/readyz")
    while ready.status == 200:  # asked once a second
        ready = get(receiver, "/readyz")
    assert ready.body == b"the vault is damaged; docs/operations.md says what to do\n"
    assert b"ctwa_vault_damaged 1.0" in get(receiver, "/metrics").body
    assert get(receiver, "/healthz").status == 200
    assert "is damaged" in caplog.text
    # Repaired, it goes on without a restart.
    vault = open_vault(settings.vault_url)
    mended = repair(vault)
    vault.close()
    assert mended.kept + mended.lost == ROWS + 1
    assert post_whatsapp(receiver).status == 200
    while get(receiver, "/readyz").status != 200:
        pass
    vault = open_vault(settings.vault_url)
    assert vault.last_seq() == ROWS + 2
    vault.close()


def test_e99_damage_that_a_write_meets_closes_the_vault(receiver: str, path: Path) -> None:
    assert post_whatsapp(receiver).status == 200
    with sqlite3.connect(path) as other:
        other.execute("pragma wal_checkpoint(truncate)")
    spoil(path, pages(path)["leaf"][-1], "noise")
    with path.open("r+b") as file:  # a change that others made: pages in memory count no more
        file.seek(24)
        file.write((10_000).to_bytes(4, "big"))
    answers = {post_whatsapp(receiver, b"%d" % n).status for n in range(30)}
    assert answers <= {200, 503}


# --- landing ------------------------------------------------------------------------------------


def _quarantined(settings: Settings) -> dict[int, str]:
    from ingestion.lake.lake import Lake

    lake = Lake.from_settings(settings)
    rows = lake.query("select seq, reason from {q}", q="event_log/quarantine")
    return dict(zip(rows["seq"].to_pylist(), rows["reason"].to_pylist(), strict=True))


def _landed(settings: Settings) -> list[int]:
    from ingestion.lake.lake import Lake

    lake = Lake.from_settings(settings)
    rows = lake.query("select seq from {e} order by 1", e="event_log/envelopes")
    return [int(seq) for seq in rows["seq"].to_pylist()]


def test_e99_all_behind_a_damaged_page_lands_in_the_same_night(
    path: Path, settings: Settings
) -> None:
    found = pages(path)
    spoil(path, found["leaf"][6])
    spoil(path, found["overflow"][9], "flip")
    with pytest.raises(VaultDamageError, match="could not be read") as caught:
        land_event_log(settings)
    counts = caught.value.counts
    assert _landed(settings) == list(range(1, ROWS + 1))
    kinds = UNREADABLE, BODY_DAMAGED
    lost = {s: r for s, r in _quarantined(settings).items() if r.startswith(kinds)}
    assert counts.damaged == len(lost) > 1
    assert counts.envelopes == ROWS
    first = min(s for s, r in lost.items() if r.startswith(UNREADABLE))
    assert f"{first}-" in str(caught.value)
    assert {r.split(":")[0] for r in lost.values()} == {UNREADABLE, BODY_DAMAGED}
    # The next night lands nothing twice, and says it again until it is mended.
    with pytest.raises(VaultDamageError, match="ctwa mend-vault") as again:
        land_event_log(settings)
    assert again.value.counts.envelopes == 0
    vault = open_vault(settings.vault_url)
    mended = repair(vault)
    assert mended.lost == len(lost)
    vault.append([NewEnvelope(RECEIVED + 9_999, "whatsapp", b"{}")])
    vault.close()
    assert land_event_log(settings).envelopes == 1
    assert _landed(settings) == list(range(1, ROWS + 2))


def test_e99_what_had_landed_before_the_damage_stays(path: Path, settings: Settings) -> None:
    """`--reparse` replaces rows by what bodies say; what cannot be read says nothing."""
    land_event_log(settings)
    before = _quarantined(settings)
    spoil(path, pages(path)["leaf"][8])
    with pytest.raises(VaultDamageError) as caught:
        land_event_log(settings, reparse=True)
    assert caught.value.counts.damaged > 1
    assert _landed(settings) == list(range(1, ROWS + 1))
    assert _quarantined(settings) == before


@pytest.mark.parametrize("kind", ["last leaf", "landed last leaf"])
def test_e99_damage_at_the_end_is_not_taken_for_an_older_vault(
    path: Path, settings: Settings, kind: str
) -> None:
    if kind.startswith("landed"):
        land_event_log(settings)
    spoil(path, pages(path)["leaf"][-1])
    for _ in range(2):
        with pytest.raises(VaultDamageError):
            land_event_log(settings)
    assert _landed(settings) == list(range(1, ROWS + 1))
    vault = open_vault(settings.vault_url)
    repair(vault)
    vault.append([NewEnvelope(RECEIVED + 9_999, "whatsapp", b"{}")])
    vault.close()
    # Its last envelope has no body that could be compared, and is not read again.
    assert land_event_log(settings).envelopes == 1


# --- backup and mending --------------------------------------------------------------------------


def test_e99_the_backup_of_a_damaged_vault_says_so(path: Path, settings: Settings) -> None:
    from keeping.backup import backup

    spoil(path, pages(path)["leaf"][4])
    with pytest.raises(VaultDamagedError, match="is damaged"):
        backup(settings, settings.data_dir.parent / "backups")
    assert not list((settings.data_dir.parent / "backups").iterdir())


def test_mending_keeps_numbers_times_hashes_and_what_was_purged(
    path: Path, settings: Settings
) -> None:
    vault = open_vault(settings.vault_url)
    vault.erase_bodies([7])
    vault.close()
    spoil(path, pages(path)["leaf"][-3])
    vault = open_vault(settings.vault_url)
    mended = repair(vault)
    assert mended.lost > 1
    assert vault.extent(ROWS) == (1, ROWS)
    rows = read(vault)
    assert set(rows) == set(range(1, ROWS + 1)) - {7}
    assert [d for _, d in rows.values() if d] == [UNREADABLE] * mended.lost
    assert mended.aside.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma integrity_check").fetchone()[0] == "ok"
        assert connection.execute("pragma page_size").fetchone()[0] == PAGE
    with pytest.raises(VaultError, match=r"not damaged|earlier repair"):
        repair(vault)
    vault.close()


def test_a_whole_vault_is_not_mended(path: Path, settings: Settings) -> None:
    before = path.read_bytes()
    vault = open_vault(settings.vault_url)
    with pytest.raises(VaultError, match="is not damaged"):
        repair(vault)
    vault.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("table", ["sqlite_sequence", "vault_probe"])
def test_damage_beside_the_envelopes_is_mended_too(
    path: Path, settings: Settings, table: str
) -> None:
    vault = open_vault(settings.vault_url)
    vault.ping()
    vault.close()
    with sqlite3.connect(path) as connection:
        sql = f"select rootpage from sqlite_master where name = '{table}'"
        number = connection.execute(sql).fetchone()[0]
    spoil(path, number, "noise")
    vault = open_vault(settings.vault_url)
    with pytest.raises(VaultDamagedError):
        vault.ping() if table == "vault_probe" else vault.append([NewEnvelope(0, "x", b"{}")])
    assert repair(vault)[:2] == (ROWS, 0)
    vault.append([NewEnvelope(RECEIVED, "whatsapp", b"{}")])
    vault.ping()
    assert vault.last_seq() == ROWS + 1
    vault.close()


def test_a_vault_behind_a_link_is_mended_where_it_lies(
    whole: Path, settings: Settings, tmp_path: Path
) -> None:
    real = tmp_path / "disk" / "real.db"
    real.parent.mkdir()
    shutil.copy(whole, real)
    settings.data_dir.mkdir(parents=True)
    link = settings.data_dir / "vault.db"
    link.symlink_to(real)
    spoil(real, pages(real)["leaf"][2])
    vault = open_vault(settings.vault_url)
    assert len(read(vault)) == ROWS
    with pytest.raises(VaultDamagedError):
        vault.append([NewEnvelope(RECEIVED, "whatsapp", b"{}")])
    assert repair(vault).aside.parent == real.parent
    assert link.is_symlink()
    vault.append([NewEnvelope(RECEIVED, "whatsapp", b"{}")])
    assert vault.last_seq() == ROWS + 1
    vault.close()


@pytest.mark.parametrize("step", ["rename", "link", "replace"])
def test_mending_that_was_killed_is_done_again(
    path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """With envelopes that only the WAL holds: they must not be lost between two names."""
    other = sqlite3.connect(path)  # keeps the WAL from being emptied
    other.execute("select count(*) from vault_probe").fetchone()
    vault = open_vault(settings.vault_url)
    vault.append([NewEnvelope(RECEIVED + 500, "whatsapp", b"in the WAL")])
    vault.close()
    spoil(path, pages(path)["leaf"][2])
    assert Path(f"{path}-wal").stat().st_size > 0

    class KilledError(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise KilledError

    target = {"rename": "pathlib.Path.rename", "link": "os.link", "replace": "pathlib.Path.replace"}
    vault = open_vault(settings.vault_url)
    with pytest.raises(VaultDamagedError):
        vault.backup(settings.data_dir / "copy.db")  # the damage is known, and marked
    with monkeypatch.context() as patch:
        patch.setattr(target[step], killed)
        with pytest.raises(KilledError):
            repair(vault)
    other.close()
    mended = repair(vault)
    vault.close()
    vault = open_vault(settings.vault_url)
    rows = read(vault)
    vault.close()
    assert rows[ROWS + 1] == (b"in the WAL", None)
    assert mended.kept + mended.lost == ROWS + 1


# --- words ---------------------------------------------------------------------------------------


def test_errors_say_what_they_are(tmp_path: Path) -> None:
    vault = open_vault(f"sqlite:///{tmp_path / 'vault.db'}")
    vault.append([NewEnvelope(0, "whatsapp", b"{}")])
    connection = vault._connection()  # type: ignore[attr-defined]
    size = connection.execute("pragma page_count").fetchone()[0]
    connection.execute(f"pragma max_page_count = {size}")
    with pytest.raises(VaultError, match="full; free space on its disk"):
        vault.append([NewEnvelope(0, "whatsapp", b"x" * 1_000_000)])
    connection.execute("pragma max_page_count = 100000")
    connection.execute("pragma query_only = on")
    with pytest.raises(VaultError, match=r"readonly.*check the permissions"):
        vault.append([NewEnvelope(0, "whatsapp", b"{}")])
    vault.close()


def test_e99_postgres_says_damaged_by_its_codes(postgres_url: str) -> None:
    """And the pages that can be read are read: one row's body is lost, its neighbours stay."""
    vault = open_vault(postgres_url)
    vault.append([NewEnvelope(RECEIVED + n, "whatsapp", b"%d" % n) for n in range(1, 21)])
    url = sa.make_url(postgres_url).set(drivername="postgresql").render_as_string(False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("alter table envelopes rename to stored")
        connection.execute(
            "create function checked(seq bigint, body bytea) returns bytea language plpgsql stable "
            "as $$ begin if seq = 7 then raise exception 'invalid page in block 4 of relation x' "
            "using errcode = 'XX001'; end if; return body; end $$"
        )
        connection.execute(
            "create view envelopes as select seq, received_at_us, source, size, body_sha256, "
            "checked(seq, body) as body from stored"
        )
    rows = read(vault)
    assert [seq for seq, (_, damage) in rows.items() if damage == UNREADABLE] == [7]
    assert {seq: body for seq, (body, _) in rows.items() if seq != 7} == {
        n: b"%d" % n for n in range(1, 21) if n != 7
    }
    with pytest.raises(VaultDamagedError, match=r"is damaged: .*XX001"):
        vault.count_after(0)
    vault.close()


def test_e99_doctor_compares_every_body_and_a_backup_brings_it_back(
    path: Path, settings: Settings, tmp_path: Path
) -> None:
    copy = tmp_path / "backup" / "vault.db"
    copy.parent.mkdir()
    shutil.copy(path, copy)
    assert list(vault_bodies(settings, deep=False)) == []
    (whole,) = vault_bodies(settings, deep=True)
    assert whole.status == "ok"
    with sqlite3.connect(path) as connection:
        connection.execute("update envelopes set body = x'00' where seq in (3, 4, 9)")
    connection.close()
    (found,) = vault_bodies(settings, deep=True)
    assert found.status == "wrong"
    assert f"3 of {ROWS} cannot be read" in found.found
    assert "seq 3-4, 9" in found.found
    assert "ctwa replay BACKUP/vault.db" in found.fix

    assert replay(settings, [copy]).stored == 3
    assert replay(settings, [copy]).stored == 0
    vault = open_vault(settings.vault_url)
    assert [body for body, _ in list(read(vault).values())[-3:]] == [_body(n) for n in (3, 4, 9)]
    vault.close()
    assert [p.name for p in copy.parent.iterdir()] == ["vault.db"]


@pytest.mark.parametrize("part", [0.3, 0.9])
def test_e99_of_a_vault_that_was_cut_all_that_is_left_is_read_and_mended(
    path: Path, settings: Settings, part: float
) -> None:
    """A copy that broke off: SQLite opens no file that is shorter than its head says."""
    os.truncate(path, int(path.stat().st_size * part))
    vault = open_vault(settings.vault_url)
    rows = read(vault)
    whole = {seq: body for seq, (body, damage) in rows.items() if damage is None}
    assert list(rows) == list(range(1, ROWS + 1))
    assert ROWS * part * 0.5 < len(whole) < ROWS
    assert whole == {seq: _body(seq) for seq in whole}
    with pytest.raises(VaultDamagedError, match="ctwa mend-vault"):
        vault.append([NewEnvelope(RECEIVED, "whatsapp", b"{}")])
    mended = repair(vault)
    assert (mended.kept, mended.lost) == (len(whole), ROWS - len(whole))
    vault.append([NewEnvelope(RECEIVED, "whatsapp", b"{}")])
    assert vault.last_seq() == ROWS + 1
    vault.close()


def test_e99_where_nothing_is_left_mending_says_what_to_do_instead(
    path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(path, 1)
    monkeypatch.setenv("CTWA_DATA_DIR", str(settings.data_dir))
    result = CliRunner().invoke(app, ["mend-vault"])
    assert result.exit_code == 1
    assert "put a backup's vault.db in its place" in " ".join(result.stderr.split())
    assert "ctwa adopt-vault" in " ".join(result.stderr.split())
