"""A stand-in of Meta's Marketing API on loopback: only documented shapes, strict about requests.

| call | answers |
|---|---|
| `GET /act_<id>` | the account |
| `GET /debug_token` | `token_told`: whether the token is valid, until when, what it may |
| `GET /<waba id>/dataset` | `datasets`: of a WhatsApp account; None where it has none |
| `GET /act_<id>/{campaigns,adsets,ads}`, `/adcreatives` | pages; archived if asked for, ids too |
| `GET /<id>` | any object by its own id, deleted ones too |
| `GET /act_<id>/insights` | pages of days, level `ad` or `account` |
| `GET /<ad id>/insights` | pages of days of one ad, whatever its status |
| `POST /act_<id>/insights`, `GET /<run>`, `GET /<run>/insights` | report runs |

A wrong token, an unknown parameter or field, a token in a URL, a DELETED filter, `ids` at the root
(which Meta refuses since October 2026; its code is not known): each is an error, so that a client
that asks wrongly fails its test. `paging.next` carries the
token, as Meta's does. An id that is hidden from us is 100/33; one that nobody has is 803.

>>> with serve_ads_api(state, token="t") as api:  # doctest: +SKIP
...     settings = load_settings(meta_graph_url=api.url, meta_access_token="t", ...)
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from simulator.ads_faults import Fault, FaultScript
from simulator.ads_graph import AdsGraph, ApiError
from simulator.ads_state import AdsState


@dataclass
class AdsApi(AdsGraph):
    """The running stand-in. Every attribute may be changed between two requests.

    `usage`: percentage in the usage headers, None for no headers. `sync_max_days`: a longer
    synchronous range of ads is 100/1504018. `report_max_days`: a longer report run fails with
    -3/1504045. `jobs_to_come`: scripts of the next report runs, in their order. `calls`: each
    call as `METHOD /path?query`, decoded, without token. `wrong`: requests refused as wrong.
    `phone_numbers`: WhatsApp account to its numbers, id to how it is shown; `routing_roles`: number
    to the answer, or the error, of the Routing Roles API.
    `ended_versions`: versions of the API that answer with error 2635. `edges_tell_deleted`: whether
    an edge takes DELETED beside a filter on ids. `tells_deleted`: whether insights of a deleted ad,
    asked by its id, have rows; Meta's documentation contradicts itself in both.
    """

    faults: FaultScript = field(default_factory=FaultScript)
    usage: float | None = None
    calls: list[str] = field(default_factory=list)
    _bodies: dict[str, bytes] = field(default_factory=dict, init=False)

    # ---- one request ---------------------------------------------------------------------

    async def handle(self, request: Request) -> Response:
        """Answer a request, or strike with the scripted fault."""
        path = "/" + request.path_params["path"].strip("/")
        params = dict(request.query_params)
        if request.method == "POST":
            params |= dict(parse_qsl((await request.body()).decode()))
        call = f"{request.method} {path}?{_readable(params)}"
        self.calls.append(call)
        fault = self.faults.next(call)
        if fault is not None and fault.kind in ("error", "html", "empty", "body", "raw"):
            return self._fault_answer(fault)
        try:
            if request.path_params["version"] in self.ended_versions:
                raise ApiError(2635, "(#2635) You are calling a deprecated version of the Ads API.")
            self._authenticate(request, params)
            body = self.route(request.method, path, params)
            answer = self._answer(200, json.dumps(body).encode())
        except ApiError as error:
            answer = self._error(error)
        return self._spoil(fault, answer, path, call)

    def _authenticate(self, request: Request, params: dict[str, str]) -> None:
        if "access_token" in params:
            self.wrong.append("token in the URL")
            raise ApiError(100, "this stand-in takes the token as a header only")
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise ApiError(190, "Error validating access token: Session has expired", 463, 401)

    def _answer(self, status: int, body: bytes, kind: str = "application/json") -> Response:
        headers = {"facebook-api-version": self.version}
        if self.usage is not None:
            headers |= usage_headers(self.usage)
        return Response(body, status, headers, kind)

    def _error(self, error: ApiError, *, transient: bool = False) -> Response:
        body: dict[str, Any] = {
            "message": str(error),
            "type": "OAuthException",
            "code": error.code,
            "fbtrace_id": "AbCdEfGhIjK",
        }
        if error.subcode is not None:
            body["error_subcode"] = error.subcode
        if transient:
            body["is_transient"] = True
        return self._answer(error.status, json.dumps({"error": body}).encode())

    # ---- faults --------------------------------------------------------------------------

    def _fault_answer(self, fault: Fault) -> Response:
        if fault.kind == "html":
            page = b"<html><head><title>502 Bad Gateway</title></head></html>"
            return self._answer(fault.status, page, "text/html")
        if fault.kind == "empty":
            return self._answer(fault.status, b"")
        if fault.kind == "raw":
            return self._answer(fault.status, fault.body)
        if fault.kind == "body":
            answer = self._answer(fault.status, json.dumps(fault.body).encode())
        else:
            error = ApiError(fault.code, fault.message, fault.subcode, fault.status)
            answer = self._error(error, transient=fault.transient)
        for name, value in fault.headers.items():
            answer.headers[name] = value
        return answer

    def _spoil(self, fault: Fault | None, answer: Response, path: str, call: str) -> Response:
        body = bytes(answer.body)
        before, self._bodies[path] = self._bodies.get(path, body), body
        if fault is None:
            return answer
        if fault.kind == "repeat":
            self._bodies[path] = before
            return self._answer(200, before)
        if fault.kind == "endless":
            page = json.loads(body)
            here = f"{self.url}/{self.version}{path}?{call.partition('?')[2]}"
            page.setdefault("paging", {})["next"] = f"{here}&access_token={self.token}"
            return self._answer(200, json.dumps(page).encode())
        half = body[: len(body) // 2]
        if fault.kind == "truncated":
            return self._answer(200, half)
        headers = {"content-length": str(len(body))}
        return StreamingResponse(_cut(half), 200, headers, "application/json")


async def _cut(half: bytes) -> AsyncIterator[bytes]:
    yield half
    raise ConnectionResetError("cut by script")


def _readable(params: dict[str, str]) -> str:
    hidden = ("access_token", "input_token")
    return "&".join(f"{k}={v}" for k, v in params.items() if k not in hidden)


def usage_headers(percent: float, *, regain_minutes: int = 0) -> dict[str, str]:
    """The three usage headers, all saying the same percentage."""
    usage = {
        "type": "ads_insights",
        "call_count": percent,
        "total_cputime": 1,
        "total_time": 1,
        "estimated_time_to_regain_access": regain_minutes,
        "ads_api_access_tier": "standard_access",
    }
    return {
        "x-business-use-case-usage": json.dumps({"10001": [usage]}),
        "x-ad-account-usage": json.dumps({"acc_id_util_pct": percent, "reset_time_duration": 60}),
        "x-fb-ads-insights-throttle": json.dumps(
            {"app_id_util_pct": 1, "acc_id_util_pct": percent}
        ),
    }


@contextmanager
def serve_ads_api(
    state: AdsState, *, kind: type[AdsApi] | None = None, **options: Any
) -> Iterator[AdsApi]:
    """Serve `state` on a free loopback port in a thread; yields the stand-in with its `url`.

    `options` are attributes of `AdsApi`: token, faults, page_size and so on. `kind`: a subclass
    that answers more.
    """
    api = (kind or AdsApi)(state, **options)
    route = Route("/{version:str}/{path:path}", api.handle, methods=["GET", "POST"])
    bare = Route("/{version:str}", _bare(api), methods=["GET"])
    with serve_app(Starlette(routes=[route, bare]), "ads-api") as url:
        api.url = url
        yield api


@contextmanager
def serve_app(app: Starlette, name: str) -> Iterator[str]:
    """Serve a stand-in on a free loopback port in a thread called `name`; yields its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name=name, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{_port(server, thread, name)}"
    finally:
        server.should_exit = True
        thread.join(10)


def _bare(api: AdsApi) -> Any:
    async def handle(request: Request) -> Response:
        request.path_params["path"] = ""
        return await api.handle(request)

    return handle


def _port(server: uvicorn.Server, thread: threading.Thread, name: str) -> int:
    deadline = time.monotonic() + 60
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError(f"the stand-in {name} did not start")
        time.sleep(0.005)
    return int(server.servers[0].sockets[0].getsockname()[1])
