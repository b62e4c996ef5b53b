"""Statuses, account events, automatic events and outcomes."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import pytest

from ingestion.parser.events import AUTOMATIC_SOURCE
from tests.ingestion.parser.payloads import (
    BSUID,
    NAMES,
    PHONE,
    RECEIVED,
    SENT,
    envelope,
    fixture,
    links,
    parse,
    reasons,
)


def outcome(**extra: Any) -> dict[str, Any]:
    """A CRM outcome; `None` takes a key away."""
    found: dict[str, Any] = {
        "event_id": "e1",
        "stage": "qualified",
        "occurred_at": "2026-06-10T09:00:00-03:00",
        "phone": "+55 31 98765-0001",
    }
    found.update(extra)
    return {key: value for key, value in found.items() if value is not None}


def test_a_status_with_billing() -> None:
    row = parse(fixture("status_free_entry_point"))["statuses"][0]
    assert row["status"] == "delivered"
    assert row["conversation_origin"] == "referral_conversion"
    assert row["pricing_type"] == "free_entry_point"
    assert row["pricing_category"] == "referral_conversion"
    assert row["pricing_model"] == "PMP"
    assert row["is_billable"] is False
    assert row["status_at"] == datetime.fromtimestamp(SENT + 61, UTC)
    assert (row["phone_key"], row["bsuid_key"]) == (NAMES.phone(PHONE), NAMES.bsuid(BSUID))


def test_a_failed_status_carries_its_code() -> None:
    row = parse(fixture("status_failed"))["statuses"][0]
    assert (row["status"], row["error_code"]) == ("failed", 131047)


def test_a_group_status_speaks_of_the_participant() -> None:
    row = parse(fixture("status_group"))["statuses"][0]
    assert (row["is_group"], row["phone_key"]) == (True, NAMES.phone(PHONE))


def test_a_status_of_an_unknown_person_is_kept() -> None:
    row = parse(envelope(statuses=[{"id": "x", "status": "sent", "timestamp": "soon"}]))
    assert row["statuses"][0]["phone_key"] is None
    assert row["statuses"][0]["status_at_source"] == "receipt"


@pytest.mark.parametrize(
    ("name", "field", "event", "code"),
    [
        ("account_update", "account_update", "PARTNER_REMOVED", None),
        ("account_review", "account_review_update", "APPROVED", None),
        ("template_status", "message_template_status_update", "REJECTED", None),
        ("account_error", "messages", "error", 130429),
        ("history_declined", "history", "error", 2593109),
    ],
)
def test_account_events(name: str, field: str, event: str, code: int | None) -> None:
    rows = parse(fixture(name))["account_events"]
    assert [(r["field"], r["event"], r["error_code"]) for r in rows] == [(field, event, code)]


def test_an_account_event_happens_when_its_entry_says() -> None:
    row = parse(fixture("account_update"))["account_events"][0]
    assert row["occurred_at"] == datetime.fromtimestamp(SENT + 96, UTC)


@pytest.mark.parametrize("name", ["no_entries", "call", "call_status"])
def test_what_is_not_needed_leaves_the_row_of_its_envelope(name: str) -> None:
    rows = parse(fixture(name))
    assert len(rows.pop("envelopes")) == 1
    assert not any(rows.values())


def test_automatic_events_are_a_source_of_their_own() -> None:
    lead = parse(fixture("automatic_lead"))["outcomes"][0]
    purchase = parse(fixture("automatic_purchase"))["outcomes"][0]
    assert (lead["source"], lead["stage"]) == (AUTOMATIC_SOURCE, "LeadSubmitted")
    assert lead["message_id_key"] == NAMES.message_id("wamid.SYNTH0002")
    assert "wamid" not in lead["event_id"]
    assert (purchase["value"], purchase["currency"]) == (Decimal("149.9"), "BRL")
    assert lead["event_id"] != purchase["event_id"]


def test_an_outcome_in_full() -> None:
    body = outcome(email="Ana@Example.com", user_id=BSUID, lead_id="w1", message_id="wamid.X",
                   value=1200.5, currency="BRL", source="hubspot")  # fmt: skip
    row = parse(body, source="outcomes")["outcomes"][0]
    assert (row["source"], row["event_id"], row["stage"]) == ("hubspot", "e1", "qualified")
    assert row["occurred_at"] == datetime(2026, 6, 10, 12, tzinfo=UTC)
    assert row["phone_key"] == NAMES.phone(PHONE)
    assert row["bsuid_key"] == NAMES.bsuid(BSUID)
    assert row["email_key"] == NAMES.email("ana@example.com")
    assert row["web_lead_key"] == NAMES.web_lead("w1")
    assert row["message_id_key"] == NAMES.message_id("wamid.X")
    assert (row["value"], row["currency"], row["country"]) == (Decimal("1200.5"), "BRL", "BR")


def test_identities_of_one_outcome_are_one_person() -> None:
    rows = parse(outcome(email="ana@example.com", lead_id="w1"), source="outcomes")
    phone = NAMES.phone(PHONE)
    assert links(rows) == {
        (phone, NAMES.email("ana@example.com"), "outcome"),
        (phone, NAMES.web_lead("w1"), "outcome"),
    }


def test_a_phone_written_with_dots_is_a_phone() -> None:
    row = parse(outcome(phone="+55.31.98765.0001"), source="outcomes")["outcomes"][0]
    assert (row["phone_key"], row["bsuid_key"]) == (NAMES.phone(PHONE), None)


def test_money_keeps_its_digits() -> None:
    raw = b'{"event_id":"e","stage":"won","occurred_at":"2026-06-10T09:00:00Z","lead_id":"w",'
    raw += b'"value":12345678901234.123456,"currency":"BRL"}'
    row = parse(raw, source="outcomes")["outcomes"][0]
    assert row["value"] == Decimal("12345678901234.123456")


def test_good_outcomes_beside_bad_ones_are_kept() -> None:
    bad: list[Any] = [
        outcome(occurred_at="yesterday"), outcome(stage=None), outcome(phone=None), 7, None,
        outcome(value="1"), outcome(stage="a\x00b"), {}, outcome(event_id=float("nan")),
    ]  # fmt: skip
    mixed = [outcome(event_id="first"), *bad, outcome(event_id="last")]
    rows = parse(mixed, source="outcomes")
    assert [r["event_id"] for r in rows["outcomes"]] == ["first", "last"]
    assert len(rows["quarantine"]) == len(bad)
    assert not [r for r in reasons(rows) if r == "parser_error"]
    assert [r["path"] for r in rows["quarantine"]] == [f"[{n}]" for n in range(1, len(bad) + 1)]


def test_an_outcome_without_a_time_zone_is_taken_as_utc() -> None:
    rows = parse(outcome(occurred_at="2026-06-10T09:00:00"), source="outcomes")
    assert rows["outcomes"][0]["occurred_at"] == datetime(2026, 6, 10, 9, tzinfo=UTC)


def test_an_envelope_of_an_unknown_source_is_quarantined() -> None:
    rows = parse(fixture("text"), source="carrier_pigeon")
    assert reasons(rows) == ["unknown_source"]
    assert rows["quarantine"][0]["received_at"] == RECEIVED


@pytest.mark.parametrize(
    "event_id",
    [
        "ana.souza@example.com", "won-Ana.Souza@Example.com-1", "5531987650001",
        "+55 31 98765-0001", "won:31987650001", "(31) 98765-0001 won", "98765-0001/2026",
        "wamid.HBgNNTUzMQ==",
        "BR.13491208655302741918-won", "5511912345678-won",
    ],
)  # fmt: skip
def test_an_event_id_that_names_somebody_is_kept_as_a_key(event_id: str) -> None:
    body = outcome(event_id=event_id, user_id="BR.13491208655302741918")
    (row,) = parse([body], source="outcomes")["outcomes"]
    (again,) = parse([body], source="outcomes")["outcomes"]
    assert row["event_id"].startswith("hashed:")
    assert row["event_id"] == again["event_id"]
    assert event_id not in str(row)


@pytest.mark.parametrize(
    "event_id",
    ["deal-8812-won", "120226305854810726", "550e8400-e29b-41d4-a716-446655440000", "007",
     "2026-06-11T14:30:00Z", "1780000000000", "11912345678", "row:0011:1", "a@b"],
)  # fmt: skip
def test_every_other_event_id_stays_as_it_was(event_id: str) -> None:
    (row,) = parse([outcome(event_id=event_id)], source="outcomes")["outcomes"]
    assert row["event_id"] == event_id


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        ("Won - ana@example.com", "Won"), ("won", "won"), ("Ganho (+55 31 98765-0001)", "Ganho"),
        ("98765-0001: qualified", "qualified"), ("Fase 2 / R$ 1.000", "Fase 2 / R$ 1.000"),
    ],
)  # fmt: skip
def test_a_stage_loses_what_names_somebody(stage: str, kept: str) -> None:
    (row,) = parse([outcome(stage=stage)], source="outcomes")["outcomes"]
    assert row["stage"] == kept


def test_a_stage_of_nothing_else_is_quarantined_without_it() -> None:
    rows = parse([outcome(stage="ana@example.com"), outcome()], source="outcomes")
    assert (len(rows["outcomes"]), reasons(rows)) == (1, ["outcome_invalid"])
    assert "ana@" not in str(rows)


def test_e89_numbers_in_the_place_of_ids() -> None:
    ids = [101, 101.0, "101.0", 120226305854810726, 1.2e17, "1.2E+17"]
    rows = parse([outcome(event_id=i) for i in ids], source="outcomes")
    assert [r["event_id"] for r in rows["outcomes"]] == ["101"] * 3 + ["120226305854810726"]
    assert reasons(rows) == ["outcome_invalid"] * 2


def test_of_copies_the_one_that_the_crm_recorded_later_is_known() -> None:
    (row,) = parse([outcome(recorded_at="2026-06-11T00:00:00Z")], source="outcomes")["outcomes"]
    (plain,) = parse([outcome()], source="outcomes")["outcomes"]
    assert row["recorded_at"] == datetime(2026, 6, 11, tzinfo=UTC)
    assert (plain["recorded_at"], plain["content_key"]) == (None, row["content_key"])


def test_a_control_character_in_a_key_costs_one_outcome_only() -> None:
    bad = b'{"\x00event_id": "e2", "stage": "won"}'
    good = orjson.dumps(outcome(value=1250.5))
    tables = parse(b"[" + bad + b", " + good + b"]", source="outcomes")
    assert [(row["event_id"], row["value"]) for row in tables["outcomes"]] == [
        ("e1", Decimal("1250.5"))
    ]
    assert reasons(tables) == ["outcome_invalid"]
