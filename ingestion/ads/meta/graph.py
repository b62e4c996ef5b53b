"""Client of Meta's Graph API: the patient client of all APIs with Meta's rules and paging.

Meta's status is 400 for a dead token and for a busy server alike, so its bodies decide what an
answer means, and how long to wait is in headers of its own.

The token travels as a header only. Meta puts it into `paging.next`, so it is taken out of every
URL before that is used, and every text of Meta's is cleaned before it reaches an error or a log.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson
import requests
from dlt.common.configuration.specs.runtime_configuration import RuntimeConfiguration
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.auth import BearerTokenAuth
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator

from ctwa.settings import Settings
from ingestion.ads.meta.errors import (
    GraphError,
    GraphMalformedError,
    GraphPagingError,
    GraphProblem,
    GraphUnavailableError,
    classify,
    problem_from,
)
from ingestion.apis.client import ApiError, ApiSession, RetryPolicy, Rules, Sleep

log = logging.getLogger(__name__)

T = TypeVar("T")
Row = dict[str, Any]

_READ_TRIES = 3  # of a whole listing whose pages turn out unusable


class GraphClient:
    """Reads the Graph API. Raises `GraphError`, nothing of `requests`."""

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        version: str,
        policy: RetryPolicy | None = None,
        sleep: Sleep = time.sleep,
        seed: int | None = None,
    ) -> None:
        self._token, self._version = token, version
        rules = Rules(
            judge=self._judge,
            unavailable=GraphUnavailableError,
            malformed=GraphMalformedError,
            problem=GraphProblem,
            wait=_wait,
            slow_down=_slow_down,
        )
        self._session = ApiSession(rules, policy or RetryPolicy(), sleep=sleep, seed=seed)
        self._origin = urlsplit(base_url)[:2]
        self._rest = RESTClient(
            base_url=f"{base_url.rstrip('/')}/{version}",
            auth=BearerTokenAuth(token),
            session=self._session,
            data_selector="data",
            config=RuntimeConfiguration(),
        )

    @classmethod
    def from_settings(cls, settings: Settings, *, sleep: Sleep = time.sleep) -> GraphClient:
        """The client of this installation; `META_ACCESS_TOKEN` must be set."""
        if settings.meta_access_token is None:
            raise ValueError("META_ACCESS_TOKEN is not set: this source is off")
        return cls(
            settings.meta_graph_url,
            settings.meta_access_token.get_secret_value(),
            version=settings.meta_api_version,
            sleep=sleep,
        )

    def get(self, path: str, **params: Any) -> Row:
        """`GET path` as one object. Parameters that are not text are sent as JSON."""
        return _object(self._rest.request(path, "GET", params=_encoded(params)))

    def post(self, path: str, **params: Any) -> Row:
        """`POST path` with a form; only for report runs, which may start twice without harm."""
        return _object(self._rest.request(path, "POST", data=_encoded(params)))

    def pages(self, path: str, **params: Any) -> Iterator[list[Row]]:
        """Rows of an edge, page by page, up to the page without `next`; short pages have one."""
        paginator = _GraphPaginator(f"GET /{path}", self._origin)
        # An empty list of hooks: errors are already raised, with their reason, by the session.
        for page in self._rest.paginate(
            path, params=_encoded(params), paginator=paginator, hooks={"response": []}
        ):
            rows = [row for row in page if isinstance(row, dict)]
            if len(rows) < len(page):
                log.warning("%s: %d rows are not objects", path, len(page) - len(rows))
            yield rows

    def read_whole(self, path: str, convert: Callable[[list[Row]], T], **params: Any) -> list[T]:
        """Every page converted, or an error; starts again if the pages turn out unusable."""
        for attempt in range(1, _READ_TRIES + 1):
            try:
                return [convert(page) for page in self.pages(path, **params)]
            except GraphPagingError as error:
                if attempt == _READ_TRIES:
                    raise
                log.warning("reading again from the first page: %s", error)
        raise AssertionError("unreachable")

    def pause(self, seconds: float) -> None:
        """Sleep within this client's patience, e.g. between two polls of a report run."""
        problem = GraphProblem("waiting for a report run", note="no answer")
        self._session.pause(seconds, GraphUnavailableError(problem))

    def renew_patience(self) -> None:
        """Start a new budget of waiting time: limits are per ad account."""
        self._session.renew_patience()

    @property
    def waited(self) -> float:
        """Seconds paused since the patience was renewed."""
        return self._session.waited

    def close(self) -> None:
        """Close connections."""
        self._session.close()

    def _judge(self, call: str, response: requests.Response, body: Any) -> GraphError | None:
        self._note_version(response)
        is_good = response.status_code < 300
        if isinstance(body, dict) and "error" not in body and is_good:
            return None
        known: dict[str, Any] = {
            "call": call,
            "status": response.status_code,
            "regain_seconds": regain_seconds(response.headers),
        }
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            error = dict(body["error"])
            error["message"] = redact(str(error.get("message") or ""), self._token)[:300]
            return classify(problem_from(error, **known))
        if is_good:
            return GraphMalformedError(GraphProblem(note="the answer is no object", **known))
        return classify(GraphProblem(note="answer is not JSON", **known))

    def _note_version(self, response: requests.Response) -> None:
        answered = response.headers.get("facebook-api-version")
        if answered and answered != self._version:
            log.warning(
                "Graph API answers with %s instead of %s: set META_API_VERSION to a version that "
                "is still served",
                redact(answered, self._token)[:20],
                self._version,
            )
            self._version = answered  # logged once


