"""Erasing somebody whose chat came by a coded link: their click goes with them, others' stay."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from ctwa.link_code import code_of, shown
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.identity.sieve import IDENTITY_COLUMNS
from ingestion.parser.schema import EVENT_LOG
from keeping.erasure.forget import forget_person, repeat_all
from keeping.erasure.steps import land
from tests.support.erasure import (
    ANA,
    ANA_GCLID,
    BIA,
    BIA_GCLID,
    bodies,
    click,
    files_with,
    message,
    receive,
    rows,
    webhook,
)

ANA_CODE, BIA_CODE = code_of("AAAAAAAA", "aurora"), code_of("BBBBBBBB", "aurora")


@pytest.fixture
def site(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(site_id="aurora", site_origins="https://www.example.com")


def _coded(phone: str, n: int, code: str) -> dict[str, Any]:
    return message(phone, n) | {"text": {"body": f"oi ({shown(code)})"}}


def _chats() -> list[bytes]:
    return [
        click(ANA_CODE, ANA_GCLID),
        click(BIA_CODE, BIA_GCLID),
        webhook(messages=[_coded(ANA, 0, ANA_CODE)]),
        webhook(messages=[_coded(BIA, 1, BIA_CODE)]),
    ]


def _traces(settings: Settings) -> list[bytes]:
    key = Pseudonymizer.from_settings(settings).link_code(ANA_CODE)
    return [ANA_GCLID.encode(), ANA_CODE.encode(), shown(ANA_CODE).encode(), key.encode()]


def _joined(settings: Settings) -> list[tuple[str, str | None, str | None]]:
    """Campaign, click id and path of the click behind each message, in the messages' order."""
    clicks = {row["link_code_key"]: row for row in rows(settings, "link_clicks")}
    used = [clicks[m["link_code_key"]] for m in rows(settings, "messages") if m["link_code_state"]]
    return [(c["campaign_id"], c["gclid"], c["page_path"]) for c in used]


def test_the_click_behind_a_chat_is_erased_and_still_counts(site: Settings) -> None:
    receive(site, _chats())
    land(site)
    assert files_with(site.data_dir, _traces(site))  # the search does find
    before = len(rows(site, "link_clicks"))
    done = forget_person(site, phone=ANA)
    assert done.erased.rows["link_clicks"] == 1
    assert files_with(site.data_dir, _traces(site)) == []
    assert len(rows(site, "link_clicks")) == before
    assert _joined(site) == [
        ("20765432109", "erased", None),
        ("20765432109", BIA_GCLID, f"/ola/{BIA_GCLID}"),
    ]
    assert sorted(bodies(site)) == [2, 4]


def test_a_click_that_comes_again_does_not_bring_it_back(site: Settings) -> None:
    receive(site, _chats())
    land(site)
    forget_person(site, phone=ANA)
    receive(site, _chats()[:2])
    land(site)
    assert files_with(site.data_dir, _traces(site)) == []
    counted = [row["link_clicks"] for row in rows(site, "envelopes")]
    assert counted == [1, 1, 0, 0, 0, 1]


def test_an_erasure_done_again_finds_the_click_by_the_message(site: Settings) -> None:
    receive(site, _chats())
    land(site)
    shutil.copytree(site.data_dir / "lake", site.data_dir.with_name("saved"))
    forget_person(site, phone=ANA)
    shutil.rmtree(site.data_dir / "lake")
    shutil.copytree(site.data_dir.with_name("saved"), site.data_dir / "lake")
    assert repeat_all(site) == 1
    assert files_with(site.data_dir, _traces(site)) == []
    assert _joined(site)[0] == ("20765432109", "erased", None)


@pytest.mark.parametrize("erased", [ANA, BIA])
def test_e21_a_click_is_the_first_senders_however_often_the_code_is_forwarded(
    site: Settings, erased: str
) -> None:
    receive(site, [*_chats()[:1], webhook(messages=[_coded(BIA, 9, ANA_CODE)]), _chats()[2]])
    land(site)
    forget_person(site, phone=erased)
    key = Pseudonymizer.from_settings(site).link_code(ANA_CODE)
    assert [m["link_code_key"] for m in rows(site, "messages")] == [key, key]
    (row,) = rows(site, "link_clicks")
    assert row["gclid"] == ("erased" if erased == ANA else ANA_GCLID)


def test_every_key_of_a_person_is_looked_for() -> None:
    """A new column with somebody's key must be erased too."""
    others = {
        "message_key", "message_id_key", "context_message_id_key", "content_key", "body_key",
        "form_key", "link_code_key", "revision_key",
    }  # fmt: skip
    for table, schema in EVENT_LOG.items():
        keys = {name for name in schema.names if name.endswith("_key")} - others
        assert keys == set(IDENTITY_COLUMNS.get(table, ())), table
