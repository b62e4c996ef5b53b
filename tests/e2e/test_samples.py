"""Every payload ends as rows or in quarantine with a reason: from signed HTTP to the marts.

What is expected is counted here, from the JSON, by code that shares nothing with the parser but
the keyed hash of a message's id. Own payloads always; the public samples where they lie beside
the checkout.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ctwa.pseudonym import Pseudonymizer
from ingestion.event_log.source import EventLogCounts, land_event_log
from ingestion.lake.lake import Lake
from ingestion.webhook.endpoints import sign
from ingestion.webhook.server import running
from simulator.delivery import Delivery, deliver
from tests.conftest import PII_KEY
from tests.ingestion.parser.payloads import (
    encode,
    envelope,
    message,
    own_payloads,
    public_samples,
    referral,
)
from tests.ingestion.webhook.clients import APP_SECRET, INTAKE_SECRET, post_whatsapp, request
from tests.support.warehouse import DbtFailedError, DbtWorld

Rows = list[dict[str, Any]]


@contextmanager
def receiver(root: Path) -> Iterator[tuple[DbtWorld, str]]:
    """An installation without Meta, and the URL of its receiver."""
    world = DbtWorld(
        root, CTWA_PII_KEY=PII_KEY, META_APP_SECRET=APP_SECRET, CTWA_INTAKE_SECRET=INTAKE_SECRET
    )
    with running(world.settings) as url:
        yield world, url


def lake_rows(world: DbtWorld, table: str) -> Rows:
    """Every row of a table of the event log."""
    lake = Lake.from_settings(world.settings)
    found: Rows = lake.query(
        "select * from {t} order by seq", t=f"event_log/{table}"
    ).to_pylist()  # fmt: skip
    return found


# ---- all payloads --------------------------------------------------------------------------------


@dataclass
class Elements:
    """What envelopes hold, counted from their JSON: place -> (business number, id)."""

    messages: dict[tuple[int, str], tuple[str, Any]] = field(default_factory=dict)
    statuses: dict[tuple[int, str], tuple[str, Any]] = field(default_factory=dict)

    def count(self, seq: int, body: dict[str, Any]) -> None:
        """Add the messages (live, echoed, history, calls from ads) and statuses of one body."""
        for i, entry in enumerate(body.get("entry") or []):
            for j, change in enumerate(entry.get("changes") or []):
                value, path = change["value"], f"entry[{i}].changes[{j}].value"
                number = _business(value, entry)
                for at, item in _lists(value, path, change.get("field")):
                    self.messages[seq, at] = number, item.get("id")
                if change.get("field") != "calls":
                    for k, status in enumerate(value.get("statuses") or []):
                        self.statuses[seq, f"{path}.statuses[{k}]"] = number, status.get("id")


def _lists(value: dict[str, Any], path: str, name: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for key in ("messages", "message_echoes"):
        for k, item in enumerate(value.get(key) or []):
            yield f"{path}.{key}[{k}]", item
    for h, chunk in enumerate(value.get("history") or []):
        for t, thread in enumerate(chunk.get("threads") or []):
            for k, item in enumerate(thread.get("messages") or []):
                yield f"{path}.history[{h}].threads[{t}].messages[{k}]", item
    for k, call in enumerate(value.get("calls") or []):
        if call.get("referral"):
            yield f"{path}.calls[{k}]", call


def _business(value: dict[str, Any], entry: dict[str, Any]) -> str:
    metadata = value.get("metadata") or {}
    shown = "".join(c for c in str(metadata.get("display_phone_number", "")) if c not in "+-() .")
    if not (shown.isascii() and shown.isdigit()):
        shown = ""
    return shown or str(metadata.get("phone_number_id") or entry.get("id") or "")


@dataclass
class Landed:
    """All payloads in one installation, after its refresh."""

    world: DbtWorld
    names: list[str]
    acknowledged: int
    counts: EventLogCounts
    elements: Elements
    quarantined: Rows

    def kept(self, elements: dict[tuple[int, str], tuple[str, Any]]) -> Counter[str]:
        """Keys of elements that are not in quarantine, with how often each came."""
        refused = {(row["seq"], row["path"]) for row in self.quarantined}
        keys = Pseudonymizer.from_settings(self.world.settings)
        return Counter(
            keys.message(number, str(found))
            for place, (number, found) in elements.items()
            if place not in refused
        )


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> Landed:
    """Each payload twice, as Meta does now and then; two nights, so that repeats meet old rows."""
    payloads = own_payloads() | public_samples()
    bodies = [Delivery("/webhooks/whatsapp", body) for body in payloads.values()]
    with receiver(tmp_path_factory.mktemp("samples")) as (world, url):
        secrets = {"app_secret": APP_SECRET, "intake_secret": INTAKE_SECRET}
        done = deliver(url, bodies, threads=1, **secrets)
        counts = land_event_log(world.settings)
        world.build(tests=False)
        again = deliver(url, bodies, threads=1, **secrets)
        land_event_log(world.settings)
        world.build()  # every data test of severity error has to pass
    elements = Elements()
    for seq, body in enumerate([*payloads.values()] * 2, 1):
        elements.count(seq, json.loads(body))
    return Landed(
        world, [*payloads] * 2, done.answers[200] + again.answers[200], counts, elements,
        lake_rows(world, "quarantine"),
    )  # fmt: skip


def test_every_payload_is_acknowledged_and_lands(landed: Landed) -> None:
    assert landed.acknowledged == len(landed.names)
    assert [row["seq"] for row in lake_rows(landed.world, "envelopes")] == [
        seq for seq, _ in enumerate(landed.names, 1)
    ]
    assert landed.counts.envelopes == len(landed.names) / 2
    assert len(landed.elements.messages) > 80
    assert len(landed.elements.statuses) > 10


def test_every_message_is_a_row_a_counted_repeat_or_quarantined(landed: Landed) -> None:
    found = landed.world.query(
        "select message_key, copies from intermediate.int_messages__deduplicated"
    )

    assert {r["message_key"]: r["copies"] for r in found} == landed.kept(landed.elements.messages)


def test_every_status_is_a_row_or_quarantined_and_proves_its_message(landed: Landed) -> None:
    kept = landed.kept(landed.elements.statuses)

    assert Counter(row["message_key"] for row in lake_rows(landed.world, "statuses")) == kept
    modelled = landed.world.query("select message_key from intermediate.int_statuses__by_message")
    of_groups = [row for row in lake_rows(landed.world, "statuses") if row["is_group"]]
    assert {row["message_key"] for row in [*modelled, *of_groups]} == set(kept)


def test_what_holds_neither_is_rows_of_another_kind_or_has_nothing_to_attribute(
    landed: Landed,
) -> None:
    tables = (
        "messages", "statuses", "outcomes", "account_events", "consents", "identity_links",
        "quarantine",
    )  # fmt: skip
    with_rows = {row["seq"] for table in tables for row in lake_rows(landed.world, table)}
    without = {name for seq, name in enumerate(landed.names, 1) if seq not in with_rows}

    assert {name for name in without if not name.startswith("wa_")} <= {
        # Fields that say nothing about who came from where.
        "app_contact", "call", "call_status", "contact_card_of_another", "no_entries",
        "unknown_field",
    }  # fmt: skip
    bodies = own_payloads() | public_samples()
    for name in without:
        assert not _names_in(json.loads(bodies[name])) & {"referral", "ctwa_clid", "messages"}, name


def _names_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(_names_in, value.values()))
    return set().union(*map(_names_in, value)) if isinstance(value, list) else set()


def test_what_is_in_quarantine_says_why_and_is_counted_in_the_marts(landed: Landed) -> None:
    for row in landed.quarantined:
        code, _, expected = row["reason"].partition(": expected ")
        assert code, row
        assert expected, row
    health = landed.world.rows("marts.attribution_health")
    assert sum(day["quarantined_elements"] for day in health) == len(landed.quarantined)
    assert sum(day["envelopes"] for day in health) == len(landed.names)
    tests = {r["message_key"] for r in lake_rows(landed.world, "messages") if r["is_test"]}
    if public_samples():
        assert tests, "some of the public samples are the platforms' own (R14): in no count"
    copies = [n for key, n in landed.kept(landed.elements.messages).items() if key not in tests]
    assert sum(day["repeats"] for day in health) == sum(copies) - len(copies)


def test_known_bad_a_lost_message_is_caught(landed: Landed) -> None:
    """A model that drops one kind of message does not get past the run's own tests."""
    landed.world.changed_code["int_messages__deduplicated"] = (
        "from {{ source('event_log', 'messages') }}",
        "from (select * from {{ source('event_log', 'messages') }}"
        " where type is distinct from 'unsupported')",
    )
    try:
        with pytest.raises(DbtFailedError, match="messages_are_conserved"):
            landed.world.build(
                "int_messages__deduplicated", "messages_are_conserved", full_refresh=True
            )
    finally:
        landed.world.changed_code.clear()


