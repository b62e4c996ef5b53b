"""The stand-in of the Conversions API is as strict as Meta documents."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from simulator.conversions_api import ConversionsApi, serve_conversions_api


@pytest.fixture
def api() -> Iterator[ConversionsApi]:
    with serve_conversions_api({"77": {"101"}}) as found:
        yield found


def event(**changed: Any) -> dict[str, Any]:
    return {
        "event_name": "Purchase",
        "event_time": int(time.time()) - 60,
        "action_source": "business_messaging",
        "messaging_channel": "whatsapp",
        "user_data": {"whatsapp_business_account_id": "101", "ctwa_clid": "Af"},
        "custom_data": {"currency": "BRL", "value": 10},
        "event_id": "e",
    } | changed


def call(
    api: ConversionsApi, path: str, body: Any = None, *, method: str = "POST", token: str = ""
) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{api.url}/v25.0{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "authorization": f"Bearer {token or api.token}",
            "content-type": "application/json",
        },
        method=method,
    )
    try:
        with urllib.request.urlopen(request) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        found = json.load(error)
    return found


def test_right_events_are_taken_as_often_as_they_come(api: ConversionsApi) -> None:
    for _ in range(2):
        answer = call(api, "/77/events", {"data": [event()]})
        assert (answer["events_received"], answer["messages"]) == (1, [])
    assert api.times_accepted() == {"e": 2}


@pytest.mark.parametrize(("changed", "code"), [
    ({"event_name": "Lead"}, (100, 2804066)),
    ({"event_time": int(time.time()) - 8 * 86_400}, (100, 2804003)),
    ({"event_time": str(int(time.time()))}, (100, 2804050)),
    ({"event_time": int(time.time()) + 3600}, (100, 2804050)),
    ({"action_source": "website"}, (100, 2804050)),
    ({"messaging_channel": "messenger"}, (100, 2804050)),
    ({"user_data": {"whatsapp_business_account_id": "102", "ctwa_clid": "Af"}}, (100, 2804050)),
    ({"user_data": {"whatsapp_business_account_id": "101", "ctwa_clid": ""}}, (100, 2804050)),
    ({"custom_data": {"currency": "BRL", "value": "10"}}, (100, 2804050)),
    ({"custom_data": {"currency": "brl", "value": 10}}, (100, 2804050)),
    ({"custom_data": None}, (100, 2804050)),
    ({"phone": "5511"}, (100, 2804016)),
])  # fmt: skip
def test_one_bad_event_refuses_the_whole_request(
    api: ConversionsApi, changed: dict[str, Any], code: tuple[int, int]
) -> None:
    answer = call(api, "/77/events", {"data": [event(event_id="good"), event(**changed)]})
    assert (answer["error"]["code"], answer["error"]["error_subcode"]) == code
    assert answer["error"]["is_transient"] is False
    assert api.accepted == []


@pytest.mark.parametrize("body", [
    {"data": []}, {"data": [event()] * 1001}, {"data": [event()], "more": 1},
    {"data": {"data": [event()]}}, {"data": [event()], "access_token": "x"},
])  # fmt: skip
def test_a_wrong_request_is_refused_and_noted(api: ConversionsApi, body: dict[str, Any]) -> None:
    assert call(api, "/77/events", body)["error"]["code"] == 100
    assert len(api.wrong) == 1
    assert api.accepted == []


def test_a_wrong_token_and_an_unknown_dataset_are_refused(api: ConversionsApi) -> None:
    body = {"data": [event()]}
    assert call(api, "/77/events", body, token="wrong")["error"]["code"] == 190
    error = call(api, "/78/events", body)["error"]
    assert (error["code"], error["error_subcode"]) == (100, 33)


def test_a_dataset_is_told_and_made_for_an_account(api: ConversionsApi) -> None:
    assert call(api, "/101/dataset", method="GET") == {"id": "77"}
    assert call(api, "/102/dataset", method="GET") == {}
    made = call(api, "/102/dataset", {})
    assert call(api, "/102/dataset", method="GET") == made
