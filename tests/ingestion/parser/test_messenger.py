"""Messenger and Instagram: ads in front of messages, taps without one, people within a page."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingestion.parser.limits import MAX_LIST
from tests.ingestion.parser.payloads import NAMES, RECEIVED, SAMPLES, encode, parse, reasons
from tests.ingestion.parser.provider_payloads import (
    AD_ID,
    PAGE,
    PSID,
    SENT_MS,
    chats,
    event,
    messenger_samples,
    parsed,
    text_event,
)
from tests.ingestion.parser.test_hostile import CANARY, conserved

AD = {"ad_id": AD_ID, "source": "ADS", "type": "OPEN_THREAD"}


def one(name: str) -> dict[str, Any]:
    """The message of an own payload."""
    rows = parsed("messenger", name)
    assert rows["quarantine"] == []
    (row,) = rows["messages"]
    return row


def test_a_message_with_an_ad_in_full() -> None:
    row = one("message_referral")
    assert (row["app"], row["direction"], row["origin"], row["type"]) == (
        "messenger", "inbound", "live", "text",
    )  # fmt: skip
    assert (row["has_referral"], row["referral_source_type"]) == (True, "ad")
    assert (row["referral_source_id"], row["ctwa_clid"]) == (AD_ID, None)
    assert row["referral_headline"] == "Fale com a loja"
    assert (row["referral_media_type"], row["referral_image_url"]) == (
        "image",
        "https://scontent.example/imagem.jpg",
    )
    assert json.loads(row["referral_extra"]) == {
        "ref": "inverno", "post_id": "777000000000001", "product_id": "555000000000001",
    }  # fmt: skip
    assert row["message_key"] == NAMES.message(PAGE, "m_synthetic-0002")
    assert (row["business_number_id"], row["waba_id"], row["phone_number_id"]) == (PAGE, None, None)


def test_a_person_counts_within_one_page_and_app() -> None:
    row = one("text")
    assert row["bsuid_key"] == NAMES.scoped_id("messenger", PAGE, PSID)
    assert (row["phone_key"], row["country"]) == (None, None)
    other_app = parse(chats(text_event(), app="instagram"), source="messenger")["messages"][0]
    other_page = parse(
        chats({**text_event(), "recipient": {"id": "1000000000000002"}}), source="messenger"
    )["messages"][0]
    assert len({row["bsuid_key"], other_app["bsuid_key"], other_page["bsuid_key"]}) == 3
    assert parsed("messenger", "text", "message_referral")["identity_links"] == []


def test_times_are_milliseconds() -> None:
    row = one("text")
    expected = datetime.fromtimestamp(SENT_MS // 1_000 + 1, UTC) + timedelta(milliseconds=123)
    assert (row["sent_at"], row["sent_at_source"]) == (expected, "message")
    assert one("change_postback")["sent_at"] == datetime.fromtimestamp(1_781_000_014, UTC)


@pytest.mark.parametrize("value", [None, "soon", 1.5, 0, 10**14, "9" * 30, True, []])
def test_e13_a_time_that_cannot_be_is_the_receipt(value: Any) -> None:
    rows = parse(chats({**text_event(), "timestamp": value}), source="messenger")
    row = rows["messages"][0]
    assert (row["sent_at"], row["sent_at_source"]) == (RECEIVED, "receipt")


def test_a_button_in_a_new_chat_brings_its_ad() -> None:
    row = one("postback_referral")
    assert (row["type"], row["referral_source_id"]) == ("postback", AD_ID)
    assert row["message_key"] == NAMES.message(PAGE, "m_synthetic-0003")
    assert one("postback_without_mid")["has_referral"] is False


def test_a_tap_on_an_ad_without_a_message_is_a_touch_and_its_copies_are_one() -> None:
    row = one("referral_ad")
    assert (row["type"], row["referral_source_id"], row["direction"]) == (
        "referral", AD_ID, "inbound",
    )  # fmt: skip
    assert row["bsuid_key"] == NAMES.scoped_id("messenger", PAGE, PSID)
    again = one("referral_ad")
    assert (again["message_key"], again["content_key"]) == (row["message_key"], row["content_key"])
    taps = [event(2, referral=AD), event(1, referral={**AD, "ad_id": "2"}), event(1, referral=AD)]
    keys = {m["message_key"] for m in parse(chats(*taps), source="messenger")["messages"]}
    assert len(keys) == 3


@pytest.mark.parametrize("source", ["SHORTLINK", "CUSTOMER_CHAT_PLUGIN", "MESSENGER_CODE", 7, None])
def test_a_link_is_no_ad(source: Any) -> None:
    block = {"ref": "site", "source": source, "type": "OPEN_THREAD"}
    alone = parse(chats(event(referral=block)), source="messenger")
    assert alone["messages"] == alone["quarantine"] == []
    beside = parse(chats(text_event(referral=block)), source="messenger")["messages"][0]
    assert (beside["has_referral"], beside["referral_extra"]) == (False, None)
    assert parsed("messenger", "referral_link")["messages"] == []


def test_e08_an_ad_without_its_id_is_still_from_an_ad() -> None:
    row = parse(chats(text_event(referral={"source": "ads"})), source="messenger")["messages"][0]
    assert (row["referral_source_type"], row["referral_source_id"]) == ("ad", None)


def test_e09_nothing_in_a_referral_stands_in_for_an_id() -> None:
    block = {**AD, "ctwa_clid": "Af1", "source_id": "77", "source_type": "post", "headline": "x"}
    row = parse(chats(text_event(referral=block)), source="messenger")["messages"][0]
    assert (row["referral_source_type"], row["referral_source_id"]) == ("ad", AD_ID)
    assert (row["ctwa_clid"], row["referral_headline"]) == (None, None)


def test_e15_an_echo_is_outbound_and_speaks_of_its_receiver() -> None:
    row = one("echo")
    assert (row["direction"], row["origin"]) == ("outbound", "echo")
    assert row["bsuid_key"] == NAMES.scoped_id("messenger", PAGE, PSID)
    assert row["business_number_id"] == PAGE


def test_e03_many_entries_and_events_and_what_tells_nothing_is_left_out() -> None:
    rows = parsed("messenger", "many_mixed")
    assert [row["type"] for row in rows["messages"]] == ["text", "image", "text"]
    assert [row["business_number_id"] for row in rows["messages"]] == [PAGE, PAGE, PAGE[:-1] + "2"]
    assert rows["messages"][1]["context_message_id_key"] == NAMES.message_id("m_synthetic-0007")
    assert rows["quarantine"] == []
    (envelope,) = rows["envelopes"]
    assert (envelope["message_elements"], envelope["messages"]) == (3, 3)


def test_instagram() -> None:
    row = one("instagram_referral")
    assert (row["app"], row["referral_source_id"]) == ("instagram", "120299990000000002")
    assert (row["referral_media_type"], row["referral_video_url"]) == (
        "video",
        "https://video.example/v.mp4",
    )
    assert row["bsuid_key"] == NAMES.scoped_id("instagram", PAGE, PSID)
    assert one("instagram_unsent")["type"] == "revoke"


def test_chats_in_the_hand_of_another_app_count_too() -> None:
    assert one("standby")["message_key"] == NAMES.message(PAGE, "m_synthetic-0015")


def test_the_public_samples() -> None:
    if not SAMPLES.exists():
        assert messenger_samples() == {}
        return
    found = messenger_samples()
    rows = parse(*(chats(sample) for sample in found.values()), source="messenger")
    assert len(found) == 2
    assert rows["quarantine"] == []
    (row,) = rows["messages"]  # the other one is a link
    assert row["referral_source_id"] == "<ID_OF_THE_AD>"
    assert row["referral_headline"] == "<TITLE_OF_THE_AD>"


# ---- what does not fit ---------------------------------------------------------------------------

GOOD = text_event(9)

BAD: dict[str, tuple[Any, str]] = {
    "a number": (7, "event_not_object"),
    "no sender": ({k: v for k, v in text_event().items() if k != "sender"}, "person_missing"),
    "a reference": ({**text_event(), "sender": {"user_ref": "x"}}, "person_missing"),
    "no page": ({**text_event(), "recipient": {}}, "page_missing"),
    "no id": (event(message={"text": CANARY}), "id_missing"),
    "id of a double": (event(message={"mid": 1.5, "text": CANARY}), "mid_not_text"),
    "a text for a message": (event(message=CANARY), "message_not_object"),
    "a text for a postback": (event(postback=CANARY), "postback_not_object"),
    "a text for a referral": (event(referral=CANARY), "referral_not_object"),
    "a referral in the message": (text_event(referral=CANARY), "referral_not_object"),
    "a tap without a time": ({**event(referral=AD), "timestamp": None}, "timestamp_missing"),
    "nul": (event(message={"mid": f"{CANARY}\x00"}), "nul_in_text"),
    "half a surrogate pair": ({**text_event(), "sender": {"id": "1\ud83d"}}, "lone_surrogate"),
}


@pytest.mark.parametrize("is_echo", [True, "true", "TRUE", None, 1, "", {}])
@pytest.mark.parametrize("app", ["page", "instagram"])
def test_e77_whoever_says_what_the_page_is_never_a_person(is_echo: object, app: str) -> None:
    theirs = text_event(1, is_echo=is_echo)
    ours = {**theirs, "sender": theirs["recipient"], "recipient": theirs["sender"]}
    rows = parse(chats(theirs, ours, app=app), source="messenger")
    assert [r["direction"] for r in rows["messages"]] == ["inbound", "outbound"]
    assert {r["business_number_id"] for r in rows["messages"]} == {PAGE}
    assert len({r["bsuid_key"] for r in rows["messages"]}) == 1


@pytest.mark.parametrize("value", ["a\x00b", "\ud83d", json.loads("[" * 40 + "]" * 40)])
def test_e83_what_nobody_keeps_costs_nothing(value: object) -> None:
    bad = event(message={"mid": "m", "text": value, "referral": AD, "x": value})
    rows = parse(chats(GOOD, bad), source="messenger")
    assert [r["has_referral"] for r in rows["messages"]] == [False, True]
    assert rows["quarantine"] == []
    assert rows["envelopes"][0]["mended_values"] == 0


@pytest.mark.parametrize("name", BAD)
def test_a_bad_event_is_quarantined_and_its_neighbours_are_kept(name: str) -> None:
    bad, reason = BAD[name]
    rows = parse(chats(GOOD, bad, text_event(10)), source="messenger")
    assert reasons(rows) == [reason]
    (row,) = rows["quarantine"]
    assert (row["element"], row["path"]) == ("message", "entry[0].messaging[1]")
    assert len(rows["messages"]) == 2
    assert conserved(rows)
    assert CANARY not in str(rows)


@pytest.mark.parametrize(
    ("value", "element", "reason"),
    [
        ([], "envelope", "not_object"),
        ({}, "envelope", "object_unknown"),
        ({"object": "whatsapp_business_account", "entry": []}, "envelope", "object_unknown"),
        ({"object": "page"}, "envelope", "entry_missing"),
        ({"object": "page", "entry": [7]}, "entry", "entry_not_object"),
        ({"object": "page", "entry": [{"messaging": 7}]}, "entry", "messaging_not_list"),
        (b"{", "envelope", "not_json"),
    ],
)
def test_an_envelope_that_does_not_fit(value: Any, element: str, reason: str) -> None:
    rows = parse(value if isinstance(value, bytes) else encode(value), source="messenger")
    assert [(q["element"]) for q in rows["quarantine"]] == [element]
    assert reasons(rows) == [reason]
    assert conserved(rows)


def test_a_list_beyond_the_limit() -> None:
    rows = parse(chats(*[text_event(n) for n in range(MAX_LIST + 2)]), source="messenger")
    assert len(rows["messages"]) == MAX_LIST
    assert reasons(rows) == ["list_too_long"] * 2
    assert conserved(rows)