# ---- bad input -----------------------------------------------------------------------------------

GOOD = message(1, referral=referral())
STATUS = {"id": "wamid.TEST9", "status": "sent", "timestamp": "1781000009", "recipient_id": "55319"}


def in_the_midst(bad: Any) -> bytes:
    """A bad message between a good one with a referral and a good one, with a good status."""
    return encode(envelope(GOOD, bad, message(3), statuses=[STATUS]))


def raw_in_the_midst(value: bytes, place: str = "text") -> bytes:
    """The same with bytes of JSON that no encoder writes."""
    return in_the_midst(message(2, **{place: "@@"})).replace(b'"@@"', value)


def without_contacts() -> bytes:
    """Nobody to be found: neither sender nor contacts."""
    return in_the_midst(message(2, **{"from": None}))


WHOLE: dict[str, tuple[bytes, str]] = {
    "not json": (b"not json", "not_json"),
    "cut off": (encode(envelope(GOOD))[:-9], "not_json"),
    "raw nul": (b"\x00\xff\xfe", "not_json"),
    "deep nesting": (b"[" * 200_000, "not_json"),
    "a list": (b"[]", "not_object"),
    "no entries": (b"{}", "entry_missing"),
}
"""Bodies of which nothing can be read: one row, of the envelope."""

