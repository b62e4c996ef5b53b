"""Receiver throughput against an endpoint that only checks the signature on the same server."""

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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

from benchmarks.bodies import bodies
from benchmarks.load import load

SECRET = "bench-secret"
CONNECTIONS = (1, 16, 64, 256)


def requests(count: int = 4000) -> list[bytes]:
    """Signed requests, ready to write to a socket."""
    made = []
    for body in bodies(count, first_day=date(2026, 5, 1), days=30):
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        head = (
            "POST /webhooks/whatsapp HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            f"X-Hub-Signature-256: sha256={digest}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def serve(data_dir: str, port: int, store: bool) -> None:
    """The product's server, with its vault or without one (the base)."""
    from ctwa.settings import load_settings
    from ingestion.webhook.server import serve as run

    settings = load_settings(
        _env_file=None, data_dir=data_dir, meta_app_secret=SECRET, meta_verify_token="bench"
    )
    run(settings, "127.0.0.1", port, store=store)


@contextmanager
def _server(data_dir: Path, *, store: bool) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = f"from benchmarks.receiver import serve; serve({str(data_dir)!r}, {port}, {store})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz"):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


def measure(*, seconds: float = 2.0, rounds: int = 3) -> list[dict[str, float]]:
    """A row per number of connections: answers/s of both, their ratio (median of pairs), p99."""
    ready = requests()
    rows = []
    with tempfile.TemporaryDirectory(prefix="ctwa-bench-") as folder:
        base_dir, vault_dir = Path(folder, "base"), Path(folder, "vault")
        with _server(base_dir, store=False) as base, _server(vault_dir, store=True) as product:
            for connections in CONNECTIONS:
                pairs = []
                for _ in range(rounds):
                    args = {"connections": connections, "seconds": seconds}
                    a = load("127.0.0.1", base, ready, **args)  # type: ignore[arg-type]
                    b = load("127.0.0.1", product, ready, **args)  # type: ignore[arg-type]
                    pairs.append((a, b))
                rows.append(
                    {
                        "connections": connections,
                        "base_rps": statistics.median(a[0] for a, _ in pairs),
                        "vault_rps": statistics.median(b[0] for _, b in pairs),
                        "ratio": statistics.median(b[0] / a[0] for a, b in pairs),
                        "p50_ms": statistics.median(b[1] for _, b in pairs),
                        "p99_ms": statistics.median(b[2] for _, b in pairs),
                        "refused": sum(a[3] + b[3] for a, b in pairs),
                    }
                )
    return rows
