"""A stand-in of HubSpot's CRM API on loopback: only documented shapes, strict about requests.

| call | answers |
|---|---|
| `POST /crm/objects/2026-09/{contacts,deals}/search` | pages of live records, as indexed |
| `POST /crm/objects/2026-09/{contacts,deals}/batch/read` | records by id; 207 if some lack |
| `GET /crm/objects/2026-09/{contacts,deals}` | pages of all records, or of the bin |
| `POST /crm/associations/2026-09/deals/contacts/batch/read` | contacts of deals |
| `POST /crm/objects/2026-09/contacts/batch/update` | writes contacts; 207 if some fail |
| `/crm/properties/2026-09/contacts`, `/batch/create` and `/groups` of it | our own properties |
| `GET /crm/properties/2026-09/contacts/lifecyclestage` | stages of contacts |
| `GET /crm/pipelines/2026-09/deals` | stages of deals |
| `GET /account-info/2026-09/details` | currency and time zone of the account |

A wrong token, a missing scope, an unknown property, a page that is too long, results beyond
10,000: each is the error that HubSpot gives, so that a client that asks wrongly fails its test.
Faults by script are `simulator.ads_faults`; `hubspot_error` makes bodies for them.

>>> with serve_hubspot_api(state, token="t") as api:  # doctest: +SKIP
...     settings = load_settings(hubspot_url=api.url, hubspot_token="t", ...)
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from simulator.ads_api import _cut, serve_app
from simulator.ads_faults import Fault, FaultScript
from simulator.hubspot_calls import CORRELATION, CallError, HubspotCalls, hubspot_error
from simulator.hubspot_state import HubspotState

SCOPES = frozenset(
    {
        "crm.objects.contacts.read",
        "crm.objects.deals.read",
        "crm.schemas.contacts.read",
        "crm.schemas.deals.read",
    }
)
WRITE_SCOPES = SCOPES | {"crm.objects.contacts.write", "crm.schemas.contacts.write"}


@dataclass
class HubspotApi(HubspotCalls):
    """The running stand-in. Every attribute may be changed between two requests.

    `scopes`: what the token may. `searches_per_second`: more are 429, by `clock`. `calls`: each
    call as `METHOD /path?query`. `wrong`: requests refused as wrong.
    """

    token: str = "pat-na1-stand-in"
    scopes: frozenset[str] = SCOPES
    faults: FaultScript = field(default_factory=FaultScript)
    searches_per_second: int | None = 4
    clock: Callable[[], float] = time.monotonic
    calls: list[str] = field(default_factory=list)
    url: str = ""
    _searches: deque[float] = field(default_factory=deque, init=False)

    async def handle(self, request: Request) -> Response:
        """Answer a request, or strike with the scripted fault."""
        path = "/" + request.path_params["path"].strip("/")
        query = str(request.url.query)
        call = f"{request.method} {path}" + (f"?{query}" if query else "")
        self.calls.append(call)
        fault = self.faults.next(call)
        if fault is not None and fault.kind not in ("truncated", "cut"):
            return _faulty(fault)
        try:
            self._authenticate(request, path)
            if path.endswith("/search"):
                self._pace()
            raw = await request.body()
            status, found = self.route(
                request.method, path, dict(request.query_params), json.loads(raw) if raw else {}
            )
            answer = _json(status, found)
        except CallError as error:
            if error.status == 400:
                self.wrong.append(f"{call}: {error}")
            answer = _json(error.status, error.body)
        return answer if fault is None else _spoilt(fault, answer)

    def _authenticate(self, request: Request, path: str) -> None:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise CallError(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        needed = _needed(request.method, path)
        if needed and not needed & self.scopes:
            error = CallError(403, "MISSING_SCOPES", "This app hasn't been granted all scopes.")
            detail = {
                "message": "One or more of the following scopes are required.",
                "context": {"requiredGranularScopes": sorted(needed)},
            }
            error.body["errors"] = [detail]
            raise error

    def _pace(self) -> None:
        if self.searches_per_second is None:
            return
        now = self.clock()
        while self._searches and self._searches[0] <= now - 1:
            self._searches.popleft()
        if len(self._searches) >= self.searches_per_second:
            error = CallError(429, "RATE_LIMITS", "You have reached your secondly limit.")
            error.body |= {"errorType": "RATE_LIMIT", "policyName": "SECONDLY"}
            raise error
        self._searches.append(now)


def _needed(method: str, path: str) -> frozenset[str]:
    """Scopes of which one is enough."""
    if path.endswith("/contacts/batch/update"):
        return frozenset({"crm.objects.contacts.write"})
    if path.startswith("/crm/properties/2026-09/contacts") and method == "POST":
        return frozenset({"crm.schemas.contacts.write"})
    if path.startswith("/crm/properties/2026-09/contacts"):
        return frozenset({"crm.objects.contacts.read", "crm.schemas.contacts.read"})
    if path.startswith("/crm/pipelines/2026-09/deals"):
        return frozenset({"crm.objects.deals.read", "crm.schemas.deals.read"})
    if path.startswith("/crm/objects/2026-09/contacts"):
        return frozenset({"crm.objects.contacts.read"})
    if path.startswith("/account-info"):
        return frozenset()
    return frozenset({"crm.objects.deals.read"})


def _faulty(fault: Fault) -> Response:
    if fault.kind == "html":
        page = "<html><head><title>502 Bad Gateway</title></head></html>"
        return Response(page, fault.status, fault.headers, "text/html")
    if fault.kind == "empty":
        return Response(b"", fault.status, fault.headers)
    body = hubspot_error(fault.message, "SCRIPTED") if fault.body is None else fault.body
    return Response(json.dumps(body), fault.status, fault.headers, "application/json")


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
def serve_hubspot_api(state: HubspotState, **options: Any) -> Iterator[HubspotApi]:
    """Serve `state` on a free loopback port in a thread; yields the stand-in with its `url`.

    `options` are attributes of `HubspotApi`: token, scopes, faults and so on.
    """
    api = HubspotApi(state, **options)
    route = Route("/{path:path}", api.handle, methods=["GET", "POST"])
    with serve_app(Starlette(routes=[route]), "hubspot-api") as url:
        api.url = url
        yield api


__all__ = [
    "CORRELATION",
    "SCOPES",
    "WRITE_SCOPES",
    "HubspotApi",
    "hubspot_error",
    "serve_hubspot_api",
]
