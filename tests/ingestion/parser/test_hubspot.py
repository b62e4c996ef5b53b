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


WON, MOVED = "2026-06-02T10:00:00.000Z", "2026-06-04T10:00:00.000Z"
DEAL = (entry("501", MOVED), entry("closedwon", WON), entry("qualifiedtobuy"))


def worth(*amounts: tuple[str | None, str], now: str | None = "50") -> dict[str, Any]:
    """What each stage of a deal that was won and moved on was worth."""
    deal = {
        "id": "9",
        "properties": {"amount": now, "deal_currency_code": "EUR"},
        "history": list(DEAL),
        "amounts": [{"value": value, "timestamp": at} for value, at in reversed(amounts)],
    }
    rows = read(deal, kind="deals", currency="BRL")
    assert reasons(rows) == []
    assert {r["currency"] for r in rows["outcomes"] if r["value"] is not None} <= {"EUR"}
    return {row["stage"]: row["value"] for row in rows["outcomes"]}


@pytest.mark.parametrize(
    ("amounts", "won"),
    [
        ([("900", AT), ("50", "2026-06-05T00:00:00Z")], 900),  # changed later, in delivery
        ([("900", AT), ("50", MOVED)], 900),  # with the move itself
        ([("900", AT), ("950", "2026-06-03T00:00:00Z"), ("50", MOVED)], 950),  # while won
        ([("50", "2026-06-05T00:00:00Z")], 50),  # none until then: the first there is
        ([("900", AT), ("", "2026-06-03T00:00:00Z"), ("50", MOVED)], 50),  # taken away
        ([], 50),  # bodies of before have no history of amounts
    ],
)
def test_e90_a_win_is_worth_what_the_deal_was_when_it_left_that_stage(
    amounts: list[tuple[str, str]], won: int
) -> None:
    assert worth(*amounts)["closedwon"] == won
    assert worth(*amounts)["501"] == 50


def test_e90_an_amount_that_was_taken_away_for_good_leaves_the_win_what_it_was() -> None:
    found = worth(("900", AT), ("", "2026-06-05T00:00:00Z"), now=None)
    assert found == {"qualifiedtobuy": 900, "closedwon": 900, "501": None}


def test_e90_a_bad_amount_of_the_past_costs_no_stage() -> None:
    deal = {
        "id": "9",
        "properties": {"amount": "10"},
        "history": list(DEAL),
        "amounts": [5, entry("ten"), entry("9", "yesterday"), entry("8", AT)],
    }
    rows = read(deal, kind="deals", currency="BRL")
    assert sorted(reasons(rows)) == ["time_unreadable", *["value_not_a_number"] * 2]
    assert {r["stage"]: r["value"] for r in rows["outcomes"]}["closedwon"] == 8


def test_a_stage_that_the_history_lacks_is_told_by_the_property() -> None:
    late = "2026-06-09T10:00:00.000Z"
    deal = {
        "id": "9",
        "properties": {"dealstage": "closedwon", "amount": "10"},
        "history": [entry("qualifiedtobuy")],
        "updated_at": late,
    }
    rows = read(deal, kind="deals", currency="BRL")
    assert [(r["stage"], r["event_id"]) for r in rows["outcomes"]] == [
        ("qualifiedtobuy", f"deal:9:qualifiedtobuy:{AT}"),
        ("closedwon", f"deal:9:closedwon:{late}"),
    ]


def test_when_a_stage_was_entered_counts_before_the_records_last_change() -> None:
    entered = "2026-06-03T08:00:00.000Z"
    person = contact(
        entry("lead"), lifecyclestage="customer", hs_v2_date_entered_customer=entered
    ) | {"updated_at": "2026-06-09T10:00:00.000Z"}
    stages = {r["stage"]: r["event_id"].split(":", 3)[3] for r in read(person)["outcomes"]}
    assert stages == {"lead": AT, "customer": entered}


def test_a_stage_that_the_history_has_at_that_instant_is_told_once() -> None:
    person = contact(entry("customer"), entry("lead"), lifecyclestage="lead")
    assert [r["stage"] for r in read(person)["outcomes"]] == ["lead", "customer"]


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


def test_e85_a_filler_on_a_contact_is_no_identity() -> None:
    rows = read(contact(entry(), phone="(11) 99999-9999", email="ana@example.com"))
    assert links(rows) == {(OWN, NAMES.email("ana@example.com"), "crm_record")}
    (row,) = rows["outcomes"]
    assert (row["phone_key"], row["country"]) == (None, None)


def test_e86_links_of_a_record_say_when_it_was_read_also_where_it_names_nobody() -> None:
    rows = read(contact(phone="+55 11 98765-4321"), contact(record_id="8"))
    other = NAMES.crm_record("hubspot", "contact:8")
    phone = NAMES.phone("5511987654321")
    assert links(rows) == {(OWN, phone, "crm_record"), (other, other, "crm_record")}
    assert {row["recorded_at"].isoformat() for row in rows["identity_links"]} == {READ_AT}
    gone = contact(record_id="8") | {"archived_at": AT}
    assert links(read(gone)) == set()


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
