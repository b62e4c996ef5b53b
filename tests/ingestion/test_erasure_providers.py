"""Erasing somebody who wrote through another provider, or on Messenger."""

from __future__ import annotations

import time

import pytest

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from keeping.erasure.forget import IdentityError, forget_person, identity_key
from keeping.erasure.steps import land
from tests.ingestion.parser.payloads import encode
from tests.ingestion.parser.provider_payloads import PAGE, PSID, chats, form, text_event
from tests.support.erasure import ANA, ANA_MAIL, BIA, bodies, files_with, rows

STRANGER = "2000000000000002"


def received(settings: Settings, source: str, *items: bytes) -> None:
    """In the vault and in the lake."""
    vault = open_vault(settings.vault_url)
    now = int(time.time() * 1_000_000)
    vault.append([NewEnvelope(now + n, source, item) for n, item in enumerate(items)])
    vault.close()
    land(settings)


def test_nothing_of_a_person_is_left_of_twilios_forms(settings: Settings) -> None:
    of = {"From": f"whatsapp:+{ANA}", "WaId": ANA, "ProfileName": "Ana"}
    received(
        settings, "twilio",
        form(MessageSid="SM1", **of),
        form(MessageSid="SM2", From=f"whatsapp:+{BIA}", Body="oi"),
        form(MessageSid="SM3", From=f"whatsapp:+{BIA}", Body="ligue +55 (11) 98765-4321"),
        form(MessageSid="SM4", From=f"whatsapp:+{ANA}", To="sms"),  # quarantined
        form(SmsStatus=None, MessageSid="SM5", MessageStatus="read",
             From="whatsapp:+5511400012345", To=f"whatsapp:+{ANA}"),
    )  # fmt: skip
    assert files_with(settings.data_dir, [ANA.encode()])  # the search does find

    forget_person(settings, phone=ANA)

    assert list(bodies(settings)) == [2]  # Bia's own, which names nobody else
    assert files_with(settings.data_dir, [ANA.encode()]) == []
    assert len(rows(settings, "messages")) == 3  # counts stay


def test_an_address_in_the_text_of_a_form_is_found(settings: Settings) -> None:
    received(settings, "twilio", form(From=f"whatsapp:+{BIA}", Body=f"mail {ANA_MAIL}"))
    forget_person(settings, email=ANA_MAIL)
    assert list(bodies(settings)) == []


def test_somebody_on_messenger_is_named_by_app_page_and_id(settings: Settings) -> None:
    names = Pseudonymizer.from_settings(settings)
    theirs = names.scoped_id("messenger", PAGE, PSID)
    received(
        settings, "messenger",
        encode(chats(text_event(1))),
        encode(chats({**text_event(2), "sender": {"id": STRANGER}})),
    )  # fmt: skip

    forget_person(settings, bsuid=f"messenger:{PAGE}:{PSID}")

    assert list(bodies(settings)) == [2]
    assert theirs not in {row["bsuid_key"] for row in rows(settings, "messages")}
    assert len(rows(settings, "messages")) == 2


@pytest.mark.parametrize("value", ["messenger:1", "telegram:1:2", "messenger:a:b", PSID])
def test_an_id_that_could_be_of_any_page_is_refused(settings: Settings, value: str) -> None:
    with pytest.raises(IdentityError, match="--bsuid"):
        identity_key(Pseudonymizer.from_settings(settings), bsuid=value)
