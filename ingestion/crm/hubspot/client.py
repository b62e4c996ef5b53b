"""Client of HubSpot's CRM API: the patient client of all APIs with HubSpot's pace and errors.

The token travels as a header only. Errors name the call without its ids and never repeat what was
asked or answered.

The class of an error is its remedy. Of HubSpot's own words only its codes, scope names and the
correlation id are repeated: its messages may quote what was asked or found.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from ctwa.settings import Settings
from ingestion.apis.client import (
    ApiError,
    ApiSession,
    Problem,
    RetryPolicy,
    Rules,
    Sleep,
    StopError,
    ThrottledError,
    UnavailableError,
)
from ingestion.apis.versions import HUBSPOT_VERSION

Row = dict[str, Any]

API_VERSION = HUBSPOT_VERSION
"""Part of every path. Since this version an account's validation rules apply to every write."""

SEARCH_SECONDS = 0.26
"""From one search to the next: an account may make four in a second."""

# For when HubSpot does not say how long to wait. Its windows are a second (search) and ten seconds
# (everything else).
PATIENCE = RetryPolicy(first_wait=10.0, max_wait=120.0, max_total_wait=900.0, timeout=60.0)

_ID_IN_PATH = re.compile(r"/\d+(?![-\d])")
_DAY_SECONDS = 86_400


class HubspotClient:
    """Reads and writes HubSpot. Raises `HubspotError`, nothing of `requests`."""

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        policy: RetryPolicy = PATIENCE,
        sleep: Sleep = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
    ) -> None:
        from dlt.common.configuration.specs.runtime_configuration import RuntimeConfiguration
        from dlt.sources.helpers.rest_client import RESTClient
        from dlt.sources.helpers.rest_client.auth import BearerTokenAuth

        self._session = ApiSession(_RULES, policy, sleep=sleep, seed=seed)
        self._sleep, self._clock = sleep, clock
        self._last_search = float("-inf")
        self._rest = RESTClient(
            base_url=base_url.rstrip("/"),
            auth=BearerTokenAuth(token),
            session=self._session,
            config=RuntimeConfiguration(),
        )

    @classmethod
    def from_settings(
        cls, settings: Settings, *, policy: RetryPolicy = PATIENCE, sleep: Sleep = time.sleep
    ) -> HubspotClient:
        """The client of this installation; `HUBSPOT_TOKEN` must be set."""
        if settings.hubspot_token is None:
            raise ValueError("HUBSPOT_TOKEN is not set: this source is off")
        token = settings.hubspot_token.get_secret_value().strip()
        return cls(settings.hubspot_url, token, policy=policy, sleep=sleep)

    def get(self, path: str, **params: Any) -> Row:
        """`GET path` as one object."""
        return _object(self._rest.request(path, "GET", params=params))

    def post(self, path: str, body: Row, **params: Any) -> Row:
        """`POST path` with JSON; for calls that read, and those that may be made twice."""
        return _object(self._rest.request(path, "POST", json=body, params=params))

    def search(self, object_type: str, body: Row) -> Row:
        """One search, no sooner after the previous one than HubSpot allows."""
        wait = self._last_search + SEARCH_SECONDS - self._clock()
        if wait > 0:
            self._sleep(wait)
        self._last_search = self._clock()
        return self.post(f"crm/objects/{API_VERSION}/{object_type}/search", body)

    def close(self) -> None:
        """Close connections."""
        self._session.close()


def _judge(call: str, response: requests.Response, body: Any) -> HubspotError | None:
    status = response.status_code
    if status < 300 and isinstance(body, dict) and body.get("status") != "error":
        return None
    if status < 300:
        # A proxy's JSON, or an error with a good status: not an answer of HubSpot's.
        return HubspotUnavailableError(HubspotProblem(call, status, "the answer is no object"))
    return classify(problem_from(call, status, body, _retry_after(response, body)))


def _retry_after(response: requests.Response, body: Any) -> float | None:
    """Seconds that the header or the body asks for, if they are plausible."""
    in_body = body.get("retry_after") if isinstance(body, dict) else None
    for value in (response.headers.get("Retry-After"), in_body):
        try:
            seconds = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        if 0 <= seconds < _DAY_SECONDS:
            return seconds
    return None


def _name(request: requests.PreparedRequest) -> str:
    return f"{request.method} {_ID_IN_PATH.sub('/<id>', urlsplit(request.url or '').path)}"


def _object(response: requests.Response) -> Row:
    body: Row = response.json()  # as the session has read it, which accepts objects only
    return body


_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.]{1,80}")
_SCOPE = re.compile(r"[a-z][a-z0-9_.-]{1,80}")
_ID = re.compile(r"[0-9a-fA-F-]{8,40}")
_PROPERTY = re.compile(r"[a-z][a-z0-9_]{0,99}")


@dataclass(frozen=True, slots=True)
class HubspotProblem(Problem):
    """What HubSpot says of a failed call. `call` is method and path, without query and ids."""

    category: str = ""
    policy: str = ""
    scopes: tuple[str, ...] = ()
    correlation_id: str = ""
    values: tuple[tuple[str, str], ...] = ()
    """Properties whose values an account's rules refuse, each with HubSpot's word for why."""

    def details(self) -> tuple[str, ...]:
        """Status, category, name of the limit, note, and the id that HubSpot's support asks for."""
        correlation = self.correlation_id and f"correlation id {self.correlation_id}"
        return (self.http, self.category, self.policy, self.note, correlation)


