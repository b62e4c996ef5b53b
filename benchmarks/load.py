"""A closed-loop HTTP load for loopback: ready-made requests on kept-open connections.

Written on asyncio streams' lower layer because the client shares two cores with the server; an
HTTP library would measure itself. Counts only answers `200`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import cast

from benchmarks.figures import BenchmarkError


class _Client(asyncio.Protocol):
    def __init__(self, requests: Sequence[bytes], start: int, step: int) -> None:
        self._requests, self._next, self._step = requests, start, step
        self._buffer = b""
        self.transport: asyncio.Transport | None = None
        self.latencies: list[float] = []
        self.refused = 0
        self.sent_at = 0.0
        self.running = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        assert self.transport is not None
        request = self._requests[self._next % len(self._requests)]
        self._next += self._step
        self.sent_at = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        lower = head.lower()
        length = lower.find(b"content-length:")
        expected = int(lower[length + 15 :].split(b"\r\n", 1)[0]) if length >= 0 else 0
        if len(body) < expected:
            return
        if head.startswith(b"HTTP/1.1 200"):
            self.latencies.append(time.perf_counter() - self.sent_at)
        else:
            self.refused += 1
        self._buffer = b""
        if self.running:
            self._send()


def _same(client: _Client) -> _Client:
    return client


async def _run(
    host: str, port: int, requests: Sequence[bytes], connections: int, seconds: float
) -> tuple[list[float], int]:
    loop = asyncio.get_running_loop()
    clients = [_Client(requests, n, connections) for n in range(connections)]
    for client in clients:
        await loop.create_connection(partial(_same, client), host, port)
    await asyncio.sleep(seconds)
    for client in clients:
        client.running = False
    await asyncio.sleep(0.3)
    for client in clients:
        if client.transport is not None:
            client.transport.close()
    return [x for c in clients for x in c.latencies], sum(c.refused for c in clients)


def load(
    host: str, port: int, requests: Sequence[bytes], *, connections: int, seconds: float
) -> tuple[float, float, float, int]:
    """Answers per second, median and 99th percentile in ms, and how many were not 200."""
    import uvloop

    latencies, refused = uvloop.run(_run(host, port, requests, connections, seconds))
    latencies.sort()
    if not latencies:
        raise BenchmarkError(f"no answer 200 within {seconds} s, {refused} others: not measurable")
    middle, tail = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    return len(latencies) / seconds, middle * 1e3, tail * 1e3, refused
