"""HTTP on a bare socket: several requests at once, and clients that stop half way."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.webhook.endpoints import sign
from ingestion.webhook.server import running
from tests.ingestion.webhook.clients import APP_SECRET, get, open_socket, raw, read_all

ALIVE = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def post(body: bytes, more: bytes = b"") -> bytes:
    """A signed request."""
    return (
        b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: %b\r\n"
        b"Content-Length: %d\r\n%b\r\n%b"
    ) % (sign(body, APP_SECRET.encode()).encode(), len(body), more, body)


@pytest.fixture
def url(signed_settings: Settings) -> Iterator[str]:
    with running(signed_settings, body_seconds=1.0, header_seconds=1.0) as base:
        yield base


def _stored(settings: Settings) -> list[bytes]:
    vault = open_vault(settings.vault_url)
    rows = [row["body"] for batch in vault.read_batches(0) for row in batch.to_pylist()]
    vault.close()
    return rows


def _statuses(answers: bytes) -> list[bytes]:
    return [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]


def test_requests_sent_at_once_are_answered_in_order(url: str, signed_settings: Settings) -> None:
    bodies = [b'{"n": %d}' % number for number in range(100)]
    wrong = post(b"{}").replace(b"sha256=", b"sha257=")
    unknown = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    many = b"".join(map(post, bodies))
    answers = _statuses(raw(url, many + wrong + ALIVE + unknown + LAST))
    assert answers == [b"200"] * 100 + [b"401", b"200", b"404", b"200"]
    assert _stored(signed_settings) == bodies


def test_a_thousand_requests_at_once_arrive_byte_by_byte_too(
    url: str, signed_settings: Settings
) -> None:
    assert _statuses(raw(url, ALIVE * 1_000 + LAST)) == [b"200"] * 1_001
    with open_socket(url) as connection:
        for number in (post(b"{}") + LAST)[:-1]:
            connection.sendall(bytes([number]))
        connection.sendall(b"\n")
        assert _statuses(read_all(connection)) == [b"200", b"200"]
    assert _stored(signed_settings) == [b"{}"]


def test_a_client_that_waits_for_permission_gets_it(url: str) -> None:
    whole = post(b"{}", b"Expect: 100-continue\r\nConnection: close\r\n")
    with open_socket(url) as connection:
        connection.sendall(whole[:-2])
        assert connection.recv(1_024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert _statuses(read_all(connection)) == [b"200"]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /healthz HTTP/1.0\r\n\r\n",
        b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET http://x/healthz?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /health%7a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n",
    ],
)
def test_other_ways_to_ask(url: str, request_: bytes) -> None:
    head, _, body = raw(url, request_).partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"http/1.1 200 ok"
    assert {b"content-length: 3", b"connection: close"} <= set(lines)
    assert body == (b"" if request_.startswith(b"HEAD") else b"ok\n")


def test_a_client_that_goes_is_counted_and_its_memory_is_given_back(url: str) -> None:
    with open_socket(url) as connection:
        connection.sendall(post(b"x" * 100_000)[:50_000])
        time.sleep(0.2)
    time.sleep(0.2)
    counted = b'endpoint="/webhooks/whatsapp",outcome="disconnected"} 1.0'
    assert counted in get(url, "/metrics").body


def test_a_client_that_does_not_read_its_answers_gets_no_more_of_them(url: str) -> None:
    """Else answers to small requests would fill the memory."""
    ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    with open_socket(url) as connection:
        connection.settimeout(0.5)
        sent = 0
        try:
            while sent < 8_000_000:  # they would be answered with gigabytes
                sent += connection.send(ask * 1_000)
        except TimeoutError:
            pass
        assert sent < 8_000_000
        assert get(url, "/healthz").status == 200
        found = connection.recv(1_000_000)
        assert found.startswith(b"HTTP/1.1 200 OK\r\n")


def test_half_a_request_behind_a_whole_one_is_not_waited_for(url: str) -> None:
    with open_socket(url) as connection:
        connection.sendall(post(b"{}") + b"POST /webhooks/whatsapp HTTP/1.1\r\nX-A: b")
        started = time.monotonic()
        assert _statuses(read_all(connection)) == [b"200", b"408"]
        assert time.monotonic() - started < 5
