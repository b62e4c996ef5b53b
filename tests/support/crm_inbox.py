"""A CRM's own webhook on loopback: keeps what is posted, answers by script."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ingestion.webhook.endpoints import verify
from simulator.ads_api import _cut, serve_app

SECRET = "0123456789abcdef0123456789abcdef"


@dataclass
class Inbox:
    """`answers`: statuses of the next posts, `0` for a connection that is cut; then `status`.
    `delay`: seconds before each answer. `taken`: bodies that were accepted; `seen`: event ids of
    all posts, in order."""

    status: int = 204
    delay: float = 0.0
    answers: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    taken: list[dict[str, Any]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: Request) -> Response:
        body = await request.body()
        self.paths.append(request.url.path)
        self.seen.append(request.headers["x-event-id"])
        signature = request.headers["x-signature-256"].encode()
        if not verify(signature, body, [SECRET.encode()]):
            return Response(status_code=401)
        await asyncio.sleep(self.delay)
        status = self.answers.pop(0) if self.answers else self.status
        if status == 0:
            return StreamingResponse(_cut(b""), 200, {"content-length": "9"})
        if 200 <= status < 300:
            said = orjson.loads(body)
            assert said["event_id"] == self.seen[-1]
            self.taken.append(said)
        return Response(status_code=status, headers=self.headers)


@contextmanager
def inbox() -> Iterator[Inbox]:
    """One that takes everything, at `url`."""
    found = Inbox()
    route = Route("/{path:path}", found.handle, methods=["POST"])
    with serve_app(Starlette(routes=[route]), "crm-inbox") as url:
        found.url = f"{url}/hooks/leads"
        yield found
