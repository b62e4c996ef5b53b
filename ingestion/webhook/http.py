"""The little HTTP that the receiver needs on top of ASGI: bodies with limits, short answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import orjson

from ingestion.webhook.fields import IntakeError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY_BYTES = 3 * 1024 * 1024
_DISCARD_BYTES = 32 * 1024 * 1024
"""How much of a too large body is read and thrown away, so that the sender sees the 413: closing
a socket with unread data resets the connection, and the answer is lost with it."""


class Answer(NamedTuple):
    """An answer, and the word under which it is counted."""

    status: int
    outcome: str
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = b"text/plain; charset=utf-8"


OK = Answer(200, "stored", b"ok")
CLOSE = (b"connection", b"close")
RETRY = (b"retry-after", b"5")
BAD_SIGNATURE = Answer(401, "bad_signature", b"signature missing or wrong\n")
TOO_LATE = Answer(408, "too_late", b"body took too long\n", (CLOSE,))
NOT_FOUND = Answer(404, "not_found", b"not found\n")
UNAVAILABLE = Answer(503, "unavailable", b"not stored, try again\n", (RETRY,))
OVERLOADED = Answer(503, "overloaded", b"too many requests wait, try again\n", (RETRY,))


def too_large(limit: int) -> Answer:
    """413 with the limit in bytes."""
    size = f"{limit // 2**20} MiB" if limit >= 2**20 else f"{limit // 2**10} KiB"
    return Answer(413, "too_large", f"body larger than {size}\n".encode())


def misfit(error: IntakeError) -> Answer:
    """422 with every reason."""
    problems = [problem._asdict() for problem in error.problems]
    return json_answer(422, "misfit", {"error": "does not fit", "problems": problems})


def not_allowed(allow: str) -> Answer:
    """405 with the methods that are allowed."""
    return Answer(405, "not_allowed", b"method not allowed\n", ((b"allow", allow.encode()),))


def json_answer(status: int, outcome: str, content: object) -> Answer:
    """`content` as JSON."""
    return Answer(status, outcome, orjson.dumps(content), (), b"application/json")


async def respond(send: Send, answer: Answer) -> None:
    """Send a whole answer with its length."""
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        (b"x-content-type-options", b"nosniff"),
        *answer.headers,
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def header(scope: Scope, name: bytes) -> bytes | None:
    """Value of a header (lower-case name); None if it is absent or given more than once."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0] if len(found) == 1 else None


class BodyReader:
    """Reads bodies of many requests under common limits of size, time and memory."""

    def __init__(self, *, seconds: float, max_memory: int = 256 * 1024 * 1024) -> None:
        self._seconds = seconds
        self._max_memory = max_memory
        self._held = 0  # bytes of bodies that are still arriving

    async def read(
        self, scope: Scope, receive: Receive, limit: int = MAX_BODY_BYTES
    ) -> bytes | Answer | None:
        """The body; or the answer to give instead; or None if the client has gone."""
        length = header(scope, b"content-length")
        declared = int(length) if length is not None and length.isdigit() else 0
        if declared > limit and (declared > _DISCARD_BYTES or header(scope, b"expect") is not None):
            return too_large(limit)._replace(headers=(CLOSE,))
        try:
            async with asyncio.timeout(self._seconds):
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                if not message.get("more_body"):
                    body: bytes = message.get("body", b"")
                    return body if len(body) <= limit else too_large(limit)
                return await self._read_parts(message, receive, limit)
        except TimeoutError:
            return TOO_LATE

    async def _read_parts(
        self, message: MutableMapping[str, Any], receive: Receive, limit: int
    ) -> bytes | Answer | None:
        parts: list[bytes] = []
        size = held = 0
        try:
            while True:
                part = message.get("body", b"")
                size += len(part)
                if size <= limit:
                    parts.append(part)
                    self._held += len(part)
                    held += len(part)
                    if self._held > self._max_memory:
                        return OVERLOADED._replace(headers=(RETRY, CLOSE))
                elif size > _DISCARD_BYTES:
                    return too_large(limit)._replace(headers=(CLOSE,))
                else:
                    parts.clear()
                if not message.get("more_body"):
                    return b"".join(parts) if size <= limit else too_large(limit)
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
        finally:
            self._held -= held
