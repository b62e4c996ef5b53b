"""Erasing somebody who spoke of their consent: the word stays, nobody can tell whose (E72)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from keeping.erasure.forget import forget_person
from keeping.erasure.steps import land
from tests.support.erasure import (
    ANA,
    ANA_ID,
    ANA_MAIL,
    AT,
    BIA,
    consents,
    files_with,
    message,
    receive,
    rows,
    shared_envelopes,
    traces,
    two_holders,
    webhook,
)

SECOND_MAIL = "ana.at.work@example.org"


def _stop(phone: str, at: int = AT) -> dict[str, Any]:
    return {"wa_id": phone, "category": "marketing_messages", "value": "stop", "timestamp": at}


def _words() -> list[bytes]:
    return [
        consents(
            {"given": False, "phone": "(11) 98765-4321", "email": SECOND_MAIL},
            {"given": False, "phone": BIA},
            {"given": True, "email": ANA_MAIL},
        ),
        webhook(contacts=[(ANA, ANA_ID)], user_preferences=[_stop(ANA), _stop(BIA)]),
    ]


@pytest.fixture
def spoken(settings: Settings) -> Settings:
    """Ana and Bia in the lake, with what they said."""
    receive(settings, [*shared_envelopes(), *_words()])
    land(settings)
    return settings


def _traces(settings: Settings) -> list[bytes]:
    key = str(Pseudonymizer.from_settings(settings).email(SECOND_MAIL))
    return [*traces(settings), SECOND_MAIL.encode(), key.encode()]


def _of_bia(settings: Settings) -> list[dict[str, Any]]:
    key = Pseudonymizer.from_settings(settings).phone(BIA)
    return [r for r in rows(settings, "consents") if r["phone_key"] == key]


def test_e72_no_byte_is_left_and_no_word_is_lost(spoken: Settings) -> None:
    before, others = rows(spoken, "consents"), _of_bia(spoken)
    assert files_with(spoken.data_dir, [SECOND_MAIL.encode()])  # the search does find
    # The second address stands beside her phone in a word of consent, and nowhere else.
    done = forget_person(spoken, email=SECOND_MAIL)
    assert files_with(spoken.data_dir, _traces(spoken)) == []
    assert done.erased.rows["consents"] == 3
    after = rows(spoken, "consents")
    assert len(others) == 2
    assert _of_bia(spoken) == others
    shown = ("seq", "ordinal", "is_given", "purpose", "declared_at", "source")
    assert [[r[c] for c in shown] for r in after] == [[r[c] for c in shown] for r in before]
    columns = ("phone_key", "bsuid_key", "email_key")
    assert [[bool(r[c]) for c in columns] for r in after] == [
        [bool(r[c]) for c in columns] for r in before
    ]
    theirs = [r for r in after if r not in others]
    assert len({r[c] for r in theirs for c in columns if r[c]}) == 1
    assert {r["content_key"] for r in theirs}.isdisjoint(r["content_key"] for r in before)


def test_an_old_word_is_not_taken_again_and_a_new_one_is(spoken: Settings) -> None:
    forget_person(spoken, phone=ANA)
    before = len(rows(spoken, "consents"))
    receive(spoken, _words())
    soon = int(time.time()) + 60
    receive(spoken, [webhook(user_preferences=[_stop(ANA, soon)])], at=soon + 60)
    land(spoken)
    names = Pseudonymizer.from_settings(spoken)
    fresh = rows(spoken, "consents")[before:]
    assert [r["phone_key"] for r in fresh] == [names.phone(p) for p in (BIA, BIA, ANA)]
    assert files_with(spoken.data_dir, [SECOND_MAIL.encode()]) == []


def test_e28_of_a_number_that_changed_hands_each_holder_keeps_their_word(
    settings: Settings,
) -> None:
    old_mail, new_mail = "old@aurora.example", "new@aurora.example"
    number, day = "5511955554444", 86_400

    def on(at: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(AT + at * day))

    receive(settings, two_holders(number, "BR.Old1Old1Old1", "BR.New1New1New1", "120"))
    receive(
        settings,
        [
            consents({"given": False, "phone": number, "declared_at": on(5)}),
            consents({"given": False, "phone": number, "declared_at": on(75)}),
            consents({"given": True, "email": old_mail}, {"given": True, "email": new_mail}),
            webhook(messages=[message(BIA, 1)]),
        ],
    )
    land(settings)
    forget_person(settings, bsuid="BR.New1New1New1")
    key = Pseudonymizer.from_settings(settings).phone(number)
    assert [r["phone_key"] == key for r in rows(settings, "consents")] == [
        True,
        False,
        False,
        False,
    ]
    assert len([r for r in rows(settings, "consents") if r["email_key"]]) == 2
