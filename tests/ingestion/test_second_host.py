"""Two hosts with data folders of their own over one vault in PostgreSQL: what each may land."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from ctwa.errors import DataFolderError
from ctwa.pseudonym import KEY_FILE
from ctwa.settings import Settings, load_settings
from ingestion.event_log.adoption import VaultMismatchError, adopt_vault
from ingestion.identity.erased import FILE, Ledger
from ingestion.vault import open_vault
from keeping.data_folder import put_right
from keeping.erasure.forget import forget_person
from keeping.erasure.steps import land
from keeping.formats import Formats
from tests.conftest import PII_KEY
from tests.support.erasure import ANA, files_with, receive, rows, shared_envelopes, traces

Host = Callable[..., Settings]


@pytest.fixture
def host(tmp_path: Path, postgres_url: str) -> Host:
    """The settings of a host by its name, with a data folder of its own."""

    def make(name: str, key: str | None = PII_KEY) -> Settings:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return load_settings(_env_file=None, data_dir=folder, vault_url=postgres_url, pii_key=key)

    return make


def test_an_empty_folder_lands_the_same_rows(host: Host) -> None:
    receive(host("a"), shared_envelopes())
    land(host("a"))
    land(host("b"))
    for table in ("envelopes", "messages", "outcomes", "identity_links", "web_leads"):
        assert rows(host("b"), table) == rows(host("a"), table)
        assert rows(host("b"), table)


def test_another_key_lands_nothing_and_makes_no_key(host: Host) -> None:
    put_right(host("a", None))
    receive(host("a", None), shared_envelopes())
    land(host("a", None))
    b = host("b", None)
    with pytest.raises(DataFolderError, match=r"copy its pii\.key to .*/b/pii\.key"):
        put_right(b)
    assert not (b.data_dir / KEY_FILE).exists()
    with pytest.raises(DataFolderError, match="than this one has"):
        land(host("b", PII_KEY))
    (b.data_dir / KEY_FILE).write_text((host("a").data_dir / KEY_FILE).read_text())
    put_right(b)
    land(b)
    assert rows(b, "messages") == rows(host("a", None), "messages")


def test_with_its_lake_gone_a_new_key_is_taken_where_that_is_meant(host: Host) -> None:
    receive(host("a"), shared_envelopes())
    land(host("a"))
    b = host("b", "ff" * 32)
    adopt_vault(b)
    land(b)
    assert rows(b, "messages")
    with pytest.raises(DataFolderError, match="another key"):
        put_right(host("a"))


def test_a_history_that_only_another_lake_has_is_not_left_out_in_silence(host: Host) -> None:
    receive(host("a"), shared_envelopes())
    land(host("a"))
    vault = open_vault(host("a").vault_url)
    vault.erase_bodies([1])  # of somebody who was erased: no lake has more
    land(host("b"))
    last = vault.last_seq()
    receive(host("a"), shared_envelopes()[:1])
    land(host("a"))
    later = datetime.now(UTC) + timedelta(days=1)
    assert vault.purge_bodies(later, 2) == 1
    with pytest.raises(VaultMismatchError, match=r"lake .*/c/lake is empty, and 1 later bodies"):
        land(host("c"))
    land(host("b"))
    receive(host("a"), shared_envelopes()[:1])
    land(host("a"))
    vault.purge_bodies(later, last + 2)
    vault.close()
    receive(host("a"), shared_envelopes()[:1])
    with pytest.raises(VaultMismatchError, match=f"ends at envelope {last + 1}, and 1 later"):
        land(host("b"))
    land(host("c"), reparse=True)
    kept = {row["seq"] for row in rows(host("c"), "envelopes")}
    assert kept == {last + 3}
    land(host("c"))


# ---- who was erased ------------------------------------------------------------------------------


def test_who_is_erased_on_one_host_is_gone_from_the_others_too(host: Host) -> None:
    a, b, c = host("a"), host("b"), host("c")
    receive(a, shared_envelopes())
    land(a)
    land(b)
    forget_person(a, phone=ANA)
    assert (a.data_dir / FILE).exists()  # a copy, which says how far this folder is
    Ledger.of(a).move("erased", "done")  # published
    assert files_with(b.data_dir, traces(b)), "its lake is its own"
    receive(a, shared_envelopes())  # Meta delivers again
    for other in (b, c):
        land(other)
        assert files_with(other.data_dir, traces(other)) == []
        assert [row["seq"] for row in rows(other, "messages")]
    states = [[e.state for e in Ledger.of(one).erasures.values()] for one in (a, b, c)]
    assert states == [["erased"], ["erased"], ["erased"]]  # until b has published without her
    assert not Ledger.of(b).in_state("pending")


def test_a_file_of_before_is_taken_over_and_what_a_restored_database_lacks_is_repeated(
    host: Host, make_settings: Callable[..., Settings], postgres_url: str
) -> None:
    files = make_settings(data_dir=host("a").data_dir)
    receive(files, shared_envelopes())
    land(files)
    forget_person(files, phone=ANA)
    before = Ledger.of(files).erasures
    a = host("a")
    receive(a, shared_envelopes())
    adopt_vault(a)
    land(a)
    assert Ledger.of(host("b")).erasures.keys() == before.keys()

    noted = "select mark from ctwa_marks where name = 'erasures'"
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as database:
        (content,) = database.execute(noted).fetchone() or ("",)
        older = json.loads(content) | {"erasures": []}
        database.execute(
            "update ctwa_marks set mark = %s where name = 'erasures'", [json.dumps(older)]
        )
    assert [e.state for e in Ledger.of(a).erasures.values()] == ["pending"]
    land(a)
    assert [e.state for e in Ledger.of(host("b")).erasures.values()] == ["erased"]


def test_a_folder_whose_ledgers_are_in_the_database_is_refused_by_older_programs(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_right(host("a"))
    assert Formats.read(host("a")).formats["shared ledgers"] == 1
    monkeypatch.setattr("keeping.formats.SHARED", {})
    with pytest.raises(DataFolderError, match="shared ledgers 1"):
        put_right(host("a"))
