"""uvicorn's HTTP protocol with the limits it lacks.

uvicorn closes an idle connection only between requests: one that sends half a header stays for
ever, and a few hundred of those make its own connection limit refuse everybody else.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ingestion.webhook import http
from ingestion.webhook.http import Receive, Scope, Send

HEADER_SECONDS = 5.0
MAX_HEADER_BYTES = 32 * 1024
MAX_CONNECTIONS = 2_000


class LimitedProtocol(HttpToolsProtocol):
    """Whole headers within `header_seconds` and `MAX_HEADER_BYTES`, else the socket is closed."""

    header_seconds = HEADER_SECONDS
    max_connections = MAX_CONNECTIONS

    _deadline: asyncio.TimerHandle | None = None
    _in_headers = False
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse outright far above the limit: sockets are finite too."""
        super().connection_made(transport)
        if len(self.connections) > 2 * self.max_connections:
            transport.abort()
            return
        self._arm()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; while headers are incomplete the clock runs and bytes are counted."""
        super().data_received(data)
        if not self._awaits_headers():
            self._disarm()
            return
        self._header_bytes += len(data)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")
        elif self._deadline is None:
            self._arm()

    def on_message_begin(self) -> None:
        """A request line has begun."""
        self._in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Headers are whole: the app's own deadline (on the body) takes over."""
        self._in_headers = False
        self._header_bytes = 0
        crowded = len(self.connections) > self.max_connections
        self.app = _crowded if crowded else self.config.loaded_app
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock with the connection."""
        self._disarm()
        super().connection_lost(exc)

    def _awaits_headers(self) -> bool:
        # Stray line ends between requests stop uvicorn's idle clock too, hence the last part.
        return self._in_headers or self.cycle is None or self.cycle.response_complete

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(self.header_seconds, self._expire)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        self._deadline = None
        self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_headers:
            self.transport.write(
                b"HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status
            )
        self.transport.close()


async def _crowded(_scope: Scope, _receive: Receive, send: Send) -> None:
    await http.respond(send, http.OVERLOADED._replace(headers=(http.RETRY, http.CLOSE)))


def limited(header_seconds: float, max_connections: int) -> type[LimitedProtocol]:
    """The protocol with other limits."""
    values: dict[str, Any] = {
        "header_seconds": header_seconds,
        "max_connections": max_connections,
    }
    return type("LimitedProtocol", (LimitedProtocol,), values)
