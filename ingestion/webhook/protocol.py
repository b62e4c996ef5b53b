"""HTTP/1.1 on a socket: the parser of httptools, a clock, and limits for what strangers send.

A request is one packet, in nearly all cases: it is parsed, checked and queued for the next commit
without a task or a timer of its own. Requests that are sent before the previous one is answered
wait here, unread ones in the socket.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections import deque
from collections.abc import Mapping
from typing import Any

import httptools
from uvicorn.server import ServerState

from ingestion.webhook import http
from ingestion.webhook.exchange import Exchange, Service
from ingestion.webhook.http import Answer
from ingestion.webhook.room import Awaits, make_room

HEADER_SECONDS = 5.0
BODY_SECONDS = 5.0
KEEP_ALIVE_SECONDS = 75.0
"""Longer than proxies keep theirs (60 s): otherwise they would use a socket that just closed."""
MAX_HEADER_BYTES = 32 * 1024
MAX_CONNECTIONS = 2_000
MAX_FRAMING_BYTES = 1024 * 1024
"""Limit of a request apart from its body: chunk sizes, trailers, an unwanted body."""
_NEVER = float("inf")
_MALFORMED = Answer(400, "malformed", b"Invalid HTTP request received.", (http.CLOSE,))


class _Dropped(list[tuple[bytes, bytes]]):
    """Discards trailers: they are not used, and a sender could send them without end."""

    def append(self, _item: tuple[bytes, bytes]) -> None:
        """Discard the item."""


_TRAILERS = _Dropped()


class LimitedProtocol(asyncio.Protocol):
    """One connection. It is closed unless headers are complete within `header_seconds` and
    `MAX_HEADER_BYTES`; a body that takes longer than `body_seconds` is answered 408.

    Above `max_connections`, the connections that have kept us waiting longest are closed for new
    ones: first those without a request, then unfinished headers and bodies. A complete request is
    never closed, not even one that is still unread. So a new request gets in however many
    connections are open.
    """

    service: Service
    paths: Mapping[bytes, str]
    """Paths of the service by how they usually come, which need no parsing."""
    header_seconds = HEADER_SECONDS
    body_seconds = BODY_SECONDS
    max_connections = MAX_CONNECTIONS
    date_line = b""
    """Header line with the time of day, renewed by the server every second."""

    def __init__(
        self,
        config: object,
        server_state: ServerState,
        app_state: object,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self._connections: set[Any] = server_state.connections
        self._parser = httptools.HttpRequestParser(self)
        # A request that follows `connection: close` is ignored; it must not spoil the answer.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._client: Any = None

        self.awaits = Awaits.NOTHING
        self.since = 0.0
        self._due = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = _NEVER

        self._exchange: Exchange | None = None  # the one to be answered now
        self._queue: deque[Exchange] = deque()  # those that were sent too early
        self._incoming: Exchange | None = None  # the one whose body is arriving
        self._is_ending = self._is_paused = self._is_full = False
        self._is_feeding = self._is_advancing = False

        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_headers = False
        self._between = False  # the last byte we got was the last of a request
        self._is_split = False  # these headers began in an earlier packet
        self._chunk_bytes = self._body_bytes = 0  # of the packet that is being parsed
        self._header_bytes = self._framing_bytes = 0

    # --- the transport's calls ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room; far above the limit, refuse outright: sockets are limited too."""
        self.transport = transport
        self._client = transport.get_extra_info("peername")
        self._connections.add(self)
        if len(self._connections) > self.max_connections:
            make_room(self._connections, self, self.max_connections)
            if len(self._connections) > 2 * self.max_connections:
                transport.abort()
                return
        self._settle()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; while a request is incomplete the clock runs and bytes are counted."""
        self._chunk_bytes, self._body_bytes = len(data), 0
        self._between = False
        self._is_split = self._in_headers
        if self._header_bytes < 0:
            self._header_bytes = 0
        self._is_feeding = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered like any other request
        except httptools.HttpParserError:
            self._refuse(_MALFORMED)
            return
        finally:
            self._is_feeding = False
        if self._between or self._is_within_limits(len(data)):
            self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything; a complete request is still handled."""
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost()
        for waiting in self._queue:
            waiting.lost()
        self._queue.clear()
        self._incoming = None
        del self._parser  # it refers to us

    def pause_writing(self) -> None:
        """The client does not read its answers: give it no more of them."""
        self._is_full = True

    def resume_writing(self) -> None:
        """The client has read its answers."""
        self._is_full = False
        self._advance()

    def shutdown(self) -> None:
        """The server is ending: answer what has been sent, then close."""
        self._is_ending = True
        if self._exchange is None and not self._queue:
            self.transport.close()

    # --- the parser's calls -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request line has begun."""
        self._url, self._headers = b"", []
        self._in_headers, self._between, self._is_split = True, False, False

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Answer the request, or begin to read its body, unless others come first."""
        may_be_large = self._is_split or self._chunk_bytes > MAX_HEADER_BYTES
        is_large = may_be_large and self._is_large()
        headers, self._headers = self._headers, _TRAILERS
        self._in_headers = False
        self._header_bytes = self._framing_bytes = 0
        if self.transport.is_closing():
            return
        path = self.paths.get(self._url)
        path, query = _target(self._url) if path is None else (path, b"")
        parser = self._parser
        scope = {
            "method": parser.get_method().decode("ascii"),
            "path": path,
            "query_string": query,
            "headers": headers,
            "client": self._client,
        }
        keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        exchange = Exchange(self.service, scope, self._send, keep_alive=keep_alive)
        self._incoming = exchange
        if is_large:
            exchange.refuse(http.HEADERS_TOO_LARGE)
        elif len(self._connections) > self.max_connections + self.max_connections // 4:
            # No connection could be closed for this one.
            exchange.refuse(http.OVERLOADED._replace(headers=(http.RETRY, http.CLOSE)))
        if self._exchange is None and not self._queue and not self._is_full:
            self._exchange = exchange
            exchange.begin()
        else:
            self._queue.append(exchange)
            self._pause()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        incoming = self._incoming
        if incoming is not None and not incoming.is_answered:
            self._body_bytes += len(body)
            incoming.add(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._between = True
        self._header_bytes = -self._chunk_bytes  # those of this packet are not of the next request
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.end()

    # --- answers ------------------------------------------------------------------------------

    def _send(self, exchange: Exchange, answer: Answer) -> None:
        if exchange is not self._exchange:
            return  # the client has gone
        self._exchange = None
        self.awaits = Awaits.NOTHING
        transport = self.transport
        if transport.is_closing():
            return
        closes = (
            not exchange.keep_alive
            or http.CLOSE in answer.headers
            or (self._is_ending and not self._queue)
        )
        is_head = exchange.scope["method"] == "HEAD"
        transport.write(http.encoded(answer, self.date_line, is_head=is_head, closes=closes))
        if closes:
            transport.close()
            return
        if self._queue:
            self._advance()
        if not self._is_feeding:
            self._settle()

    def _advance(self) -> None:
        """Turn to the requests that were sent early, one after the other."""
        if self._is_advancing:
            return
        self._is_advancing = True
        while (
            self._queue
            and self._exchange is None
            and not self._is_full
            and not self.transport.is_closing()
        ):
            self._exchange = self._queue.popleft()
            self._exchange.begin()
        self._is_advancing = False
        if self._is_paused and not self._queue and not self._is_full:
            self._is_paused = False
            self.transport.resume_reading()
        self._settle()

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()

    def _refuse(self, answer: Answer) -> None:
        """Answer what is not a request, and close."""
        if not self.transport.is_closing():
            self.transport.write(http.encoded(answer, self.date_line))
            self.transport.close()

    # --- limits -------------------------------------------------------------------------------

    def _is_large(self) -> bool:
        """Whether the headers are too large; they may all have come in one packet."""
        size = len(self._url) + 4 * len(self._headers)
        return size + sum(len(n) + len(v) for n, v in self._headers) > MAX_HEADER_BYTES

    def _is_within_limits(self, size: int) -> bool:
        """Count a packet that did not complete a request; False: the connection is closed."""
        if self._incoming is not None:
            self._framing_bytes += size - self._body_bytes
            if self._framing_bytes > MAX_FRAMING_BYTES:
                self.transport.abort()
                return False
            return True
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            self._end(http.HEADERS_TOO_LARGE)
            return False
        return True

    def _settle(self) -> None:
        """Start the clock of what we are waiting for now."""
        exchange = self._exchange
        if exchange is not None:
            if exchange.is_whole:
                self.awaits, self._due = Awaits.NOTHING, _NEVER
            elif self.awaits is not Awaits.BODY:
                self._await_body(exchange)
        elif self._between or self._queue:  # if some are waiting, the client does not read
            if self.awaits is not Awaits.REQUEST:
                self._await(Awaits.REQUEST, KEEP_ALIVE_SECONDS)
        elif self.awaits in (Awaits.REQUEST, Awaits.NOTHING, Awaits.BODY):
            self._await(Awaits.ANYTHING, self.header_seconds)
        if self._in_headers and self.awaits is Awaits.ANYTHING:
            self.awaits = Awaits.HEADERS

    def _await_body(self, exchange: Exchange) -> None:
        self._await(Awaits.BODY, self.body_seconds)
        refusal = exchange.length_refusal()
        if refusal is not None:
            exchange.reply(refusal)
        elif http.header(exchange.scope, b"expect") is not None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _await(self, what: Awaits, seconds: float) -> None:
        self.awaits = what
        self.since = now = self.loop.time()
        self._due = now + seconds
        # A timer that is early only looks again, so most requests set none.
        if self._timer is None or self._timer_due > self._due:
            self._set_timer(seconds)

    def _set_timer(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = self._due
        self._timer = self.loop.call_later(seconds, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._timer = None
        left = self._due - self.loop.time()
        if left == _NEVER:
            return
        if left > 0:
            self._set_timer(left)
        elif self._exchange is not None:
            self._exchange.reply(http.TOO_LATE)
        else:
            self._end(http.HEADERS_TOO_LATE)

    def _end(self, answer: Answer) -> None:
        """Close; if a request has begun, say why."""
        if self._is_full:
            self.transport.abort()
        elif self._in_headers:
            self._refuse(answer)
        else:
            self.transport.close()


def _target(url: bytes) -> tuple[str, bytes]:
    """Path and query. Raises an error, which the parser makes a 400, for what is neither."""
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return urllib.parse.unquote(path) if "%" in path else path, parsed.query or b""


def limited(
    service: Service, *, header_seconds: float, body_seconds: float, max_connections: int
) -> type[LimitedProtocol]:
    """The protocol for a service, with these limits."""
    values: dict[str, Any] = {
        "service": service,
        "paths": {path.encode(): path for path in service.routes},
        "header_seconds": header_seconds,
        "body_seconds": body_seconds,
        "max_connections": max_connections,
    }
    return type("LimitedProtocol", (LimitedProtocol,), values)
