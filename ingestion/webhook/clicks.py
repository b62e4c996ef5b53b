"""`/clicks`: which page a code of the WhatsApp button stands for, told by browsers.

A page can keep no secret, so nothing is signed. What keeps others out: the origin that browsers
name by themselves and scripts of other pages cannot change, codes that fit the site, small bodies,
and a rate that no company's visitors reach and that fills no disk. Whoever writes such requests by
hand can invent clicks, but not chats: a click counts only when a message comes with its code.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable

from ctwa.settings import Settings
from ingestion.webhook import http
from ingestion.webhook.fields import IntakeError
from ingestion.webhook.http import Answer, BodyReader, Receive, Scope, header
from ingestion.webhook.site import check_click

PATH = "/clicks"
SOURCE = "clicks"
MAX_BYTES = 8 * 1024
PER_SECOND, BURST = 50.0, 200.0

_FOREIGN = Answer(403, "foreign_origin", b"origin not among CTWA_SITE_ORIGINS\n")
_TOO_MANY = Answer(429, "too_many", b"too many clicks, try again\n", (http.RETRY,))
_PREFLIGHT = Answer(
    200,
    "preflight",
    b"",
    (
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"content-type"),
        (b"access-control-max-age", b"86400"),
    ),
)

Keep = Callable[[str, bytes], Awaitable[Answer]]
"""Makes a body of a source durable, then gives the answer."""


class TokenBucket:
    """Lets `burst` through at once and `per_second` in the long run."""

    def __init__(
        self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left, self._at = burst, -math.inf

    def take(self) -> bool:
        """Whether one more may pass now."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Clicks:
    """The endpoint's two methods; `is_on` only where the site and its origins are set."""

    def __init__(self, settings: Settings, body: BodyReader, keep: Keep) -> None:
        self._site_id, self._origins = settings.site_id, settings.allowed_origins
        self.is_on = bool(self._site_id and self._origins)
        self.is_half_set = bool(self._site_id) != bool(self._origins)
        self._body, self._keep = body, keep
        self._bucket = TokenBucket(PER_SECOND, BURST)

    async def post(self, scope: Scope, receive: Receive) -> Answer | None:
        """One click."""
        origin = self._origin(scope)
        if origin is None:
            return _FOREIGN._replace(headers=(http.CLOSE,))  # its body is not read
        answer = await self._answer(scope, receive)
        return None if answer is None else _shared(answer, origin)

    async def preflight(self, scope: Scope, _receive: Receive) -> Answer:
        """What a browser asks before it posts anything but plain text."""
        origin = self._origin(scope)
        return _FOREIGN if origin is None else _shared(_PREFLIGHT, origin)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | None:
        body = await self._body.read(scope, receive, MAX_BYTES)
        if not isinstance(body, bytes):
            return body
        try:
            check_click(body, self._site_id)
        except IntakeError as error:
            return http.misfit(error)
        # After the check, so that nonsense does not use up what visitors need.
        return await self._keep(SOURCE, body) if self._bucket.take() else _TOO_MANY

    def _origin(self, scope: Scope) -> bytes | None:
        given = header(scope, b"origin")
        is_ours = given is not None and given.decode("latin-1").lower() in self._origins
        return given if is_ours else None


def _shared(answer: Answer, origin: bytes) -> Answer:
    """The answer, which the page of `origin` may read."""
    return answer._replace(
        headers=(
            *answer.headers,
            (b"access-control-allow-origin", origin),
            (b"vary", b"Origin"),
        )
    )
