"""One request, from its headers to its answer, whatever carries the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from ingestion.webhook import http
from ingestion.webhook.http import Answer, Body, BodyMemory, Scope


@dataclass(frozen=True)
class Route:
    """What to do with requests of one method to one path."""

    handle: Callable[[Exchange], None]
    """Replies at once or later; `Exchange.content` is the body."""
    max_bytes: int | None = None
    """None: a body is not wanted, and ignored."""
    admit: Callable[[Scope], Answer | None] | None = None
    """The answer to a request whose body need not be read."""
    complete: Callable[[Scope, Answer], Answer] | None = None
    """Adds headers to every answer."""


class Service(Protocol):
    """What exchanges need from the receiver."""

    routes: dict[str, dict[str, Route]]
    memory: BodyMemory
    tasks: set[asyncio.Task[None]]

    def answered(self, endpoint: str, answer: Answer) -> None: ...

    def disconnected(self, endpoint: str) -> None: ...

    def failed(self, endpoint: str, error: Exception) -> None: ...


class Exchange:
    """Call `begin` when its turn has come, `add` for each part of the body, then `end`.

    `send` is called once, with the exchange and its answer, unless the client goes first (`lost`).
    """

    __slots__ = (
        "_begun", "_body", "_refusal", "_route", "_send", "_service", "content", "endpoint",
        "is_answered", "is_whole", "keep_alive", "scope",
    )  # fmt: skip

    def __init__(
        self,
        service: Service,
        scope: Scope,
        send: Callable[[Exchange, Answer], None],
        *,
        keep_alive: bool = True,
    ) -> None:
        self._service, self._send = service, send
        self.scope, self.keep_alive = scope, keep_alive
        self.content = b""
        self.is_whole = self.is_answered = self._begun = False
        self._refusal: Answer | None = None
        self._route: Route | None = None
        self._body: Body | None = None
        methods = service.routes.get(scope["path"])
        if methods is None:
            self.endpoint = "other"
            self._refusal = http.NOT_FOUND
            return
        self.endpoint = scope["path"]
        route = self._route = methods.get(scope["method"])
        if route is None:
            self._refusal = http.not_allowed(", ".join(methods))
        elif route.max_bytes is not None:
            self._body = Body(route.max_bytes, service.memory)

    def refuse(self, answer: Answer) -> None:
        """Give this answer once its turn has come, without reading the rest of the body."""
        self._refusal = answer
        if self._begun:
            self.reply(answer)

    def begin(self) -> None:
        """Its turn has come: all earlier requests of the connection are answered."""
        self._begun = True
        route = self._route
        if self._refusal is None and route is not None and route.admit is not None:
            try:
                self._refusal = route.admit(self.scope)
            except Exception as error:  # noqa: BLE001 - any fault concerns this request only
                self.fail(error)
                return
        if self._refusal is not None:
            self.reply(self._refusal)
        elif self.is_whole or self._body is None:
            self._handle()

    def add(self, part: bytes) -> None:
        """Take a part of the body."""
        if self._body is not None:
            refusal = self._body.add(part)
            if refusal is not None:
                self.refuse(refusal)

    def end(self) -> None:
        """The body is complete."""
        self.is_whole = True
        if self._begun and not self.is_answered:
            self._handle()

    def length_refusal(self) -> Answer | None:
        """The answer to give instead of waiting for the body."""
        route = self._route
        if route is None or route.max_bytes is None:
            return None
        return http.refused_by_length(self.scope, route.max_bytes)

    def reply(self, answer: Answer) -> None:
        """Give the answer, unless there has been one."""
        if self.is_answered:
            return
        self._drop()
        if self._route is not None and self._route.complete is not None:
            answer = self._route.complete(self.scope, answer)
        self._service.answered(self.endpoint, answer)
        self._send(self, answer)

    def later(self, answer: Coroutine[Any, Any, Answer]) -> None:
        """Reply with what `answer` returns."""
        tasks = self._service.tasks
        task = asyncio.get_running_loop().create_task(self._reply_with(answer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def fail(self, error: Exception) -> None:
        """Answer 500; the log says where the fault is."""
        self._service.failed(self.endpoint, error)
        self.reply(http.FAILED)

    def lost(self) -> None:
        """The client has gone; a request that was complete is still handled, and counted."""
        if not self.is_answered and not (self._begun and self.is_whole):
            self._drop()
            self._service.disconnected(self.endpoint)

    def _handle(self) -> None:
        route = self._route
        assert route is not None  # else there was a refusal
        if self._body is not None:
            content = self._body.whole()
            if not isinstance(content, bytes):
                self.reply(content)
                return
            self.content = content
            self._body = None
        try:
            route.handle(self)
        except Exception as error:  # noqa: BLE001 - any fault concerns this request only
            self.fail(error)

    async def _reply_with(self, answer: Coroutine[Any, Any, Answer]) -> None:
        try:
            self.reply(await answer)
        except Exception as error:  # noqa: BLE001 - any fault concerns this request only
            self.fail(error)

    def _drop(self) -> None:
        self.is_answered = True
        if self._body is not None:
            self._body.release()
            self._body = None