class HubspotError(ApiError):
    """A call to HubSpot failed."""

    problem: HubspotProblem
    what = "HubSpot refused the request"
    fix = "see the category in HubSpot's documentation on errors"


class HubspotRequestError(HubspotError):
    """Refused for good: asking again in the same way cannot help."""


class HubspotStopError(HubspotError, StopError):
    """Nothing can be read: everything stops, and nothing is tried again."""


class HubspotTokenError(HubspotStopError):
    """The token is revoked, rotated or mistyped."""

    what = "HUBSPOT_TOKEN is not valid, or no longer valid"
    fix = (
        "copy the token of the service key (Development > Keys) or private app (Settings > "
        "Integrations > Private apps), or make a new one, put it into HUBSPOT_TOKEN and run again"
    )


class HubspotVersionError(HubspotStopError):
    """The version of the API that our calls name has ended."""

    what = "HubSpot no longer serves the version of its API that this release calls"
    fix = "update ctwa-attribution; `ctwa doctor` shows the versions in use and their ends"


class HubspotQuotaError(HubspotStopError):
    """The account has used up the calls of its day."""

    what = "HubSpot's daily limit of API calls is used up"
    fix = (
        "it is counted for the whole account and starts again at midnight in the account's time "
        "zone; the next run continues where this one stopped. Settings > Integrations shows which "
        "app uses how much"
    )


class HubspotScopeError(HubspotError):
    """The token may not read this."""

    what = "HUBSPOT_TOKEN lacks a permission"

    def how_to_fix(self) -> str:
        """Names the scopes that HubSpot names."""
        scopes = " or ".join(self.problem.scopes) or "those that docs/connect/hubspot.md lists"
        return f"add the scope {scopes} to the service key or private app, and run again"


class HubspotThrottledError(HubspotError, ThrottledError):
    """Rate limited for longer than we wait."""

    is_transient = True
    what = ThrottledError.what
    fix = "the next run tries again; other apps of the account may be using its calls"


class HubspotUnavailableError(HubspotError, UnavailableError):
    """No usable answer after several tries."""

    setting = "HUBSPOT_URL"
    what = UnavailableError.what
    fix = "see https://status.hubspot.com; the next run reads it again"


class HubspotShapeError(HubspotError):
    """An answer that is JSON, but not what was asked for."""

    what = "HubSpot's answer is not as documented"
    fix = "check HUBSPOT_URL; if it is right, the API has changed: report it"


def classify(problem: HubspotProblem) -> HubspotError:
    """The typed error of an answer that is not a good one."""
    status = problem.status
    if status == 401:
        return HubspotTokenError(problem)
    if status == 403:
        return HubspotScopeError(problem)
    if status == 429:
        daily = problem.policy == "DAILY"
        return HubspotQuotaError(problem) if daily else HubspotThrottledError(problem)
    if status == 410 or (status == 404 and problem.note):  # nothing of HubSpot's at that address
        return HubspotVersionError(problem)
    # 423: a record is locked for a moment; 477: the account is moving to another data centre.
    if status is None or status >= 500 or status in (408, 423, 477):
        return HubspotUnavailableError(problem)
    return HubspotRequestError(problem)


def problem_from(
    call: str, status: int, body: Any, retry_after: float | None = None
) -> HubspotProblem:
    """A `HubspotProblem` from HubSpot's error object, without relying on any part of it."""
    error = body if isinstance(body, dict) else {}
    message = str(error.get("message") or "").lower()
    policy = _match(_CODE, error.get("policyName")).upper()
    if status == 429 and not policy and "daily" in message:
        policy = "DAILY"
    if policy == "SECONDLY" and retry_after is None:
        retry_after = 1.0
    return HubspotProblem(
        call,
        status,
        "" if isinstance(body, dict) else "answer is not JSON",
        retry_after,
        category=_match(_CODE, error.get("category") or error.get("errorType")),
        policy=policy,
        scopes=tuple(dict.fromkeys(_scopes(error))),
        correlation_id=_match(_ID, error.get("correlationId")),
        values=tuple(dict.fromkeys(refused_values(error))),
    )


def refused_values(error: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Property and code of each value that is refused; the texts with them may quote the value.

    They are in `errors`, and as JSON within the message: `Property values were not valid: [...]`.
    """
    listed = error.get("errors")
    found: list[Any] = list(listed) if isinstance(listed, list) else []
    message = error.get("message")
    if isinstance(message, str) and "[" in message:
        with suppress(ValueError, TypeError, RecursionError):
            found += json.loads(message[message.index("[") : message.rindex("]") + 1])
    for one in found:
        if not isinstance(one, dict):
            continue
        context = one.get("context")
        named = context.get("propertyName") if isinstance(context, dict) else None
        names = [one.get("name"), *(named if isinstance(named, list) else [named])]
        name = next((n for n in names if _match(_PROPERTY, n)), "")
        if name:
            yield name, _match(_CODE, one.get("error") or one.get("code")) or "refused"


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


_RULES = Rules(
    judge=_judge,
    unavailable=HubspotUnavailableError,
    malformed=HubspotShapeError,
    problem=HubspotProblem,
    name=_name,
)
