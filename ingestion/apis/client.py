"""The one client of all APIs: a request is sent until it has a usable answer or an error.

What differs between APIs is passed in as `Rules`: what an answer means, which errors it makes, and
how long a rate limit is waited for. Everything else is here: timeouts, tries, a budget for all
pauses together, no redirects, and errors that are made outside of the handler, so that neither a
secret in a header nor a URL travels in `__context__`.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import requests

from ctwa.errors import connection_failure
from ingestion.apis.answers import UnreadableError, read_json, set_body
from ingestion.source import UNREACHED, SourceError, SourceIncompleteError

log = logging.getLogger(__name__)

Sleep = Callable[[float], None]


Retry = Literal["never", "soon", "when allowed"]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is known of a failed call. APIs add their own codes in a subclass.

    `call`: what was asked, without query and secrets. `status`: None where nothing answered.
    `retry_seconds`: how long the API asks us to wait.
    """

    call: str
    status: int | None = None
    note: str = ""
    retry_seconds: float | None = None

    @property
    def http(self) -> str:
        """`HTTP 503`; '' where nothing answered."""
        return f"HTTP {self.status}" if self.status is not None else ""

    def details(self) -> tuple[str, ...]:
        """What an error shows of it, in this order; empty parts are left out."""
        return (self.http, self.note)


class ApiError(SourceError):
    """A call failed: `<what> at <call> (<details>): <how to fix it>`, in one line."""

    what = "the request was refused"
    fix = "look the error up in the API's documentation"
    retry: ClassVar[Retry] = "never"
    """What the client does: gives up, tries again, or waits until the limit is lifted."""

    def __init__(self, problem: Problem, what: str = "", fix: str = "") -> None:
        self.problem = problem
        details = ", ".join(filter(None, problem.details()))
        text = f"{what or self.what} at {problem.call}" + (f" ({details})" if details else "")
        super().__init__(f"{text}: {fix or self.how_to_fix()}")

    def how_to_fix(self) -> str:
        """What to do about it."""
        return self.fix


class StopError(ApiError):
    """Nothing of the source can be read: everything stops, and nothing is tried again."""


class ThrottledError(ApiError):
    """Rate limited for longer than the client waits."""

    retry = "when allowed"
    what = "rate limited, and the waiting time is used up"


class UnavailableError(ApiError):
    """No usable answer after the client's tries. `setting`: the one with the API's address."""

    retry: ClassVar[Retry] = "soon"
    is_transient = True
    setting = ""
    what = "no usable answer after several tries"

    def __init__(self, problem: Problem, what: str = "", fix: str = "") -> None:
        self.is_unreachable = problem.status is None
        self.saw = problem.http or problem.note or "no answer"
        super().__init__(problem, what, fix)

    def how_to_fix(self) -> str:
        """How to reach the API where nothing answered; else where it reports its own state."""
        return UNREACHED.format(setting=self.setting) if self.is_unreachable else self.fix