ONE: dict[str, tuple[bytes, str]] = {
    "a nul in an id": (raw_in_the_midst(b'"a\\u0000b"', "id"), "nul_in_text"),
    "a lone surrogate in an id": (raw_in_the_midst(b'"\\ud83d"', "id"), "lone_surrogate"),
    "an id not in utf-8": (raw_in_the_midst(b'"\xff\xfe"', "id"), "lone_surrogate"),
    "no sender, no contacts": (without_contacts(), "person_missing"),
    "an id that went through a double": (raw_in_the_midst(b"1.2034e+17", "id"), "id_not_text"),
    "an id of too many digits": (raw_in_the_midst(b"9" * 25, "id"), "id_not_text"),
    "an object for an id": (in_the_midst(message(2, id={"a": 1})), "id_not_text"),
    "a number for a message": (in_the_midst(7), "message_not_object"),
}
"""One element that cannot be taken: one row, and its siblings are kept."""

TAKEN: dict[str, bytes] = {
    "unknown fields": in_the_midst(message(2, new_in_2027={"a": [1, None]})),
    "unknown type": in_the_midst(message(2, type="hologram", hologram={"id": "1"})),
    "numbers where strings stood": in_the_midst(message(2, **{"from": 5531987650001})),
    "a time as a number": in_the_midst(message(2, timestamp=1_781_000_002)),
    "an id as a number": in_the_midst(message(2, id=120_226_305_854_810_730)),
    "no contacts": in_the_midst(message(2)),
    # E83: in a part that is not kept nothing of this matters.
    "deep nesting in a text": raw_in_the_midst(b"[" * 40 + b"]" * 40),
    "a nul in a text": raw_in_the_midst(b'"a\\u0000b"'),
    "a raw nul in a text": raw_in_the_midst(b'"a\x00b"'),
    "a lone surrogate in a text": raw_in_the_midst(b'"\\ud83d"'),
    "a text not in utf-8": raw_in_the_midst(b'"\xff\xfe"'),
}
"""Unusual, and no reason to refuse anything."""


