"""Run the receiver on uvicorn (uvloop, httptools), one process, until a signal ends it."""

from __future__ import annotations

import logging
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa
import uvicorn

from ctwa.settings import Settings
from ingestion.webhook.app import BODY_SECONDS, Receiver
from ingestion.webhook.protocol import HEADER_SECONDS, MAX_CONNECTIONS, limited

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75
"""Longer than proxies keep theirs (60 s): otherwise they send into a socket that just closed."""
GRACE_SECONDS = 15


class _Server(uvicorn.Server):
    """Says where it listens, in one line."""

    url = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            log.info("receiver listens on %s", self.url)


def build_server(
    app: Receiver,
    host: str,
    port: int,
    *,
    header_seconds: float = HEADER_SECONDS,
    max_connections: int = MAX_CONNECTIONS,
) -> _Server:
    """The configured server, not yet running. Port 0 takes a free one."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=limited(header_seconds, max_connections),
        ws="none",
        lifespan="on",
        log_config=None,
        # Its lines carry the query, and the handshake's query carries the verify token.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return _Server(config)


def serve(settings: Settings, host: str, port: int, *, store: bool = True) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was begun and return.

    Raises `SystemExit(3)` if the address cannot be listened on. `store=False` is for measuring.
    """
    _set_up_logging()
    _allow_sockets(2 * MAX_CONNECTIONS + 200)
    url = sa.make_url(settings.vault_url).render_as_string(hide_password=True)
    log.info("vault: %s", url if store else "none, nothing is kept")
    server = build_server(Receiver(settings, store=store), host, port)
    with _signals_end_quietly():
        server.run()
    log.info("receiver ended, everything acknowledged is in the vault")


@contextmanager
def running(
    settings: Settings, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> Iterator[str]:
    """The receiver in a thread of this process; yields its base URL. For the demo and for tests."""
    body_seconds = options.pop("body_seconds", BODY_SECONDS)
    app = Receiver(settings, store=options.pop("store", True), body_seconds=body_seconds)
    server = build_server(app, host, port, **options)
    thread = threading.Thread(target=server.run, name="receiver", daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.url:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError(f"the receiver did not start on {host}:{port}; see the log")
        time.sleep(0.005)
    try:
        yield server.url
    finally:
        server.should_exit = True
        thread.join(timeout=GRACE_SECONDS + 15)


@contextmanager
def _signals_end_quietly() -> Iterator[None]:
    """After its clean end uvicorn raises the signal once more: let that not look like a crash."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.signal(s, _end) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        with suppress(_EndedError, KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _EndedError(BaseException):
    """A signal asked for the end."""


def _end(_signal: int, _frame: object) -> None:
    raise _EndedError


def _set_up_logging() -> None:
    if not logging.getLogger().handlers:
        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
    # Its warnings are one line for each malformed request: a way to fill the disk.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def _allow_sockets(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