@dataclass(frozen=True)
class RetryPolicy:
    """How long a client is patient. All durations in seconds.

    `tries` are per request. Waits for rate limits do not count as tries, but all pauses together
    stay below `max_total_wait` between two calls of `ApiSession.renew_patience`.
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

    def growing(self, seconds: float, waits: int) -> float:
        """`seconds` for the first of several waits, doubled for each further one."""
        return min(seconds * 2.0 ** min(waits - 1, 16), self.max_wait)


IMPATIENT = RetryPolicy(tries=2, base=0.2, max_total_wait=1.0, timeout=15.0)
"""For examinations, where somebody waits for the answer."""

ONCE = RetryPolicy(tries=1, max_total_wait=0, max_slow_down=0, timeout=10.0)
"""For `ctwa live`, which asks again after a while."""


def _method_and_path(request: requests.PreparedRequest) -> str:
    return f"{request.method} {urlsplit(request.url or '').path}"


def wait_as_asked(policy: RetryPolicy, error: ApiError, waits: int) -> tuple[float, float]:
    """As long as the API asks, else longer and longer."""
    asked = error.problem.retry_seconds
    if asked is None:
        wait = policy.growing(policy.first_wait, waits)
        return wait, wait * 1.25
    # Longer each time that what it asked for was not enough.
    wait = max(min(asked, policy.max_wait), policy.growing(policy.base, waits))
    return wait, wait + policy.base


@dataclass(frozen=True)
class Rules:
    """How one API answers."""

    judge: Callable[[str, requests.Response, Any], ApiError | None]
    """What is wrong with an answer, None if it is good: called with the name of the call, the
    answer and its body (None if it cannot be read)."""
    unavailable: Callable[[Problem], ApiError]
    malformed: Callable[[Problem], ApiError]
    problem: type[Problem] = Problem
    read: Callable[[bytes], Any] = read_json
    """The body of an answer; raises `UnreadableError`."""
    name: Callable[[requests.PreparedRequest], str] = _method_and_path
    """The name of a call in errors, without ids of people and without secrets."""
    recover: Callable[[requests.PreparedRequest, ApiError], bool] = lambda *_: False
    """Called once per request with an error that is not tried again: whether the request, which it
    may change (a new access token), is worth sending once more."""
    wait: Callable[[RetryPolicy, ApiError, int], tuple[float, float]] = wait_as_asked
    """Shortest and longest wait for a rate limit, in seconds, the first one being number 1. The
    client takes one in between, so that two clients do not come back at the same moment."""
    slow_down: Callable[[RetryPolicy, Mapping[str, str]], float] = lambda *_: 0.0
    """Seconds to pause after a good answer with these headers."""
    follows_redirects: bool = False
    """Only without secrets: a redirect could carry them to another host."""


class ApiSession(requests.Session):
    """A session for dlt's `RESTClient`; `send` raises `ApiError` only, and never waits for ever."""

    def __init__(
        self,
        rules: Rules,
        policy: RetryPolicy,
        *,
        sleep: Sleep = time.sleep,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.headers["User-Agent"] = "ctwa-attribution"
        self.waited = 0.0
        """Seconds paused since the patience was renewed."""
        self._rules, self._policy, self._sleep = rules, policy, sleep
        self._random = random.Random(seed)  # noqa: S311 - spreads retries, protects nothing

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """The first usable answer, whose `json()` gives the body as it was read here."""
        tries = waits = 0
        has_recovered = False
        while True:
            answer = self._once(request, kwargs)
            if isinstance(answer, requests.Response):
                self._ease(answer)
                return answer
            if answer.retry == "when allowed":
                waits += 1
                pause = self._random.uniform(*self._rules.wait(self._policy, answer, waits))
            elif answer.retry == "soon" and tries + 1 < self._policy.tries:
                tries += 1
                pause = max(answer.problem.retry_seconds or 0.0, self._backoff(tries))
            elif answer.retry == "never" and not has_recovered:
                has_recovered = True
                if not self._rules.recover(request, answer):
                    raise answer
                continue
            else:
                raise answer
            log.info("%s; again in %.0f s", answer, pause)
            self.pause(pause, answer)

    def pause(self, seconds: float, error: ApiError) -> None:
        """Sleep; raises `error` where that would be more than all patience."""
        if self.waited + seconds > self._policy.max_total_wait:
            raise error
        self.waited += seconds
        self._sleep(seconds)

    def renew_patience(self) -> None:
        """Start a new budget of pauses."""
        self.waited = 0.0

    def _once(
        self, request: requests.PreparedRequest, kwargs: dict[str, Any]
    ) -> requests.Response | ApiError:
        rules, call = self._rules, self._rules.name(request)
        failure = ""
        try:
            limits = {
                "allow_redirects": rules.follows_redirects,
                "timeout": kwargs.get("timeout") or self._policy.timeout,
            }
            response = super().send(request, **{**kwargs, **limits})
        except requests.RequestException as error:
            failure = connection_failure(error)
        if failure:  # outside the handler, so that its text and its request stay out of our error
            return rules.unavailable(rules.problem(call, note=f"connection failed: {failure}"))
        body, unreadable = None, None
        try:
            body = rules.read(response.content)
        except UnreadableError as error:
            unreadable = error
        if unreadable is not None and response.status_code < 300:
            problem = rules.problem(call, response.status_code, f"the answer is {unreadable}")
            # Cut off, or a proxy's page with a good status: not an answer of the API's.
            is_lasting = unreadable.kind == "broken"
            return rules.malformed(problem) if is_lasting else rules.unavailable(problem)
        refusal = rules.judge(call, response, body)
        if refusal is not None:
            return refusal
        set_body(response, body)
        return response

    def _backoff(self, tries: int) -> float:
        delay = min(self._policy.base * 2 ** (tries - 1), self._policy.max_backoff)
        return delay * self._random.uniform(0.5, 1.0)

    def _ease(self, response: requests.Response) -> None:
        # Half of the budget is kept for limits that must be waited for.
        if self.waited > self._policy.max_total_wait / 2:
            return
        pause = self._rules.slow_down(self._policy, response.headers)
        if pause > 0:
            self.waited += pause
            self._sleep(pause)


class Parts:
    """The parts of one source, such as its accounts: if one fails, the others are still read."""

    def __init__(self, source: str) -> None:
        self.failures: dict[str, SourceError] = {}
        """Name of the part to what failed."""
        self._source = source

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Note a failure of what is done within; a `StopError` concerns all parts and is raised."""
        try:
            yield
        except StopError:
            raise
        except SourceError as error:
            log.error("%s, %s: %s", self._source, name, error)
            self.failures[name] = error

    def finish(self, counts: Any) -> None:
        """Raises `SourceIncompleteError`, with `counts` of what has landed, if a part failed."""
        if self.failures:
            raise SourceIncompleteError(self._source, counts, self.failures)
