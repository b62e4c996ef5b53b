"""Scripted faults of the Google Ads API; `simulator.ads_faults` says when they strike.

>>> faults = FaultScript([GoogleFault("FROM campaign", status=503)])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.ads_faults import Fault, FaultScript
from simulator.google_gaql import google_error


@dataclass
class GoogleFault(Fault):
    """A fault. `match` is searched in `searchStream <customer> FROM …`, or in `token`.

    `error_code`: Google's own word, e.g. `{"quotaError": "RESOURCE_EXHAUSTED"}`. `retry_delay`:
    such as "5s". `after_batches`: the error stands behind good batches of a 200.
    """

    status: int = 500
    error_code: Mapping[str, str] = field(default_factory=dict)
    retry_delay: str | None = None
    after_batches: bool = False

    def error(self) -> Any:
        """The body of the error."""
        if self.body is not None:
            return self.body
        return google_error(
            self.status, self.error_code, self.message, retry_delay=self.retry_delay
        )


def quota(match: str = "searchStream", delay: str | None = "5s", **when: Any) -> GoogleFault:
    """The quota is used up: 429, retry after `delay`."""
    word = {"quotaError": "RESOURCE_EXHAUSTED"}
    return GoogleFault(match, status=429, error_code=word, retry_delay=delay, **when)


def expired(match: str = "searchStream", **when: Any) -> GoogleFault:
    """The access token has expired: 401."""
    return GoogleFault(
        match, status=401, error_code={"authenticationError": "OAUTH_TOKEN_EXPIRED"}, **when
    )


def oauth_error(word: str, description: str, status: int = 400) -> GoogleFault:
    """The token exchange is refused, e.g. with `invalid_grant`."""
    body = {"error": word, "error_description": description}
    return GoogleFault("^token", kind="body", status=status, body=body, times=1_000)


GOOGLE_FAULTS: tuple[Fault, ...] = (
    quota(""),
    quota("", delay=None),
    GoogleFault("", status=500, error_code={"internalError": "INTERNAL_ERROR"}),
    GoogleFault("", status=503),
    GoogleFault("", status=500, after_batches=True),
    Fault("", kind="html", status=502),
    Fault("", kind="truncated", status=200),
    Fault("", kind="cut", status=200),
    Fault("", kind="empty", status=503),
)
"""Random ones for `FaultScript(share=…, pool=GOOGLE_FAULTS)`: each goes away by itself."""

__all__ = [
    "GOOGLE_FAULTS",
    "Fault",
    "FaultScript",
    "GoogleFault",
    "expired",
    "oauth_error",
    "quota",
]
