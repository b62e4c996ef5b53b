"""The ledger in the vault's database: taken over from files, kept from who lost the lock."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from activation import ledger as ledgers
from activation.conversions_ledger import ConversionsLedger
from activation.crm_ledger import ContactRow, Post, save_contacts, save_posts
from activation.ledger import (
    TABLES,
    LedgerError,
    ledger_path,
    open_ledger,
    read_ledger,
    rows_of,
)
from commands.doctor import stores
from ctwa import lease
from ctwa.errors import LockLostError
from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings
from ctwa.shared import Shared, set_note
from tests.activation.conftest import Meta
from tests.ctwa.test_lease import line
from tests.support.outbox import NOW, due, ledger_rows


def _tables(settings: Settings) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the ledger, by table."""
    with read_ledger(settings) as ledger:
        assert ledger is not None
        return {
            table: sorted((tuple(row) for row in ledger.execute(f"select * from {table}")), key=str)
            for table in TABLES
        }


def _sql(url: str, *statements: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as database:
        for statement in statements:
            database.execute(statement)  # type: ignore[call-overload]


# ---- from a file ---------------------------------------------------------------------------------


@pytest.fixture
def filled(meta: Meta) -> Meta:
    """A file ledger after a night: two events sent, one that Meta refused, a contact, a post."""
    meta.api.poison.add(due(2)["conversion_event_id"])
    meta.send([due(1), due(2), due(3, stage="won")])
    with open_ledger(meta.settings) as ledger:
        save_contacts(ledger, [ContactRow("k", "a" * 32, 7, "c", {"ctwa_source": "meta"})])
        save_posts(ledger, [Post("a" * 32, 1, "c", "e", "lead.attributed", "delivered", 0, 1, 5, 0,
                                 "204")])  # fmt: skip
        ConversionsLedger(ledger).refuse_name("77", "Lead", 9)
    return meta


def test_a_file_is_taken_over_once_and_sending_goes_on_where_it_was(
    filled: Meta, postgres_url: str
) -> None:
    before, path = _tables(filled.settings), ledger_path(filled.settings)
    kept = path.with_name("kept")
    shutil.copy(path, kept)
    filled.options["vault_url"] = postgres_url
    with open_ledger(filled.settings):
        pass
    assert _tables(filled.settings) == before
    assert [p.name for p in path.parent.glob("ledger.db*")] == []
    # Killed before the file was removed: the next start does the same again.
    shutil.copy(kept, path)
    filled.at = NOW + timedelta(minutes=5)
    counts = filled.send([due(1), due(2), due(3, stage="won"), due(4)])
    assert (counts.sent, counts.skipped) == (1, {})
    assert {k: v for k, v in _tables(filled.settings).items() if k != "conversions"} == {
        k: v for k, v in before.items() if k != "conversions"
    }
    assert not path.exists()
    # `ctwa why` and `ctwa doctor` find it where it is now.
    (contact,) = rows_of(filled.settings, "crm_contacts", "a" * 32)
    assert (contact["seq"], contact["written"]) == (7, '{"ctwa_source": "meta"}')
    assert [f.found for f in stores.ledgers(filled.settings)] == [
        "intact: what was sent (in the vault's database)"
    ]


def test_of_two_hosts_files_the_second_adds_what_it_has_sent(
    filled: Meta, postgres_url: str
) -> None:
    first = filled.settings.data_dir
    second = first.with_name("second")
    shutil.copytree(first, second)
    filled.options["data_dir"] = second
    filled.send([due(5)])
    filled.options |= {"data_dir": first, "vault_url": postgres_url}
    filled.send([due(6)])
    filled.options["data_dir"] = second
    assert filled.send([due(1), due(5), due(6), due(7)]).sent == 1
    assert filled.api.times_accepted()[due(5)["conversion_event_id"]] == 1


@pytest.mark.parametrize("last", ["mine", "of another"])
def test_a_file_that_did_not_send_last_begins_anew(
    filled: Meta, postgres_url: str, last: str
) -> None:
    """As builds of before left it, which noted in the database whose file had sent last."""
    with closing(sqlite3.connect(ledger_path(filled.settings))) as own, own:
        own.execute("create table conversions_marks (id integer primary key, mark text not null)")
        own.execute("insert into conversions_marks (mark) values ('mine')")
    filled.options["vault_url"] = postgres_url
    with refresh_lock(filled.settings):
        set_note(filled.settings, "conversions", last)
    filled.at = NOW + timedelta(minutes=5)
    counts = filled.send([due(1), due(8)])
    assert (counts.sent, counts.skipped) == {
        "mine": (1, {}), "of another": (0, {"before_activation": 1})
    }[last]  # fmt: skip


def test_a_newer_format_is_refused_by_name(
    make_settings: Callable[..., Settings], postgres_url: str
) -> None:
    settings = make_settings(vault_url=postgres_url)
    set_note(settings, "ledgers", "2")
    with pytest.raises(LedgerError, match="has format 2, and this program knows 1"):
        open_ledger(settings).__enter__()


# ---- a database that is not the one of before ----------------------------------------------------


@pytest.mark.parametrize("what", ["a dump was restored", "a replica was promoted", "nothing"])
def test_e71_a_restored_database_sends_nothing_of_before(
    meta: Meta, postgres_url: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    meta.options["vault_url"] = postgres_url
    meta.at = NOW - timedelta(minutes=50)
    meta.send([])
    meta.at = NOW
    meta.send([due(1)])
    if what == "a dump was restored":
        _sql(
            postgres_url,
            "create table restored (like ctwa_conversions including all)",
            "drop table ctwa_conversions",  # which knew that one was sent
            "alter table restored rename to ctwa_conversions",
        )
    if what == "a replica was promoted":
        monkeypatch.setattr(ledgers, "_timeline", lambda _: "00000002")
    meta.at = NOW + timedelta(minutes=5)
    counts = meta.send([due(1), due(2)])
    if what == "nothing":
        assert counts.sent == 1
    else:
        assert (counts.sent, counts.skipped["before_activation"] > 0) == (0, True)
        meta.at = NOW + timedelta(minutes=10)
        assert meta.send([due(3, at=meta.at)]).sent == 1  # only once


# ---- kept from who lost the lock -----------------------------------------------------------------

_TAKEN = "update ctwa_leases set token = token + 1, holder = '1:b:boot:7:1'"


def test_a_write_of_who_lost_the_lock_is_refused_in_its_transaction(
    make_settings: Callable[..., Settings], postgres_url: str
) -> None:
    settings = make_settings(vault_url=postgres_url)
    with open_ledger(settings) as ledger:
        assert ConversionsLedger(ledger).begin_activation(5) == 5
        _sql(postgres_url, _TAKEN)
        with pytest.raises(LockLostError, match="process 7 on b"):
            ConversionsLedger(ledger).end_activation()
    with read_ledger(settings) as left:
        assert left is not None
        assert left.execute("select on_since_us from conversions_switch").fetchone() == (5,)


@pytest.mark.parametrize("is_known_bad", [False, True])
def test_who_takes_the_lock_sees_what_was_written_before(
    make_settings: Callable[..., Settings],
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    is_known_bad: bool,
) -> None:
    """The lease has expired, and the first host's transaction is still open."""
    settings = make_settings(vault_url=postgres_url)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 60.0)
    if is_known_bad:
        plain = sa.text(lease._GUARD.text.replace("for share", ""))
        monkeypatch.setattr(lease, "_GUARD", plain)
    seen: list[str | None] = []

    def other_host() -> None:
        taken = lease.take(postgres_url, "refresh.lock", briefly=False)
        assert isinstance(taken, lease.Lease)
        seen.append(Shared(postgres_url, None).note("who"))
        taken.free()

    with refresh_lock(settings):
        shared = Shared.of(settings)
        shared.set_note("who", "nobody")
        _sql(postgres_url, "update ctwa_leases set expires_at = clock_timestamp() - interval '1 s'")
        monkeypatch.setattr(lease, "_me", lambda: "1:b:boot:7:1")
        other = threading.Thread(target=other_host)
        with shared.transaction():
            shared.set_note("who", "the first")
            other.start()
            other.join(2)
        other.join(30)
    assert seen == (["nobody"] if is_known_bad else ["the first"])


# Writes a note in a transaction, and is paused in it; the database ends the transaction.
PAUSED = """
import sys
from ctwa import lease
from ctwa.errors import CtwaError
from ctwa.lock import refresh_lock
from ctwa.settings import load_settings
from ctwa.shared import Shared
lease._me = lambda: "1:paused:boot:4711:1"
lease.LEASE_SECONDS, lease.BEAT_SECONDS, lease.PAUSE_SECONDS = 2.0, 0.2, 1.0
settings = load_settings(_env_file=None, data_dir=sys.argv[1], vault_url=sys.argv[2])
try:
    with refresh_lock(settings):
        shared = Shared.of(settings)
        with shared.transaction():
            shared.set_note("who", "the paused one")
            print("within", flush=True)
            sys.stdin.readline()
except CtwaError as error:
    print(error, flush=True)
    sys.exit(3)
"""


def test_a_host_that_is_paused_in_a_transaction_holds_nobody_up_and_writes_nothing(
    make_settings: Callable[..., Settings], postgres_url: str
) -> None:
    settings = make_settings(vault_url=postgres_url)
    arguments = [str(settings.data_dir / "other"), postgres_url]
    with subprocess.Popen(
        [sys.executable, "-c", PAUSED, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT_DIR,
    ) as paused:  # fmt: skip
        try:
            assert line(paused) == "within\n"
            paused.send_signal(signal.SIGSTOP)
            with refresh_lock(settings, wait_seconds=60):
                set_note(settings, "who", "the second")
                paused.send_signal(signal.SIGCONT)
                assert paused.stdin is not None
                paused.stdin.write("go on\n")
                paused.stdin.flush()
                said = line(paused)
                assert paused.wait(60) == 3
            assert "cannot be used" in said or "the lock (refresh.lock) went to" in said
        finally:
            paused.kill()
    assert Shared(postgres_url, None).note("who") == "the second"


def test_the_ledger_of_all_hosts_names_nobody(meta: Meta, postgres_url: str) -> None:
    meta.options["vault_url"] = postgres_url
    meta.at = NOW - timedelta(minutes=30)
    meta.send([])
    meta.at = NOW
    assert meta.send([due(1)]).sent == 1
    (row,) = ledger_rows(meta.settings).values()
    assert row.click_key is not None
    assert "AfClick1" not in str(_tables(meta.settings))
