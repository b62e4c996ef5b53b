"""What HubSpot's answers mean for us, as typed errors; the class of an error is its remedy.

Of HubSpot's own words only its codes, scope names and the correlation id are repeated: its
messages may quote what was asked or found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ingestion.errors import SourceError

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.]{1,80}")
_SCOPE = re.compile(r"[a-z][a-z0-9_.-]{1,80}")
_ID = re.compile(r"[0-9a-fA-F-]{8,40}")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is known of a failed call. `call` is method and path, without query and ids."""

    call: str
    status: int | None = None
    category: str = ""
    policy: str = ""
    scopes: tuple[str, ...] = ()
    correlation_id: str = ""
    note: str = ""


class HubspotError(SourceError):
    """A call to HubSpot failed; `str()` says what happened and the mend."""

    what = "HubSpot refused the request"
    mend = "see the category in HubSpot's documentation on errors"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        status = f"HTTP {problem.status}" if problem.status is not None else ""
        correlation = problem.correlation_id and f"correlation id {problem.correlation_id}"
        parts = (status, problem.category, problem.policy, problem.note, correlation)
        detail = ", ".join(filter(None, parts)) or "no answer"
        super().__init__(f"{self.what} at {problem.call} ({detail}): {self.repair()}")

    def repair(self) -> str:
        """What to do about it."""
        return self.mend


class HubspotRequestError(HubspotError):
    """Refused for good: asking again in the same way cannot help."""


class HubspotStopError(HubspotError):
    """Nothing can be read any more: everything stops, nothing is tried again."""


class HubspotTokenError(HubspotStopError):
    """The token is revoked, rotated or mistyped."""

    what = "HUBSPOT_TOKEN is not valid (any more)"
    mend = (
        "copy the token of the service key (Development > Keys) or private app (Settings > "
        "Integrations > Private apps), or make a new one, put it into HUBSPOT_TOKEN and run again"
    )


class HubspotQuotaError(HubspotStopError):
    """The account has used up the calls of its day."""

    what = "HubSpot's daily limit of API calls is used up"
    mend = (
        "it is counted for the whole account and starts anew at midnight in the account's time "
        "zone; the next run goes on where this one stopped. Settings > Integrations shows which "
        "app uses how much"
    )


class HubspotScopeError(HubspotError):
    """The token may not read this."""

    what = "HUBSPOT_TOKEN lacks a permission"

    def repair(self) -> str:
        """Names the scopes that HubSpot names."""
        scopes = " or ".join(self.problem.scopes) or "those that docs/connect/hubspot.md lists"
        return f"add the scope {scopes} to the service key or private app, and run again"


class HubspotThrottledError(HubspotError):
    """Rate limited for longer than we wait."""

    is_transient = True
    what = "rate limited, and the waiting time is used up"
    mend = "the next run tries again; other apps of the account may be using its calls"


class HubspotUnavailableError(HubspotError):
    """No usable answer after several tries."""

    is_transient = True
    what = "no usable answer after several tries"
    mend = "usually passes by itself, the next run tries again; see https://status.hubspot.com"


class HubspotShapeError(HubspotError):
    """An answer that is JSON, but not what was asked for."""

    what = "HubSpot's answer is not as documented"
    mend = "check HUBSPOT_URL; if it is right, the API has changed: report it"


def classify(problem: Problem) -> HubspotError:
    """The typed error of an answer that is not a good one."""
    status = problem.status
    if status == 401:
        return HubspotTokenError(problem)
    if status == 403:
        return HubspotScopeError(problem)
    if status == 429:
        daily = problem.policy == "DAILY"
        return HubspotQuotaError(problem) if daily else HubspotThrottledError(problem)
    # 423: a record is locked for a moment; 477: the account is moving to another data centre.
    if status is None or status >= 500 or status in (408, 423, 477):
        return HubspotUnavailableError(problem)
    return HubspotRequestError(problem)


def problem_from(call: str, status: int, body: Any) -> Problem:
    """A `Problem` from HubSpot's error object, of which nothing is taken for granted."""
    error = body if isinstance(body, dict) else {}
    message = str(error.get("message") or "").lower()
    policy = _match(_CODE, error.get("policyName")).upper()
    if status == 429 and not policy and "daily" in message:
        policy = "DAILY"
    return Problem(
        call,
        status,
        category=_match(_CODE, error.get("category") or error.get("errorType")),
        policy=policy,
        scopes=tuple(dict.fromkeys(_scopes(error))),
        correlation_id=_match(_ID, error.get("correlationId")),
        note="" if isinstance(body, dict) else "answer is not JSON",
    )


def _scopes(error: dict[str, Any]) -> Iterator[str]:
    details = error.get("errors")
    for part in (error, *(details if isinstance(details, list) else ())):
        context = part.get("context") if isinstance(part, dict) else None
        for key in ("requiredGranularScopes", "requiredScopes", "missingScopes"):
            names = context.get(key) if isinstance(context, dict) else None
            for name in names if isinstance(names, list) else ():
                if _match(_SCOPE, name):
                    yield name


def _match(pattern: re.Pattern[str], value: Any) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""
