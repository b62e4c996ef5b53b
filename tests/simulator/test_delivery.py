"""Deliveries are valid webhooks: the parser takes what is good and sets aside what is bad."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pyarrow as pa
import pytest

from ctwa.pseudonym import Pseudonymizer
from ingestion.parser import Parser, whatsapp
from simulator.delivery import (
    Delivery,
    DeliveryError,
    deliver,
    deliveries,
    forged_status,
    meta_json,
    sign,
)
from simulator.world import World, build_world

KEY = b"0123456789abcdef"


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(11, leads=150)


def parse(bodies: list[Delivery]) -> dict[str, pa.Table]:
    received = [datetime(2026, 11, 21, tzinfo=UTC)] * len(bodies)
    batch = pa.record_batch(
        {
            "seq": pa.array(range(1, len(bodies) + 1), pa.int64()),
            "received_at": pa.array(received, pa.timestamp("us", "UTC")),
            "source": pa.array([b.source for b in bodies], pa.string()),
            "body": pa.array([b.body for b in bodies], pa.binary()),
        }
    )
    return Parser(Pseudonymizer(KEY)).parse(batch)


def test_every_good_element_is_taken_and_every_bad_one_set_aside(world: World) -> None:
    bodies = deliveries(world)
    tables = parse(bodies)
    names = Pseudonymizer(KEY)
    sent = {names.message(*e.message_key) for e in world.events if e.message_key}

    assert tables["quarantine"].num_rows == sum(b.malformed for b in bodies) > 0
    assert sent <= set(tables["messages"]["message_key"].to_pylist())
    statuses = [e for e in world.events if e.part == "statuses"]
    assert len(set(tables["statuses"]["content_key"].to_pylist())) == len(statuses)
    events = {o.body["event_id"] for o in world.outcomes}
    assert set(tables["outcomes"]["event_id"].to_pylist()) == events


def test_e78_known_bad_a_parser_without_standby_loses_the_stories_of_shared_numbers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What versions before 4 did, whose run ended well all the same: nothing is quarantined."""
    monkeypatch.setattr(whatsapp, "inner_objects", lambda field, value: [])
    bodies = deliveries(world)
    tables = parse(bodies)
    names = Pseudonymizer(KEY)
    sent = {e.field: set[str]() for e in world.events if e.message_key}
    for event in world.events:
        if event.message_key:
            sent[event.field].add(names.message(*event.message_key))
    taken = set(tables["messages"]["message_key"].to_pylist())
    lost = sent["standby"] - sent["messages"]

    assert len(lost) > 10
    assert lost.isdisjoint(taken)
    assert tables["quarantine"].num_rows == sum(b.malformed for b in bodies)


def test_what_a_message_says_does_not_depend_on_its_batch(world: World) -> None:
    """Copies in other batches, beside other contacts, are equal in content."""
    contents = []
    for seed, largest in ((0, 1), (1, 12), (2, 50)):
        messages = parse(deliveries(world, seed, largest=largest))["messages"]
        contents.append(set(messages["content_key"].to_pylist()))

    assert contents[0] == contents[1] == contents[2]


def test_both_nights_together_are_the_whole(world: World) -> None:
    whole = parse(deliveries(world))
    halves = [parse(deliveries(world, night=n)) for n in (1, 2)]

    for table in ("messages", "statuses", "outcomes", "exclusions"):
        keys = [set(t[table]["content_key"].to_pylist()) for t in (whole, *halves)]
        assert keys[0] == keys[1] | keys[2]
        assert keys[1] - keys[2]
        assert keys[2] - keys[1]


def test_deliveries_repeat_batch_and_arrive_out_of_order(world: World) -> None:
    bodies = deliveries(world)
    counts = Counter(b.body for b in bodies)
    messages = parse(bodies)["messages"]
    sent_at = messages["sent_at"].to_pylist()

    assert max(counts.values()) > 1
    assert messages.num_rows > len(set(messages["message_key"].to_pylist()))
    assert sent_at != sorted(sent_at)
    several = [
        json.loads(b.body) for b in bodies if b.path == "/webhooks/whatsapp" and not b.malformed
    ]
    assert any(len(body["entry"]) > 1 for body in several)
    changes = [c["value"] for body in several for e in body["entry"] for c in e["changes"]]
    assert any(len(v.get("messages", ())) > 1 for v in changes)
    assert any("messages" in v and "statuses" in v for v in changes)
    assert deliveries(world, 1) != bodies


def test_bodies_are_escaped_and_signed_as_meta_does() -> None:
    """The test vector of the interface reference."""
    body = meta_json(
        {
            "object": "whatsapp_business_account",
            "entry": [
                {
                    "id": "0",
                    "changes": [
                        {
                            "field": "messages",
                            "value": {
                                "messages": [
                                    {
                                        "id": "wamid.T",
                                        "text": {"body": "Olá 👋 https://fb.me/x"},
                                        "type": "text",
                                    }
                                ]
                            },
                        }
                    ],
                }
            ],
        }
    )

    assert len(body) == 205
    expected = "14c6df56c5efc5ff4d63e4a30a0297e164f072364d63638e9e4479567dae808f"
    assert sign(body, "test_app_secret") == f"sha256={expected}"


class _Receiver(BaseHTTPRequestHandler):
    """Answers 503 to each body's first try, then 200; 401 to wrong signatures."""

    taken: list[bytes]
    seen: set[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        digest = "sha256=" + hmac.new(b"s", body, hashlib.sha256).hexdigest()
        signatures = (self.headers["x-hub-signature-256"], self.headers["x-signature-256"])
        if digest not in signatures:
            self._answer(401)
        elif body not in self.seen:
            self.seen.add(body)
            self._answer(503)
        else:
            self.taken.append(body)
            self._answer(200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Any:
    handler = type("Receiver", (_Receiver,), {"taken": [], "seen": set()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_busy_receiver_is_tried_again_until_it_takes_the_body(receiver: Any) -> None:
    handler, url = receiver
    bodies = [Delivery("/webhooks/whatsapp", b"1"), Delivery("/webhooks/outcomes", b"2")]
    bodies.append(Delivery("exclusions", b"3"))  # no webhook: not posted

    receipts = deliver(url, bodies, app_secret="s", intake_secret="s")

    assert sorted(handler.taken) == [b"1", b"2"]
    assert receipts.answers == {200: 2}
    assert receipts.tries == 4


def test_a_refused_body_is_an_error_that_says_so(receiver: Any) -> None:
    _, url = receiver
    with pytest.raises(DeliveryError, match="/webhooks/whatsapp answered 401"):
        deliver(url, [Delivery("/webhooks/whatsapp", b"1")], app_secret="x", intake_secret="x")
    assert forged_status(url) == 401
