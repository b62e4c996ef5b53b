"""Whatever is sent: an answer of the documented ones, never a fault of ours."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import tempfile
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ctwa.link_code import code_of
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings, load_settings
from ingestion.parser import Parser
from ingestion.webhook.app import Receiver
from ingestion.webhook.endpoints import sign, sign_form
from ingestion.webhook.exchange import Exchange
from ingestion.webhook.http import Answer
from ingestion.webhook.telemetry import LogBrake
from tests.ingestion.webhook.clients import (
    APP_SECRET,
    CONSENT,
    INTAKE_SECRET,
    OUTCOME,
    VERIFY_TOKEN,
    WEB_LEAD,
)

ORIGIN = "https://www.example.com"
CLICK = {"code": code_of("7KQ2M9XF", "aurora"), "page_url": f"{ORIGIN}/lp?gclid=Cj0KCQ-abc_DEF"}
GOOD = {
    "/webhooks/outcomes": OUTCOME | {"value": 10.5, "currency": "BRL"},
    "/webhooks/leads": WEB_LEAD,
    "/webhooks/consents": CONSENT,
    "/clicks": CLICK | {"clicked_at": "2026-05-04T14:31:00Z"},
}
ENDPOINTS = (
    "/webhooks/whatsapp", "/webhooks/messenger", "/webhooks/twilio", "/webhooks/360dialog",
    "/webhooks/gupshup", "/healthz", "/readyz", "/metrics", *GOOD,
)  # fmt: skip
DOCUMENTED = {200, 400, 401, 403, 404, 405, 408, 413, 422, 429, 431, 503}
TOKEN = "twilio-token-of-tests"


def _settings() -> Settings:
    return load_settings(
        _env_file=None,
        data_dir=tempfile.gettempdir(),
        pii_key="00112233445566778899aabbccddeeff" * 2,
        meta_app_secret=APP_SECRET,
        meta_verify_token=VERIFY_TOKEN,
        intake_secret=INTAKE_SECRET,
        twilio_auth_token=TOKEN,
        public_url="https://hooks.example.com",
        dialog360_webhook_secret=APP_SECRET,
        gupshup_webhook_secret=APP_SECRET,
        site_id="aurora",
        site_origins=ORIGIN,
    )


SETTINGS = _settings()
RECEIVER = Receiver(SETTINGS, store=False)
PARSER = Parser(Pseudonymizer.from_settings(SETTINGS), site_id="aurora")


def ask(
    method: str, path: str, body: bytes, headers: list[tuple[bytes, bytes]], query: bytes = b""
) -> tuple[int, bytes]:
    """One request to a receiver that keeps nothing, without a socket."""
    scope = {
        "method": method,
        "path": path,
        "query_string": query,
        "headers": headers,
        "client": ("127.0.0.1", 5),
    }
    # /clicks counts who asks how often; the others remember nothing.
    receiver = Receiver(SETTINGS, store=False) if path == "/clicks" else RECEIVER
    answer = asyncio.run(answer_of(receiver, scope, body))
    return answer.status, answer.body


async def answer_of(receiver: Receiver, scope: dict[str, Any], body: bytes) -> Answer:
    """The receiver's answer to one request."""
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    exchange = Exchange(receiver, scope, lambda _, answer: answered.set_result(answer))
    exchange.begin()
    exchange.add(body)
    exchange.end()
    return await answered


def signed(path: str, body: bytes) -> list[tuple[bytes, bytes]]:
    """Headers by which a body is taken for what its endpoint expects."""
    app, intake = sign(body, APP_SECRET.encode()), sign(body, INTAKE_SECRET.encode())
    digest = hashlib.sha256(body).hexdigest()
    url = f"https://hooks.example.com/webhooks/twilio?bodySHA256={digest}"
    return [
        (b"x-hub-signature-256", app.encode()),
        (b"x-signature-256", intake.encode()),
        (b"x-webhook-secret", APP_SECRET.encode()),
        (b"x-twilio-signature", sign_form(url, [], TOKEN.encode()).encode()),
        (b"origin", ORIGIN.encode()),
    ]


def parsed(path: str, body: bytes) -> list[str]:
    """Reasons of what the parser refused of a body."""
    batch = pa.RecordBatch.from_pydict(
        {
            "seq": [1],
            "received_at": pa.array([datetime(2026, 5, 4, tzinfo=UTC)], pa.timestamp("us", "UTC")),
            "source": [path.rsplit("/", 1)[-1]],
            "body": [body],
        }
    )
    return [str(r) for r in PARSER.parse(batch)["quarantine"]["reason"].to_pylist()]


