"""A stand-in of Meta's Conversions API for business messaging on loopback, strict as Meta is.

| call | answers |
|---|---|
| `POST /<dataset>/events` | `{"events_received": n, "messages": [], "fbtrace_id": ...}` |
| `GET`, `POST /<waba>/dataset` | the dataset of a WhatsApp account; POST makes one |

One bad event refuses the whole request; nothing is deduplicated. `accepted` holds every event as
often as it was taken: that is what counts as a conversion at Meta. Names, ages and error numbers:
`interfaces.md` §2. Faults by script, before or after the events are taken:

>>> faults = FaultScript([EventsFault("POST /77/events", kind="drop", takes=True)])
>>> with serve_conversions_api({"77": {"101"}}, faults=faults) as api:  # doctest: +SKIP
...     settings = load_settings(meta_graph_url=api.url, meta_access_token=api.token, ...)
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ctwa.setting_types import CONVERSION_NAMES
from simulator.ads_api import _cut, serve_app
from simulator.ads_faults import Fault, FaultScript
from simulator.ads_graph import ApiError

WEEK = 7 * 86_400
_BODY_KEYS = {"data", "test_event_code", "partner_agent"}
_EVENT_KEYS = {
    *("event_name", "event_time", "action_source", "messaging_channel", "user_data"),
    *("custom_data", "event_id", "messaging_outcome_data"),
}


@dataclass
class EventsFault(Fault):
    """A fault of a request with events. `takes`: Meta has them when it strikes.

    Kinds beside those of `Fault`: `drop` (the connection ends without an answer), `hang` (no
    answer for `seconds`), `no_messages` (a right answer without `messages`).
    """

    takes: bool = False
    seconds: float = 30.0


@dataclass
class ConversionsApi:
    """The running stand-in. Every attribute may be changed between two requests.

    `datasets`: id to the WhatsApp accounts that may send to it. `refused_names`: of Meta's names,
    those that it refuses here all the same. `poison`: event ids that are refused for no reason we
    could see. `requests`: each request's events. `wrong`: what no right client sends.
    """

    datasets: dict[str, set[str]]
    token: str = "test-token"
    version: str = "v27.0"
    faults: FaultScript = field(default_factory=FaultScript)
    refused_names: set[str] = field(default_factory=set)
    poison: set[str] = field(default_factory=set)
    clock: Callable[[], float] = time.time
    calls: list[str] = field(default_factory=list)
    requests: list[list[dict[str, Any]]] = field(default_factory=list)
    accepted: list[dict[str, Any]] = field(default_factory=list)
    test_codes: list[str | None] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    url: str = ""

    def times_accepted(self) -> Counter[str]:
        """How often each event id was taken."""
        return Counter(event["event_id"] for event in self.accepted)

    async def handle(self, request: Request) -> Response:
        """Answer a request, or strike with the scripted fault."""
        path = "/" + request.path_params["path"].strip("/")
        call = f"{request.method} {path}"
        self.calls.append(call)
        fault = self.faults.next(call)
        raw = await request.body()
        takes = fault is None or fault.kind in ("truncated", "cut", "no_messages")
        if isinstance(fault, EventsFault):
            takes = takes or fault.takes
        try:
            found = self._route(request, path, raw, takes)
            answer = Response(json.dumps(found).encode(), 200, media_type="application/json")
        except ApiError as error:
            answer = _error(error)
        return answer if fault is None else await self._strike(request, fault, answer)

    # ---- valid requests ----------------------------------------------------------------------

    def _route(self, request: Request, path: str, raw: bytes, takes: bool) -> dict[str, Any]:
        if "access_token" in request.query_params or b"access_token" in raw:
            self._is_wrong("the token is not in the header only")
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise ApiError(190, "Error validating access token: Session has expired", 463, 401)
        _, node, edge = path.split("/", 2) if path.count("/") == 2 else ("", "", "")
        if edge == "dataset":
            return self._dataset(request.method, node)
        if edge != "events" or request.method != "POST":
            raise ApiError(2500, "Unknown path components")
        if node not in self.datasets:
            raise ApiError(100, f"Unsupported post request. Object with ID '{node}' does not exist,"
                           " cannot be loaded due to missing permissions", 33)  # fmt: skip
        body = self._body(request, raw)
        events: list[dict[str, Any]] = body["data"]
        self.requests.append(events)
        for event in events:
            self._check(node, event)
        if takes:
            self.accepted += events
            self.test_codes.append(body.get("test_event_code"))
        return {"events_received": len(events), "messages": [], "fbtrace_id": "AbCdEfGhIjK"}

    def _dataset(self, method: str, waba: str) -> dict[str, Any]:
        for dataset, wabas in self.datasets.items():
            if waba in wabas:
                return {"id": dataset}
        if method == "GET":
            return {}
        made = f"9{waba}"
        self.datasets[made] = {waba}
        return {"id": made}

    def _body(self, request: Request, raw: bytes) -> dict[str, Any]:
        if request.headers.get("content-type") != "application/json":
            self._is_wrong("not sent as JSON")
        body = json.loads(raw)
        data = body.get("data") if isinstance(body, dict) else None
        if not isinstance(data, list) or not data or len(data) > 1000 or set(body) - _BODY_KEYS:
            self._is_wrong("`data` is not a list of 1 to 1,000 events, or there is more beside it")
        return dict(body)

    def _check(self, dataset: str, event: dict[str, Any]) -> None:
        is_stage = event.get("action_source") == "system_generated"
        is_known = is_stage or event.get("event_name") in CONVERSION_NAMES
        if not is_known or event["event_name"] in self.refused_names:
            raise ApiError(100, "This event name is not supported for this channel", 2804066)
        at, now = event.get("event_time"), self.clock()
        if type(at) is not int or at > now + 60:
            raise ApiError(100, "event_time is not a time of the past in seconds", 2804050)
        if at < now - WEEK:
            raise ApiError(100, "The timestamp for this event is too far in the past", 2804003)
        if event.get("event_id") in self.poison or set(event) - _EVENT_KEYS:
            raise ApiError(100, "Invalid parameter", 2804016)
        user = event.get("user_data")
        if is_stage:
            return _check_stage(event)
        channel = (event.get("action_source"), event.get("messaging_channel"))
        if channel != ("business_messaging", "whatsapp") or not isinstance(user, dict):
            raise ApiError(100, "Not an event of a WhatsApp chat", 2804050)
        waba, click = user.get("whatsapp_business_account_id"), user.get("ctwa_clid")
        if waba not in self.datasets[dataset] or not isinstance(click, str) or not click:
            raise ApiError(100, "Not a click on an ad of this WhatsApp account", 2804050)
        custom = event.get("custom_data")
        if custom is None and event["event_name"] == "Purchase":
            raise ApiError(100, "A purchase needs a currency and a value", 2804050)
        if custom is not None and not _is_money(custom):
            raise ApiError(100, "Not a currency and a value", 2804050)
        return None

    def _is_wrong(self, what: str) -> None:
        self.wrong.append(what)
        raise ApiError(100, what)

    # ---- faults ------------------------------------------------------------------------------

    async def _strike(self, request: Request, fault: Fault, answer: Response) -> Response:
        body = bytes(answer.body)
        match str(fault.kind):
            case "error":
                error = ApiError(fault.code, fault.message, fault.subcode, fault.status)
                answer = _error(error, is_transient=fault.transient)
            case "html":
                answer = Response(b"<html><h1>502 Bad Gateway</h1></html>", fault.status)
            case "empty":
                answer = Response(b"", fault.status)
            case "body":
                answer = Response(json.dumps(fault.body).encode(), fault.status)
            case "truncated":
                answer = Response(body[: len(body) // 2], 200)
            case "cut":
                headers = {"content-length": str(len(body))}
                answer = StreamingResponse(_cut(body[: len(body) // 2]), 200, headers)
            case "no_messages":
                told = {k: v for k, v in json.loads(body).items() if k != "messages"}
                answer = Response(json.dumps(told).encode(), answer.status_code)
            case "hang":
                await asyncio.sleep(getattr(fault, "seconds", 30.0))
            case "drop":
                # uvicorn's own end of the connection: an ASGI app cannot hang up.
                request.receive.__self__.transport.abort()  # type: ignore[attr-defined]
        answer.headers.update(fault.headers)
        return answer


def _check_stage(event: dict[str, Any]) -> None:
    """A stage of an instant form's lead ("Conversion Leads")."""
    user, custom = event.get("user_data"), event.get("custom_data")
    lead_id = user.get("lead_id") if isinstance(user, dict) else None
    if not re.fullmatch(r"[0-9]{15,17}", str(lead_id)) or set(user or ()) != {"lead_id"}:
        raise ApiError(100, "Not the id of a lead", 2804050)
    if not isinstance(custom, dict) or custom.get("event_source") != "crm":
        raise ApiError(100, "event_source is not crm", 2804050)
    money = {k: v for k, v in custom.items() if k not in ("event_source", "lead_event_source")}
    if "lead_event_source" not in custom or (money and not _is_money(money)):
        raise ApiError(100, "No lead_event_source, or not a currency and a value", 2804050)


