"""One request to the Graph API until it has a usable answer: tries, waits, slows down.

dlt's own retry decides by HTTP status; Meta's is 400 for a dead token and for a busy server, and
how long to wait stands in headers of its own. So this is dlt's session with another `send`.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
from dlt.sources.helpers.requests.session import Session

from ingestion.graph_errors import (
    GraphError,
    GraphThrottledError,
    GraphUnavailableError,
    Problem,
    classify,
    problem_from,
)
from ingestion.graph_usage import regain_seconds, usage_percent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RetryPolicy:
    """How long a client is patient. Seconds.

    `tries` are per request; waits for rate limits do not count as tries, but all pauses together
    stay below `max_total_wait` between two calls of `GraphClient.renew_patience`.
    """

    tries: int = 5
    base: float = 1.0
    max_backoff: float = 60.0
    first_wait: float = 30.0
    max_wait: float = 900.0
    max_total_wait: float = 2700.0
    slow_down_from: float = 75.0  # percent of a limit
    max_slow_down: float = 20.0
    timeout: float = 120.0


class GraphSession(Session):
    """dlt's session, whose every `send` is tried until it gives a usable answer or an error."""

    def __init__(
        self,
        token: str,
        version: str,
        policy: RetryPolicy,
        sleep: Callable[[float], None],
        rng: random.Random,
    ) -> None:
        super().__init__(timeout=policy.timeout, raise_for_status=False)
        self.headers["User-Agent"] = "ctwa-attribution"
        self.waited = 0.0
        self._token, self._version, self._policy = token, version, policy
        self._sleep, self._rng = sleep, rng

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """The first usable answer; raises a `GraphError` otherwise."""
        tries = waits = 0
        while True:
            answer = self._once(request, kwargs)
            if isinstance(answer, requests.Response):
                return answer
            if isinstance(answer, GraphThrottledError):
                waits += 1
                pause = self._wait(answer, waits)
            elif isinstance(answer, GraphUnavailableError) and tries + 1 < self._policy.tries:
                tries += 1
                pause = self._backoff(tries)
            else:
                raise answer
            log.info("%s; again in %.0f s", answer, pause)
            self.pause(pause, answer.problem, answer)

    def pause(self, seconds: float, problem: Problem, error: GraphError | None = None) -> None:
        """Sleep, or raise when that would be more than all patience."""
        if self.waited + seconds > self._policy.max_total_wait:
            raise error or GraphUnavailableError(problem)
        self.waited += seconds
        self._sleep(seconds)

    def _once(
        self, request: requests.PreparedRequest, kwargs: dict[str, Any]
    ) -> requests.Response | GraphError:
        call = f"{request.method} {urlsplit(request.url or '').path}"
        failure = ""
        try:
            # A redirect could carry the token to another host.
            response = super().send(request, **{**kwargs, "allow_redirects": False})
        except requests.RequestException as error:
            failure = type(error).__name__
        if failure:  # outside of the handler: its text and its request stay out of our error
            return GraphUnavailableError(Problem(call, message=f"connection failed: {failure}"))
        self._note_version(response)
        body = _json(response.content)
        if isinstance(body, dict) and "error" not in body and response.status_code < 300:
            self._slow_down(response)
            return response
        return self._refusal(call, response, body)

    def _refusal(self, call: str, response: requests.Response, body: Any) -> GraphError:
        known: dict[str, Any] = {
            "call": call,
            "status": response.status_code,
            "regain_seconds": regain_seconds(response.headers),
        }
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            error = dict(body["error"])
            error["message"] = redact(str(error.get("message") or ""), self._token)[:300]
            return classify(problem_from(error, **known))
        if response.status_code < 300:
            # Cut off, or a proxy's page with a good status: not an answer of Meta's.
            return GraphUnavailableError(Problem(message="unreadable body", **known))
        return classify(Problem(message="answer is not JSON", **known))

    def _wait(self, error: GraphThrottledError, waits: int) -> float:
        policy = self._policy
        estimate = error.problem.regain_seconds
        if estimate:
            # A little over Meta's estimate, never two clients at the same moment.
            return min(estimate, policy.max_wait) + self._rng.uniform(0, policy.base)
        wait = min(policy.first_wait * 2 ** (waits - 1), policy.max_wait)
        return wait * self._rng.uniform(0.75, 1.0)

    def _backoff(self, tries: int) -> float:
        delay = min(self._policy.base * 2 ** (tries - 1), self._policy.max_backoff)
        return delay * self._rng.uniform(0.5, 1.0)

    def _slow_down(self, response: requests.Response) -> None:
        policy = self._policy
        percent = usage_percent(response.headers)
        if percent < policy.slow_down_from or self.waited > policy.max_total_wait / 2:
            return
        over = min(percent - policy.slow_down_from, 25.0) / 25.0
        pause = policy.base + over * policy.max_slow_down
        log.info("Meta's usage limit is at %.0f %%: slowing down by %.0f s", percent, pause)
        self.waited += pause
        self._sleep(pause)

    def _note_version(self, response: requests.Response) -> None:
        answered = response.headers.get("facebook-api-version")
        if answered and answered != self._version:
            log.warning(
                "Graph API answers with %s instead of %s: set META_API_VERSION to a version that "
                "is still served",
                redact(answered, self._token)[:20],
                self._version,
            )
            self._version = answered  # said once


def redact(text: str, token: str) -> str:
    """`text` without the token, nor anything that looks like one of Meta's."""
    if token:
        text = text.replace(token, "***")
    return re.sub(r"(access_token=)[^&\s\"']+|EAA[A-Za-z0-9]{8,}", r"\1***", text)


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