# --- named cases --------------------------------------------------------------------------------

NUMBERS = (
    "1E999999999999999999999", "-1E999999999999999999999", "1E-999999999999999999999", "1E9999999",
    "1e400", "0E99999999", "9" * 60, "9" * 5_000, "-" + "9" * 50_000, "1." + "9" * 5_000, "NaN",
    "Infinity", "-Infinity", "1e", "00", "1E14", "99999999999999.9999999", "[" * 20_000, "{}", "[]",
    '"1E999999999999999999999"', "true",
)  # fmt: skip
TEXTS = (
    r'"\ud800"', r'"\udc00\ud800"', r'"\u0000"', '""', '"' + "9" * 511 + '"', '"+' + "9" * 20 + '"',
    '"2026-05-04T14:31:00+99:99"', '"0000-01-01T00:00:00Z"', '"10000-01-01T00:00:00Z"',
    '"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59-23:59"', '"2026-02-30T00:00:00Z"',
    '"2000-01-01T00:00:00+23:59"', '"2099-12-31T23:59:59-23:59"', '"2026-W19-1T00:00:00Z"',
    '"2026-05-04T14:31:00.1234567890123Z"', '"20260504T143100Z"', '"2026-05-04\\ud80014:31:00Z"',
    '"٢٠٢٦-05-04T14:31:00Z"', '"1E999999999999999999999"', "1E999999999999999999999", "null",
)  # fmt: skip


@pytest.mark.parametrize("path", GOOD)
def test_e98_no_value_makes_the_receiver_fail(path: str) -> None:
    """Every field of every endpoint, each hostile value in its place, alone and in a list."""
    for name in [*GOOD[path], "unknown"]:
        for value in (*NUMBERS, *TEXTS):
            others = {k: v for k, v in GOOD[path].items() if k != name}
            element = f'{json.dumps(others)[:-1]}, "{name}": {value}}}'
            in_list = len(value) % 2 and path != "/clicks"
            body = (f"[{element}, {json.dumps(GOOD[path])}]" if in_list else element).encode()
            status, answer = ask("POST", path, body, signed(path, body))
            assert status in (200, 413, 422), (name, value[:40], status, answer)
            reasons = parsed(path, body)
            assert not [r for r in reasons if "parser_error" in r], (name, value[:40], reasons)


@pytest.mark.parametrize("number", ["1E999999999999999999999", "1E9999999", "9" * 5_000])
def test_e98_a_number_beyond_all_measure_is_422_with_its_field(number: str) -> None:
    body = json.dumps(OUTCOME)[:-1].encode() + b', "value": %s}' % number.encode()
    status, answer = ask("POST", "/webhooks/outcomes", body, signed("", body))
    assert status == 422
    assert [p["field"] for p in json.loads(answer)["problems"]] == ["value"]
    assert number.encode() not in answer
    unread = body.replace(b'"value"', b'"theirs"')  # what we do not read costs nothing
    assert ask("POST", "/webhooks/outcomes", unread, signed("", unread))[0] == 200


# --- anything -----------------------------------------------------------------------------------

_TEXT = st.text(st.characters(codec=None), max_size=40)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | _TEXT
    | st.sampled_from([json.loads(t) for t in TEXTS if "E9" not in t]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """An endpoint and a body: bytes, any JSON, or what it expects with some of it changed."""
    path = draw(st.sampled_from(ENDPOINTS))
    kind = draw(st.sampled_from(["bytes", "json", "changed", "broken"]))
    if kind == "bytes":
        return path, draw(st.binary(max_size=200))
    if kind == "json":
        return path, json.dumps(draw(_JSON)).encode()
    good = dict(GOOD.get(path, {"entry": [{"changes": [{"value": {}}]}]}))
    for name in draw(st.lists(st.sampled_from([*good, "more"]), max_size=3)):
        good[name] = draw(_JSON)
    raw = json.dumps(draw(st.sampled_from([good, [good], [good, good]]))).encode()
    if kind == "broken":
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=6)) + raw[at + draw(st.integers(0, 6)) :]
    return path, raw


