"""What an outcome may look like, and what its sender is told otherwise."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ingestion.webhook.fields import IntakeError, load_elements, validate_all
from ingestion.webhook.shapes import OutcomeIn
from tests.ingestion.webhook.clients import OUTCOME


def _refused(content: object) -> list[tuple[int, str]]:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(IntakeError) as caught:
        validate_all(raw, OutcomeIn)
    assert all(problem.reason for problem in caught.value.problems)
    return [(problem.element, problem.field) for problem in caught.value.problems]


def test_an_object_and_a_list_are_taken() -> None:
    (one,) = validate_all(json.dumps(OUTCOME).encode(), OutcomeIn)
    assert one.occurred_at == datetime(2026, 5, 4, 17, 31, tzinfo=UTC)
    assert one.source == "crm"
    many = [OUTCOME | {"event_id": str(n)} for n in range(1_000)]
    assert len(validate_all(json.dumps(many).encode(), OutcomeIn)) == 1_000


def test_values_are_exact() -> None:
    raw = json.dumps(OUTCOME | {"currency": "BRL"})[:-1] + ', "value": 12345678901234.567891}'
    assert validate_all(raw.encode(), OutcomeIn)[0].value == Decimal("12345678901234.567891")


def test_a_time_without_an_offset_is_utc() -> None:
    raw = json.dumps(OUTCOME | {"occurred_at": "2026-05-04T14:31:00"}).encode()
    assert validate_all(raw, OutcomeIn)[0].occurred_at == datetime(2026, 5, 4, 14, 31, tzinfo=UTC)


def test_dust_of_binary_arithmetic_is_rounded_off() -> None:
    raw = json.dumps(OUTCOME | {"value": 0.1 + 0.2, "currency": "BRL"}).encode()
    assert validate_all(raw, OutcomeIn)[0].value == Decimal("0.300000")


def test_an_address_is_without_the_marks_that_are_copied_along() -> None:
    one = OUTCOME | {"email": "\u202aana@example.org\u202c\u200b"}
    assert validate_all(json.dumps(one).encode(), OutcomeIn)[0].email == "ana@example.org"


def test_a_value_without_a_currency_is_kept() -> None:
    (one,) = validate_all(json.dumps(OUTCOME | {"value": 12}).encode(), OutcomeIn)
    assert (one.value, one.currency) == (Decimal(12), None)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"event_id": True}, "event_id"),
        ({"event_id": "1.20226E+17"}, "event_id"),
        ({"event_id": 1.5}, "event_id"),
        ({"event_id": 1.20226e17}, "event_id"),
        ({"lead_id": "1,2e+17"}, "lead_id"),
        ({"user_id": "1.2E17"}, "user_id"),
        ({"message_id": "1.000"}, "message_id"),
        ({"stage": "ana@example.com"}, "stage"),
        ({"stage": "11 98765-4321"}, ""),
        ({"event_id": "  "}, "event_id"),
        ({"event_id": "x" * 513}, "event_id"),
        ({"event_id": "a\x00b"}, "event_id"),
        ({"event_id": "\ud800"}, "event_id"),
        ({"stage": None}, "stage"),
        ({"occurred_at": "yesterday"}, "occurred_at"),
        ({"occurred_at": 1777000000}, "occurred_at"),
        ({"occurred_at": "0001-01-01T00:00:00Z"}, "occurred_at"),
        ({"phone": 5511987654321}, "phone"),
        ({"phone": "n/a"}, "phone"),
        ({"phone": "5.51199E+12"}, "phone"),
        ({"wa_id": "5,51199e12"}, "wa_id"),
        ({"email": "nobody"}, "email"),
        ({"value": "12.50", "currency": "BRL"}, "value"),
        ({"value": True, "currency": "BRL"}, "value"),
        ({"value": 10**20, "currency": "BRL"}, "value"),
        ({"value": 1, "currency": "R$"}, "currency"),
        ({"phone": None}, ""),
        ({"phone": ""}, ""),
    ],
)
def test_each_misfit_names_its_field(change: dict[str, object], field: str) -> None:
    assert _refused(OUTCOME | change) == [(0, field)]


@pytest.mark.parametrize(
    ("stage", "kept"),
    [
        ("+55 11 98765-4321 Won", "Won"),
        ("Won by +5511987654321 in the spring sale", "Won by in the spring sale"),
        ("+5511987654321 Won", "Won"),
    ],
)
def test_a_number_that_two_rules_find_takes_no_other_words_with_it(stage: str, kept: str) -> None:
    one = OUTCOME | {"stage": stage, "phone": "+55 11 98765-4321"}
    assert [o.stage for o in validate_all(json.dumps(one).encode(), OutcomeIn)] == [kept]


def test_each_bad_element_is_named_and_no_value_is_repeated() -> None:
    bad = [OUTCOME, OUTCOME | {"stage": 1}, {}, "text", OUTCOME | {"phone": "canary-4711"}]
    assert {element for element, _ in _refused(bad)} == {1, 2, 3, 4}
    with pytest.raises(IntakeError) as caught:
        validate_all(json.dumps(bad).encode(), OutcomeIn)
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize(
    ("element", "reasons"),
    [
        (OUTCOME | {"event_id": "  "}, {"event_id: is empty"}),
        (OUTCOME | {"event_id": "x" * 513}, {"event_id: has more than 512 characters"}),
        (
            OUTCOME | {"value": 1, "currency": "R$"},
            {"currency: expects a code of ISO 4217 in capitals, e.g. BRL"},
        ),
        (OUTCOME | {"phone": 5511987654321}, {"phone: expects text"}),
        ({"event_id": "1", "stage": "won"}, {"occurred_at: is missing"}),
        ([], {"body: expects an object with fields"}),
    ],
)
def test_reasons_are_those_of_json_not_of_python(element: object, reasons: set[str]) -> None:
    with pytest.raises(IntakeError) as caught:
        validate_all(json.dumps([element]).encode(), OutcomeIn)
    assert set(str(caught.value).split("; ")) == reasons


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'{"value": NaN}',
        b'{"stage": "a", "stage": "b"}',
        b"[" * 100_000,
        b"[" + b",".join([b"{}"] * 1_001) + b"]",
        b'{"value": ' + b"9" * 5_000 + b"}",
    ],
)
def test_what_is_not_json_of_that_kind_is_refused(raw: bytes) -> None:
    assert _refused(raw)[0][0] == 0


def test_elements_can_be_taken_one_by_one() -> None:
    assert load_elements(b'[{"a": 1.5}, 2]') == [{"a": Decimal("1.5")}, 2]
