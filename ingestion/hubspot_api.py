"""Client of HubSpot's CRM API: dlt's REST client with HubSpot's own rules of retry and pace.

The token travels as a header only. Errors name the call without its ids and never repeat what was
asked or answered.
"""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
from dlt.common.configuration.specs.runtime_configuration import RuntimeConfiguration
from dlt.sources.helpers.requests.session import Session
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.auth import BearerTokenAuth

from ctwa.settings import Settings
from ingestion.graph_session import RetryPolicy
from ingestion.hubspot_errors import (
    HubspotError,
    HubspotShapeError,
    HubspotThrottledError,
    HubspotUnavailableError,
    Problem,
    classify,
    problem_from,
)

log = logging.getLogger(__name__)

Row = dict[str, Any]

SEARCH_SECONDS = 0.26
"""From one search to the next: an account has four in a second."""

# Waits where HubSpot does not say how long: first, longest and all of one run. Its windows are a
# second (search) and ten seconds (everything else).
PATIENCE = RetryPolicy(first_wait=10.0, max_wait=120.0, max_total_wait=900.0, timeout=60.0)

_IN_PATH = re.compile(r"/\d+")
_MAX_WAITS = 8


class HubspotClient:
    """HubSpot, read and written. Raises errors of `ingestion.hubspot_errors`, not of `requests`."""

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        policy: RetryPolicy = PATIENCE,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
    ) -> None:
        rng = random.Random(seed)  # noqa: S311
        self._session = _HubspotSession(policy, sleep, rng)
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
        cls, settings: Settings, *, sleep: Callable[[float], None] = time.sleep
    ) -> HubspotClient:
        """The client of this installation; `HUBSPOT_TOKEN` must be set."""
        if settings.hubspot_token is None:
            raise ValueError("HUBSPOT_TOKEN is not set: this source is off")
        token = settings.hubspot_token.get_secret_value().strip()
        return cls(settings.hubspot_url, token, sleep=sleep)

    def get(self, path: str, **params: Any) -> Row:
        """`GET path` as one object."""
        return _object(self._rest.request(path, "GET", params=params))

    def post(self, path: str, body: Row, **params: Any) -> Row:
        """`POST path` with JSON; for calls that read, and those that may be made twice."""
        return _object(self._rest.request(path, "POST", json=body, params=params))

    def search(self, object_type: str, body: Row) -> Row:
        """One search, not sooner after the one before than HubSpot allows."""
        wait = self._last_search + SEARCH_SECONDS - self._clock()
        if wait > 0:
            self._sleep(wait)
        self._last_search = self._clock()
        return self.post(f"crm/v3/objects/{object_type}/search", body)

    def close(self) -> None:
        """Close connections."""
        self._session.close()


class _HubspotSession(Session):
    """dlt's session, whose every `send` is tried until it gives a usable answer or an error."""

    def __init__(
        self, policy: RetryPolicy, sleep: Callable[[float], None], rng: random.Random
    ) -> None:
        super().__init__(timeout=policy.timeout, raise_for_status=False)
        self.headers["User-Agent"] = "ctwa-attribution"
        self._policy, self._sleep, self._rng = policy, sleep, rng
        self._waited = 0.0

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """The first usable answer; raises a `HubspotError` otherwise."""
        tries = waits = 0
        while True:
            answer, said = self._once(request, kwargs)
            if isinstance(answer, requests.Response):
                return answer
            if isinstance(answer, HubspotThrottledError) and waits < _MAX_WAITS:
                waits += 1
                pause = self._wait(answer.problem.policy, said, waits)
            elif isinstance(answer, HubspotUnavailableError) and tries + 1 < self._policy.tries:
                tries += 1
                pause = max(said or 0.0, self._backoff(tries))
            else:
                raise answer
            if self._waited + pause > self._policy.max_total_wait:
                raise answer
            log.info("%s; again in %.0f s", answer, pause)
            self._waited += pause
            self._sleep(pause)

    def _once(
        self, request: requests.PreparedRequest, kwargs: dict[str, Any]
    ) -> tuple[requests.Response | HubspotError, float | None]:
        """The answer or what is wrong with it, and the seconds that HubSpot asks us to wait."""
        call = f"{request.method} {_IN_PATH.sub('/<id>', urlsplit(request.url or '').path)}"
        failure = ""
        try:
            # A redirect could carry the token to another host.
            response = super().send(request, **{**kwargs, "allow_redirects": False})
        except requests.RequestException as error:
            failure = type(error).__name__
        if failure:  # outside of the handler: its text and its request stay out of our error
            return HubspotUnavailableError(Problem(call, note=f"connection: {failure}")), None
        body = _json(response.content)
        if response.status_code < 300:
            if isinstance(body, dict) and body.get("status") != "error":
                return response, None
            # Cut off, or a proxy's page with a good status: not an answer of HubSpot's.
            problem = Problem(call, response.status_code, note="unreadable body")
            return HubspotUnavailableError(problem), None
        refusal = classify(problem_from(call, response.status_code, body))
        return refusal, _retry_after(response, body)

    def _wait(self, limit: str, said: float | None, waits: int) -> float:
        policy = self._policy
        if said is not None:
            return min(said, policy.max_wait) + self._rng.uniform(0, policy.base)
        first = policy.base if limit == "SECONDLY" else policy.first_wait
        wait = min(first * 2 ** (waits - 1), policy.max_wait)
        return wait * self._rng.uniform(1.0, 1.25)

    def _backoff(self, tries: int) -> float:
        delay = min(self._policy.base * 2 ** (tries - 1), self._policy.max_backoff)
        return delay * self._rng.uniform(0.5, 1.0)


def _retry_after(response: requests.Response, body: Any) -> float | None:
    """Seconds out of the header or the body, where they are a sane number."""
    in_body = body.get("retry_after") if isinstance(body, dict) else None
    for value in (response.headers.get("Retry-After"), in_body):
        try:
            seconds = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            continue
        if 0 <= seconds < 86_400:
            return seconds
    return None


def _object(response: requests.Response) -> Row:
    body = _json(response.content)
    if not isinstance(body, dict):  # the session lets nothing else pass
        raise HubspotShapeError(Problem("a call", response.status_code))
    return body


def _json(content: bytes) -> Any:
    """The value of an answer, None where there is none.

    One record with half of a surrogate pair in a name must not make its whole page unreadable:
    the standard library reads it, and the parser quarantines that value alone.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


__all__ = ["PATIENCE", "SEARCH_SECONDS", "HubspotClient", "Row"]
