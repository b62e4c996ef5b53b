"""Client of Meta's Graph API: dlt's REST client with Meta's own rules of retry, wait and paging.

The token travels as a header only. Meta puts it into `paging.next`, so it is taken out of every
URL before that is used, and every text of Meta's is cleaned before it reaches an error or a log.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson
import requests
from dlt.common.configuration.specs.runtime_configuration import RuntimeConfiguration
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.auth import BearerTokenAuth
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator

from ctwa.settings import Settings
from ingestion.graph_errors import GraphPagingError, Problem
from ingestion.graph_session import GraphSession, RetryPolicy

log = logging.getLogger(__name__)

T = TypeVar("T")
Row = dict[str, Any]

_READ_TRIES = 3  # of a whole listing whose pages turn out unusable


class GraphClient:
    """Reads the Graph API. Raises errors of `ingestion.graph_errors`, nothing of `requests`."""

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        version: str,
        policy: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
        seed: int | None = None,
    ) -> None:
        self._session = GraphSession(
            token,
            version,
            policy or RetryPolicy(),
            sleep,
            random.Random(seed),  # noqa: S311
        )
        self._origin = urlsplit(base_url)[:2]
        self._rest = RESTClient(
            base_url=f"{base_url.rstrip('/')}/{version}",
            auth=BearerTokenAuth(token),
            session=self._session,
            data_selector="data",
            config=RuntimeConfiguration(),
        )

    @classmethod
    def from_settings(
        cls, settings: Settings, *, sleep: Callable[[float], None] = time.sleep
    ) -> GraphClient:
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
        """Rows of an edge, page by page, to the page without `next` (short pages go on)."""
        paginator = _GraphPaginator(f"GET /{path}", self._origin)
        # An empty list of hooks: errors are already raised, with their reason, by the session.
        for page in self._rest.paginate(
            path, params=_encoded(params), paginator=paginator, hooks={"response": []}
        ):
            yield list(page)

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
        self._session.pause(seconds, Problem("waiting for a report run"))

    def renew_patience(self) -> None:
        """Start a new budget of waiting time: limits are per ad account."""
        self._session.waited = 0.0

    @property
    def waited(self) -> float:
        """Seconds paused since the patience was renewed."""
        return self._session.waited

    def close(self) -> None:
        """Close connections."""
        self._session.close()


class _GraphPaginator(JSONLinkPaginator):
    """Follows `paging.next` without its token, on the same host, never in a circle."""

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
            raise self._error("the pages run in a circle")
        self._seen.add(following)
        self._next_reference = following

    def _error(self, what: str) -> GraphPagingError:
        return GraphPagingError(Problem(self._call, message=what))


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
    body: Row = orjson.loads(response.content)
    return body
