"""The endpoints, over real sockets: every way in, and every way of being refused."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import time
import urllib.parse
from collections.abc import Callable, Iterator

import pytest

from ctwa.settings import Settings
from ingestion.webhook.server import running
from ingestion.webhook.signature import sign
from ingestion.webhook.vault import Vault
from tests.ingestion.webhook.clients import (
    APP_SECRET,
    BODY,
    CONSENT,
    OUTCOME,
    VERIFY_TOKEN,
    get,
    open_socket,
    post_consents,
    post_outcomes,
    post_whatsapp,
    raw,
    read_all,
    request,
)

MIB = 1024 * 1024
HANDSHAKE = "/webhooks/whatsapp?hub.mode={}&hub.verify_token={}&hub.challenge={}"


@pytest.fixture
def url(signed_settings: Settings) -> Iterator[str]:
    with running(signed_settings, body_seconds=1.0, header_seconds=1.0) as base:
        yield base


def _stored(settings: Settings) -> list[tuple[str, bytes]]:
    vault = Vault.open(settings.vault_url)
    rows = [row for batch in vault.read_batches(0) for row in batch.to_pylist()]
    vault.close()
    return [(row["source"], row["body"]) for row in rows]


# --- handshake ----------------------------------------------------------------------------------


def test_the_handshake_returns_the_challenge(url: str) -> None:
    reply = get(url, HANDSHAKE.format("subscribe", VERIFY_TOKEN, "1158201444"))
    assert (reply.status, reply.body) == (200, b"1158201444")
    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        HANDSHAKE.format("subscribe", "wrong", "1"),
        HANDSHAKE.format("subscribe", "", "1"),
        HANDSHAKE.format("subscribe", "%C3%A7%ED%A0%80", "1"),
        HANDSHAKE.format("unsubscribe", VERIFY_TOKEN, "1"),
        HANDSHAKE.format("subscribe", VERIFY_TOKEN, "%3Cscript%3E"),
        HANDSHAKE.format("subscribe", VERIFY_TOKEN, "1%0D%0Aset-cookie:x"),
        HANDSHAKE.format("subscribe", VERIFY_TOKEN, ""),
        "/webhooks/whatsapp",
        "/webhooks/whatsapp?" + "a=1&" * 1_000,
    ],
)
def test_any_other_handshake_is_forbidden(url: str, path: str) -> None:
    assert get(url, path).status == 403


# --- signed bodies ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [BODY, b"not json", b"", b"\x00\xff" * 10, b"[" * 50_000, b'{"a":"\\ud800"}', b"x" * 3 * MIB],
    ids=["json", "text", "empty", "binary", "deep", "surrogate", "largest"],
)
def test_e74_a_rightly_signed_body_is_stored_as_it_came(
    url: str, signed_settings: Settings, body: bytes
) -> None:
    """Whatever it holds: refusing it would make Meta send it for days and then drop it."""
    assert post_whatsapp(url, body).status == 200
    assert _stored(signed_settings) == [("whatsapp", body)]


def test_both_secrets_are_taken_while_rotating(url: str, signed_settings: Settings) -> None:
    assert post_whatsapp(url, secret="retired-secret").status == 200
    assert post_whatsapp(url, secret=APP_SECRET).status == 200
    assert post_whatsapp(url, secret="other").status == 401
    assert len(_stored(signed_settings)) == 2


def test_e75_a_wrong_signature_is_refused_and_nothing_is_stored(
    url: str, signed_settings: Settings
) -> None:
    good = sign(BODY, APP_SECRET.encode())
    lines: list[list[bytes]] = [
        [],
        [b""],
        [b"sha256="],
        [b"sha256=" + b"0" * 64],
        [good.upper().encode()],
        [good[7:].encode()],
        ["sha256=ação".encode()],
        [b"sha256=\xff\xfe\xfd"],
        [good.encode(), good.encode()],  # twice: which one counts is anybody's guess
    ]
    for values in lines:
        head = b"".join(b"X-Hub-Signature-256: " + value + b"\r\n" for value in values)
        answer = raw(
            url,
            b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            + head
            + b"Content-Length: %d\r\n\r\n" % len(BODY)
            + BODY,
        )
        assert answer.startswith(b"HTTP/1.1 401 "), values
    tampered = request(url, "POST", "/webhooks/whatsapp", BODY + b" ", x_hub_signature_256=good)
    assert tampered.status == 401
    assert _stored(signed_settings) == []


def test_e75_a_replay_is_stored_as_a_repeat(url: str, signed_settings: Settings) -> None:
    """Meta signs no time, so a replay cannot be told from a redelivery; the parser drops it."""
    for _ in range(20):
        assert post_whatsapp(url).status == 200
    assert _stored(signed_settings) == [("whatsapp", BODY)] * 20


def test_the_header_name_may_be_in_any_case(url: str) -> None:
    signature = sign(BODY, APP_SECRET.encode())
    reply = request(url, "POST", "/webhooks/whatsapp", BODY, X_HUB_SIGNATURE_256=signature)
    assert reply.status == 200


def test_the_body_may_arrive_in_pieces(url: str, signed_settings: Settings) -> None:
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    pieces = [b"a" * 100_000, b"b" * 200_000, b"c"]
    body = b"".join(pieces)
    connection.request(
        "POST",
        "/webhooks/whatsapp",
        body=iter(pieces),
        headers={"X-Hub-Signature-256": sign(body, APP_SECRET.encode())},
        encode_chunked=True,
    )
    assert connection.getresponse().status == 200
    connection.close()
    assert _stored(signed_settings) == [("whatsapp", body)]


# --- limits -------------------------------------------------------------------------------------


def test_e75_too_large_by_length_is_413(url: str, signed_settings: Settings) -> None:
    assert post_whatsapp(url, b"x" * (3 * MIB + 1)).status == 413
    assert post_whatsapp(url, b"x" * (4 * MIB)).status == 413
    assert post_outcomes(url, b"x" * (4 * MIB)).status == 413
    assert _stored(signed_settings) == []
    assert post_whatsapp(url).status == 200


def test_e75_far_too_large_is_413_before_the_body_is_sent(url: str) -> None:
    answer = raw(
        url, b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    asks = b"Content-Length: 4000000\r\nExpect: 100-continue\r\n\r\n"
    answer = raw(url, b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: x\r\n" + asks)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_e75_too_large_in_chunks_is_413(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    chunks = (b"x" * 65_536 for _ in range(100))
    connection.request("POST", "/webhooks/whatsapp", body=chunks, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_slow_body_is_408(url: str) -> None:
    started = time.monotonic()
    answer = raw(
        url, b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab"
    )
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert 0.9 < time.monotonic() - started < 5


def _trickle(connection: socket.socket, piece: bytes) -> float:
    """Send a piece every 0.2 s until the server closes; how long that took."""
    started = time.monotonic()
    connection.settimeout(0.2)
    while time.monotonic() - started < 10:
        try:
            connection.sendall(piece)
            if connection.recv(1024) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - started


@pytest.mark.parametrize("begin", [b"", b"POST /webhooks/whatsapp HTTP/1.1\r\nX-A: b"])
def test_slow_headers_are_cut_off_while_others_are_served(url: str, begin: bytes) -> None:
    slow = [open_socket(url) for _ in range(50)]
    for connection in slow:
        connection.sendall(begin)
    assert post_whatsapp(url).status == 200
    started = time.monotonic()
    for connection in slow:
        answer = read_all(connection)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
        connection.close()
    assert time.monotonic() - started < 5
    with open_socket(url) as connection:
        connection.sendall(begin)
        assert _trickle(connection, b"a") < 5


def test_line_ends_between_requests_do_not_keep_a_connection(url: str) -> None:
    with open_socket(url) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1024).startswith(b"HTTP/1.1 200 ")
        assert _trickle(connection, b"\r\n") < 5


def test_endless_headers_are_cut_off(url: str) -> None:
    with open_socket(url) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        try:
            for _ in range(200):
                connection.sendall(b"X-Long: " + b"a" * 1_000 + b"\r\n")
                time.sleep(0.001)
        except OSError:
            return  # closed before we had sent it all
        assert b" 431 " in read_all(connection)[:40]


def test_ambiguous_lengths_are_400(url: str) -> None:
    head = b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    both = b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert raw(url, head + both).startswith(b"HTTP/1.1 400 ")
    assert raw(url, head + b"Content-Length: -3\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_too_many_connections_are_503_with_retry_after(signed_settings: Settings) -> None:
    with running(signed_settings, max_connections=5) as url:
        idle = [open_socket(url) for _ in range(5)]
        time.sleep(0.1)
        reply = post_whatsapp(url)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        for connection in idle:
            connection.close()
        time.sleep(0.1)
        assert post_whatsapp(url).status == 200


# --- the rest -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("POST", "/webhooks/other", 404, None),
        ("POST", "/webhooks/whatsapp/", 404, None),
        ("PUT", "/webhooks/whatsapp", 405, "POST, GET, HEAD"),
        ("GET", "/webhooks/outcomes", 405, "POST"),
        ("GET", "/webhooks/consents", 405, "POST"),
        ("POST", "/healthz", 405, "GET, HEAD"),
        ("HEAD", "/healthz", 200, None),
        ("HEAD", "/readyz", 200, None),
    ],
)
def test_unknown_paths_and_methods(
    url: str, method: str, path: str, status: int, allow: str | None
) -> None:
    reply = request(url, method, path)
    assert (reply.status, reply.headers.get("allow")) == (status, allow)


def test_outcomes_are_checked_then_stored_as_they_came(url: str, signed_settings: Settings) -> None:
    assert post_outcomes(url, OUTCOME, secret="wrong").status == 401
    refused = post_outcomes(url, [OUTCOME, OUTCOME | {"stage": 1, "event_id": "canary-4711"}])
    assert refused.status == 422
    assert json.loads(refused.body)["problems"] == [
        {"element": 1, "field": "stage", "reason": "Input should be a valid string"}
    ]
    assert post_outcomes(url, b"not json").status == 422
    assert post_outcomes(url, [OUTCOME] * 1_001).status == 422
    body = json.dumps([OUTCOME, OUTCOME], indent=1).encode()
    assert post_outcomes(url, body).status == 200
    assert _stored(signed_settings) == [("outcomes", body)]


def test_e72_consents_are_checked_then_stored_as_they_came(
    url: str, signed_settings: Settings
) -> None:
    assert post_consents(url, CONSENT, secret="wrong").status == 401
    refused = post_consents(
        url,
        [
            CONSENT,
            CONSENT | {"given": "canary-4711"},
            CONSENT | {"declared_at": "2026-05-04T14:31:00"},
            {k: v for k, v in CONSENT.items() if k != "phone"},
            CONSENT | {"phone": "12"},
            CONSENT | {"user_id": "canary"},
            CONSENT | {"phone": None, "email": "teste@teste.com"},
            7,
        ],
    )
    assert refused.status == 422
    problems = json.loads(refused.body)["problems"]
    assert [(p["element"], p["field"]) for p in problems] == [
        (1, "given"), (2, "declared_at"), (3, ""), (4, "phone"), (5, "user_id"), (6, ""), (7, ""),
    ]  # fmt: skip
    assert problems[1]["reason"].startswith("expects ISO 8601 with an offset")
    assert problems[2]["reason"] == "needs one of phone, wa_id, user_id, email"
    assert b"canary" not in refused.body
    assert post_consents(url, b"not json").status == 422
    assert post_consents(url, []).status == 422
    assert post_consents(url, [CONSENT] * 1_001).status == 422
    assert _stored(signed_settings) == []
    body = json.dumps([CONSENT] * 1_000, indent=1).encode()
    assert post_consents(url, body).status == 200
    assert post_consents(url, CONSENT | {"given": True, "consent_id": "c-1"}).status == 200
    assert [source for source, _ in _stored(signed_settings)] == ["consents"] * 2
    assert _stored(signed_settings)[0][1] == body
    page = get(url, "/metrics").body.decode()
    assert (
        'ctwa_receiver_requests_total{endpoint="/webhooks/consents",outcome="stored"} 2.0' in page
    )
    assert 'ctwa_last_envelope_timestamp_seconds{source="consents"}' in page


def test_one_endpoint_does_not_take_the_other_ones_secret(url: str) -> None:
    assert post_outcomes(url, OUTCOME, secret=APP_SECRET).status == 401
    assert post_whatsapp(url, secret="intake-secret-canary-93aa").status == 401


def test_without_its_secret_an_endpoint_answers_503_and_says_so_at_the_start(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), running(settings) as url:
        assert post_whatsapp(url).status == 503
        assert post_outcomes(url, OUTCOME).status == 503
        assert post_consents(url, CONSENT).status == 503
        assert get(url, HANDSHAKE.format("subscribe", "", "1")).status == 403
        assert get(url, "/readyz").status == 200
    for name in ("META_APP_SECRET", "CTWA_INTAKE_SECRET", "META_VERIFY_TOKEN"):
        assert f"{name} is not set" in caplog.text
    assert _stored(settings) == []


def test_an_empty_secret_is_no_secret(make_settings: Callable[..., Settings]) -> None:
    with running(make_settings(meta_app_secret=" , ")) as url:
        assert post_whatsapp(url, secret="").status == 503


def test_malformed_requests_are_400_and_do_no_harm(url: str) -> None:
    for line in (
        b"GET /\xff\xfe HTTP/1.1",
        b"GET http://[ HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9",
        b"GET /\x00 HTTP/1.1",
    ):
        answer = raw(url, line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer == b"" or answer.split()[1] in (b"400", b"404"), (line, answer)
    assert get(url, "/%ED%A0%80%00").status == 404
    assert post_whatsapp(url).status == 200


def test_without_a_store_it_only_checks_signatures(signed_settings: Settings) -> None:
    """The base of the benchmark: the same server, nothing kept."""
    with running(signed_settings, store=False) as url:
        assert post_whatsapp(url).status == 200
        assert post_whatsapp(url, secret="wrong").status == 401
        assert get(url, "/readyz").status == 503  # it must never get real traffic
    assert not signed_settings.data_dir.exists()


def test_metrics_count_answers_and_commits(url: str) -> None:
    post_whatsapp(url)
    post_whatsapp(url, secret="wrong")
    text = get(url, "/metrics").body.decode()
    label = 'ctwa_receiver_requests_total{endpoint="/webhooks/whatsapp",outcome='
    assert f'{label}"stored"}} 1.0' in text
    assert f'{label}"bad_signature"}} 1.0' in text
    for name in (
        "ctwa_vault_commit_seconds_count 1.0",
        "ctwa_vault_commit_rows_sum 1.0",
        "ctwa_vault_queue_depth 0.0",
        'ctwa_last_envelope_timestamp_seconds{source="whatsapp"}',
    ):
        assert name in text
    assert get(url, "/healthz").status == 200
