"""Bad input: one bad element is quarantined with a reason, its siblings are kept (rule R1)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingestion.parser.limits import MAX_LIST
from tests.ingestion.parser.payloads import (
    Rows,
    encode,
    envelope,
    fixture,
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
    # JSON text put in the place of a message's text, and the reason expected
    "nul": (b'"a\\u0000b"', "nul_in_text"),
    "raw nul": (b'"a\x00b"', "nul_in_text"),
    "lone surrogate": (b'"\\ud83d"', "lone_surrogate"),
    "not utf-8": (b'"\xff\xfe"', "lone_surrogate"),
    "nan": (b"NaN", "number_not_finite"),
    "infinity": (b"-Infinity", "number_not_finite"),
    "double overflow": (b"1e999", "number_not_finite"),
    "deep": (json.dumps(deep(40)).encode(), "too_deep"),
    "duplicate key": (b'{"body": "a", "body": "b"}', "duplicate_key"),
    "duplicate key, blank before a colon": (b'{"a" :1,"body":"a","body":"b"}', "duplicate_key"),
    "duplicate key, escaped colon": (b'{"a":"\\u003a","body":1,"body":1}', "duplicate_key"),
    "duplicate key, escaped quote": (b'{"a":"\\u0022:","body":1,"body":1}', "duplicate_key"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_value_takes_its_own_message_only(name: str) -> None:
    value, reason = HOSTILE[name]
    body = envelope(message(1), message(2, text="@@"), message(3, referral=referral()))
    rows = parse(encode(body).replace(b'"@@"', value))

    assert [m["has_referral"] for m in rows["messages"]] == [False, True]
    assert reasons(rows) == [reason]
    assert rows["quarantine"][0]["path"] == "entry[0].changes[0].value.messages[1]"
    assert rows["quarantine"][0]["element"] == "message"
    assert conserved(rows)


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
def test_a_hostile_value_in_a_large_body_takes_its_own_message_only(name: str) -> None:
    value, reason = HOSTILE[name]
    body = envelope(*(message(n, text="@@" if n == 20 else {"body": "Oi"}) for n in range(40)))
    rows = parse(encode(body).replace(b'"@@"', value))
    assert len(rows["messages"]) == 39
    assert reasons(rows) == [reason]


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
    assert len(parse(raw.replace(b'"@@"', digits.encode()))["messages"]) in (1, 2)


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
