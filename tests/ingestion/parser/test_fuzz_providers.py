"""Fuzzing what other providers send: nothing raises, nothing is lost, nothing leaks (R1)."""

from __future__ import annotations

import copy
import json
import random
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ingestion.parser import Parser
from tests.ingestion.parser.payloads import NAMES, RECEIVED, Rows, batch_of, encode, parse, reasons
from tests.ingestion.parser.provider_payloads import (
    FOLDERS,
    chats,
    messenger_samples,
    payloads,
    text_event,
)
from tests.ingestion.parser.test_fuzz import JSON, OPEN_COLUMNS, SECRET, mutate, places, raw_of
from tests.ingestion.parser.test_hostile import conserved

GOOD_ID = "m_GOODSIBLING"
TEXTS = ["", " ", "x", "\x00", "\ud83d", "a" * 5_000, SECRET, "whatsapp:", "whatsapp:+", "１２",
         "received", "sent", "ad or post", "9" * 30, "whatsapp:+5531987650001"]  # fmt: skip


def json_seeds(source: str) -> list[Any]:
    found = [json.loads(raw) for raw in payloads(source).values()]
    if source == "messenger":
        found += [chats(sample) for sample in messenger_samples().values()]
    return found


def mutated_form(rng: random.Random, raw: bytes) -> bytes:
    """A form with one to three fields changed, removed, doubled, renamed or cut."""
    pairs = parse_qsl(raw.decode())
    for _ in range(rng.randint(1, 3)):
        if not pairs:
            break
        place = rng.randrange(len(pairs))
        name, value = pairs[place]
        action = rng.randrange(6)
        if action <= 2:
            pairs[place] = name, rng.choice(TEXTS)
        elif action == 3:
            del pairs[place]
        elif action == 4:
            pairs.append((rng.choice([p[0] for p in pairs]), value))
        else:
            pairs[place] = rng.choice(["From", "To", "MessageStatus", "ReferralX", "\x00"]), value
    found = urlencode(pairs, errors="surrogatepass").encode()
    return found if rng.random() > 0.03 else found[: rng.randrange(len(found) + 1)]


def checked(bodies: list[bytes], source: str) -> Rows:
    """Rows of the bodies, after what must hold of any input."""
    tables = Parser(NAMES).parse(batch_of(bodies, source))
    rows: Rows = {name: table.to_pylist() for name, table in tables.items()}
    assert len(rows["envelopes"]) == len(bodies)
    for row in rows["envelopes"]:
        assert row["message_elements"] == row["messages"] + row["quarantined_messages"]
    assert sum(r["messages"] for r in rows["envelopes"]) == len(rows["messages"])
    assert sum(r["quarantined"] for r in rows["envelopes"]) == len(rows["quarantine"])
    assert "parser_error" not in reasons(rows)
    for name, found in rows.items():
        shown = [{k: v for k, v in r.items() if not k.startswith(OPEN_COLUMNS)} for r in found]
        assert SECRET not in str(shown), name
    return rows


@pytest.mark.parametrize("source", ["messenger", "gupshup", "dialog360"])
def test_mutated_json_never_stops_the_parser(source: str) -> None:
    rng, known = random.Random(source), json_seeds(source)
    bodies = [raw_of(rng, mutate(rng, rng.choice(known))) for _ in range(3_000)]
    rows = checked(bodies, source)
    assert len(rows["messages"]) + len(rows["statuses"]) > 400
    assert len(rows["quarantine"]) > 100
    assert len(set(reasons(rows))) > 10


def test_mutated_forms_never_stop_the_parser() -> None:
    rng, known = random.Random(7), list(payloads("twilio").values())
    rows = checked([mutated_form(rng, rng.choice(known)) for _ in range(6_000)], "twilio")
    assert len(rows["messages"]) > 1_000
    assert len(rows["statuses"]) > 400
    assert len(set(reasons(rows))) > 8
    assert {m["sent_at"] for m in rows["messages"]} == {RECEIVED}


def test_a_good_event_beside_mutated_ones_is_kept() -> None:
    rng, known = random.Random(99), json_seeds("messenger")
    lists = [b["entry"][0]["messaging"] for b in known if "messaging" in b["entry"][0]]
    good = text_event(mid=GOOD_ID)
    for _ in range(1_500):
        events = [mutate(rng, e) for e in copy.deepcopy(rng.choice(lists))]
        events.insert(rng.randrange(len(events) + 1), good)
        rows = parse(encode(chats(*events)), source="messenger")
        assert NAMES.message_id(GOOD_ID) in {m["message_id_key"] for m in rows["messages"]}
        assert conserved(rows)


@seed(20261128)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(json_value=JSON, where=st.integers(0, 10**6), source=st.sampled_from(sorted(FOLDERS)))
def test_arbitrary_json_anywhere(json_value: Any, where: int, source: str) -> None:
    body = copy.deepcopy(_TEMPLATE)
    holder, key = (spots := places(body))[where % len(spots)]
    holder[key] = json_value
    rows = parse(encode(body), encode(json_value), source=source)
    assert "parser_error" not in reasons(rows)
    assert conserved(rows)


@seed(20261128)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    noise=st.binary(max_size=64), where=st.integers(0, 10**6),
    source=st.sampled_from(sorted(FOLDERS)), number=st.integers(0, 10**6),
)  # fmt: skip
def test_arbitrary_bytes_anywhere(noise: bytes, where: int, source: str, number: int) -> None:
    known = list(payloads(source).values())
    raw = known[number % len(known)]
    at = where % len(raw)
    rows = parse(noise, raw[:at] + noise + raw[at + 1 :], source=source)
    assert "parser_error" not in reasons(rows)
    assert len(rows["envelopes"]) == 2
    assert conserved(rows)


_TEMPLATE = json.loads(payloads("messenger")["message_referral"])
