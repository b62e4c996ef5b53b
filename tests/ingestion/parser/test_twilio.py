"""Twilio's forms become the rows that Meta's webhook of the same message would."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import pytest

from tests.ingestion.parser.payloads import (
    BSUID,
    BUSINESS,
    NAMES,
    PARENT,
    PHONE,
    RECEIVED,
    envelope,
    fixture,
    links,
    message,
    parse,
    reasons,
)
from tests.ingestion.parser.provider_payloads import body, form, parsed
from tests.ingestion.parser.test_hostile import conserved

TEXT_SID = "SM00000000000000000000000000000002"


def one(fields: bytes | str) -> dict[str, Any]:
    """The message of one form, given by its fixture's name or its bytes."""
    raw = body("twilio", fields) if isinstance(fields, str) else fields
    rows = parse(raw, source="twilio")
    assert rows["quarantine"] == []
    (row,) = rows["messages"]
    return row


def test_a_referral_in_full_is_as_from_meta() -> None:
    row, meta = one("text_referral"), parse(fixture("text_referral"))["messages"][0]
    columns = [name for name in row if name.startswith("referral_")] + ["ctwa_clid", "has_referral"]
    left_out = {"referral_welcome_text"}  # Twilio has no such field

    assert {c: row[c] for c in columns if c not in left_out} == {
        c: meta[c] for c in columns if c not in left_out
    }
    for same in ("phone_key", "business_number_id", "country", "direction", "origin", "app"):
        assert row[same] == meta[same], same
    assert row["message_key"] == NAMES.message(BUSINESS, TEXT_SID)
    assert row["message_id_key"] == NAMES.message_id(TEXT_SID)
    assert (row["waba_id"], row["phone_number_id"]) == (None, None)


def test_e13_twilio_says_no_time_so_it_is_the_receipt() -> None:
    row = one("text")
    assert (row["sent_at"], row["sent_at_source"]) == (RECEIVED, "receipt")


def test_a_chat_goes_on_when_a_company_changes_its_provider() -> None:
    before = parse(envelope(message()))["messages"][0]
    after = one("text")
    assert after["business_number_id"] == before["business_number_id"] == BUSINESS
    assert after["phone_key"] == before["phone_key"] == NAMES.phone(PHONE)


def test_e07_a_status_ad_has_an_ad_but_no_click_id() -> None:
    row = one("referral_status_ad")
    assert (row["referral_source_id"], row["ctwa_clid"]) == ("120299990000000001", None)
    assert (row["referral_media_type"], row["referral_image_url"]) == ("video", None)
    assert row["referral_video_url"] == "https://scontent.example/imagem.jpg"


def test_e10_a_post_is_told_from_an_ad() -> None:
    assert one("referral_post")["referral_source_type"] == "post"


def test_e09_a_click_id_that_is_the_ad_id_is_none() -> None:
    row = one(form(ReferralSourceId="1202", ReferralSourceType="ad", ReferralCtwaClid="1202"))
    assert (row["referral_source_id"], row["ctwa_clid"]) == ("1202", None)


def test_e11_an_unknown_referral_field_is_kept() -> None:
    row = one(form(ReferralSourceId="1202", ReferralNew="x"))
    assert row["referral_extra"] == '{"ReferralNew":"x"}'


def test_fields_of_a_referral_without_one_are_no_referral() -> None:
    assert not one(form(ReferralNumMedia="0", ReferralBody=""))["has_referral"]
    assert not one(form(ReferralNew="x"))["has_referral"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "text"),
        ({"MessageType": "REACTION"}, "reaction"),
        ({"ButtonPayload": "yes"}, "button"),
        ({"ListId": "1"}, "interactive"),
        ({"Latitude": "-23.5"}, "location"),
        ({"MediaContentType0": "audio/ogg"}, "audio"),
        ({"MediaContentType0": "application/pdf"}, "document"),
    ],
)
def test_the_type_is_twilios_word_or_told_by_the_fields(
    fields: dict[str, str], expected: str
) -> None:
    assert one(form(**fields))["type"] == expected


def test_a_reply_names_the_message_before_and_a_forward_says_so() -> None:
    reply, forwarded = one("reply_button"), one("forwarded")
    assert reply["context_message_id_key"] == NAMES.message_id("SM00000000000000000000000000000099")
    assert (reply["type"], reply["is_forwarded"]) == ("button", False)
    assert (forwarded["type"], forwarded["is_forwarded"]) == ("text", True)


