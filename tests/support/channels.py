"""Where alerts go, on loopback: a chat's webhook and a mail server, as small as they can be."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast


@dataclass
class Hook:
    """A webhook that takes Slack's JSON; `status` is what it answers."""

    url: str
    status: int = 200
    texts: list[str] = field(default_factory=list)


@contextmanager
def hook() -> Iterator[Hook]:
    """A running webhook; its path is its secret, as Slack's is."""
    served = Hook("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert list(body) == ["text"]
            served.texts.append(body["text"])
            self.send_response(served.status)
            if served.status == 302:
                self.send_header("Location", served.url)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/services/T0/hook-secret"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Mailbox:
    """A mail server: mails it took, and who logged in. `accepts` false: it refuses recipients."""

    port: int = 0
    accepts: bool = True
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def mailbox(host: str = "127.0.0.1") -> Iterator[Mailbox]:
    """A running mail server (RFC 5321 as far as `smtplib` speaks it, AUTH PLAIN, no TLS)."""
    box, loop = Mailbox(), asyncio.new_event_loop()
    server = loop.run_until_complete(
        asyncio.start_server(lambda r, w: _session(box, r, w), host, 0)
    )
    box.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield box
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait(others or [asyncio.ensure_future(asyncio.sleep(0))], timeout=1)


async def _session(
    box: Mailbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.write(b"220 here\r\n")
    while line := (await reader.readline()).decode().strip():
        verb = line.split(maxsplit=1)[0].upper()
        if verb == "EHLO":
            writer.write(b"250-here\r\n250 AUTH PLAIN\r\n")
        elif verb == "AUTH":
            _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
            box.logins.append((user, password))
            writer.write(b"235 welcome\r\n")
        elif verb == "RCPT" and not box.accepts:
            writer.write(b"550 nobody of that name\r\n")
        elif verb == "DATA":
            writer.write(b"354 go on\r\n")
            lines = []
            while (part := await reader.readline()) != b".\r\n":
                lines.append(part.removeprefix(b"."))
            parsed = message_from_bytes(b"".join(lines), policy=policy.default)
            box.mails.append(cast(EmailMessage, parsed))
            writer.write(b"250 taken\r\n")
        elif verb == "QUIT":
            writer.write(b"221 bye\r\n")
            break
        else:
            if verb == "RCPT":
                box.recipients.append(line.partition("<")[2].rstrip(">"))
            writer.write(b"250 ok\r\n")
    writer.close()
