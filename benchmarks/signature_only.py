"""The base of the receiver's figures: an endpoint that checks the signature and keeps nothing.

On the usual stack, a bare ASGI application on uvicorn with uvloop and httptools: what the product's
receiver was built on before it read requests by itself.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def serve(secret: str, port: int) -> None:
    """Serve on loopback until SIGTERM."""
    key = secret.encode()

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        told = dict(scope["headers"]).get(b"x-hub-signature-256", b"")
        wanted = b"sha256=" + hmac.new(key, body, hashlib.sha256).hexdigest().encode()
        is_right = hmac.compare_digest(told, wanted) or scope["path"] == "/healthz"
        headers = [(b"content-length", b"0")]
        status = 200 if is_right else 401
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    uvicorn.run(
        app,  # type: ignore[arg-type]
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
