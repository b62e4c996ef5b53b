"""Receiver throughput and CPU, against two servers that only check the signature: the same one, and
an ASGI application on uvicorn (`benchmarks.signature_only`)."""

from __future__ import annotations

import hashlib
import hmac
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks.bodies import bodies
from benchmarks.figures import BenchmarkError
from benchmarks.load import load
from benchmarks.measure import cpu_seconds_of, environment

SECRET = "bench-secret"
CONNECTIONS = (1, 16, 64, 256)


def signed(body: bytes) -> bytes:
    """A whole request with this body, ready to write to a socket."""
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    head = (
        "POST /webhooks/whatsapp HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"X-Hub-Signature-256: sha256={digest}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def serve(data_dir: str, port: int, store: bool) -> None:
    """The product's server, with its vault or without one (the base)."""
    from ctwa.settings import load_settings
    from ingestion.webhook.server import serve as run

    settings = load_settings(
        _env_file=None, data_dir=data_dir, meta_app_secret=SECRET, meta_verify_token="bench"
    )
    run(settings, "127.0.0.1", port, store=store)


def free_port() -> int:
    """A port of this machine on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_healthy(port: int, seconds: float = 60.0) -> None:
    """Return once the receiver answers. Raises `BenchmarkError`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz"):
            return
        time.sleep(0.05)
    raise BenchmarkError(f"the receiver did not answer within {seconds:.0f} s")


@dataclass(frozen=True)
class _Server:
    port: int
    pid: int


@contextmanager
def _server(data_dir: Path, *, store: bool) -> Iterator[_Server]:
    port = free_port()
    code = f"from benchmarks.receiver import serve; serve({str(data_dir)!r}, {port}, {store})"
    with _started(code, port) as server:
        yield server


@contextmanager
def _usual_server() -> Iterator[_Server]:
    port = free_port()
    code = f"from benchmarks.signature_only import serve; serve({SECRET!r}, {port})"
    with _started(code, port) as server:
        yield server


@contextmanager
def _started(code: str, port: int) -> Iterator[_Server]:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        wait_until_healthy(port)
        yield _Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=30)


@dataclass(frozen=True)
class Load:
    """What one server did under one load. `cpu_us`: microseconds of its CPU for each request."""

    rps: float
    p50_ms: float
    p99_ms: float
    refused: int
    cpu_us: float


@dataclass(frozen=True)
class Row:
    """Medians of the rounds at one number of connections.

    `base`: the same server, only checking signatures; `usual`: the ASGI application that does.
    `ratio`, `usual_ratio`: the product's throughput over theirs, of each round.
    """

    connections: int
    base: Load
    usual: Load
    vault: Load
    ratio: float
    usual_ratio: float


def measure(
    *, seconds: float = 2.0, rounds: int = 3, connections: Sequence[int] = CONNECTIONS
) -> list[Row]:
    """A row per number of connections, bases and product in turn."""
    ready = [signed(body) for body in bodies(4000, first_day=date(2026, 5, 1), days=30)]
    with (
        tempfile.TemporaryDirectory(prefix="ctwa-bench-") as folder,
        _server(Path(folder, "base"), store=False) as base,
        _usual_server() as usual,
        _server(Path(folder, "vault"), store=True) as vault,
    ):
        servers = (base, usual, vault)
        return [
            _row(n, [[_load(s, ready, n, seconds) for s in servers] for _ in range(rounds)])
            for n in connections
        ]


def _row(connections: int, rounds: Sequence[Sequence[Load]]) -> Row:
    base, usual, vault = (_median(loads) for loads in zip(*rounds, strict=True))
    return Row(
        connections,
        base,
        usual,
        vault,
        ratio=statistics.median(v.rps / b.rps for b, _, v in rounds),
        usual_ratio=statistics.median(v.rps / u.rps for _, u, v in rounds),
    )


def _load(server: _Server, ready: list[bytes], connections: int, seconds: float) -> Load:
    before = cpu_seconds_of(server.pid)
    rps, p50, p99, refused = load(
        "127.0.0.1", server.port, ready, connections=connections, seconds=seconds
    )
    answered = max(1.0, rps * seconds + refused)
    return Load(rps, p50, p99, refused, (cpu_seconds_of(server.pid) - before) / answered * 1e6)


def _median(loads: Iterable[Load]) -> Load:
    found = list(loads)
    return Load(
        rps=statistics.median(x.rps for x in found),
        p50_ms=statistics.median(x.p50_ms for x in found),
        p99_ms=statistics.median(x.p99_ms for x in found),
        refused=sum(x.refused for x in found),
        cpu_us=statistics.median(x.cpu_us for x in found),
    )
