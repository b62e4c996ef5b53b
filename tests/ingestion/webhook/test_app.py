"""The endpoints, over real sockets: every way in, and every way of being refused."""

from __future__ import annotations

import http.client
import json
import logging
import resource
import socket
import sqlite3
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.webhook.endpoints import sign
from ingestion.webhook.room import Awaits, make_room
from ingestion.webhook.server import _allow_sockets, running
from tests.ingestion.webhook.clients import (
    APP_SECRET,
    BODY,
    CONSENT,
    OUTCOME,
    VERIFY_TOKEN,
    WEB_LEAD,
    get,
    open_socket,
    post_consents,
    post_leads,
    post_outcomes,
    post_whatsapp,
    raw,
    read_all,
    request,
)
from tests.ingestion.webhook.receiver_process import receiver

MIB = 1024 * 1024
HANDSHAKE = "/webhooks/whatsapp?hub.mode={}&hub.verify_token={}&hub.challenge={}"


@pytest.fixture
def url(signed_settings: Settings) -> Iterator[str]:
    with running(signed_settings, body_seconds=1.0, header_seconds=1.0) as base:
        yield base


def _stored(settings: Settings) -> list[tuple[str, bytes]]:
    vault = open_vault(settings.vault_url)
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


def test_e98_headers_in_one_packet_have_the_same_limit(url: str) -> None:
    """They are whole before anybody has counted their bytes."""
    for head in (
        b"GET /healthz HTTP/1.1\r\nX-Long: " + b"a" * 40_000 + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"X-A: b\r\n" * 8_000,
        b"GET /healthz?" + b"a" * 40_000 + b" HTTP/1.1\r\n",
    ):
        answer = raw(url, head + b"Host: x\r\n\r\n")
        assert answer == b"" or b" 431 " in answer[:40], answer[:80]
    fine = b"GET /healthz HTTP/1.1\r\nX-Long: " + b"a" * 30_000 + b"\r\nConnection: close\r\n\r\n"
    assert raw(url, fine).startswith(b"HTTP/1.1 200 ")


def test_e98_endless_trailers_and_chunk_extensions_are_cut_off(url: str) -> None:
    head = b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for begin, piece in (
        (b"1\r\nx\r\n0\r\n", b"X-Trailer: " + b"t" * 60_000 + b"\r\n"),
        (b"", b"1;" + b"e" * 60_000 + b"\r\nx\r\n"),
        (b"1\r\nx\r\n0\r\nX-Trailer: ", b"t" * 60_000),
    ):
        with open_socket(url) as connection:
            connection.sendall(head + begin)
            sent = 0
            with suppress(OSError):
                while sent < 64 * MIB:
                    connection.sendall(piece)
                    sent += len(piece)
            assert sent < 64 * MIB, begin
    trailer = head + b"2\r\n{}\r\n0\r\nX-Signature: x\r\nConnection: close\r\n\r\n"
    with open_socket(url) as connection:
        connection.sendall(trailer)
        assert connection.recv(1_024).startswith(b"HTTP/1.1 401 ")


def _kept(url: str, count: int) -> list[socket.socket]:
    """Connections that have had an answer and are kept alive."""
    found = []
    for _ in range(count):
        connection = open_socket(url)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(1_024).startswith(b"HTTP/1.1 200 ")
        found.append(connection)
    return found


def _is_open(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return connection.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


def test_e97_kept_connections_never_refuse_a_webhook(signed_settings: Settings) -> None:
    with running(signed_settings, max_connections=200) as url:
        idle = _kept(url, 300)
        assert [post_whatsapp(url).status for _ in range(20)] == [200] * 20
        still = [_is_open(connection) for connection in (*idle[:20], *idle[-20:])]
        # The oldest have gone; who has just asked stays.
        assert still[:20] == [False] * 20
        assert still[-20:] == [True] * 20
        assert not any(connection.close() for connection in idle)
        assert len(_stored(signed_settings)) == 20


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        b"POST /webhooks/whatsapp HTTP/1.1\r\nX-A: b",
        b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nab",
    ],
    ids=["silent", "half a header", "half a body"],
)
def test_e97_unfinished_requests_never_refuse_a_webhook(
    signed_settings: Settings, begin: bytes
) -> None:
    with running(signed_settings, max_connections=100) as url:
        slow = []
        for _ in range(150):
            slow.append(open_socket(url))
            slow[-1].sendall(begin)
        assert [post_whatsapp(url).status for _ in range(20)] == [200] * 20
        for connection in slow:
            connection.close()
        assert post_whatsapp(url).status == 200


def test_whole_requests_are_never_closed_for_others(signed_settings: Settings) -> None:
    """Where all connections wait for the disk, who comes new is told to come again."""
    signature = sign(BODY, APP_SECRET.encode()).encode()
    request_ = (
        b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"X-Hub-Signature-256: " + signature + b"\r\n"
        b"Content-Length: %d\r\n\r\n" % len(BODY)
    ) + BODY
    with running(signed_settings, max_connections=8) as url:
        assert post_whatsapp(url).status == 200
        lock = sqlite3.connect(signed_settings.data_dir / "vault.db", isolation_level=None)
        lock.execute("begin immediate")
        waiting = []
        for _ in range(10):
            waiting.append(open_socket(url))
            waiting[-1].sendall(request_)
        time.sleep(0.3)
        reply = post_whatsapp(url)
        assert (reply.status, reply.headers["retry-after"]) == (503, "5")
        lock.execute("rollback")
        lock.close()
        assert [read_all(c).split()[1] for c in waiting] == [b"200"] * 10
        for connection in waiting:
            connection.close()
    assert len(_stored(signed_settings)) == 11


