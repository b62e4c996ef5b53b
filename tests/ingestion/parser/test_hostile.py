"""Bad input: one bad element is quarantined with a reason, its siblings are kept (rule R1)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingestion.parser.limits import MAX_LIST
from tests.ingestion.parser.payloads import (
    BSUID,
    BUSINESS,
    NAMES,
    PHONE,
    SENT,
    Rows,
    encode,
    envelope,
    fixture,
    links,
    message,
    own_payloads,
    parse,
    public_samples,
    reasons,
    referral,
)

CANARY = "canary-5511999998888"


def conserved(rows: Rows) -> bool:
    """Messages in envelopes = rows + quarantined, in every envelope; and counts match rows."""
    for row in rows["envelopes"]:
        found = {
            name: [r for r in rows[name] if r["seq"] == row["seq"]]
            for name in ("messages", "statuses", "outcomes", "quarantine")
        }
        bad = [r for r in found["quarantine"] if r["element"] == "message"]
        if row["message_elements"] != row["messages"] + row["quarantined_messages"]:
            return False
        counted = [row[n] for n in ("messages", "statuses", "outcomes", "quarantined")]
        if counted != [len(rs) for rs in found.values()] or len(bad) != row["quarantined_messages"]:
            return False
    return True


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


HOSTILE: dict[str, tuple[bytes, str]] = {
    # JSON text put in the place of a value, and the reason expected where that is an id
    "nul": (b'"a\\u0000b"', "nul_in_text"),
    "raw nul": (b'"a\x00b"', "nul_in_text"),
    "lone surrogate": (b'"\\ud83d"', "lone_surrogate"),
    "not utf-8": (b'"\xff\xfe"', "lone_surrogate"),
    "nan": (b"NaN", "number_not_finite"),
    "infinity": (b"-Infinity", "number_not_finite"),
    "double overflow": (b"1e999", "number_not_finite"),
    "endless exponent": (b"1E999999999999999999999", "number_not_finite"),
    "endless digits": (b"9" * 5_000, "integer_too_long"),
    "deep": (json.dumps(deep(40)).encode(), "{key}_not_text"),
    "bottomless": (b"[" * 5_000 + b'"]"' + b"]" * 5_000, "{key}_not_text"),
    "bottomless object": (b'{"[":' * 5_000 + b"1" + b"}" * 5_000, "{key}_not_text"),
    "long list": (json.dumps([0] * 10_001).encode(), "{key}_not_text"),
    "duplicate key": (b'{"body": "a", "body": "b"}', "{key}_not_text"),
    "duplicate key, blank before a colon": (b'{"a" :1,"body":"a","body":"b"}', "{key}_not_text"),
    "duplicate key, escaped colon": (b'{"a":"\\u003a","body":1,"body":1}', "{key}_not_text"),
    "duplicate key, escaped quote": (b'{"a":"\\u0022:","body":1,"body":1}', "{key}_not_text"),
    "bad key": (b'{"a\\u0000":"\\ud83d"}', "{key}_not_text"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_id_takes_its_own_message_only(name: str) -> None:
    value, reason = HOSTILE[name]
    body = envelope(message(1), message(2, id="@@"), message(3, referral=referral()))
    rows = parse(encode(body).replace(b'"@@"', value))

    assert [m["has_referral"] for m in rows["messages"]] == [False, True]
    assert reasons(rows) == [reason.format(key="id")]
    assert rows["quarantine"][0]["path"] == "entry[0].changes[0].value.messages[1]"
    assert rows["quarantine"][0]["element"] == "message"
    assert rows["envelopes"][0]["mended_values"] == 0
    assert conserved(rows)


# Parts of a message that nobody keeps.
FORGOTTEN: dict[str, dict[str, Any]] = {
    "text": {"text": {"body": "@@"}},
    "text as a whole": {"text": "@@"},
    "caption": {"type": "image", "image": {"id": "1", "caption": "@@"}},
    "flow answer": {"type": "interactive", "interactive": {"nfm_reply": {"response_json": "@@"}}},
    "reaction": {"type": "reaction", "reaction": {"message_id": "x", "emoji": "@@"}},
    "order": {"type": "order", "order": {"product_items": ["@@"]}},
    "product in the context": {"context": {"id": "a", "referred_product": "@@"}},
    "unknown": {"shine": "@@"},
}


@pytest.mark.parametrize("part", FORGOTTEN)
@pytest.mark.parametrize("name", HOSTILE)
def test_e83_what_nobody_keeps_costs_nothing(name: str, part: str) -> None:
    told = {"from_user_id": BSUID, "referral": referral()}
    written = encode(envelope(message(1, **told, **FORGOTTEN[part]), message(2)))
    good = parse(written)
    rows = parse(written.replace(b'"@@"', HOSTILE[name][0]))
    for table in ("messages", "identity_links"):
        assert rows[table] == good[table]
    assert rows["quarantine"] == []
    assert rows["envelopes"][0]["mended_values"] == 0
    assert conserved(rows)


@pytest.mark.parametrize("name", HOSTILE)
def test_e83_a_name_beside_the_message_costs_nothing(name: str) -> None:
    contact = {"profile": {"name": "@@"}, "wa_id": PHONE, "user_id": BSUID}
    status = {"id": "s", "status": "sent", "timestamp": str(SENT), "recipient_id": PHONE,
              "biz_opaque_callback_data": "@@"}  # fmt: skip
    echo = {"id": "e", "to": PHONE, "from": BUSINESS, "timestamp": str(SENT), "text": "@@"}
    chunk = {"threads": [{"id": PHONE, "messages": [message(7, text={"body": "@@"})]}], "x": "@@"}
    written = encode(envelope(
        message(1), contacts=[contact], statuses=[status], message_echoes=[echo], history=[chunk],
        novelty="@@",
    ))  # fmt: skip
    rows = parse(written.replace(b'"@@"', HOSTILE[name][0]))
    assert {t: len(rows[t]) for t in ("messages", "statuses", "quarantine")} == {
        "messages": 3, "statuses": 1, "quarantine": 0,
    }  # fmt: skip
    assert (NAMES.phone(PHONE), NAMES.bsuid(BSUID), "contact") in links(rows)
    assert conserved(rows)


@pytest.mark.parametrize(
    ("key", "given", "column", "kept"),
    [
        ("headline", "Oferta \ud83d", "referral_headline", "Oferta \ufffd"),
        ("body", "a\x00b", "referral_body", "a\ufffdb"),
        ("source_type", "ad\x00", "referral_source_type", "ad"),
        ("source_url", "https://fb.me/x\x00", "referral_source_url", "https://fb.me/x"),
        ("media_type", "\ud83dimage", "referral_media_type", "image"),
        ("new", {"a\x00": ["\ud83d"]}, "referral_extra", '{"new":{"a\ufffd":["\ufffd"]}}'),
    ],
)  # fmt: skip
def test_e83_what_is_kept_is_mended_and_counted(
    key: str, given: Any, column: str, kept: str
) -> None:
    rows = parse(envelope(message(1, referral=referral(**{key: given})), message(2)))
    row = rows["messages"][0]
    assert row[column] == kept
    assert (row["referral_source_id"], row["ctwa_clid"]) == ("120299990000000001", "AfClick")
    assert (row["sent_at_source"], row["phone_key"]) == ("message", NAMES.phone(PHONE))
    assert rows["quarantine"] == []
    assert rows["envelopes"][0]["mended_values"] == 1


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("key", ["headline", "source_url", "welcome_message", "novelty"])
def test_e83_no_text_of_an_ad_takes_its_message(name: str, key: str) -> None:
    written = encode(envelope(message(1, referral=referral(**{key: "@@"}))))
    rows = parse(written.replace(b'"@@"', HOSTILE[name][0]))
    (row,) = rows["messages"]
    assert (row["has_referral"], row["ctwa_clid"]) == (True, "AfClick")
    assert rows["quarantine"] == []
    assert conserved(rows)


@pytest.mark.parametrize("key", ["source_id", "ctwa_clid"])
def test_e83_an_id_of_an_ad_is_never_mended(key: str) -> None:
    rows = parse(envelope(message(1, referral=referral(**{key: "12\x003"}))))
    (row,) = rows["messages"]
    assert row["has_referral"]
    assert None in (row["referral_source_id"], row["ctwa_clid"])
    assert [(q["element"], q["reason"][:11]) for q in rows["quarantine"]] == [
        ("referral", "referral_nu")
    ]


def test_e83_a_time_with_a_bad_character_is_still_that_time() -> None:
    rows = parse(envelope(message(1, timestamp=f"{SENT}\x00"), message(2, timestamp="\ud83d")))
    assert [r["sent_at_source"] for r in rows["messages"]] == ["message", "receipt"]
    assert rows["envelopes"][0]["mended_values"] == 2


def test_a_key_said_twice_alike_is_no_doubt_and_said_twice_otherwise_is() -> None:
    written = encode(envelope(message(1), message(2)))
    twice = written.replace(b'"id":"wamid.TEST1"', b'"id":"wamid.TEST1","id":"wamid.TEST1"')
    assert len(parse(twice)["messages"]) == 2
    rows = parse(written.replace(b'"id":"wamid.TEST1"', b'"id":"x","id":"wamid.TEST1"'))
    assert (len(rows["messages"]), reasons(rows)) == (1, ["duplicate_key"])
    assert conserved(rows)


@pytest.mark.parametrize("holder", [b'"field":', b'"metadata":'])
def test_what_says_whose_message_it_is_cannot_be_said_twice(holder: bytes) -> None:
    written = encode(envelope(message(1), message(2)))
    rows = parse(written.replace(holder, holder + b'"history",' + holder))
    assert rows["messages"] == []
    assert set(reasons(rows)) == {"duplicate_key"}
    assert rows["envelopes"][0]["quarantined_messages"] == 2
    assert conserved(rows)


def test_a_body_of_three_megabytes_of_anything_is_bounded() -> None:
    size = 3 << 20
    for part in (b"[", b'{"a":', b'"\\"', b'\\"', b'{"a":1,"a":2},'):
        rows = parse(b'{"entry":[' + part * (size // len(part)))
        assert len(rows["quarantine"]) == 1


BAD_MESSAGES: dict[str, tuple[Any, str]] = {
    "null": (None, "message_not_object"),
    "text": ("x", "message_not_object"),
    "list": ([], "message_not_object"),
    "no id": (message(id=None), "id_missing"),
    "empty id": (message(id=""), "id_missing"),
    "id a list": (message(id=["x"]), "id_not_text"),
    "id a double": (message(id=1.5), "id_not_text"),
    "id a boolean": (message(id=True), "id_not_text"),
    "id too long": (message(id="x" * 1025), "id_too_long"),
    "sender an object": (message(**{"from": {"a": 1}}), "from_not_text"),
    "nobody": (message(**{"from": None}), "person_missing"),
    "sender too short": (message(**{"from": "12"}), "person_missing"),
    "referral a text": (message(referral="https://fb.me/x"), "referral_not_object"),
    "referral a list": (message(referral=[referral()]), "referral_not_object"),
}


@pytest.mark.parametrize("name", BAD_MESSAGES)
def test_a_message_that_cannot_be_taken_is_quarantined(name: str) -> None:
    bad, reason = BAD_MESSAGES[name]
    rows = parse(envelope(message(1), bad, message(3)))
    assert len(rows["messages"]) == 2
    assert reasons(rows) == [reason]
    assert conserved(rows)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"\xef\xbb\xbf{}", b"not json", b'{"entry":[]}x', b"[" * 200_000, b"\x00", b"[",
     b'{"a":' * 5_000 + b"1" + b"}" * 5_000],
)  # fmt: skip
def test_what_is_not_json_is_quarantined_whole(raw: bytes) -> None:
    rows = parse(raw, fixture("text"))
    assert reasons(rows)[0] in ("not_json", "too_deep")
    assert rows["quarantine"][0]["element"] == "envelope"
    assert len(rows["messages"]) == 1
    assert conserved(rows)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], "not_object"),
        ("x", "not_object"),
        (None, "not_object"),
        ({}, "entry_missing"),
        ({"entry": {}}, "entry_missing"),
        ({"entry": [7]}, "entry_not_object"),
        ({"entry": [{}]}, "changes_missing"),
        ({"entry": [{"changes": [None]}]}, "value_missing"),
        ({"entry": [{"changes": [{"field": "messages", "value": []}]}]}, "value_missing"),
        (envelope(field="messages", messages={"a": 1}), "messages_not_list"),
        (envelope(statuses="x"), "statuses_not_list"),
        (envelope(history=[{"threads": "x"}]), "threads_not_list"),
        (envelope(statuses=[{"id": "x"}]), "status_missing"),
    ],
)
def test_a_wrong_shape_is_one_row_with_a_reason(body: Any, reason: str) -> None:
    rows = parse(body)
    assert reasons(rows) == [reason]
    assert conserved(rows)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_id_in_a_large_body_takes_its_own_message_only(name: str) -> None:
    value, reason = HOSTILE[name]
    body = envelope(*(message(n, **({"id": "@@"} if n == 20 else {})) for n in range(40)))
    rows = parse(encode(body).replace(b'"@@"', value))
    assert len(rows["messages"]) == 39
    assert reasons(rows) == [reason.format(key="id")]


def test_a_doubtful_place_puts_all_its_messages_in_doubt() -> None:
    raw = encode(envelope(message(1), message(2)))
    rows = parse(raw.replace(b'"messages":', b'"messages":[],"messages":'))
    assert not rows["messages"]
    assert reasons(rows) == ["duplicate_key"] * 3  # the change, and each of its messages
    assert rows["envelopes"][0]["quarantined_messages"] == 2
    assert conserved(rows)


def test_a_good_entry_beside_a_doubtful_one_is_kept() -> None:
    good, bad = envelope(message(1)), envelope(message(2))
    bad["entry"][0]["changes"][0]["value"]["metadata"]["display_phone_number"] = "\ud83d"
    good["entry"] += bad["entry"]
    rows = parse(good)
    assert len(rows["messages"]) == 1
    assert set(reasons(rows)) == {"lone_surrogate"}
    assert conserved(rows)


def test_a_list_beyond_the_limit_is_quarantined_from_there_on() -> None:
    rows = parse(envelope(*[message(n) for n in range(MAX_LIST + 3)]))
    assert len(rows["messages"]) == MAX_LIST
    assert reasons(rows) == ["list_too_long"] * 3
    assert conserved(rows)


def test_unknown_fields_and_types_do_no_harm() -> None:
    body = envelope(message(1, type="hologram", hologram={"x": [1]}, shine=7), brand_new=[{}])
    body["entry"][0]["news"] = body["news"] = {"a": 1}
    rows = parse(body)
    assert rows["messages"][0]["type"] == "hologram"
    assert not rows["quarantine"]


@pytest.mark.parametrize("digits", ["12345678901234567890", "1" * 30, "1" + "0" * 400])
def test_a_long_number_that_nobody_reads_does_no_harm(digits: str) -> None:
    raw = encode(envelope(message(1, shine="@@"), message(2)))
    assert len(parse(raw.replace(b'"@@"', digits.encode()))["messages"]) == 2


def test_pretty_printed_bodies_are_no_cause_for_doubt() -> None:
    body = envelope(message(1, text={"body": 'He said: "x":1'}), message(2))
    for indent in (None, 2):
        rows = parse(json.dumps(body, indent=indent).encode())
        assert len(rows["messages"]) == 2
        assert not rows["quarantine"]


def test_the_escapes_of_meta_are_no_cause_for_doubt() -> None:
    text = {"body": 'Ol\u00e1 \U0001f44b \\u0000 "q":"w" https://fb.me/x'}
    rows = parse(encode(envelope(message(1, text=text))))
    assert len(rows["messages"]) == 1
    assert not rows["quarantine"]


@pytest.mark.parametrize("bad", [b'{"k":1,"%s":2,"%s":3}', b'"%s\\u0000"', b'{"from":["%s"]}'])
def test_e77_reasons_and_paths_never_hold_values(bad: bytes) -> None:
    value = bad.replace(b"%s", CANARY.encode())
    body = envelope(message(1, text="@@"), message(2, **{"from": {"x": CANARY}}), CANARY)
    rows = parse(encode(body).replace(b'"@@"', value), CANARY.encode(), f'["{CANARY}"]'.encode())
    assert rows["quarantine"]
    assert CANARY not in str(rows)


def test_every_own_payload_is_taken_without_doubt() -> None:
    payloads = own_payloads()
    assert len(payloads) >= 50
    rows = parse(*payloads.values())
    assert not rows["quarantine"]
    assert conserved(rows)


# Fields that attribution does not need: the row of the envelope is all that is kept.
IGNORED = {
    "wa_automatic_events/piusalfred_webhooks_17",  # a future shape
    "wa_coexistence/metadocs_smb_app_state_sync_1",  # a contact with one id links nothing
    "wa_other/metadocs_message_template_components_update_1",
    "wa_other/metadocs_payment_configuration_update_1",
    "wa_other/piusalfred_webhooks_13",
    "wa_other/piusalfred_webhooks_14",
    "wa_other/piusalfred_webhooks_19",  # no entries
}


def test_every_public_sample_is_modelled_or_quarantined() -> None:
    """Runs over the samples beside the checkout where they are; own payloads stand in always."""
    samples = own_payloads() | public_samples()
    rows = parse(*samples.values())
    assert conserved(rows)
    assert "parser_error" not in reasons(rows)
    for seq, (name, raw) in enumerate(samples.items(), 1):
        tables = {t for t, found in rows.items() if any(r["seq"] == seq for r in found)}
        folder = name.partition("/")[0]
        assert "envelopes" in tables, name
        if name in IGNORED or "/" not in name:
            continue
        assert tables & {"messages", "statuses", "outcomes", "account_events", "identity_links",
                         "quarantine"}, name  # fmt: skip
        if folder in ("wa_message", "wa_referral", "wa_system"):
            values = [c["value"] for e in json.loads(raw)["entry"] for c in e["changes"]]
            elements = sum(len(v.get("messages", [])) for v in values)
            assert rows["envelopes"][seq - 1]["messages"] == elements, name
    if public_samples():
        assert [r["path"] for r in rows["quarantine"]] == ["$"]  # an API error, not a webhook
