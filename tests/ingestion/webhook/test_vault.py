"""The vault, as SQLite and as PostgreSQL: what was appended is what is read, once, in order."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from ingestion.vault import open_vault
from ingestion.vault import vault as vault_module
from ingestion.vault.sqlite_file import LIBRARIES
from ingestion.vault.vault import (
    BATCH_SCHEMA,
    NewEnvelope,
    Vault,
    VaultError,
    VaultUnavailableError,
    microseconds,
)

DAY = datetime(2026, 5, 4, tzinfo=UTC)


def _envelope(body: bytes = b"{}", *, at: datetime = DAY, source: str = "whatsapp") -> NewEnvelope:
    return NewEnvelope(microseconds(at), source, body)


def _read(vault: Vault, after: int = 0, **options: int) -> list[tuple[int, bytes]]:
    return [
        (row["seq"], row["body"])
        for batch in vault.read_batches(after, **options)  # type: ignore[arg-type]
        for row in batch.to_pylist()
    ]


def _sqlite(tmp_path: Path) -> tuple[Vault, Path]:
    path = tmp_path / "vault.db"
    return open_vault(f"sqlite:///{path}"), path


# --- both kinds ---------------------------------------------------------------------------------


def test_what_was_appended_is_read_byte_for_byte(vault_url: str) -> None:
    hostile = [b"", b"\x00\xff\xfe", b'{"a":"\\ud800"}', "ação 👋".encode(), b"x" * 3_000_000]
    moment = datetime(2026, 5, 4, 23, 59, 59, 123456, tzinfo=UTC)
    vault = open_vault(vault_url)
    vault.append([_envelope(body, at=moment, source="outcomes") for body in hostile])
    batches = list(vault.read_batches(0))
    assert all(batch.schema.equals(BATCH_SCHEMA) for batch in batches)
    rows = pa.Table.from_batches(batches).to_pylist()
    assert [row["body"] for row in rows] == hostile
    assert {(row["received_at"], row["source"]) for row in rows} == {(moment, "outcomes")}
    vault.close()


def test_size_and_hash_stand_beside_the_body(vault_url: str) -> None:
    vault = open_vault(vault_url)
    vault.append([_envelope(b"same"), _envelope(b"same")])  # repeats are facts
    vault.close()
    with sa.create_engine(vault_url, poolclass=sa.NullPool).connect() as connection:
        rows = connection.execute(sa.text("select size, body_sha256 from envelopes")).all()
    assert [(size, bytes(digest)) for size, digest in rows] == [
        (4, hashlib.sha256(b"same").digest())
    ] * 2


def test_a_vault_has_a_name_of_its_own_and_knows_since_when_a_body_waits(vault_url: str) -> None:
    vault = open_vault(vault_url)
    name = vault.identity()
    assert vault.waiting_since() is None
    vault.append([_envelope(at=DAY), _envelope(at=DAY + timedelta(days=1))])
    begun = vault.waiting_since()
    assert begun is not None
    assert begun > DAY, "a vault of an older version may have been read without a note of it"
    vault.note_landed(0)
    assert vault.waiting_since() == DAY
    vault.note_landed(1)
    assert vault.waiting_since() == DAY + timedelta(days=1)
    vault.note_landed(2)
    assert vault.waiting_since() is None
    vault.ping()
    vault.close()
    again = open_vault(vault_url)
    assert again.identity() == name
    again.close()


def test_bounds_are_kept_and_an_empty_vault_is_empty(vault_url: str) -> None:
    vault = open_vault(vault_url)
    assert (vault.last_seq(), vault.count_after(0), vault.extent(9)) == (0, 0, (0, 0))
    assert _read(vault) == []
    vault.append([_envelope(b"%d" % n) for n in range(1, 11)])
    assert _read(vault, 3, up_to_seq=6, batch_rows=2) == [(4, b"4"), (5, b"5"), (6, b"6")]
    assert [b.num_rows for b in vault.read_batches(0, batch_rows=4)] == [4, 4, 2]
    assert (vault.last_seq(), vault.count_after(7)) == (10, 3)
    assert _read(vault, 10) == []
    vault.close()


def test_pages_are_bounded_by_bytes(vault_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_module, "PAGE_BYTES", 2_500)
    vault = open_vault(vault_url)
    vault.append([_envelope(b"x" * size) for size in (1_000, 1_000, 1_000, 9_000, 100)])
    assert [b.num_rows for b in vault.read_batches(0)] == [2, 1, 1, 1]
    vault.close()


def test_a_reader_stops_at_what_was_there_when_it_began(vault_url: str) -> None:
    vault = open_vault(vault_url)
    vault.append([_envelope(), _envelope()])
    seen = []
    for batch in vault.read_batches(0, batch_rows=1):
        seen += batch.column("seq").to_pylist()
        vault.append([_envelope()])
    assert seen == [1, 2]
    vault.close()


def test_purged_bodies_are_left_out_and_their_rows_stay(vault_url: str) -> None:
    vault = open_vault(vault_url)
    vault.append([_envelope(b"%d" % n, at=DAY + timedelta(days=n)) for n in range(6)])
    assert vault.purge_bodies(DAY + timedelta(days=4), up_to_seq=3) == 3
    assert _read(vault) == [(4, b"3"), (5, b"4"), (6, b"5")]
    assert (vault.extent(5), vault.count_after(0), vault.last_seq()) == ((1, 5), 3, 6)
    assert vault.purge_bodies(DAY + timedelta(days=4), up_to_seq=6) == 1  # received later stays
    with sa.create_engine(vault_url, poolclass=sa.NullPool).connect() as connection:
        assert connection.execute(sa.text("select count(*) from envelopes")).scalar() == 6
    vault.close()


def test_seq_is_never_used_twice(vault_url: str) -> None:
    """A landing that has read up to 3 must see what comes after everything was deleted."""
    vault = open_vault(vault_url)
    vault.append([_envelope() for _ in range(3)])
    vault.purge_bodies(DAY + timedelta(days=1), up_to_seq=3)
    with sa.create_engine(vault_url, poolclass=sa.NullPool).begin() as connection:
        connection.execute(sa.text("delete from envelopes"))
    vault.close()
    vault = open_vault(vault_url)
    vault.append([_envelope(b"new")])
    assert _read(vault, 3) == [(4, b"new")]
    vault.close()


def test_known_bad_without_autoincrement_the_reader_misses_rows(tmp_path: Path) -> None:
    """The same steps on a table without AUTOINCREMENT: the test above would see it fail."""
    path = tmp_path / "vault.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "create table envelopes (seq integer primary key, received_at_us integer not null, "
            "source text not null, size integer not null, body_sha256 blob not null, body blob)"
        )
    vault = open_vault(f"sqlite:///{path}")
    vault.append([_envelope() for _ in range(3)])
    with sqlite3.connect(path) as connection:
        connection.execute("delete from envelopes")
    vault.append([_envelope(b"new")])
    assert _read(vault, 3) == []
    vault.close()


def test_several_threads_lose_nothing(vault_url: str) -> None:
    vault = open_vault(vault_url)

    def write(writer: int) -> None:
        for n in range(20):
            vault.append([_envelope(b"%d-%d" % (writer, n))])

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    seen: list[bytes] = []
    last = 0
    while any(t.is_alive() for t in threads) or vault.count_after(last):
        for seq, body in _read(vault, last):
            last = seq
            seen.append(body)
    assert sorted(seen) == sorted(b"%d-%d" % (w, n) for w in range(4) for n in range(20))
    vault.close()


def test_two_first_starts_agree_on_one_table(vault_url: str) -> None:
    opened: list[Vault] = []
    threads = [
        threading.Thread(target=lambda: opened.append(open_vault(vault_url))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    opened[0].append([_envelope()])
    assert opened[3].last_seq() == 1
    for vault in opened:
        vault.close()


def test_ping_makes_a_durable_write(vault_url: str) -> None:
    vault = open_vault(vault_url)
    vault.ping()
    vault.ping()
    with sa.create_engine(vault_url, poolclass=sa.NullPool).connect() as connection:
        assert connection.execute(sa.text("select count(*) from vault_probe")).scalar() == 1
    vault.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "is not a URL"),
        ("mysql://user:secret-canary@host/db", "not supported"),
        ("sqlite://", "in memory"),
        ("postgresql+psycopg2://u:secret-canary@h/db", "postgresql+psycopg://"),
        ("postgresql+psycopg://u:secret-canary@127.0.0.1:1/db", "is the database up?"),
        ("sqlite:////proc/no-such-folder/vault.db", "permissions"),
    ],
)
def test_a_wrong_url_is_named_without_its_password(url: str, says: str) -> None:
    with pytest.raises(VaultError) as caught:
        open_vault(url)
    assert says in str(caught.value)
    assert "secret-canary" not in str(caught.value)


# --- SQLite -------------------------------------------------------------------------------------


def test_the_file_is_private_and_durable(tmp_path: Path) -> None:
    vault, path = _sqlite(tmp_path)
    vault.append([_envelope()])
    for file in tmp_path.glob("vault.db*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    connection = vault._connection()  # type: ignore[attr-defined]
    found = {
        name: connection.execute(f"pragma {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "page_size", "secure_delete")
    }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL: NORMAL loses acknowledged commits in a power cut
        "page_size": 16384,
        "secure_delete": 1,
    }
    vault.close()
    assert path.exists()


def test_e77_purged_bytes_are_gone_from_the_disk(tmp_path: Path) -> None:
    vault, _ = _sqlite(tmp_path)
    canaries = [b"canary-%06d-" % n * size for n, size in enumerate((3, 300, 30_000))]
    vault.append([_envelope(body) for body in canaries])

    def traces() -> int:
        data = b"".join(file.read_bytes() for file in tmp_path.glob("vault.db*"))
        return sum(b"canary-%06d-" % n in data for n in range(3))

    assert traces() == 3
    assert vault.purge_bodies(DAY + timedelta(days=1), up_to_seq=3) == 3
    assert traces() == 0
    vault.close()


def test_a_slow_reader_does_not_hold_back_the_checkpoint(tmp_path: Path) -> None:
    vault, path = _sqlite(tmp_path)
    vault.append([_envelope(b"x" * 1_000) for _ in range(100)])
    batches = vault.read_batches(0, batch_rows=10)
    next(batches)
    vault.append([_envelope(b"y" * 1_000) for _ in range(100)])
    with sqlite3.connect(path) as other:
        busy, _, _ = other.execute("pragma wal_checkpoint(truncate)").fetchone()
    assert busy == 0
    assert sum(batch.num_rows for batch in batches) == 90
    vault.close()


def test_both_ways_of_reading_agree(tmp_path: Path) -> None:
    """ADBC where no connection of Python's own SQLite is open in the process, else that one."""
    vault, path = _sqlite(tmp_path)
    vault.append([_envelope(b""), _envelope(b"\x00\x01"), _envelope(b"text")])
    guard, name = LIBRARIES, str(path)
    with guard.adbc(name) as free:
        assert not free  # the writing connection is open
    through_sqlite3 = list(vault.read_batches(0))
    vault.close()
    with guard.adbc(name) as free:
        assert free
    assert list(vault.read_batches(0)) == through_sqlite3
    vault.close()