def _request(signature: bytes) -> bytes:
    """The head of a signed post of `BODY`."""
    return (
        b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"X-Hub-Signature-256: %b\r\nContent-Length: %d\r\n\r\n"
    ) % (signature, len(BODY))


@pytest.mark.parametrize("begin", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_e97_ten_thousand_idle_connections_never_push_out_a_signed_post(
    signed_settings: Settings, begin: bytes
) -> None:
    """Neither new posts, nor one whose body is still arriving, nor one that nobody has read yet."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 10_000 if hard == resource.RLIM_INFINITY else min(10_000, hard - 6_000)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signature = sign(BODY, APP_SECRET.encode()).encode()
    idle: list[socket.socket] = []
    try:
        with running(signed_settings, body_seconds=300.0) as url:
            slow = open_socket(url)
            slow.sendall(_request(signature) + BODY[:10])
            statuses = []
            for number in range(count):
                idle.append(open_socket(url))
                idle[-1].sendall(begin)
                if number % (count // 20) == 0:
                    statuses.append(post_whatsapp(url).status)
            slow.sendall(BODY[10:])
            statuses.append(int(read_all(slow).split()[1]))
            slow.close()
            assert statuses == [200] * 21
            assert _is_open(idle[-1])
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(_stored(signed_settings)) == 21


def test_e97_what_is_idle_but_has_sent_a_request_by_now_is_not_closed() -> None:
    ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
    connections = [_Idle(connection, since) for since, connection in enumerate(ours)]
    theirs[0].sendall(b"POST")  # waits longest, but not without cause
    make_room(connections, connections[2], 2)
    assert [c.transport.is_closing() for c in connections] == [False, False, False]
    make_room(connections, connections[2], 1)
    assert [c.transport.is_closing() for c in connections] == [False, True, False]
    for connection in (*ours, *theirs):
        connection.close()


class _Idle:
    """A kept-alive connection, also its own transport."""

    def __init__(self, connection: socket.socket, since: float) -> None:
        self.transport: Any = self
        self.awaits, self.since = Awaits.REQUEST, since
        self._connection, self._closed = connection, False

    def get_extra_info(self, _name: str) -> socket.socket:
        return self._connection

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True


def test_running_out_of_files_is_survived(tmp_path: Path) -> None:
    """Whatever allows fewer open files than it wants: it takes fewer connections, and goes on."""
    data_dir = tmp_path / "data"
    with receiver(data_dir) as process:
        pid, url = process.process.pid, process.url
        assert post_whatsapp(url).status == 200
        files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (files + 20, hard))
        held = [open_socket(url) for _ in range(100)]
        time.sleep(0.3)
        for connection in held:
            connection.close()
        time.sleep(0.3)
        assert post_whatsapp(url).status == 200
        assert len(process.log.read_text().splitlines()) < 50


def test_fewer_open_files_mean_fewer_connections(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1_024))
    given: list[Any] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    assert _allow_sockets(2_000) == 462
    assert given == [(1_024, 1_024)]
    assert "462 connections at once instead of 2000" in caplog.text
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert _allow_sockets(2_000) == 2_000


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
        {"element": 1, "field": "stage", "reason": "expects text"}
    ]
    assert post_outcomes(url, b"not json").status == 422
    assert post_outcomes(url, [OUTCOME] * 1_001).status == 422
    body = json.dumps([OUTCOME, OUTCOME], indent=1).encode()
    assert post_outcomes(url, body).status == 200
    assert _stored(signed_settings) == [("outcomes", body)]


def test_e89_spoilt_ids_are_refused_at_every_signed_door(
    url: str, signed_settings: Settings
) -> None:
    for post, body, field in (
        (post_outcomes, OUTCOME | {"event_id": "1.20226E+17"}, "event_id"),
        (post_outcomes, OUTCOME | {"event_id": 1.20226e17}, "event_id"),
        (post_outcomes, OUTCOME | {"message_id": "1,2e+17"}, "message_id"),
        (post_leads, WEB_LEAD | {"lead_id": "1.20226E+17"}, "lead_id"),
        (post_consents, CONSENT | {"consent_id": 1.2e17}, "consent_id"),
        (post_consents, CONSENT | {"user_id": "1.2E+17"}, "user_id"),
    ):
        refused = post(url, body)
        assert refused.status == 422
        (problem,) = json.loads(refused.body)["problems"]
        assert problem["field"] == field
        assert "a spreadsheet shortened" in problem["reason"]
    assert post_outcomes(url, OUTCOME | {"event_id": 101}).status == 200
    assert post_outcomes(url, OUTCOME | {"event_id": "101.0"}).status == 200
    assert post_leads(url, WEB_LEAD | {"lead_id": 101.0}).status == 200
    assert len(_stored(signed_settings)) == 3


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
