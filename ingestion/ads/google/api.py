"""Client of the Google Ads API over REST (OAuth, `searchStream`), and values of its answers.

It is the patient client of all APIs with Google's rules. Secrets travel only as headers and in the
body of the token request; errors name the call and Google's own word for what is wrong, never a
text of Google's or a value of ours. Google's JSON is camelCase, with int64 as text and without
metrics that are zero.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import requests

from ctwa.settings import Settings
from ingestion.ads.google.errors import (
    TOKEN_EXCHANGE,
    GoogleDamageError,
    GoogleError,
    GoogleProblem,
    GoogleShapeError,
    GoogleUnavailableError,
    classify,
    problem_from,
)
from ingestion.apis.answers import is_damaged
from ingestion.apis.client import ApiError, ApiSession, RetryPolicy, Rules, Sleep

log = logging.getLogger(__name__)

Row = dict[str, Any]

PATIENCE = RetryPolicy(first_wait=30.0, max_wait=300.0, max_total_wait=1_800.0)
_EARLY_SECONDS = 120.0
_RESOURCE = re.compile(r"\bFROM (\w+)")
_CUSTOMER = re.compile(r"/customers/(\w+)/googleAds:")


class GoogleAdsClient:
    """Reads Google Ads. Raises `GoogleError`, nothing of `requests`."""

    def __init__(
        self,
        settings: Settings,
        *,
        policy: RetryPolicy = PATIENCE,
        sleep: Sleep = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
    ) -> None:
        """`settings.google_is_on` must be true."""
        if not settings.google_is_on:
            raise ValueError(f"{settings.google_missing[0]} is not set: this source is off")
        rules = Rules(
            judge=_judge,
            unavailable=GoogleUnavailableError,
            malformed=GoogleShapeError,
            problem=GoogleProblem,
            name=_name,
            recover=self._renew_token,
            wait=_wait,
        )
        self._session = ApiSession(rules, policy, sleep=sleep, seed=seed)
        self._settings, self._clock = settings, clock
        self._access_token, self._token_until = "", float("-inf")
        self._managers: dict[str, str] = {}
        self._by_itself: set[str] = set()

    def search(self, customer_id: str, query: str) -> list[Row]:
        """Every row of a GAQL query over one customer, read to the end, or a `GoogleError`."""
        base = self._settings.google_ads_url.rstrip("/")
        url = f"{base}/{self._settings.google_ads_api_version}/customers/{customer_id}"
        if not self._access_token or self._clock() >= self._token_until:
            self.authenticate()
        body = self._session.post(
            f"{url}/googleAds:searchStream",
            headers=self._headers(customer_id),
            json={"query": query},
        ).json()
        call = _search_call(customer_id, query)
        batches = body if isinstance(body, list) else [body]
        rows: list[Row] = []
        for batch in batches:
            results = batch.get("results", []) if isinstance(batch, dict) else None
            if not isinstance(results, list):
                raise GoogleShapeError(GoogleProblem(call))
            objects = [row for row in results if isinstance(row, dict)]
            if results and not objects:
                raise GoogleShapeError(GoogleProblem(call))
            if len(objects) < len(results):
                log.warning("%s: %d rows are not objects", call, len(results) - len(objects))
            rows += objects
        return rows

    def reach_through(self, manager_id: str, customer_id: str) -> None:
        """From now on ask for this account through the manager above it, unless one is set."""
        self._managers[customer_id] = manager_id
        self._by_itself.discard(customer_id)

    def reach_by_itself(self, customer_id: str) -> None:
        """From now on ask for this account without any manager, whatever is set."""
        self._by_itself.add(customer_id)

    def authenticate(self) -> None:
        """Get an access token, or raise what is wrong with the credentials."""
        settings = self._settings
        secret, refresh = settings.google_ads_client_secret, settings.google_ads_refresh_token
        url = settings.google_oauth_url.rstrip("/")
        url = url if urlsplit(url).path else f"{url}/token"
        form = {
            "grant_type": "refresh_token",
            "client_id": settings.google_ads_client_id,
            "client_secret": secret.get_secret_value().strip() if secret else "",
            "refresh_token": refresh.get_secret_value().strip() if refresh else "",
        }
        body = self._session.post(url, data=form).json()
        if not isinstance(body, dict) or not isinstance(body.get("access_token"), str):
            raise GoogleShapeError(GoogleProblem(TOKEN_EXCHANGE))
        seconds = body.get("expires_in")
        lasts = float(seconds) if isinstance(seconds, int | float) else 3_600.0
        self._access_token = body["access_token"]
        self._token_until = self._clock() + max(lasts - _EARLY_SECONDS, lasts / 2)

    def renew_patience(self) -> None:
        """Start a new budget of waiting time."""
        self._session.renew_patience()

    def close(self) -> None:
        """Close connections."""
        self._session.close()

    def _headers(self, customer_id: str) -> dict[str, str]:
        token = self._settings.google_ads_developer_token
        headers = {"Authorization": f"Bearer {self._access_token}"}
        if token:
            headers["developer-token"] = token.get_secret_value().strip()
        login = self._settings.google_ads_login_customer_id or self._managers.get(customer_id)
        if login and customer_id not in self._by_itself:
            headers["login-customer-id"] = login
        return headers

    def _renew_token(self, request: requests.PreparedRequest, error: ApiError) -> bool:
        """An access token may end, or be revoked, in the middle of a run."""
        problem = error.problem
        if problem.status != 401 or problem.call == TOKEN_EXCHANGE:
            return False
        log.info("%s: asking for a new access token", problem.call)
        self.authenticate()
        request.headers["Authorization"] = f"Bearer {self._access_token}"
        return True


def _search_call(customer_id: str, query: str) -> str:
    found = _RESOURCE.search(query)
    return f"{found[1] if found else 'search'} of customer {customer_id}"


def _name(request: requests.PreparedRequest) -> str:
    customer = _CUSTOMER.search(request.url or "")
    if customer is None:
        return TOKEN_EXCHANGE
    body = request.body if isinstance(request.body, bytes) else b""
    return _search_call(customer[1], body.decode())


def _wait(policy: RetryPolicy, error: ApiError, waits: int) -> tuple[float, float]:
    """As long as Google says, all of it; longer each time that it was not enough."""
    asked = error.problem.quota_seconds if isinstance(error, GoogleError) else None
    first = policy.base if asked else policy.first_wait
    wait = max(asked or 0.0, policy.growing(first, waits))
    return wait, wait + policy.base


def _judge(call: str, response: requests.Response, body: Any) -> GoogleError | None:
    if response.status_code == 200 and body is not None and not _has_error(body):
        return None
    return classify(problem_from(body, call, response.status_code))


def _has_error(body: Any) -> bool:
    """Also behind good batches: then nothing of the stream counts."""
    items = body if isinstance(body, list) else [body]
    return any(isinstance(item, dict) and "error" in item for item in items)


# ---- values ----------------------------------------------------------------------------------

_MICRO = Decimal(1_000_000)
_ONE = Decimal("0.000001")


def field(row: Row, path: str) -> Any:
    """Value at a dotted path, None where it is absent.

    >>> field({"adGroup": {"id": "7"}}, "adGroup.id")
    '7'
    """
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text(row: Row, path: str) -> str | None:
    """Text; a whole number becomes its digits, anything else is a `GoogleShapeError`."""
    value = field(row, path)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise GoogleShapeError(GoogleProblem(f"`{path}`"))
    return str(value)


def required(row: Row, path: str) -> str:
    """Text that must be present."""
    value = text(row, path)
    if value is None:
        raise GoogleShapeError(GoogleProblem(f"`{path}`"))
    return value


def identifier(row: Row, path: str) -> str:
    """The id of an object; raises `GoogleDamageError` if it lost a character on the way."""
    value = required(row, path)
    if is_damaged(value) or not value.isprintable():
        raise GoogleDamageError(GoogleProblem(f"`{path}`"))
    return value


def name(row: Row, path: str) -> str | None:
    """A text for people; a value of another type is ignored, as nothing depends on it."""
    value = field(row, path)
    return str(value) or None if isinstance(value, str | int) and value is not True else None


def readable(rows: Iterable[Row], make: Callable[[Row], Row], what: str) -> list[Row]:
    """`make` of each of `rows`; only rows with a damaged id are left out."""
    found: list[Row] = []
    for row in rows:
        try:
            found.append(make(row))
        except GoogleDamageError as error:
            log.warning("Google Ads: one of %s is left out: %s", what, error)
    return found


def count(row: Row, path: str) -> int:
    """A count; absent is zero."""
    value = text(row, path) or "0"
    if not value.removeprefix("-").isdecimal():
        raise GoogleShapeError(GoogleProblem(f"`{path}`"))
    return int(value)


def money(row: Row, path: str) -> Decimal:
    """Micros as an exact amount; absent is zero."""
    return (Decimal(count(row, path)) / _MICRO).quantize(_ONE)
