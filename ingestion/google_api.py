"""Client of the Google Ads API over REST: OAuth, `searchStream`, retries and patience.

Secrets travel as headers and in the body of the token request only; errors name what was asked for
and Google's own word, never a text of Google's or a value of ours.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
from dlt.sources.helpers.requests.session import Session

from ctwa.settings import Settings
from ingestion.google_bodies import problem_from
from ingestion.google_errors import (
    TOKEN_EXCHANGE,
    GoogleError,
    GoogleShapeError,
    GoogleThrottledError,
    GoogleUnavailableError,
    Problem,
    classify,
)
from ingestion.graph_session import RetryPolicy

log = logging.getLogger(__name__)

Row = dict[str, Any]

PATIENCE = RetryPolicy(first_wait=30.0, max_wait=300.0, max_total_wait=1_800.0)
_EARLY_SECONDS = 120.0
_RESOURCE = re.compile(r"\bFROM (\w+)")


class GoogleAdsClient:
    """Reads Google Ads. Raises errors of `ingestion.google_errors`, nothing of `requests`."""

    def __init__(
        self,
        settings: Settings,
        *,
        policy: RetryPolicy = PATIENCE,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
    ) -> None:
        """`settings.google_is_on` must be true."""
        if not settings.google_is_on:
            raise ValueError(f"{settings.google_missing[0]} is not set: this source is off")
        self._settings, self._policy, self._sleep, self._clock = settings, policy, sleep, clock
        self._rng = random.Random(seed)  # noqa: S311
        # dlt's session for its time-outs and pooling; what is tried again is decided here.
        self._session = Session(timeout=policy.timeout, raise_for_status=False)
        self._session.headers["User-Agent"] = "ctwa-attribution"
        self._access_token, self._token_until = "", float("-inf")
        self._managers: dict[str, str] = {}
        self._waited = 0.0

    def search(self, customer_id: str, query: str) -> list[Row]:
        """Every row of a GAQL query over one customer, read to the end, or a `GoogleError`."""
        base = self._settings.google_ads_url.rstrip("/")
        url = f"{base}/{self._settings.google_ads_api_version}/customers/{customer_id}"
        found = _RESOURCE.search(query)
        call = f"{found[1] if found else 'search'} of customer {customer_id}"
        body = self._ask(
            call, lambda: self._post(f"{url}/googleAds:searchStream", call, customer_id, query)
        )
        batches = body if isinstance(body, list) else [body]
        rows: list[Row] = []
        for batch in batches:
            results = batch.get("results", []) if isinstance(batch, dict) else None
            if not isinstance(results, list) or not all(isinstance(r, dict) for r in results):
                raise GoogleShapeError(Problem(call))
            rows += results
        return rows

    def reach_through(self, manager_id: str, customer_id: str) -> None:
        """Ask for this account as the manager that it was found below, unless one is set."""
        self._managers[customer_id] = manager_id

    def authenticate(self) -> None:
        """Get an access token, or raise what is wrong with the credentials."""
        self._ask(TOKEN_EXCHANGE, self._refresh)

    def renew_patience(self) -> None:
        """Start a new budget of waiting time."""
        self._waited = 0.0

    def close(self) -> None:
        """Close connections."""
        self._session.close()

    # ---- one answer --------------------------------------------------------------------------

    def _ask(self, call: str, attempt: Callable[[], Any]) -> Any:
        """The body of the first usable answer; waits and tries again as the error says."""
        tries = waits = 0
        is_token_new = False
        while True:
            try:
                return attempt()
            except GoogleThrottledError as error:
                waits += 1
                pause = self._wait(error, waits) + self._rng.uniform(0, self._policy.base)
                self._pause(pause, error)
            except GoogleUnavailableError as error:
                tries += 1
                if tries >= self._policy.tries:
                    raise
                delay = min(self._policy.base * 2 ** (tries - 1), self._policy.max_backoff)
                self._pause(delay * self._rng.uniform(0.5, 1.0), error)
            except GoogleError as error:
                # An access token may end, or be revoked, in the middle of a run: once.
                if error.problem.status != 401 or is_token_new or not self._access_token:
                    raise
                self._access_token, is_token_new = "", True
                log.info("%s: asking for a new access token", call)

    def _wait(self, error: GoogleError, waits: int) -> float:
        """As long as Google says, all of it; longer each time that it was not enough."""
        growth, said = 2.0 ** min(waits - 1, 16), error.problem.retry_seconds
        if said:
            return max(said, min(self._policy.base * growth, self._policy.max_wait))
        return min(self._policy.first_wait * growth, self._policy.max_wait)

    def _pause(self, seconds: float, error: GoogleError) -> None:
        if self._waited + seconds > self._policy.max_total_wait:
            raise error
        self._waited += seconds
        log.info("%s; again in %.0f s", error, seconds)
        self._sleep(seconds)

    def _post(self, url: str, call: str, customer_id: str, query: str) -> Any:
        if not self._access_token or self._clock() >= self._token_until:
            self._refresh()
        token = self._settings.google_ads_developer_token
        headers = {"Authorization": f"Bearer {self._access_token}"}
        if token:
            headers["developer-token"] = token.get_secret_value().strip()
        login = self._settings.google_login_customer or self._managers.get(customer_id)
        if login:
            headers["login-customer-id"] = login
        return self._send(url, call, headers=headers, json={"query": query})

    def _refresh(self) -> None:
        settings = self._settings
        secret, refresh = settings.google_ads_client_secret, settings.google_ads_refresh_token
        url = settings.google_oauth_url.rstrip("/")
        url = url if urlsplit(url).path else f"{url}/token"
        body = self._send(
            url,
            TOKEN_EXCHANGE,
            data={
                "grant_type": "refresh_token",
                "client_id": settings.google_ads_client_id,
                "client_secret": secret.get_secret_value().strip() if secret else "",
                "refresh_token": refresh.get_secret_value().strip() if refresh else "",
            },
        )
        if not isinstance(body, dict) or not isinstance(body.get("access_token"), str):
            raise GoogleShapeError(Problem(TOKEN_EXCHANGE))
        seconds = body.get("expires_in")
        lasts = float(seconds) if isinstance(seconds, int | float) else 3_600.0
        self._access_token = body["access_token"]
        self._token_until = self._clock() + max(lasts - _EARLY_SECONDS, lasts / 2)

    def _send(self, url: str, call: str, **request: Any) -> Any:
        failure = ""
        try:
            # A redirect could carry the secrets to another host.
            response = self._session.post(url, allow_redirects=False, **request)
        except requests.RequestException as error:
            failure = type(error).__name__
        if failure:  # outside of the handler: its text and its request stay out of our error
            raise GoogleUnavailableError(Problem(call, word=f"connection failed: {failure}"))
        try:
            body = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            body = None
        if response.status_code == 200 and body is not None and not _has_error(body):
            return body
        if response.status_code < 300 and body is None:
            # Cut off, or a proxy's page with a good status: not an answer of Google's.
            raise GoogleUnavailableError(Problem(call, response.status_code, "unreadable body"))
        raise classify(problem_from(body, call, response.status_code))


def _has_error(body: Any) -> bool:
    """Also behind good batches: then nothing of the stream counts."""
    items = body if isinstance(body, list) else [body]
    return any(isinstance(item, dict) and "error" in item for item in items)
