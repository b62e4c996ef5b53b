"""What HTTP means to the receiver: answers and their bytes, headers, bodies with limits."""

from __future__ import annotations

from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

from ingestion.webhook.fields import IntakeError

Scope = MutableMapping[str, Any]
"""A request without its body: `method`, `path`, `query_string`, `headers` (names in lower case) and
`client` (address and port), as ASGI names them."""

MAX_BODY_BYTES = 3 * 1024 * 1024
_SMALL_BYTES = 64 * 1024
"""What one request may hold even if others have used up the memory for bodies."""
_DISCARD_BYTES = 32 * 1024 * 1024
"""How much of an oversized body is read and discarded, so that the sender sees the 413: closing a
socket with unread data resets the connection, and the answer is lost."""


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
HEADERS_TOO_LATE = Answer(408, "headers_too_late", b"headers took too long\n", (CLOSE,))
HEADERS_TOO_LARGE = Answer(431, "headers_too_large", b"headers larger than 32 KiB\n", (CLOSE,))
FAILED = Answer(500, "failed", b"internal error\n", (RETRY,))
NOT_FOUND = Answer(404, "not_found", b"not found\n")
UNAVAILABLE = Answer(503, "unavailable", b"not stored, try again\n", (RETRY,))
OVERLOADED = Answer(503, "overloaded", b"too many requests are waiting, try again\n", (RETRY,))


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


_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


def encoded(
    answer: Answer, extra_lines: bytes = b"", *, is_head: bool = False, closes: bool = False
) -> bytes:
    """The bytes of a whole answer. `is_head`: without its body; `closes`: the connection ends."""
    for name, value in answer.headers:
        extra_lines += b"%b: %b\r\n" % (name, value)
    if closes and CLOSE not in answer.headers:
        extra_lines += b"connection: close\r\n"
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n"
        b"x-content-type-options: nosniff\r\n%b\r\n%b"
    ) % (
        answer.status,
        _PHRASES[answer.status],
        answer.content_type,
        len(answer.body),
        extra_lines,
        b"" if is_head else answer.body,
    )


def header(scope: Scope, name: bytes) -> bytes | None:
    """Value of a header (lower-case name); None if it is absent or given more than once."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0] if len(found) == 1 else None


def refused_by_length(scope: Scope, limit: int) -> Answer | None:
    """The answer to a body that need not be read: its declared length is far above `limit`, or the
    sender waits for permission to send it."""
    length = header(scope, b"content-length")
    # Longer numbers do not get this far: the HTTP parser refuses more than 64 bits.
    declared = int(length[:20]) if length is not None and length.isdigit() else 0
    if declared > limit and (declared > _DISCARD_BYTES or header(scope, b"expect") is not None):
        return too_large(limit)._replace(headers=(CLOSE,))
    return None


class BodyMemory:
    """The memory that all bodies share while they are arriving."""

    def __init__(self, limit: int = 256 * 1024 * 1024) -> None:
        self.limit = limit
        self.held = 0


class Body:
    """One body that is arriving, of at most `limit` bytes."""

    __slots__ = ("_held", "_limit", "_memory", "_parts", "_size")

    def __init__(self, limit: int, memory: BodyMemory) -> None:
        self._limit, self._memory = limit, memory
        self._parts: list[bytes] = []
        self._size = self._held = 0

    def add(self, part: bytes) -> Answer | None:
        """Take the next part; returns the answer to give at once if no more is to be read."""
        size = len(part)
        self._size += size
        if self._size > self._limit:
            self.release()
            is_hopeless = self._size > _DISCARD_BYTES
            return too_large(self._limit)._replace(headers=(CLOSE,)) if is_hopeless else None
        self._parts.append(part)
        self._held += size
        memory = self._memory
        memory.held += size
        if memory.held > memory.limit and self._held > _SMALL_BYTES:
            return OVERLOADED._replace(headers=(RETRY, CLOSE))
        return None

    def whole(self) -> bytes | Answer:
        """The body, now that all of it has arrived, or the answer to give instead."""
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self.release()
        return body if self._size <= self._limit else too_large(self._limit)

    def release(self) -> None:
        """Give its memory back."""
        self._memory.held -= self._held
        self._held = 0
        self._parts = []
