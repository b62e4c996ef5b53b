"""An event's JSON: as Meta's own samples show it, and wrong ones are found before they go out."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from activation.conversions_api import Event
from activation.outbox import MAX_AGE_SECONDS
from tests.ingestion.parser.payloads import SAMPLES

GOOD = Event("a" * 32, "Purchase", 1_780_000_000, "101", "AfClick", Decimal("10.50"), "BRL")


def _samples() -> list[Any]:
    """Requests of Meta's documentation, where the public samples lie beside the checkout."""
    return [json.loads(path.read_text()) for path in sorted(SAMPLES.glob("capi/*.json"))]


def test_the_body_is_what_meta_documents() -> None:
    assert json.loads(orjson.dumps(GOOD.body())) == {
        "event_name": "Purchase",
        "event_time": 1_780_000_000,
        "action_source": "business_messaging",
        "messaging_channel": "whatsapp",
        "user_data": {"whatsapp_business_account_id": "101", "ctwa_clid": "AfClick"},
        "custom_data": {"currency": "BRL", "value": 10.5},
        "event_id": "a" * 32,
    }


def test_our_events_have_the_keys_and_types_of_the_samples() -> None:
    events = [event for sample in _samples() for event in sample["data"]]
    if not events:
        assert not SAMPLES.exists()
        return
    known = _shape({"data": events})
    # Of WhatsApp alone there is no printed request with the account: it stands in §2.2 of Meta's
    # page; the others name their page or account at the same place.
    known[".data[].user_data.whatsapp_business_account_id"] = {str}
    ours = _shape({"data": [GOOD.body(), replace(GOOD, value=Decimal(7)).body()]})
    assert ours.keys() <= known.keys()
    numbers = {int, float}
    for path, types in ours.items():
        assert types <= (known[path] | numbers if known[path] & numbers else known[path]), path
    assert ours[".data[].event_time"] == {int}
    required = {"event_name", "event_time", "action_source", "messaging_channel", "user_data"}
    messaging = [e for e in events if e.get("action_source") == "business_messaging"]
    assert messaging
    assert all(required <= e.keys() for e in messaging)
    assert required <= GOOD.body().keys()
    purchases = [e for e in messaging if e["event_name"] == "Purchase"]
    assert {tuple(sorted(e["custom_data"])) for e in purchases} == {("currency", "value")}
    assert {e["action_source"] for e in messaging} == {GOOD.body()["action_source"]}
    assert GOOD.body()["messaging_channel"] in {e["messaging_channel"] for e in messaging}


def _shape(value: Any, path: str = "") -> dict[str, set[type]]:
    """Path to the types that stand there."""
    found: dict[str, set[type]] = {}
    if isinstance(value, dict):
        parts = [(f"{path}.{key}", item) for key, item in value.items()]
    elif isinstance(value, list):
        parts = [(f"{path}[]", item) for item in value]
    else:
        return {path: {type(value)}}
    for name, item in parts:
        for inner, types in _shape(item, name).items():
            found.setdefault(inner, set()).update(types)
    return found


@pytest.mark.parametrize(("value", "told"), [
    ("10.500000", b'"value":10.5}'), ("25000.000000", b'"value":25000}'), ("0", b'"value":0}'),
    ("0.01", b'"value":0.01}'), ("123456789012.340000", b'"value":123456789012.34}'),
])  # fmt: skip
def test_a_value_is_a_json_number(value: str, told: bytes) -> None:
    assert told in orjson.dumps(replace(GOOD, value=Decimal(value)).body())


def test_without_a_value_there_is_no_custom_data() -> None:
    lead = replace(GOOD, event_name="QualifiedLead", value=None, currency=None)
    assert "custom_data" not in lead.body()
    assert lead.fault() is None


@pytest.mark.parametrize(("change", "fault"), [
    ({}, None),
    ({"event_name": "Lead"}, "invalid_name"),
    ({"event_name": ""}, "invalid_name"),
    ({"ctwa_clid": ""}, "invalid_click_id"),
    ({"ctwa_clid": "x" * 1024}, None),
    ({"ctwa_clid": "x" * 1025}, "invalid_click_id"),
    ({"ctwa_clid": "é" * 513}, "invalid_click_id"),
    ({"ctwa_clid": "a\nb"}, "invalid_click_id"),
    ({"ctwa_clid": "\ud800"}, "invalid_click_id"),
    ({"waba_id": "abc"}, "invalid_waba"),
    ({"value": Decimal("-0.01")}, "invalid_value"),
    ({"value": Decimal("NaN")}, "invalid_value"),
    ({"value": Decimal("Infinity")}, "invalid_value"),
    ({"currency": "brl"}, "invalid_currency"),
    ({"currency": "R$"}, "invalid_currency"),
    ({"value": None}, "no_value"),
    ({"currency": None}, "no_value"),
])  # fmt: skip
def test_what_meta_would_refuse_is_found(change: dict[str, Any], fault: str | None) -> None:
    event = replace(GOOD, **change)
    assert event.fault() == fault
    if fault is None:
        orjson.dumps(event.body())


def test_e67_age_is_judged_with_a_margin_of_a_quarter_of_an_hour() -> None:
    at = GOOD.event_time + MAX_AGE_SECONDS
    assert not GOOD.is_too_old((at - 901) * 1_000_000)
    assert GOOD.is_too_old((at - 899) * 1_000_000)
