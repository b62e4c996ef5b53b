"""Receiver throughput and CPU, against the same server when it only checks the signature."""

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
    """Medians of the rounds at one number of connections; `ratio`: of the pairs' throughputs."""

    connections: int
    base: Load
    vault: Load
    ratio: float


def measure(
    *, seconds: float = 2.0, rounds: int = 3, connections: Sequence[int] = CONNECTIONS
) -> list[Row]:
    """A row per number of connections, base and product in turn."""
    ready = [signed(body) for body in bodies(4000, first_day=date(2026, 5, 1), days=30)]
    with tempfile.TemporaryDirectory(prefix="ctwa-bench-") as folder:
        base_dir, vault_dir = Path(folder, "base"), Path(folder, "vault")
        with _server(base_dir, store=False) as base, _server(vault_dir, store=True) as vault:
            rows = []
            for number in connections:
                pairs = [
                    (_load(base, ready, number, seconds), _load(vault, ready, number, seconds))
                    for _ in range(rounds)
                ]
                ratio = statistics.median(b.rps / a.rps for a, b in pairs)
                base_load, vault_load = _median(a for a, _ in pairs), _median(b for _, b in pairs)
                rows.append(Row(number, base_load, vault_load, ratio))
    return rows


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