def test_e23_a_user_id_alone_is_a_person() -> None:
    row = one("user_id_only")
    assert (row["phone_key"], row["bsuid_key"]) == (None, NAMES.bsuid(BSUID))
    assert row["country"] == "BR"
    with_prefix = one(form(From=f"whatsapp:{BSUID}", ExternalUserId=f"whatsapp:{BSUID}"))
    assert with_prefix["bsuid_key"] == NAMES.bsuid(BSUID)


def test_e24_phone_and_user_ids_of_one_form_are_linked() -> None:
    rows = parsed("twilio", "phone_and_user_id")
    assert links(rows) == {
        (NAMES.phone(PHONE), NAMES.bsuid(BSUID), "message"),
        (NAMES.bsuid(BSUID), NAMES.bsuid(PARENT), "message"),
    }


def test_e26_both_spellings_of_a_number_are_one_person() -> None:
    with_nine = one(form(From="whatsapp:+5531987650001"))
    assert one(form(From="whatsapp:+553187650001"))["phone_key"] == with_nine["phone_key"]
    # Where the address is a user id, the phone may stand beside it.
    beside = one(form(From=f"whatsapp:{BSUID}", WaId="553187650001"))
    assert beside["phone_key"] == with_nine["phone_key"]
    assert beside["bsuid_key"] == NAMES.bsuid(BSUID)


@pytest.mark.parametrize("name", ["ExternalUserId", "ExternalUserIdentifier"])
def test_e81_both_names_of_the_user_id_are_read(name: str) -> None:
    ids = {name: BSUID, f"Parent{name}": PARENT}
    assert links(parse(form(**ids), source="twilio")) == {
        (NAMES.phone(PHONE), NAMES.bsuid(BSUID), "message"),
        (NAMES.bsuid(BSUID), NAMES.bsuid(PARENT), "message"),
    }


@pytest.mark.parametrize("part", ["Body", "ProfileName", "ButtonText", "MediaUrl0", "Latitude"])
@pytest.mark.parametrize("bad", ["a\x00b", "%FF", "\ud83d"])
def test_e83_what_nobody_keeps_costs_nothing(part: str, bad: str) -> None:
    raw = form(ReferralSourceType="ad", ReferralSourceId="1202", ReferralCtwaClid="Af")
    field = f"&{part}=".encode() + quote(bad, safe="%", errors="surrogatepass").encode()
    rows = parse(re.sub(rf"&{part}=[^&]*".encode(), b"", raw) + field, source="twilio")
    (row,) = rows["messages"]
    assert (row["ctwa_clid"], row["phone_key"]) == ("Af", NAMES.phone(PHONE))
    assert rows["quarantine"] == []
    assert rows["envelopes"][0]["mended_values"] == 0


def test_e83_the_words_of_an_ad_are_mended_and_counted() -> None:
    raw = form(ReferralSourceType="ad", ReferralSourceId="1202", ReferralHeadline="a\x00b")
    rows = parse(raw, source="twilio")
    assert rows["messages"][0]["referral_headline"] == "a\ufffdb"
    assert rows["envelopes"][0]["mended_values"] == 1


@pytest.mark.parametrize("name", ["text_referral", "status_sent", "status_user_id", "image"])
def test_e77_names_and_words_count_in_any_case(name: str) -> None:
    """In another case a status became a message, and the customer's number that of the business."""
    raw = body("twilio", name)
    pairs = parse_qsl(raw.decode(), keep_blank_values=True)
    good = parse(raw, source="twilio")
    words = {"SmsStatus", "MessageStatus", "From", "To", "MessageType"}
    for change in (str.upper, str.lower, str.title):
        for kept in ({change(n): v for n, v in pairs},
                     {n: change(v) if n in words else v for n, v in pairs}):  # fmt: skip
            rows = parse(urlencode(kept).encode(), source="twilio")
            for table in ("messages", "statuses"):
                assert rows[table] == good[table]


@pytest.mark.parametrize("name", ["text", "text_referral", "status_sent", "user_id_only"])
def test_e77_a_field_that_is_missing_makes_nobody_a_business(name: str) -> None:
    pairs = parse_qsl(body("twilio", name).decode(), keep_blank_values=True)
    for left_out, _ in pairs:
        rest = urlencode([p for p in pairs if p[0] != left_out]).encode()
        for extra in (b"", b"&SmsStatus=x", b"&MessageStatus=Novo"):
            rows = parse(rest + extra, source="twilio")
            for row in rows["messages"] + rows["statuses"]:
                assert row["business_number_id"] == BUSINESS


# ---- statuses ------------------------------------------------------------------------------------


