"""From every provider's webhook over real HTTP to the leads in the marts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from ingestion.event_log.source import EventLogCounts, land_event_log
from ingestion.webhook.endpoints import sign, sign_form
from ingestion.webhook.server import running
from tests.conftest import PII_KEY
from tests.ingestion.parser.payloads import encode, envelope, message, referral
from tests.ingestion.parser.provider_payloads import AD_ID, chats, event, form, text_event
from tests.ingestion.webhook.clients import APP_SECRET, request
from tests.support.warehouse import DbtWorld

PUBLIC, TOKEN, SECRET = "https://hooks.example.com", "twilio-token", "provider-secret"
AD: dict[str, Any] = {"source": "ADS", "ad_id": AD_ID, "type": "OPEN_THREAD"}
TWILIO_AD = {"ReferralSourceType": "ad", "ReferralSourceId": AD_ID, "ReferralCtwaClid": "AfOne"}
ANA, BIA, CAIO, DORA = (f"whatsapp:+55319876500{n}" for n in (11, 12, 13, 14))
MARIA, NINA = "2000000000000011", "2000000000000012"


def _person(who: str) -> str:
    return who.removeprefix("whatsapp:+")


def _from(psid: str, content: dict[str, Any]) -> dict[str, Any]:
    return content | {"sender": {"id": psid}}


def _post(url: str) -> list[int]:
    """Six people, by five ways in; answers in order."""

    def twilio(**fields: str | None) -> int:
        raw = form(**fields)
        pairs = parse_qsl(raw.decode(), keep_blank_values=True)
        signature = sign_form(f"{PUBLIC}/webhooks/twilio", pairs, TOKEN.encode())
        return request(url, "POST", "/webhooks/twilio", raw, x_twilio_signature=signature).status

    def passed_on(path: str, who: str, **extra: Any) -> int:
        raw = encode(envelope(message(**{"from": _person(who), "id": f"wamid.{who}", **extra})))
        return request(url, "POST", path, raw, x_webhook_secret=SECRET).status

    def meta(path: str, content: Any) -> int:
        raw = encode(content)
        signature = sign(raw, APP_SECRET.encode())
        return request(url, "POST", path, raw, x_hub_signature_256=signature).status

    ad = referral(source_id=AD_ID)
    tap = _from(MARIA, event(1, referral=AD))
    return [
        twilio(From=ANA, MessageSid="SM1", **TWILIO_AD),
        twilio(From=ANA, MessageSid="SM2"),
        twilio(From=ANA, MessageSid="SM2"),  # a repeat
        twilio(From="whatsapp:+5511400012345", To=ANA, MessageSid="SM3", MessageStatus="sent"),
        # A chat that we began is none of Bia's making, though she writes next.
        twilio(From="whatsapp:+5511400012345", To=BIA, MessageSid="SM4", MessageStatus="sent"),
        twilio(From=BIA, MessageSid="SM5"),
        passed_on("/webhooks/360dialog", CAIO, referral=ad),
        passed_on("/webhooks/gupshup", DORA),
        meta("/webhooks/messenger", chats(tap, _from(MARIA, text_event(2)))),
        meta("/webhooks/messenger", chats(tap)),
        meta(
            "/webhooks/messenger", chats(_from(NINA, text_event(3, referral=AD)), app="instagram")
        ),
        # Caio's number is served by Meta itself now: the same chat goes on.
        meta(
            "/webhooks/whatsapp",
            envelope(message(**{"from": _person(CAIO), "id": "wamid.later"})),
        ),
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[DbtWorld, EventLogCounts, list[int]]:
    world = DbtWorld(
        Path(tmp_path_factory.mktemp("providers")),
        # Twilio says no times: its messages are of today.
        as_of=(datetime.now(UTC) + timedelta(days=1)).date(),
        CTWA_PII_KEY=PII_KEY,
        CTWA_PUBLIC_URL=PUBLIC,
        META_APP_SECRET=APP_SECRET,
        TWILIO_AUTH_TOKEN=TOKEN,
        DIALOG360_WEBHOOK_SECRET=SECRET,
        GUPSHUP_WEBHOOK_SECRET=SECRET,
    )
    with running(world.settings) as url:
        answers = _post(url)
    counts = land_event_log(world.settings)
    world.build()  # every data test of severity error has to pass
    return world, counts, answers


def test_every_body_is_taken_and_read(built: tuple[DbtWorld, EventLogCounts, list[int]]) -> None:
    _, counts, answers = built
    assert set(answers) == {200}
    assert counts.envelopes == len(answers)
    assert counts.quarantined == 0


def test_each_person_is_one_lead_of_the_right_channel(
    built: tuple[DbtWorld, EventLogCounts, list[int]],
) -> None:
    world, _, _ = built
    leads = world.rows("marts.fct_leads")
    found = {(row["channel"], row["basis"], row["ad_id"]) for row in leads}
    assert len(leads) == 6
    assert found == {
        ("click_to_whatsapp", "ctwa_click", AD_ID),  # Ana by Twilio, Caio by 360dialog
        ("outbound", "outbound", None),  # Bia
        ("direct", "direct", None),  # Dora, by Gupshup
        ("click_to_messenger", "ctwa_ad", AD_ID),  # Maria
        ("click_to_instagram", "ctwa_ad", AD_ID),  # Nina
    }
    assert [row["channel"] for row in leads].count("click_to_whatsapp") == 2


def test_a_chat_goes_on_with_another_provider_and_a_repeat_counts_once(
    built: tuple[DbtWorld, EventLogCounts, list[int]],
) -> None:
    world, _, _ = built
    chats_of = {
        (row["channel"], row["inbound_messages"], row["outbound_messages"])
        for row in world.rows("marts.fct_conversations")
    }
    assert chats_of == {
        ("click_to_whatsapp", 2, 1),  # Ana: the repeat of SM2 is no third
        ("click_to_whatsapp", 2, 0),  # Caio: 360dialog, then Meta itself
        ("outbound", 1, 1),
        ("direct", 1, 0),
        ("click_to_messenger", 2, 0),  # Maria: the tap, once, and what she wrote
        ("click_to_instagram", 1, 0),
    }
