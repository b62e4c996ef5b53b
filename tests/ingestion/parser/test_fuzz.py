"""Fuzzing: real shapes mutated where it hurts. Nothing raises, nothing is lost, nothing leaks."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from ingestion.parser import Parser
from tests.ingestion.parser.payloads import (
    NAMES,
    Rows,
    batch_of,
    encode,
    message,
    own_payloads,
    parse,
    public_samples,
    reasons,
)
from tests.ingestion.parser.test_hostile import conserved

SECRET = "5599912345678"
GOOD_ID = "wamid.GOODSIBLING"

OPEN_COLUMNS = (
    "business_number_id", "phone_number_id", "waba_id", "referral_", "ctwa_clid", "type", "status",
    "stage", "event", "field", "conversation_origin", "pricing_", "currency",
    "value",  # digits that are posted as an amount are one
)  # fmt: skip

VALUES: list[Any] = [
    None, True, False, 0, -1, 1.5, 1e300, 2**31, 2**53 + 1, 2**63, 2**64, 10**25, "", " ", "x",
    "\x00", "\ud83d", "a" * 5_000, [], {}, [[]], [None], {"": None}, {"id": {}}, SECRET,
    float("nan"), float("inf"), "9" * 30, "１２", "ad or post", [{"a": 1}] * 50,
]  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value, from the outside in."""
    found: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        item = stack.pop(0)
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        for key, inner in pairs:
            found.append((item, key))
            if isinstance(inner, dict | list):
                stack.append(inner)
    return found


def mutate(rng: random.Random, value: Any) -> Any:
    """A copy with one to three places changed, removed, doubled, renamed or swapped."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        spots = places(value)
        if not spots:
            break
        # Rather inside than at the top, where a change only takes the whole envelope away.
        holder, key = spots[max(rng.randrange(len(spots)) for _ in range(3))]
        action = rng.randrange(6)
        if action <= 2:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        elif action == 3:
            del holder[key]
        elif action == 4 and isinstance(holder, dict):
            holder[
                rng.choice(["id", "from", "Messages", "referral", "errors", "\x00", "value"])
            ] = holder.pop(key)
        else:
            other, other_key = rng.choice(spots)
            try:
                holder[key] = copy.deepcopy(other[other_key])
            except (KeyError, IndexError):
                continue
    return value


def raw_of(rng: random.Random, value: Any) -> bytes:
    """Bytes as Meta writes them, sometimes with a duplicate key or a cut."""
    raw = encode(value)
    if rng.random() < 0.05:
        raw = raw.replace(b'"id":', b'"id":"twice","id":', 1)
    if rng.random() < 0.03:
        raw = raw[: rng.randrange(len(raw) + 1)]
    return raw


def with_good_sibling(rng: random.Random, body: Any) -> Any:
    """Put one good message beside what is in the first list of messages, outside mutation."""
    try:
        items = body["entry"][0]["changes"][0]["value"]["messages"]
        items.insert(rng.randrange(len(items) + 1), message(id=GOOD_ID))
    except (KeyError, IndexError, TypeError, AttributeError):
        return body
    return body


def seeds() -> list[Any]:
    return [json.loads(raw) for raw in (own_payloads() | public_samples()).values()]


@pytest.mark.parametrize("seed_number", range(4))
def test_mutated_payloads_never_stop_the_parser(seed_number: int) -> None:
    rng = random.Random(seed_number)
    bodies = [
        raw_of(rng, mutate(rng, rng.choice(known))) for known in [seeds()] for _ in range(6_000)
    ]
    tables = Parser(NAMES).parse(batch_of(bodies))
    rows: Rows = {name: table.to_pylist() for name, table in tables.items()}

    assert len(rows["envelopes"]) == len(bodies)
    for row in rows["envelopes"]:
        assert row["message_elements"] == row["messages"] + row["quarantined_messages"]
    assert sum(r["messages"] for r in rows["envelopes"]) == len(rows["messages"])
    assert sum(r["quarantined"] for r in rows["envelopes"]) == len(rows["quarantine"])
    assert "parser_error" not in reasons(rows)
    for name, found in rows.items():
        # The business's own number and the ad's texts are no secrets.
        shown = [{k: v for k, v in r.items() if not k.startswith(OPEN_COLUMNS)} for r in found]
        assert SECRET not in str(shown), name
    # The mutations must reach the inside: most envelopes still give rows, many a reason.
    assert len(rows["messages"]) > 2_000
    assert len(rows["quarantine"]) > 300
    assert len(set(reasons(rows))) > 25


def test_a_good_message_beside_a_mutated_one_is_kept() -> None:
    rng = random.Random(99)
    lists = [s for s in seeds() if "messages" in _first_value(s)]
    kept = asked = 0
    for _ in range(3_000):
        body = copy.deepcopy(rng.choice(lists))
        value = _first_value(body)
        value["messages"] = [mutate(rng, m) for m in value["messages"]]
        rows = parse(encode(with_good_sibling(rng, body)))
        asked += 1
        kept += NAMES.message_id(GOOD_ID) in {m["message_id_key"] for m in rows["messages"]}
        assert conserved(rows)
    assert kept == asked


def _first_value(body: Any) -> dict[str, Any]:
    try:
        value = body["entry"][0]["changes"][0]["value"]
    except (KeyError, IndexError, TypeError):
        return {}
    return value if isinstance(value, dict) else {}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "from", "messages", "value", "referral", "entry", "changes", "type"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@seed(20261122)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    json_value=JSON,
    where=st.integers(0, 10**6),
    source=st.sampled_from(["whatsapp", "outcomes", "consents"]),
)
def test_arbitrary_json_anywhere(json_value: Any, where: int, source: str) -> None:
    body = copy.deepcopy(_TEMPLATE)
    spots = places(body)
    holder, key = spots[where % len(spots)]
    holder[key] = json_value
    rows = parse(encode(body), encode(json_value), source=source)
    assert "parser_error" not in reasons(rows)
    assert conserved(rows)


@seed(20261122)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.binary(max_size=64), st.integers(0, 10**6))
def test_arbitrary_bytes_anywhere(noise: bytes, where: int) -> None:
    raw = encode(_TEMPLATE)
    at = where % len(raw)
    rows = parse(noise, raw[:at] + noise + raw[at + 1 :])
    assert "parser_error" not in reasons(rows)
    assert len(rows["envelopes"]) == 2


_TEMPLATE = json.loads(own_payloads()["text_referral"])