def test_a_status_speaks_of_its_recipient_and_our_number() -> None:
    rows = parsed("twilio", "status_sent", "status_delivered", "status_read")
    assert [row["status"] for row in rows["statuses"]] == ["sent", "delivered", "read"]
    assert len({row["message_key"] for row in rows["statuses"]}) == 1
    for row in rows["statuses"]:
        assert (row["business_number_id"], row["phone_key"]) == (BUSINESS, NAMES.phone(PHONE))
        assert (row["status_at"], row["status_at_source"]) == (RECEIVED, "receipt")
    assert rows["messages"] == []


def test_what_has_not_left_twilio_is_no_status() -> None:
    rows = parsed("twilio", "status_queued")
    assert rows["statuses"] == rows["quarantine"] == []


def test_undelivered_is_failed_with_its_code() -> None:
    (row,) = parsed("twilio", "status_undelivered")["statuses"]
    assert (row["status"], row["error_code"]) == ("failed", 63024)


def test_a_status_to_a_user_id() -> None:
    (row,) = parsed("twilio", "status_user_id")["statuses"]
    assert (row["phone_key"], row["bsuid_key"]) == (None, NAMES.bsuid(BSUID))
    raw = body("twilio", "status_sent") + f"&ExternalUserId={BSUID}".encode()
    assert links(parse(raw, source="twilio")) == {
        (NAMES.phone(PHONE), NAMES.bsuid(BSUID), "status")
    }


# ---- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "element", "reason"),
    [
        (form(From="+5531987650001"), "message", "From_not_whatsapp"),
        (form(From="messenger:1234"), "message", "From_not_whatsapp"),
        (form(From="whatsapp:"), "message", "person_missing"),
        (form(To=None), "message", "To_not_whatsapp"),
        (form(To=f"whatsapp:{BSUID}"), "message", "To_not_a_number"),
        (form(MessageSid="a\x00b"), "message", "nul_in_text"),
        (form() + b"&WaId=%FF", "message", "lone_surrogate"),
        (form(SmsStatus=None, MessageStatus="a\x00"), "status", "nul_in_text"),
        (form(SmsStatus="brand new"), "message", "direction_unclear"),
        (
            b"MessageSid=SM1&From=whatsapp%3A%2B5511&To=whatsapp%3A%2B55",
            "message",
            "direction_unclear",
        ),
        (form(SmsStatus="sent", WaId="553187650001"), "status", "From_is_the_customer"),
        (form(To="whatsapp:+5531987650001", WaId="553187650001"), "message", "To_is_the_customer"),
        (form() + b"&From=whatsapp%3A%2B551", "message", "duplicate_key"),
        (form(MessageSid="x" * 1_025), "message", "id_too_long"),
        (form(SmsStatus=None, MessageStatus="sent", To="+55"), "status", "To_not_whatsapp"),
        (form(MessageSid=None), "envelope", "sid_missing"),
        (b"CallSid=CA1&CallStatus=completed", "envelope", "sid_missing"),
        (b"", "envelope", "sid_missing"),
        (b"no form", "envelope", "not_a_form"),
        (b"\xff\xfe", "envelope", "not_a_form"),
        (b"&".join([b"a=1"] * 2_000), "envelope", "not_a_form"),
        (b'{"MessageSid": "SM1"}', "envelope", "json_body"),
        (b" [1]", "envelope", "json_body"),
    ],
)
def test_what_does_not_fit_is_quarantined_without_values(
    raw: bytes, element: str, reason: str
) -> None:
    rows = parse(raw, source="twilio")
    assert [(q["element"], q["path"]) for q in rows["quarantine"]] == [(element, "$")]
    assert reasons(rows) == [reason]
    assert not re.search(r"\d{6}", rows["quarantine"][0]["reason"])
    assert conserved(rows)
    assert rows["messages"] == rows["statuses"] == []


def test_an_id_of_an_ad_that_cannot_be_is_null_and_the_message_stays() -> None:
    rows = parse(form(ReferralSourceType="ad", ReferralSourceId="1" * 600), source="twilio")
    assert rows["messages"][0]["has_referral"]
    assert [(q["element"], q["path"]) for q in rows["quarantine"]] == [("referral", "referral")]


def test_what_a_form_says_of_a_person_stays_out_of_the_event_log() -> None:
    rows = parsed("twilio", "text_referral", "phone_and_user_id", "status_read")
    for secret in ("87650001", "Cliente", "anúncio,", TEXT_SID, BSUID):
        assert secret not in str(rows), secret