def _is_money(custom: Any) -> bool:
    if not isinstance(custom, dict) or set(custom) != {"currency", "value"}:
        return False
    value, currency = custom["value"], custom["currency"]
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    return is_number and isinstance(currency, str) and bool(re.fullmatch("[A-Z]{3}", currency))


def _error(error: ApiError, *, is_transient: bool = False) -> Response:
    body: dict[str, Any] = {
        "message": str(error),
        "type": "OAuthException",
        "code": error.code,
        "is_transient": is_transient,
        "error_user_title": "Título localizado",
        "error_user_msg": "Mensagem localizada",
        "fbtrace_id": "AbCdEfGhIjK",
    }
    if error.subcode is not None:
        body["error_subcode"] = error.subcode
    return Response(json.dumps({"error": body}).encode(), error.status, None, "application/json")


@contextmanager
def serve_conversions_api(
    datasets: Mapping[str, set[str]], **options: Any
) -> Iterator[ConversionsApi]:
    """Serve on a free loopback port in a thread; yields the stand-in with its `url`.

    `options` are attributes of `ConversionsApi`: token, faults, refused_names and so on.
    """
    api = ConversionsApi({name: set(wabas) for name, wabas in datasets.items()}, **options)
    route = Route("/{version:str}/{path:path}", api.handle, methods=["GET", "POST"])
    with serve_app(Starlette(routes=[route]), "conversions-api") as url:
        api.url = url
        yield api


__all__ = ["ConversionsApi", "EventsFault", "serve_conversions_api"]
