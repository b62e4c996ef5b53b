"""360dialog and Gupshup pass on what Meta sends: the same rows, under their own source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ctwa.link_code import code_of, shown
from ingestion.parser import Parser
from tests.ingestion.parser.payloads import (
    BUSINESS,
    NAMES,
    Rows,
    batch_of,
    encode,
    envelope,
    message,
    own_payloads,
    parse,
    reasons,
)
from tests.ingestion.parser.provider_payloads import chats, form, parsed, text_event
from tests.ingestion.parser.test_hostile import conserved


def without_source(rows: Rows) -> Rows:
    return {
        name: [{k: v for k, v in row.items() if k != "source"} for row in found]
        for name, found in rows.items()
    }


@pytest.mark.parametrize("source", ["dialog360", "gupshup"])
def test_every_payload_gives_the_rows_that_meta_itself_would(source: str) -> None:
    bodies = list(own_payloads().values())
    rows, meta = parse(*bodies, source=source), parse(*bodies)
    assert {row["source"] for row in rows["envelopes"]} == {source}
    assert without_source(rows) == without_source(meta)
    assert len(rows["messages"]) > 40


@pytest.mark.parametrize("source", ["dialog360", "gupshup"])
def test_a_referral_passed_on(source: str) -> None:
    (row,) = parsed(source, "text_referral")["messages"]
    assert (row["referral_source_id"], row["ctwa_clid"]) == (
        "120299990000000001",
        "AfSyntheticClickId_0001",
    )
    assert (row["business_number_id"], row["country"]) == (BUSINESS, "BR")


def test_a_status_through_gupshup_keeps_its_billing() -> None:
    (row,) = parsed("gupshup", "status_sent")["statuses"]
    assert (row["status"], row["pricing_type"]) == ("sent", "free_entry_point")
    assert row["message_key"] == NAMES.message(BUSINESS, "wamid.SYNTH9003")


def test_what_only_gupshup_knows_of_is_neither_row_nor_quarantine() -> None:
    rows = parsed("gupshup", "set_callback", "status_enqueued", "billing")
    assert len(rows["envelopes"]) == 3
    assert rows["statuses"] == rows["messages"] == rows["quarantine"] == []


def test_a_list_with_anything_else_is_read_whole() -> None:
    real = {"id": "wamid.1", "status": "sent", "recipient_id": "5531987650001"}
    rows = parse(envelope(statuses=[real, {"type": "set-callback"}, 7]), source="gupshup")
    assert len(rows["statuses"]) == 1
    assert reasons(rows) == ["id_missing", "status_not_object"]
    assert reasons(parse(envelope(statuses=5), source="gupshup")) == ["statuses_not_list"]


def test_gupshups_own_format_is_refused_with_what_to_switch_on() -> None:
    rows = parsed("gupshup", "own_format_message", "own_format_event")
    assert [q["element"] for q in rows["quarantine"]] == ["message", "envelope"]
    assert all("set the subscription's version to 3" in q["reason"] for q in rows["quarantine"])
    assert [row["quarantined_messages"] for row in rows["envelopes"]] == [1, 0]
    assert conserved(rows)


@pytest.mark.parametrize("value", [[], 7, {"entry": 7}, {"entry": [7, {"changes": [7, {}]}]}, {}])
def test_other_shapes_are_quarantined_as_metas_are(value: Any) -> None:
    rows = parse(encode(value), source="gupshup")
    assert reasons(rows) == reasons(parse(encode(value))) != []


SITE = "aurora"
CODE = code_of("7KQ2M9XF", SITE)


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("whatsapp", lambda text: envelope(message(text={"body": text}))),
        ("gupshup", lambda text: envelope(message(text={"body": text}))),
        ("twilio", lambda text: form(Body=text)),
        ("messenger", lambda text: chats(text_event(text=text))),
    ],
)
def test_e21_a_coded_link_counts_whoever_brings_the_chat(
    source: str, made: Callable[[str], Any]
) -> None:
    texts = [f"Oi! {shown(CODE)}", "CW-AAAAA-AAAAA", f"{shown(CODE)} {shown(CODE[::-1])}", "Oi"]
    batch = batch_of([made(text) for text in texts], source)
    found = Parser(NAMES, site_id=SITE).parse(batch)["messages"].to_pylist()
    assert [row["link_code_state"] for row in found] == ["fit", "unfit", "several", None]
    assert [row["link_code_key"] for row in found] == [NAMES.link_code(CODE), None, None, None]


def test_a_repeat_through_both_has_one_key() -> None:
    """Meta's id is the same whoever passes it on: the message counts once (R2)."""
    direct, passed_on = (parse(envelope(message()), source=s) for s in ("whatsapp", "dialog360"))
    assert direct["messages"][0]["message_key"] == passed_on["messages"][0]["message_key"]
    assert direct["messages"][0]["content_key"] == passed_on["messages"][0]["content_key"]