def test_a_backup_under_load_is_complete(tmp_path: Path) -> None:
    vault, _ = _sqlite(tmp_path)
    vault.append([_envelope(b"%d" % n) for n in range(2_000)])
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            vault.append([_envelope(b"more")])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        acknowledged = vault.last_seq()
        target = tmp_path / "backup" / "vault.db"
        target.parent.mkdir()
        vault.backup(target)
    finally:
        stop.set()
        writer.join()
    copy = open_vault(f"sqlite:///{target}")
    read = _read(copy)
    assert [seq for seq, _ in read] == list(range(1, len(read) + 1))
    assert len(read) >= acknowledged
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(target.parent.glob(".*")) == []
    with pytest.raises(VaultError, match="backup of the vault"):
        vault.backup(tmp_path / "vault.db" / "impossible")
    vault.close()
    copy.close()


def test_a_locked_vault_is_waited_for_and_appends_nowait_do_not_wait(tmp_path: Path) -> None:
    vault, path = _sqlite(tmp_path)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("begin immediate")
    started = time.monotonic()
    assert vault.append_nowait([_envelope()]) is False
    assert time.monotonic() - started < 0.5
    release = threading.Timer(0.3, other.execute, ["rollback"])
    release.start()
    vault.append([_envelope()])
    assert vault.last_seq() == 1
    release.join()
    other.close()
    vault.close()


