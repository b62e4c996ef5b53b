"""Messages, referrals and times: the columns an envelope becomes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from ingestion.parser import Parser
from ingestion.parser.schema import EVENT_LOG
from tests.ingestion.parser.payloads import (
    BSUID,
    BUSINESS,
    NAMES,
    PHONE,
    RECEIVED,
    SENT,
    batch_of,
    encode,
    envelope,
    fixture,
    message,
    parse,
    reasons,
    referral,
)


def test_every_table_has_exactly_its_schema() -> None:
    for bodies in ([], [fixture("text_referral"), fixture("status_free_entry_point")]):
        tables = Parser(NAMES).parse(batch_of(bodies))
        assert list(tables) == list(EVENT_LOG)
        for name, table in tables.items():
            assert table.schema.equals(EVENT_LOG[name]), name
            table.validate(full=True)


def test_a_referral_in_full() -> None:
    row = parse(fixture("text_referral"))["messages"][0]

    assert row["has_referral"]
    assert row["referral_source_type"] == "ad"
    assert row["referral_source_id"] == "120299990000000001"
    assert row["referral_source_url"] == "https://fb.me/exemplo1"
    assert row["referral_headline"] == "Fale com a loja"
    assert row["referral_body"] == "Promoção de inverno"
    assert row["referral_media_type"] == "image"
    assert row["referral_image_url"] == "https://scontent.example/imagem.jpg"
    assert row["referral_welcome_text"] == "Olá! Como podemos ajudar?"
    assert row["ctwa_clid"] == "AfSyntheticClickId_0001"
    assert row["referral_extra"] is None
    assert row["waba_id"] == "410000000000001"
    assert row["phone_number_id"] == "310000000000001"
    assert row["business_number_id"] == "5511400012345"
    assert row["message_key"] == NAMES.message("5511400012345", "wamid.SYNTH0002")
    assert row["message_id_key"] == NAMES.message_id("wamid.SYNTH0002")
    assert row["phone_key"] == NAMES.phone("5531987650001")
    assert (row["country"], row["direction"], row["origin"]) == ("BR", "inbound", "live")
    assert row["sent_at"] == datetime.fromtimestamp(SENT + 2, UTC)
    assert row["sent_at_source"] == "message"


def test_e01_a_repeated_delivery_is_kept_with_equal_content() -> None:
    first, second = parse(fixture("text_referral"), fixture("text_referral"))["messages"]
    assert first["seq"] != second["seq"]
    assert first["message_key"] == second["message_key"]
    assert first["content_key"] == second["content_key"]


def test_copies_that_differ_have_different_content() -> None:
    plain, with_ad = parse(envelope(message()), envelope(message(referral=referral())))["messages"]
    assert plain["message_key"] == with_ad["message_key"]
    assert plain["content_key"] != with_ad["content_key"]


def test_e02_the_message_id_alone_is_kept_beside_the_number() -> None:
    rows = parse(fixture("many_mixed"))["messages"]
    assert len({r["message_id_key"] for r in rows}) == len({r["message_key"] for r in rows}) == 3
    assert {r["business_number_id"] for r in rows} == {"5511400012345", "5511400099999"}


def test_e03_every_entry_change_and_message_with_its_place() -> None:
    rows = parse(fixture("many_mixed"))
    assert [m["referral_source_id"] is not None for m in rows["messages"]] == [False, True, False]
    assert len(rows["statuses"]) == 1
    ordinals = [r["ordinal"] for t in rows if t != "envelopes" for r in rows[t]]
    assert sorted(ordinals) == list(range(len(ordinals)))
    # Contacts are in the other order than messages: ids decide, not places.
    by_phone = {m["phone_key"]: m["bsuid_key"] for m in rows["messages"][:2]}
    assert by_phone[NAMES.phone("5531987650001")] == NAMES.bsuid("BR.20000000000000000001")
    assert by_phone[NAMES.phone("5531987650002")] == NAMES.bsuid("BR.20000000000000000002")


@pytest.mark.parametrize(
    "kind",
    ["audio", "location", "contacts", "sticker", "button", "interactive", "unsupported", "next",
     "request_welcome", "system"],
)  # fmt: skip
def test_e05_a_referral_on_any_type(kind: str) -> None:
    row = parse(envelope(message(type=kind, text=None, referral=referral())))["messages"][0]
    assert (row["type"], row["has_referral"], row["ctwa_clid"]) == (kind, True, "AfClick")


def test_e05_a_referral_on_a_message_without_a_type() -> None:
    row = parse(envelope(message(type=None, referral=referral())))["messages"][0]
    assert (row["type"], row["has_referral"]) == (None, True)


def test_e06_the_code_of_an_unsupported_message() -> None:
    row = parse(fixture("unsupported_131060"))["messages"][0]
    assert (row["type"], row["error_code"], row["has_referral"]) == ("unsupported", 131060, False)


@pytest.mark.parametrize("clid", [None, ""])
def test_e07_e09_no_click_id_is_no_click_id(clid: str | None) -> None:
    body = referral()
    body["ctwa_clid"] = clid
    row = parse(envelope(message(referral=body)))["messages"][0]
    assert row["ctwa_clid"] is None
    assert row["referral_source_id"] == "120299990000000001"


def test_e08_a_click_id_without_an_ad_id() -> None:
    row = parse(envelope(message(referral=referral(source_id=None))))["messages"][0]
    assert (row["has_referral"], row["referral_source_id"]) == (True, None)
    assert row["ctwa_clid"] == "AfClick"


def test_e09_an_ad_id_in_the_click_ids_place_is_not_a_click_id() -> None:
    body = referral(ctwa_clid="120299990000000001")
    row = parse(envelope(message(referral=body)))["messages"][0]
    assert (row["ctwa_clid"], row["referral_source_id"]) == (None, "120299990000000001")


def test_e10_a_post_is_told_apart() -> None:
    row = parse(fixture("referral_post"))["messages"][0]
    assert (row["referral_source_type"], row["referral_source_id"]) == ("post", "999000111222333")


def test_e11_unknown_source_types_and_keys_are_kept() -> None:
    body = referral(source_type="channel", placement={"name": "status", "depth": 2})
    row = parse(envelope(message(referral=body)))["messages"][0]
    assert row["referral_source_type"] == "channel"
    assert json.loads(row["referral_extra"]) == {"placement": {"name": "status", "depth": 2}}


def test_e11_too_much_unknown_is_cut_to_its_names() -> None:
    body = referral(novelty="x" * 10_000)
    row = parse(envelope(message(referral=body)))["messages"][0]
    assert json.loads(row["referral_extra"]) == {"_cut": ["novelty"]}


def test_e76_a_text_that_became_an_object_is_kept_as_extra() -> None:
    body = referral(media_type={"kind": "image"}, headline=7)
    row = parse(envelope(message(referral=body)))["messages"][0]
    assert (row["referral_media_type"], row["referral_headline"]) == (None, None)
    assert json.loads(row["referral_extra"]) == {"headline": 7, "media_type": {"kind": "image"}}
    assert row["referral_source_id"] == "120299990000000001"


def test_e12_history_says_where_it_comes_from_and_who_wrote() -> None:
    inbound, outbound = parse(fixture("history"))["messages"]
    assert (inbound["origin"], inbound["direction"]) == ("history", "inbound")
    assert (outbound["origin"], outbound["direction"]) == ("history", "outbound")
    assert inbound["phone_key"] == outbound["phone_key"] == NAMES.phone(PHONE)
    media = parse(fixture("history_media"))["messages"][0]
    assert (media["origin"], media["direction"], media["type"]) == ("history", "inbound", "image")


def test_e12_media_of_a_history_written_by_us_is_outbound() -> None:
    sent = message(**{"from": BUSINESS, "to": PHONE})
    row = parse(envelope(sent, field="history"))["messages"][0]
    assert (row["direction"], row["phone_key"]) == ("outbound", NAMES.phone(PHONE))


@pytest.mark.parametrize(
    "value",
    ["", "soon", "1781000000.5", 1781000000.5, None, True, [], -5, "0", "1400000000",
     "1781000000000", 1781000000000, 10**18, "9" * 400, "１７８１００００００"],
)  # fmt: skip
def test_e13_a_time_that_cannot_be_is_the_receipt_and_says_so(value: Any) -> None:
    row = parse(envelope({**message(), "timestamp": value}))["messages"][0]
    assert (row["sent_at"], row["sent_at_source"]) == (RECEIVED, "receipt")


@pytest.mark.parametrize(("ahead", "source"), [(86_400, "message"), (86_401, "receipt")])
def test_e13_a_day_ahead_of_receipt_is_the_limit(ahead: int, source: str) -> None:
    sent = RECEIVED + timedelta(seconds=ahead)
    row = parse(envelope(message(timestamp=str(int(sent.timestamp())))))["messages"][0]
    assert row["sent_at_source"] == source


@pytest.mark.parametrize("value", [SENT, str(SENT)])
def test_e13_seconds_as_text_or_number(value: Any) -> None:
    row = parse(envelope(message(timestamp=value)))["messages"][0]
    assert (row["sent_at"], row["sent_at_source"]) == (datetime.fromtimestamp(SENT, UTC), "message")


def test_e15_an_echo_is_outbound_and_speaks_of_its_receiver() -> None:
    row = parse(fixture("echo"))["messages"][0]
    assert (row["origin"], row["direction"]) == ("echo", "outbound")
    assert row["phone_key"] == NAMES.phone(PHONE)
    assert row["bsuid_key"] == NAMES.bsuid(BSUID)


def test_e22_groups_are_marked_and_a_call_from_an_ad_is_a_message() -> None:
    assert parse(fixture("group_message"))["messages"][0]["is_group"]
    call = parse(fixture("call_from_ad"))
    assert (call["messages"][0]["type"], call["messages"][0]["has_referral"]) == ("call", True)
    assert call["envelopes"][0]["message_elements"] == 1
    assert not parse(fixture("call"))["messages"]
    assert not parse(fixture("call_status"))["statuses"]


def test_e30_the_display_number_outlives_the_number_id() -> None:
    before = envelope(message(1))
    after = envelope(message(1), metadata={"display_phone_number": "+55 11 40001-2345",
                                           "phone_number_id": "99"})  # fmt: skip
    first, second = parse(before, after)["messages"]
    assert first["business_number_id"] == second["business_number_id"]
    assert first["message_key"] == second["message_key"]


def test_e30_without_a_display_number_the_id_stands_in() -> None:
    row = parse(envelope(message(), metadata={"phone_number_id": "31"}))["messages"][0]
    assert row["business_number_id"] == "31"


def test_e38_ids_as_json_numbers_keep_every_digit() -> None:
    near = [120226305854810726, 120226305854810727]
    rows = parse(*[envelope(message(referral=referral(source_id=i))) for i in near])["messages"]
    assert [r["referral_source_id"] for r in rows] == [str(i) for i in near]


@pytest.mark.parametrize("number", ["120226305854810726.0", "1.2e17", "1" * 25])
def test_e38_an_id_that_went_through_a_double_is_not_trusted(number: str) -> None:
    raw = encode(envelope(message(referral=referral()))).replace(
        b'"120299990000000001"', number.encode()
    )
    rows = parse(raw)
    if rows["messages"]:
        assert rows["messages"][0]["referral_source_id"] is None
        assert rows["messages"][0]["has_referral"]
    assert reasons(rows)[0] in ("referral_source_id_not_text", "integer_too_long")


def test_context_and_forwarding() -> None:
    row = parse(fixture("reply_forwarded"))["messages"][0]
    assert row["context_message_id_key"] == NAMES.message_id("wamid.SYNTH0001")
    assert row["is_forwarded"]


def test_the_parser_is_pure() -> None:
    bodies = [fixture("many_mixed"), fixture("text_referral"), b"{", fixture("history")]
    parser = Parser(NAMES)
    first = parser.parse(batch_of(bodies))
    again, other = parser.parse(batch_of(bodies)), Parser(NAMES).parse(batch_of(bodies))
    assert first == again == other


def test_rows_do_not_depend_on_the_batches_they_come_in() -> None:
    bodies = [fixture("many_mixed"), fixture("echo"), fixture("text_referral"), fixture("history")]
    whole = Parser(NAMES).parse(batch_of(bodies))
    parser = Parser(NAMES)
    singles = [parser.parse(batch_of([b], first_seq=n)) for n, b in enumerate(bodies, 1)]
    for name, table in whole.items():
        assert pa.concat_tables(s[name] for s in singles).equals(table), name


def test_order_of_deliveries_changes_no_content() -> None:
    bodies = [fixture(n) for n in ("many_mixed", "echo", "text_referral", "history", "status_sent")]
    forward, backward = parse(*bodies), parse(*reversed(bodies))
    for name in ("messages", "statuses"):
        keys = [sorted(r["content_key"] for r in rows[name]) for rows in (forward, backward)]
        assert keys[0] == keys[1]
