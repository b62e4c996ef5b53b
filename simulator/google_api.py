"""A stand-in of Google's OAuth and Google Ads API on loopback: documented shapes, strict.

| call | answers |
|---|---|
| `POST /token` | an access token for the refresh token |
| `POST /<version>/customers/<id>/googleAds:searchStream` | batches of rows of a GAQL query |

`google_gaql` has the supported part of GAQL, `google_rows` the rows, `google_faults` the faults.
A wrong token, a missing header, an account that is not reached by this user or through this
manager, an unknown field: each is Google's error, so that a client that asks wrongly fails its
test. As at Google, the user of the stand-in has been given access to accounts without a manager
(or to `direct`); accounts below a manager are reached with its id as `login-customer-id`.

>>> with serve_google_api(state) as api:  # doctest: +SKIP
...     settings = load_settings(google_ads_url=api.url, google_oauth_url=api.url, ...)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from simulator.ads_api import _cut, serve_app
from simulator.ads_faults import Fault, FaultScript
from simulator.google_faults import GoogleFault
from simulator.google_gaql import REQUEST_ID, CallError, google_error, parse
from simulator.google_rows import camel, rows
from simulator.google_state import GoogleState

SCOPE = "https://www.googleapis.com/auth/adwords"
_NOT_FOUND = (
    "<!DOCTYPE html><html lang=en><title>Error 404 (Not Found)!!1</title>"
    "<p><b>404.</b> <ins>That's an error.</ins>"
)
_DENIED = (
    "User doesn't have permission to access customer. Note: If you're accessing a client customer, "
    "the manager's customer id must be set in the 'login-customer-id' header."
)
_BAD_GATEWAY = "<html><head><title>502 Bad Gateway</title></head></html>"


@dataclass
class GoogleApi:
    """The running stand-in. Every attribute may be changed between two requests.

    `wants_developer_token`: as before Google ended them in September 2026; since then the header is
    ignored. `direct`: accounts that the user was given access to, None for those without a manager.
    `reads_inactive`: whether suspended, cancelled and closed accounts are read all the same.
    `calls`: each call as `token` or `searchStream <customer> FROM …`. `wrong`: calls refused as
    wrong, with Google's word. `batch_size`: rows of a batch. `omits_zeros`: metrics of zero are
    absent. `access_tokens`: those that are valid now.
    """

    state: GoogleState
    version: str = "v23"
    developer_token: str = "stand-in-developer-token"
    wants_developer_token: bool = False
    client_id: str = "stand-in.apps.googleusercontent.com"
    client_secret: str = "GOCSPX-stand-in"
    refresh_token: str = "1//stand-in-refresh-token"
    direct: set[str] | None = None
    reads_inactive: bool = False
    faults: FaultScript = field(default_factory=FaultScript)
    batch_size: int = 3
    omits_zeros: bool = True
    expires_in: int = 3599
    calls: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    access_tokens: list[str] = field(default_factory=list)
    url: str = ""
    _made: int = field(default=0, init=False)
    _empty: int = field(default=0, init=False)

    def expire(self) -> None:
        """End every access token; the refresh token still makes new ones."""
        self.access_tokens.clear()

    # ---- OAuth -------------------------------------------------------------------------------

    async def token(self, request: Request) -> Response:
        """Answer `POST /token`."""
        form = dict(parse_qsl((await request.body()).decode()))
        self.calls.append("token")
        fault = self.faults.next("token")
        if fault is not None and fault.kind not in ("truncated", "cut"):
            return _faulty(fault, [])
        answer = self._exchange(form)
        return answer if fault is None else _spoilt(fault, answer)

    def _exchange(self, form: dict[str, str]) -> Response:
        if form.get("grant_type") != "refresh_token":
            return self._refuse(400, "unsupported_grant_type", "Invalid grant_type")
        client = (form.get("client_id"), form.get("client_secret"))
        if client != (self.client_id, self.client_secret):
            return self._refuse(401, "invalid_client", "The OAuth client was not found.")
        if form.get("refresh_token") != self.refresh_token:
            return self._refuse(400, "invalid_grant", "Token has been expired or revoked.")
        self._made += 1
        self.access_tokens.append(f"ya29.stand-in-{self._made}")
        return _json(
            200,
            {
                "access_token": self.access_tokens[-1],
                "expires_in": self.expires_in,
                "scope": SCOPE,
                "token_type": "Bearer",
            },
        )

    def _refuse(self, status: int, word: str, description: str) -> Response:
        self.wrong.append(f"token: {word}")
        return _json(status, {"error": word, "error_description": description})

    # ---- Google Ads --------------------------------------------------------------------------

    async def search_stream(self, request: Request) -> Response:
        """Answer `POST /<version>/customers/<id>/googleAds:searchStream`."""
        version, customer_id = request.path_params["version"], request.path_params["customer"]
        raw = await request.body()
        text = _query_of(raw)
        call = f"searchStream {customer_id} {_from(text)}"
        self.calls.append(call)
        fault = self.faults.next(call)
        late = isinstance(fault, GoogleFault) and fault.after_batches
        if fault is not None and fault.kind not in ("truncated", "cut") and not late:
            return _faulty(fault, [])
        if version != self.version:
            self.wrong.append(f"{call}: {version}")
            return Response(_NOT_FOUND, 404, media_type="text/html")
        try:
            self._authenticate(request, customer_id)
            batches = self._batches(customer_id, text)
        except CallError as error:
            self.wrong.append(f"{call}: {error.word}")
            return _json(error.status, error.body)
        if fault is None:
            return _json(200, batches)
        return _faulty(fault, batches) if late else _spoilt(fault, _json(200, batches))

    def _authenticate(self, request: Request, customer_id: str) -> None:
        headers = request.headers
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.access_tokens:
            word = {"authenticationError": "OAUTH_TOKEN_EXPIRED"}
            raise CallError(401, word, "OAuth token in the header has expired.")
        given = headers.get("developer-token")
        if self.wants_developer_token and not given:
            word = {"requestError": "DEVELOPER_TOKEN_PARAMETER_MISSING"}
            raise CallError(400, word, "The developer-token parameter is required.")
        if self.wants_developer_token and given != self.developer_token:
            word = {"authenticationError": "DEVELOPER_TOKEN_INVALID"}
            raise CallError(401, word, "The developer token is not valid.")
        login = headers.get("login-customer-id")
        if login is not None and not login.isdigit():
            word = {"headerError": "INVALID_LOGIN_CUSTOMER_ID"}
            raise CallError(400, word, "The login customer ID could not be validated.")
        self._authorize(customer_id, login or customer_id)

    def _authorize(self, customer_id: str, login: str) -> None:
        managers = self.state.managers_of
        customer = self.state.customers.get(customer_id)
        is_reached = (
            customer is not None
            and customer.visible
            and login in (customer_id, *managers(customer_id))
            # Access to a manager includes all accounts below it.
            and any(
                map(self._is_direct, [login] if login == customer_id else [login, *managers(login)])
            )
        )
        if customer is None or not is_reached:
            word = {"authorizationError": "USER_PERMISSION_DENIED"}
            raise CallError(403, word, _DENIED)
        is_read = self.reads_inactive or customer.reads_inactive
        if customer.status != "ENABLED" and not is_read:
            word = {"authorizationError": "CUSTOMER_NOT_ENABLED"}
            raise CallError(403, word, "The customer account can't be accessed.")

    def _is_direct(self, customer_id: str) -> bool:
        if self.direct is not None:
            return customer_id in self.direct
        customer = self.state.customers[customer_id]
        return customer.visible and customer.manager_id is None

    def _batches(self, customer_id: str, text: str) -> list[dict[str, Any]]:
        query = parse(text)
        found = rows(self.state, customer_id, query, omits_zeros=self.omits_zeros)
        mask = ",".join(".".join(map(camel, name.split("."))) for name in query.fields)
        tail = {"fieldMask": mask, "requestId": REQUEST_ID}
        if not found:
            self._empty += 1
            return [{"results": [], **tail}] if self._empty % 2 else []
        starts = range(0, len(found), self.batch_size)
        return [{"results": found[n : n + self.batch_size], **tail} for n in starts]


# ---- bodies ----------------------------------------------------------------------------------


def _query_of(raw: bytes) -> str:
    try:
        body = json.loads(raw)
    except ValueError:
        return ""
    return str(body.get("query", "")) if isinstance(body, dict) else ""


def _from(text: str) -> str:
    flat = " ".join(text.split())
    return flat[max(flat.find("FROM "), 0) :]


def _faulty(fault: Fault, batches: list[dict[str, Any]]) -> Response:
    if fault.kind == "html":
        return Response(_BAD_GATEWAY, fault.status, fault.headers, "text/html")
    if fault.kind == "empty":
        return Response(b"", fault.status, fault.headers)
    body = fault.error() if isinstance(fault, GoogleFault) else fault.body
    if body is None:
        body = google_error(fault.status)
    if isinstance(fault, GoogleFault) and fault.after_batches:
        return _json(200, [*batches, *body])
    answer = _json(fault.status, body)
    answer.headers.update(fault.headers)
    return answer


def _spoilt(fault: Fault, answer: Response) -> Response:
    body = bytes(answer.body)
    half = body[: len(body) // 2]
    if fault.kind == "truncated":
        return Response(half, 200, media_type="application/json")
    headers = {"content-length": str(len(body))}
    return StreamingResponse(_cut(half), 200, headers, "application/json")


def _json(status: int, body: Any) -> Response:
    return Response(json.dumps(body), status, media_type="application/json")


@contextmanager
def serve_google_api(state: GoogleState, **options: Any) -> Iterator[GoogleApi]:
    """Serve `state` on a free loopback port in a thread; yields the stand-in with its `url`.

    `options` are attributes of `GoogleApi`: version, faults, batch_size and so on.
    """
    api = GoogleApi(state, **options)
    path = "/{version:str}/customers/{customer:str}/googleAds:searchStream"
    routes = [
        Route("/token", api.token, methods=["POST"]),
        Route(path, api.search_stream, methods=["POST"]),
    ]
    with serve_app(Starlette(routes=routes), "google-api") as url:
        api.url = url
        yield api
