"""One request: what is certain of its fate. Real sockets, no stand-in of our own making it easy."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from activation.conversions_api import Accepted, Again, EventsApi, Fate, Refused, Stopped, Unclear

EVENT = {"event_name": "QualifiedLead", "event_id": "1"}


@contextmanager
def _server(answer: bytes, *, reads: bool = True) -> Iterator[tuple[str, list[bytes]]]:
    """A port that reads one request, answers these bytes and hangs up; what came."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                if reads:
                    came.append(_request(connection))
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", came
        thread.join(5)


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    if head.startswith(b"CONNECT"):
        return data
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if b"-Length" in line)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def _answer(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def _post(answer: bytes, *, code: str | None = None) -> tuple[Fate, bytes]:
    token = "EAAsecret1234"
    with _server(answer) as (address, came):
        api = EventsApi(
            f"http://{address}", "v25.0", token, test_event_code=code, answer_seconds=20
        )
        fate = api.post("77", [EVENT])
    return fate, came[0]


def test_the_request_is_what_meta_documents_and_the_token_is_in_its_header_only() -> None:
    taken = b'{"events_received":1,"fbtrace_id":"Abc"}'
    fate, request = _post(_answer("200 OK", taken), code="TEST1")
    assert fate == Accepted("Abc")
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v25.0/77/events HTTP/1.1\r\n")
    assert b"Authorization: Bearer EAAsecret1234" in head
    assert b"Connection: close" in head
    assert b"EAAsecret1234" not in body
    assert body == (
        b'{"data":[{"event_name":"QualifiedLead","event_id":"1"}],"test_event_code":"TEST1"}'
    )


@pytest.mark.parametrize(("answer", "fate"), [
    (b"", Unclear), (b"HTTP/1.1 200 OK\r\n", Unclear), (b"no HTTP at all\r\n\r\n", Unclear),
    (_answer("200 OK", b'{"events_received":1}')[:-4], Unclear),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"eve", Unclear),
    (_answer("200 OK", b'{"events_received":true}'), Unclear),
    (_answer("200 OK", b'{"events_received":"1"}'), Unclear),
    (_answer("200 OK", b'{"events_received":2}'), Unclear),
    (_answer("200 OK", b"[1]"), Unclear),
    (_answer("204 No Content", b""), Unclear),
    (_answer("302 Found", b"", "Location: http://127.0.0.1:1/"), Unclear),
    (_answer("403 Forbidden", b"<html>a proxy</html>"), Unclear),
    (_answer("500 Internal Server Error", b""), Unclear),
    (_answer("500 Internal Server Error", b'{"error":"odd"}'), Unclear),
    (_answer("429 Too Many Requests", b"", "Retry-After: 7"), Again),
    (_answer("500 Internal Server Error", b'{"error":{"code":2,"message":"x"}}'), Again),
    (_answer("400 Bad Request", b'{"error":{"code":100,"is_transient":true}}'), Again),
    (_answer("200 OK", b'{"error":{"code":100,"error_subcode":2804050}}'), Refused),
    (_answer("400 Bad Request", b'{"error":{"code":"100"}}'), Refused),
    (_answer("400 Bad Request", b'{"error":{}}'), Refused),
    (_answer("401 Unauthorized", b'{"error":{"code":190}}'), Stopped),
    (_answer("400 Bad Request", b'{"error":{"code":368}}'), Stopped),
    (_answer("403 Forbidden", b'{"error":{"code":10}}'), Stopped),
    (_answer("400 Bad Request", b'{"error":{"code":803}}'), Stopped),
])  # fmt: skip
def test_only_what_is_certain_is_called_so(answer: bytes, fate: type) -> None:
    assert isinstance(_post(answer)[0], fate)


def test_metas_estimate_and_a_proxys_are_both_heard() -> None:
    assert _post(_answer("429 Too Many Requests", b"", "Retry-After: 7"))[0] == Again("HTTP 429", 7)
    usage = 'X-Business-Use-Case-Usage: {"1":[{"estimated_time_to_regain_access":2}]}'
    found, _ = _post(_answer("400 Bad Request", b'{"error":{"code":80004}}', usage))
    assert isinstance(found, Again)
    assert found.seconds == 120


def test_a_reason_is_metas_numbers_and_no_text_shows_the_token() -> None:
    body = b'{"error":{"code":100,"error_subcode":2804016,"message":"EAAsecret1234 is bad"}}'
    found, _ = _post(_answer("400 Bad Request", body))
    assert isinstance(found, Refused)
    assert found.reason == "refused_100_2804016"
    assert "secret" not in found.what


def test_without_a_connection_nothing_was_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "http://no-such-host.invalid"):
        assert isinstance(EventsApi(url, "v25.0", "t").post("77", [EVENT]), Again)


def test_a_server_that_speaks_no_tls_got_nothing() -> None:
    with _server(b"220 smtp\r\n", reads=False) as (address, came):
        fate = EventsApi(f"https://{address}", "v25.0", "t").post("77", [EVENT])
    assert isinstance(fate, Again)
    assert came == []


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def through(address: str) -> None:
        monkeypatch.setenv("https_proxy", f"http://{address}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)

    return through


def test_a_proxy_of_the_environment_is_used_and_its_refusal_is_no_request(
    proxied: Callable[[str], None],
) -> None:
    with _server(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n") as (address, came):
        proxied(address)
        fate = EventsApi("https://graph.example", "v25.0", "secret").post("77", [EVENT])
    assert isinstance(fate, Again)
    assert came[0].startswith(b"CONNECT graph.example:443 HTTP/1.")
    assert b"secret" not in came[0]


def test_certificates_are_verified() -> None:
    connection = EventsApi("https://graph.example", "v25.0", "t")._connection()
    context: ssl.SSLContext = connection._context  # type: ignore[attr-defined]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs()
