"""The receiver in one process: uvicorn listens and ends it, `protocol` speaks with the clients.

uvicorn's own protocol runs a task and several timers and callbacks for each request, which costs
several times the signature and the commit together, and its limits can be used to shut others out:
a connection that sends half a header stays open forever, and idle ones count as busy.
"""

from __future__ import annotations

import logging
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import sqlalchemy as sa
import uvicorn

from ctwa.settings import Settings
from ingestion.webhook.app import Receiver
from ingestion.webhook.protocol import (
    BODY_SECONDS,
    HEADER_SECONDS,
    MAX_CONNECTIONS,
    LimitedProtocol,
    limited,
)
from ingestion.webhook.telemetry import BrakeFilter

log = logging.getLogger(__name__)

GRACE_SECONDS = 15
_OTHER_FILES = 100


class _Server(uvicorn.Server):
    """Opens and closes the receiver, and logs where it listens, in one line."""

    def __init__(
        self, receiver: Receiver, protocol: type[LimitedProtocol], config: uvicorn.Config
    ) -> None:
        super().__init__(config)
        self.server_state.tasks = receiver.tasks  # the server waits for them when it ends
        self._receiver, self._protocol = receiver, protocol
        self.url = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._receiver.start()
        try:
            await super().startup(sockets)
        except SystemExit:
            await self._receiver.stop()
            raise
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            log.info("receiver listens on %s", self.url)

    async def on_tick(self, counter: int) -> bool:
        should_exit = await super().on_tick(counter)
        lines = [b"%b: %b\r\n" % line for line in self.server_state.default_headers]
        self._protocol.date_line = b"".join(lines)
        return should_exit

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if not self.force_exit:
            await self._receiver.stop()


def build_server(
    receiver: Receiver,
    host: str,
    port: int,
    *,
    header_seconds: float = HEADER_SECONDS,
    body_seconds: float = BODY_SECONDS,
    max_connections: int = MAX_CONNECTIONS,
) -> _Server:
    """The configured server, not yet running. Port 0 takes a free one."""
    _brake_libraries()
    protocol = limited(
        receiver,
        header_seconds=header_seconds,
        body_seconds=body_seconds,
        max_connections=max_connections,
    )
    config = uvicorn.Config(
        _no_app,
        host=host,
        port=port,
        loop="uvloop",
        http=cast(Any, protocol),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        # Its lines carry the query, and the handshake's query carries the verify token.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return _Server(receiver, protocol, config)


async def _no_app(_scope: Any, _receive: Any, _send: Any) -> None:
    """uvicorn asks for an ASGI app; our protocol never calls it."""


def serve(settings: Settings, host: str, port: int, *, store: bool = True) -> None:
    """Serve until SIGTERM or SIGINT, then finish open requests and return.

    Raises `SystemExit(3)` if it cannot listen on the address. `store=False` is for measuring.
    """
    _set_up_logging()
    connections = _allow_sockets(MAX_CONNECTIONS)
    url = sa.make_url(settings.vault_url).render_as_string(hide_password=True)
    log.info("vault: %s", url if store else "none, nothing is stored")
    server = build_server(Receiver(settings, store=store), host, port, max_connections=connections)
    with _signals_end_quietly():
        server.run()
    log.info("receiver ended, everything acknowledged is in the vault")


@contextmanager
def running(
    settings: Settings, host: str = "127.0.0.1", port: int = 0, **options: Any
) -> Iterator[str]:
    """The receiver in a thread of this process; yields its base URL. For the demo and for tests."""
    receiver = Receiver(settings, store=options.pop("store", True))
    server = build_server(receiver, host, port, **options)
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
    """uvicorn raises the signal again after a clean end: keep that from looking like a crash."""
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
    # Its warnings are one line per malformed request.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def _brake_libraries() -> None:
    """Limit the loggers of uvicorn and asyncio, which may log once per request or connection."""
    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        if not any(isinstance(known, BrakeFilter) for known in logger.filters):
            logger.addFilter(BrakeFilter())


def _allow_sockets(connections: int) -> int:
    """Raise the limit of open files as needed; returns how many connections it then allows.

    Twice as many sockets may be open for a moment (`LimitedProtocol`), and the vault needs some
    files: running out of them would refuse new connections before old ones could be closed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        return connections
    allowed = max(8, min(connections, (soft - _OTHER_FILES) // 2))
    if allowed < connections:
        log.warning(
            "%d connections at once instead of %d: the limit of open files is %d (LimitNOFILE= "
            "of systemd, or `ulimit -n`)", allowed, connections, soft,
        )  # fmt: skip
    return allowed
