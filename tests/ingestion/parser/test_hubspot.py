"""Bodies of source `hubspot`, hostile and odd: each piece is taken or quarantined by itself."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest

from tests.ingestion.parser.payloads import NAMES, RECEIVED, Rows, links, parse, reasons
from tests.ingestion.parser.test_fuzz import SECRET, mutate

READ_AT = "2026-06-20T11:59:00+00:00"
AT = "2026-06-01T10:00:00.000Z"
OWN = NAMES.crm_record("hubspot", "contact:7")


def entry(value: Any = "lead", timestamp: Any = AT) -> dict[str, Any]:
    return {"value": value, "timestamp": timestamp}


def contact(*history: Any, record_id: Any = "7", **properties: Any) -> dict[str, Any]:
    return {"id": record_id, "properties": properties, "history": list(history), "updated_at": AT}


def body(*records: Any, kind: str = "contacts", **header: Any) -> dict[str, Any]:
    return {"object": kind, "read_at": READ_AT, "labels": {}, "records": list(records), **header}


def read(*records: Any, **header: Any) -> Rows:
    return parse(body(*records, **header), source="hubspot")


def places_of(rows: Rows) -> list[tuple[str, str]]:
    return [(row["element"], row["path"]) for row in rows["quarantine"]]


@pytest.mark.parametrize(
    "wrong", [[], {}, {"object": "tickets"}, {"object": None}, "x", 5, None, b"{"]
)
def test_a_body_that_is_none_of_ours_is_quarantined(wrong: Any) -> None:
    rows = parse(wrong, source="hubspot")
    assert len(reasons(rows)) == 1
    assert rows["envelopes"][0]["quarantined"] == 1


@pytest.mark.parametrize("wrong", [None, 7, "", "x", "7; drop", "9" * 21, 7.0, {"a": 1}])
def test_a_record_without_its_id_leaves_its_siblings(wrong: Any) -> None:
    rows = read(contact(entry(), record_id=wrong), contact(entry()), 5)
    assert reasons(rows) == ["id_not_digits", "id_not_digits"]
    assert places_of(rows) == [("contact", "records[0]"), ("contact", "records[2]")]
    assert len(rows["outcomes"]) == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (entry("a" * 10_000), "value_too_long"),
        (entry("le\x00ad"), "nul_in_text"),
        (entry("\ud83d"), "lone_surrogate"),
        (entry(timestamp=None), "time_unreadable"),
        (entry(timestamp="yesterday"), "time_unreadable"),
        (entry(timestamp="2026-06-01T10:00:00"), "time_unreadable"),
        (entry(timestamp="1999-06-01T10:00:00Z"), "time_unreadable"),
        (entry(timestamp=1_780_000_000_000), "time_unreadable"),
        (entry(timestamp="2027-01-01T00:00:00Z"), "time_in_future"),
        (entry(value=1.5), "value_not_text"),
        ("lead", "entry_not_object"),
    ],
)
def test_a_bad_entry_leaves_the_others_and_the_persons_identities(wrong: Any, reason: str) -> None:
    rows = read(contact(entry("customer"), wrong, entry("lead"), email="ana@example.com"))
    assert reasons(rows) == [reason]
    assert places_of(rows) == [("outcome", "records[0].history[1]")]
    assert {row["stage"] for row in rows["outcomes"]} == {"customer", "lead"}
    assert len(rows["identity_links"]) == 1


def test_a_bad_identity_leaves_the_others_and_the_outcomes() -> None:
    rows = read(
        contact(
            entry(),
            email="a\x00@example.com",
            phone="+5511987654321",
            mobilephone={"number": 5},
            hs_additional_emails="x" * 10_000 + "@example.com;ana😀@example.com",
        )
    )
    assert sorted(reasons(rows)) == ["mobilephone_not_text", "nul_in_text"]
    assert {row["element"] for row in rows["quarantine"]} == {"identity"}
    phone, email = NAMES.phone("5511987654321"), NAMES.email("ana😀@example.com")
    assert links(rows) == {(OWN, phone, "crm_record"), (OWN, email, "crm_record")}
    assert len(rows["outcomes"]) == 1


def test_a_stage_is_anything_and_its_label_is_cut_or_left_out() -> None:
    labels = {"🦷 fim": "x" * 10_000, "b": "\x00", "c": 5, "d": " Visita "}
    rows = read(contact(*map(entry, labels)), labels=labels)
    found = {row["stage"]: row["stage_label"] for row in rows["outcomes"]}
    assert found == {"🦷 fim": "x" * 256, "b": None, "c": None, "d": "Visita"}
    assert reasons(rows) == []


def test_times_are_the_same_in_every_spelling() -> None:
    spellings = ("2026-06-01T10:00:00Z", "2026-06-01T07:00:00.000-03:00", AT)
    rows = read(*(contact(entry(timestamp=t)) for t in spellings))
    assert {row["event_id"] for row in rows["outcomes"]} == {f"contact:{OWN}:lead:{AT}"}
    assert len({row["content_key"] for row in rows["outcomes"]}) == 1


def test_the_latest_of_one_instant_is_the_one_that_hubspot_lists_first() -> None:
    deal = {
        "id": "9",
        "properties": {"amount": "10", "deal_currency_code": "EUR"},
        "history": [entry("closedwon"), entry("qualifiedtobuy")],
    }
    rows = read(deal, kind="deals", currency="BRL")
    paid = {row["stage"]: (row["value"], row["currency"]) for row in rows["outcomes"]}
    assert paid == {"closedwon": (Decimal(10), "EUR"), "qualifiedtobuy": (None, None)}


@pytest.mark.parametrize(
    ("amount", "reason"),
    [("ten", "value_not_a_number"), ("1e15", "value_out_of_range"), (5, "value_not_a_number")],
)
def test_a_bad_amount_leaves_the_stage(amount: Any, reason: str) -> None:
    deal = {"id": "9", "properties": {"amount": amount}, "history": [entry("closedwon")]}
    rows = read(deal, kind="deals", currency="BRL")
    assert reasons(rows) == [reason]
    (row,) = rows["outcomes"]
    assert (row["value"], row["currency"]) == (None, None)


@pytest.mark.parametrize(
    ("on_deal", "of_account", "expected"),
    [("USD", "BRL", "USD"), (None, "BRL", "BRL"), ("reais", "BRL", "BRL"), (None, None, None)],
)
def test_a_deal_without_a_currency_has_the_accounts(
    on_deal: str | None, of_account: str | None, expected: str | None
) -> None:
    properties = {"amount": "-10.5", "deal_currency_code": on_deal}
    deal = {"id": "9", "properties": properties, "history": [entry("closedwon")]}
    (row,) = read(deal, kind="deals", currency=of_account)["outcomes"]
    assert (row["value"], row["currency"]) == (Decimal("-10.5"), expected)


def test_e29_ids_of_merged_contacts_in_any_list() -> None:
    rows = read(contact(hs_merged_object_ids="5; 6;7,x;5;" + "9" * 30))
    others = {NAMES.crm_record("hubspot", f"contact:{i}") for i in (5, 6)}
    assert links(rows) == {(OWN, other, "crm_merge") for other in others}


def test_a_copy_says_when_it_was_read() -> None:
    (row,) = read(contact(entry()))["outcomes"]
    assert row["recorded_at"].isoformat() == READ_AT
    assert row["recorded_at"] < RECEIVED


def test_fuzzed_bodies_never_raise_and_leak_nothing() -> None:
    rng = random.Random(5)
    good = body(
        {**contact(entry(), email="ana@example.com", phone="+5511987654321"), "archived_at": AT},
        contact(entry("customer"), record_id="8", hs_merged_object_ids="1;2"),
        labels={"lead": "Lead"},
    )
    for _ in range(1_500):
        rows = parse(mutate(rng, good), source="hubspot")
        assert len(rows["envelopes"]) == 1
        assert rows["envelopes"][0]["outcomes"] == len(rows["outcomes"])
        assert rows["envelopes"][0]["quarantined"] == len(rows["quarantine"])
        assert all("parser_error" not in row["reason"] for row in rows["quarantine"])
        assert all(SECRET not in row["reason"] for row in rows["quarantine"])