def test_a_vanished_file_is_an_error_not_a_new_beginning(tmp_path: Path) -> None:
    """Writing on into it would acknowledge what is lost; a new one would start at 1 again."""
    vault, _ = _sqlite(tmp_path)
    vault.append([_envelope(b"kept")])
    aside = tmp_path / "aside"
    aside.mkdir()
    moved = [file.rename(aside / file.name) for file in tmp_path.glob("vault.db*")]
    with pytest.raises(VaultUnavailableError, match="disappeared"):
        vault.append([_envelope()])
    with pytest.raises(VaultUnavailableError, match="disappeared"):
        vault.last_seq()
    assert list(tmp_path.glob("vault.db*")) == []
    for file in moved:
        file.rename(tmp_path / file.name)
    vault.append([_envelope(b"after")])
    assert _read(vault) == [(1, b"kept"), (2, b"after")]
    vault.close()


def test_disk_full_stores_nothing_and_recovers(tmp_path: Path) -> None:
    vault, _ = _sqlite(tmp_path)
    vault.append([_envelope(b"before")])
    connection = vault._connection()  # type: ignore[attr-defined]
    pages = connection.execute("pragma page_count").fetchone()[0]
    connection.execute(f"pragma max_page_count = {pages}")
    for _ in range(3):
        with pytest.raises(VaultUnavailableError, match="full"):
            vault.append([_envelope(b"x" * 1_000_000)])
    assert vault.last_seq() == 1
    connection.execute("pragma max_page_count = 100000")
    vault.append([_envelope(b"x" * 1_000_000)])
    assert vault.last_seq() == 2
    vault.close()