@hypothesis_settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    bodies(),
    st.sampled_from(["POST", "POST", "POST", "GET", "OPTIONS", "HEAD", "PUT", "\x00"]),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from([
        b"x-hub-signature-256", b"x-signature-256", b"authorization", b"origin", b"content-length",
        b"x-forwarded-for", b"expect", b"x-twilio-signature",
    ]), st.binary(max_size=90)), max_size=3),
    st.binary(max_size=60),
)  # fmt: skip
@example(("/webhooks/outcomes", b'{"value": 1E999999999999999999999}'), "POST", True, [], b"")
@example(("/webhooks/twilio", b"a=%FF&b=%ED%A0%80"), "POST", False, [], b"bodySHA256=\xff")
@example(("/clicks", b"{}"), "POST", True, [(b"x-forwarded-for", b"[::1%, ,1.2.3.4.5")], b"")
def test_e98_any_request_gets_one_of_the_documented_answers(
    request: tuple[str, bytes],
    method: str,
    is_signed: bool,
    headers: list[tuple[bytes, bytes]],
    query: bytes,
) -> None:
    path, body = request
    given_headers = [*(signed(path, body) if is_signed else []), *headers]
    if is_signed and path.endswith("twilio"):
        query = b"bodySHA256=" + hashlib.sha256(body).hexdigest().encode()
    status, answer = ask(method, path, body, given_headers, query)
    assert status in DOCUMENTED, (status, answer)
    assert not [r for r in parsed(path, body) if "parser_error" in r]


def test_the_signed_requests_of_these_tests_are_taken() -> None:
    """Else the tests above would only ever see 401."""
    for path, good in GOOD.items():
        body = json.dumps(good).encode()
        assert ask("POST", path, body, signed(path, body))[0] == 200, path
    for path in ENDPOINTS[:5]:
        query = b"bodySHA256=" + hashlib.sha256(b"{}").hexdigest().encode()
        headers = signed(path, b"{}")
        assert ask("POST", path, b"{}", headers, query if "twilio" in path else b"")[0] == 200, path


# --- what still fails ---------------------------------------------------------------------------


def test_e98_a_fault_of_ours_is_500_in_one_line_counted_and_braked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise ArithmeticError("canary-4711")

    receiver = Receiver(SETTINGS, store=False)
    monkeypatch.setattr("ingestion.webhook.clicks.kept_part", broken)
    body = json.dumps(CLICK).encode()
    scope = {
        "method": "POST",
        "path": "/clicks",
        "query_string": b"",
        "headers": [(b"origin", ORIGIN.encode())],
        "client": ("127.0.0.1", 5),
    }

    async def often() -> list[Answer]:
        return [await answer_of(receiver, scope, body) for _ in range(50)]

    answers = asyncio.run(often())
    assert {answer.status for answer in answers} == {500}
    assert {answer.body for answer in answers} == {b"internal error\n"}
    lines = [r for r in caplog.records if "answered 500" in r.getMessage()]
    assert 1 <= len(lines) < 5
    assert "ArithmeticError at test_hostile.py:" in lines[0].getMessage()
    assert "canary" not in caplog.text
    assert "Traceback" not in caplog.text
    assert b'endpoint="/clicks",outcome="failed"} 50.0' in receiver.metrics.exposition()


def test_a_line_that_repeats_comes_ever_less_often_with_its_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """518 lines a second while a disk is full would fill what is left of it."""
    now = 0.0
    brake = LogBrake(logging.getLogger("brake"), clock=lambda: now)
    for _ in range(518 * 300):  # five minutes
        brake.say("commit", logging.ERROR, "%d envelopes not stored", 3)
        now += 1 / 518
    lines = [r.getMessage() for r in caplog.records]
    assert lines[0] == "3 envelopes not stored"
    assert len(lines) < 12
    # None is lost: what was not printed is said by the next line.
    said = [int(line.split("repeated ")[1].split()[0]) for line in lines[1:]]
    assert sum(said) + len(lines) == pytest.approx(518 * 300, abs=518 * 61)
    brake.say("other", logging.ERROR, "another kind comes at once")
    assert caplog.records[-1].getMessage() == "another kind comes at once"
    now += 3_600
    brake.say("commit", logging.ERROR, "again")
    now += 1.1
    brake.say("commit", logging.ERROR, "again")  # a fresh start
    assert caplog.records[-1].getMessage() == "again"


def test_signatures_of_no_shape_cost_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    real = hmac.digest

    def counting(key: bytes, message: bytes, name: str) -> bytes:
        hashed.append(len(message))
        return real(key, message, name)

    monkeypatch.setattr("ingestion.webhook.endpoints.hmac.digest", counting)
    body = b"x" * 3_000_000
    for value in (b"", b"sha256=", b"sha256=" + b"0" * 63, base64.b64encode(b"0" * 40)):
        headers = [(b"x-hub-signature-256", value)]
        assert ask("POST", "/webhooks/whatsapp", body, headers)[0] == 401
    assert hashed == []