class _GraphPaginator(JSONLinkPaginator):
    """Follows `paging.next` without its token, on the same host, never in a loop."""

    def __init__(self, call: str, origin: tuple[str, str]) -> None:
        super().__init__("paging.next")
        self._call, self._origin = call, origin
        self._seen: set[str] = set()

    def update_state(self, response: requests.Response, data: list[Any] | None = None) -> None:
        body = _object(response)
        if not isinstance(body.get("data"), list):
            raise self._error("an answer without `data`")
        super().update_state(response, data)
        following = self._next_reference
        if not following:
            return
        following = without_token(str(following))
        if urlsplit(following)[:2] != self._origin:
            raise self._error("`paging.next` leads to another host")
        if following in self._seen:
            raise self._error("the pages form a loop")
        self._seen.add(following)
        self._next_reference = following

    def _error(self, what: str) -> GraphPagingError:
        return GraphPagingError(GraphProblem(self._call, note=what))


def without_token(url: str) -> str:
    """`url` without its `access_token`; everything else stays."""
    parts = urlsplit(url)
    query = [(k, v) for k, v in parse_qsl(parts.query, True) if k.lower() != "access_token"]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _encoded(params: dict[str, Any]) -> dict[str, str]:
    return {
        k: v if isinstance(v, str) else orjson.dumps(v).decode()
        for k, v in params.items()
        if v is not None
    }


def _object(response: requests.Response) -> Row:
    body: Row = response.json()  # as the session has read it
    return body


def _wait(policy: RetryPolicy, error: ApiError, waits: int) -> tuple[float, float]:
    """A little over Meta's estimate; without one, longer and longer."""
    estimate = error.problem.regain_seconds if isinstance(error, GraphError) else None
    if estimate:
        wait = min(estimate, policy.max_wait)
        return wait, wait + policy.base
    wait = policy.growing(policy.first_wait, waits)
    return wait * 0.75, wait


def _slow_down(policy: RetryPolicy, headers: Mapping[str, str]) -> float:
    percent = usage_percent(headers)
    if percent < policy.slow_down_from:
        return 0.0
    over = min(percent - policy.slow_down_from, 25.0) / 25.0
    pause = policy.base + over * policy.max_slow_down
    log.info("Meta's usage limit is at %.0f %%: slowing down by %.0f s", percent, pause)
    return pause


def redact(text: str, token: str) -> str:
    """`text` without the token and anything that looks like a token of Meta's."""
    if token:
        text = text.replace(token, "***")
    return re.sub(r"(access_token=)[^&\s\"']+|EAA[A-Za-z0-9]{8,}", r"\1***", text)


# ---- usage headers: how near a limit is, and when it is lifted -------------------------------

# The headers may be missing, and their exact layout is not documented in full: what is not as
# expected counts as "nothing known".
_HEADERS = (
    "x-business-use-case-usage",
    "x-ad-account-usage",
    "x-fb-ads-insights-throttle",
    "x-app-usage",
)
_PERCENTAGES = {"call_count", "total_cputime", "total_time", "acc_id_util_pct", "app_id_util_pct"}


def usage_percent(headers: Mapping[str, str]) -> float:
    """The highest percentage of any limit, 0 if nothing is known."""
    return max((v for k, v in _numbers(headers) if k in _PERCENTAGES), default=0.0)


def regain_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds until access comes back, as Meta or a proxy estimates; None if unknown."""
    minutes = [v for k, v in _numbers(headers) if k == "estimated_time_to_regain_access"]
    if minutes and max(minutes) > 0:
        return max(minutes) * 60
    after = _number(headers.get("retry-after"))
    if after:
        return after
    full = usage_percent(headers) >= 100
    resets = [v for k, v in _numbers(headers) if k == "reset_time_duration"]
    return max(resets) if full and resets and max(resets) > 0 else None


def _numbers(headers: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name in _HEADERS:
        try:
            yield from _walk(orjson.loads(headers.get(name) or "null"))
        except orjson.JSONDecodeError:
            continue


def _walk(value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, list):
        for item in value:
            yield from _walk(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            number = _number(item)
            if number is None:
                yield from _walk(item)
            else:
                yield key, number


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None
