"""Which connections are closed when there are too many.

Anyone can open connections and send nothing, and those must not keep a signed request out. So there
is always room for a new connection, and the one that has kept us waiting longest makes it.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Collection
from contextlib import suppress
from enum import IntEnum
from typing import Protocol, TypeVar


class Awaits(IntEnum):
    """What a client owes us; the lowest is closed first."""

    REQUEST = 0
    """Kept alive after an answer."""
    ANYTHING = 1
    """Nothing has come yet, or nothing that belongs to a request."""
    HEADERS = 2
    BODY = 3
    NOTHING = 4
    """The client waits for our answer."""


class Connection(Protocol):
    """What is known of a connection."""

    transport: asyncio.Transport
    awaits: Awaits
    since: float
    """When we began to wait, by the clock of the loop."""


C = TypeVar("C", bound=Connection)


def make_room(connections: Collection[C], newcomer: C, limit: int) -> None:
    """Close connections until at most `limit` are open, and a few more, as each pass is costly.

    One that waits for our answer is never closed, nor one that holds unread bytes: it only looks
    idle, and may have sent a signed request by now.
    """
    others = [c for c in connections if c is not newcomer and not c.transport.is_closing()]
    excess = len(others) + 1 - limit
    if excess <= 0:
        return
    waiting = [c for c in others if c.awaits is not Awaits.NOTHING]
    waiting.sort(key=lambda c: (c.awaits, c.since))
    for connection in _without_unread(waiting[: excess + limit // 20]):
        connection.transport.close()


def _without_unread(connections: list[C]) -> list[C]:
    poll = select.poll()
    by_file = {}
    for connection in connections:
        with suppress(OSError, ValueError):
            file = connection.transport.get_extra_info("socket").fileno()
            poll.register(file, select.POLLIN)
            by_file[file] = connection
    for file, _ in poll.poll(0):
        del by_file[file]
    return list(by_file.values())