@pytest.fixture(scope="module")
def bad_input(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landed]:
    """Everything that is bad and rightly signed, in one refresh."""
    bodies = [*(b for b, _ in WHOLE.values()), *(b for b, _ in ONE.values()), *TAKEN.values()]
    with receiver(tmp_path_factory.mktemp("bad")) as (world, url):
        answers = [post_whatsapp(url, body).status for body in bodies]
        counts = land_event_log(world.settings)
        world.build("+attribution_health", "+fct_leads", tests=False)
        yield Landed(
            world, [*WHOLE, *ONE, *TAKEN], answers.count(200), counts, Elements(),
            lake_rows(world, "quarantine"),
        )  # fmt: skip


def test_bad_bodies_are_acknowledged_so_that_meta_does_not_send_them_for_ever(
    bad_input: Landed,
) -> None:
    assert bad_input.acknowledged == len(bad_input.names) == bad_input.counts.envelopes


def test_each_bad_thing_is_one_quarantined_row_with_its_reason(bad_input: Landed) -> None:
    found = [
        (bad_input.names[row["seq"] - 1], row["element"], row["reason"].partition(":")[0])
        for row in bad_input.quarantined
    ]

    assert found == [
        *((name, "envelope", reason) for name, (_, reason) in WHOLE.items()),
        *((name, "message", reason) for name, (_, reason) in ONE.items()),
    ]


def test_everything_else_in_the_same_envelope_is_kept(bad_input: Landed) -> None:
    messages = Counter(row["seq"] for row in lake_rows(bad_input.world, "messages"))
    with_ad = {row["seq"] for row in lake_rows(bad_input.world, "messages") if row["has_referral"]}
    statuses = Counter(row["seq"] for row in lake_rows(bad_input.world, "statuses"))

    first = len(WHOLE) + 1
    of_one, of_taken = (
        range(first, first + len(ONE)),
        range(first + len(ONE), len(bad_input.names) + 1),
    )
    assert messages == dict.fromkeys(of_one, 2) | dict.fromkeys(of_taken, 3)
    assert with_ad == {*of_one, *of_taken}
    assert statuses == dict.fromkeys([*of_one, *of_taken], 1)


def test_quarantine_shows_in_attribution_health_and_as_a_check(bad_input: Landed) -> None:
    from orchestration.checks import build_checks

    health = bad_input.world.rows("marts.attribution_health")
    assert sum(day["quarantined_elements"] for day in health) == len(WHOLE) + len(ONE)
    assert sum(day["quarantined_envelopes"] for day in health) == len(WHOLE) + len(ONE)
    checks = {next(iter(c.check_keys)).name: c for c in build_checks(bad_input.world.settings)}
    result = checks["quarantine_is_small"]()
    assert not result.passed
    shown = str(result.metadata["reasons"].value)  # the ten commonest
    assert all(reason in shown for _, reason in [*WHOLE.values(), *ONE.values()])
    assert checks["nothing_disappears"]().passed


SIGNATURES: dict[str, str | None] = {
    "none": None,
    "empty": "",
    "by another secret": sign(encode(envelope(GOOD)), b"another secret"),
    "not hex": "sha256=" + "z" * 64,
    "non-ascii": "sha256=" + "é" * 64,
    "full-width digits": "sha256=" + "\uff11" * 64,
}


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., int]]:
    """Posts to a receiver that in the end has nothing in its vault."""
    with receiver(tmp_path_factory.mktemp("refusing")) as (world, url):

        def post(body: bytes, signature: str | None) -> int:
            # http.client writes Latin-1: so the bytes on the wire are those of UTF-8.
            text = signature and signature.encode().decode("latin-1")
            headers = {} if text is None else {"x_hub_signature_256": text}
            return request(url, "POST", "/webhooks/whatsapp", body, **headers).status

        yield post
    assert land_event_log(world.settings).envelopes == 0


@pytest.mark.parametrize("name", SIGNATURES)
def test_e75_a_wrong_signature_is_401_and_nothing_lands(
    refusing: Callable[..., int], name: str
) -> None:
    assert refusing(encode(envelope(GOOD)), SIGNATURES[name]) == 401


def test_e75_four_megabytes_are_413_and_nothing_lands(refusing: Callable[..., int]) -> None:
    body = b" " * 4 * 1024 * 1024
    assert refusing(body, sign(body, APP_SECRET.encode())) == 413
