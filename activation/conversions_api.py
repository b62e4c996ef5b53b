"""Meta's Conversions API: an event, a request, and its outcome.

Of chats for business messaging, of instant forms for *Conversion Leads*: the latter are matched by
Meta's id of the lead and may have any name.

Meta does not deduplicate events, so what counts is whether a request may have been processed.
That is why this is not the client that reads: each request has a connection of its own, opened
before any byte of the request is sent; nothing is retried here and no redirect is followed.

| what happened | fate |
|---|---|
| no connection (name, TCP, proxy, TLS); HTTP 429; a transient error of Meta's | `Again` |
| 200, and `events_received` is the number sent | `Accepted` |
| any other error from Meta | `Refused`; `Stopped` where no event of the dataset can pass |
| anything else: connection lost, time-out, an error page, a 200 that cannot be read | `Unclear` |

Meta refuses a whole request for one bad event, so each event is checked before it is sent. Shape
and limits: Meta's documentation of September 2026 (business messaging, channel WhatsApp).
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import orjson

from activation.outbox import AGE_MARGIN_SECONDS, MAX_AGE_SECONDS
from ctwa.setting_types import CONVERSION_NAMES
from ctwa.settings import Settings
from ingestion.ads.meta.errors import (
    GraphError,
    GraphNotFoundError,
    GraphPermissionError,
    GraphStopError,
    GraphThrottledError,
    GraphUnavailableError,
    classify,
    problem_from,
)
from ingestion.apis.answers import UnreadableError, read_json

MAX_CLICK_BYTES = 1024

_CURRENCY = re.compile(r"[A-Z]{3}")
_ID = re.compile(r"\d{1,32}")
_LEAD_ID = re.compile(r"\d{15,17}")

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
_MAX_ANSWER = 1 << 20
NAME_REFUSED = 2804066
TOO_OLD = 2804003


@dataclass(frozen=True, slots=True)
class Event:
    """What Meta is told about one outcome; click and lead id as Meta gave them.

    With a `leadgen_id` it is a stage of an instant form's lead, and the click is not used.
    """

    event_id: str
    event_name: str
    event_time: int
    """Seconds since 1970, UTC."""
    waba_id: str
    ctwa_clid: str
    value: Decimal | None = None
    currency: str | None = None
    leadgen_id: str | None = None

    def body(self) -> dict[str, Any]:
        """The JSON object in `data` of a request."""
        if self.leadgen_id is not None:
            return self._stage()
        body: dict[str, Any] = {
            "event_name": self.event_name,
            "event_time": self.event_time,
            "action_source": "business_messaging",
            "messaging_channel": "whatsapp",
            "user_data": {
                "whatsapp_business_account_id": self.waba_id,
                "ctwa_clid": self.ctwa_clid,
            },
        }
        if self.value is not None and self.currency is not None:
            body["custom_data"] = {"currency": self.currency, "value": _number(self.value)}
        return body | {"event_id": self.event_id}

    def _stage(self) -> dict[str, Any]:
        custom: dict[str, Any] = {"event_source": "crm", "lead_event_source": "ctwa-attribution"}
        if self.value is not None and self.currency is not None:
            custom |= {"currency": self.currency, "value": _number(self.value)}
        return {
            "event_name": self.event_name,
            "event_time": self.event_time,
            "action_source": "system_generated",
            "user_data": {"lead_id": self.leadgen_id},
            "custom_data": custom,
            "event_id": self.event_id,
        }

    def fault(self) -> str | None:
        """Why Meta would refuse it at any time; None where it is valid."""
        if self.leadgen_id is not None:
            return self._fault_of_ids() or self._fault_of_value()
        if self.event_name not in CONVERSION_NAMES:
            return "invalid_name"
        if not 1 <= len(self.ctwa_clid.encode("utf-8", "surrogatepass")) <= MAX_CLICK_BYTES or (
            not self.ctwa_clid.isprintable()
        ):
            return "invalid_click_id"
        if not _ID.fullmatch(self.waba_id):
            return "invalid_waba"
        return self._fault_of_value()

    def _fault_of_ids(self) -> str | None:
        return None if _LEAD_ID.fullmatch(self.leadgen_id or "") else "invalid_lead_id"

    def _fault_of_value(self) -> str | None:
        if self.value is not None and not (self.value.is_finite() and self.value >= 0):
            return "invalid_value"
        if self.currency is not None and not _CURRENCY.fullmatch(self.currency):
            return "invalid_currency"
        if self.event_name == "Purchase" and (self.value is None or self.currency is None):
            return "no_value"
        return None

    def is_too_old(self, now_us: int) -> bool:
        """Whether Meta would refuse it for its age, now or within minutes."""
        return self.event_time < now_us // 1_000_000 - MAX_AGE_SECONDS + AGE_MARGIN_SECONDS


def _number(value: Decimal) -> int | float:
    """A JSON number: whole amounts as Meta's examples show them."""
    return int(value) if value == value.to_integral_value() else float(value)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Meta has all of them."""

    fbtrace_id: str | None


@dataclass(frozen=True, slots=True)
class Again:
    """Not processed, for a transient reason. `seconds`: to wait, where the answer says so."""

    what: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """None was accepted: Meta objects to at least one of them."""

    code: int | None
    subcode: int | None
    what: str
    fbtrace_id: str | None = None

    @property
    def reason(self) -> str:
        """For the mart: `refused_100_2804050`."""
        return "_".join(str(part) for part in ("refused", self.code, self.subcode) if part)


@dataclass(frozen=True, slots=True)
class Stopped:
    """None was accepted, and none of this dataset will be until somebody fixes it."""

    what: str
    fix: str
    is_for_all: bool
    """True if every dataset is affected, because the token is at fault."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """They may have been processed or not. `reason`: for the mart."""

    reason: str
    what: str


Fate = Accepted | Again | Refused | Stopped | Unclear


class EventsApi:
    """Posts events; thread-safe, keeps no connection open."""

    def __init__(
        self,
        base_url: str,
        version: str,
        token: str,
        *,
        test_event_code: str | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        parts = urlsplit(base_url)
        self._is_tls = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._prefix = f"{parts.path.rstrip('/')}/{version}"
        self._token, self._test_event_code = token, test_event_code
        self._connect_seconds, self._answer_seconds = connect_seconds, answer_seconds

    @classmethod
    def from_settings(cls, settings: Settings, **timeouts: float) -> EventsApi:
        """The client of this installation. Raises `ValueError` without a token."""
        token = settings.meta_conversions_token or settings.meta_access_token
        if token is None:
            raise ValueError("no token")
        is_test = settings.meta_conversions_mode == "test"
        return cls(
            settings.meta_graph_url,
            settings.meta_api_version,
            token.get_secret_value(),
            test_event_code=settings.meta_test_event_code if is_test else None,
            **timeouts,
        )

    def post(self, dataset_id: str, events: Sequence[dict[str, Any]]) -> Fate:
        """Send `events` in one request. Raises nothing that the network or Meta can cause."""
        body: dict[str, Any] = {"data": list(events)}
        if self._test_event_code:
            body["test_event_code"] = self._test_event_code
        content = orjson.dumps(body)
        connection = self._connection()
        try:
            try:
                connection.connect()
            except (OSError, http.client.HTTPException) as error:
                return Again(f"no connection to {self._host}: {type(error).__name__}")
            # From here on Meta may have it, whatever happens.
            try:
                return self._exchange(connection, dataset_id, content, len(events))
            except TimeoutError:
                return Unclear("no_answer", f"no answer within {self._answer_seconds:.0f} s")
            except (OSError, http.client.HTTPException, ValueError) as error:
                return Unclear("no_answer", f"the connection ended early: {type(error).__name__}")
        finally:
            connection.close()

    def _exchange(
        self, connection: http.client.HTTPConnection, dataset_id: str, content: bytes, sent: int
    ) -> Fate:
        assert connection.sock is not None
        connection.sock.settimeout(self._answer_seconds)
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Connection": "close",
            "User-Agent": "ctwa-attribution",
        }
        connection.request("POST", f"{self._prefix}/{dataset_id}/events", content, headers)
        answer = connection.getresponse()
        raw = answer.read(_MAX_ANSWER)
        if answer.length:  # `read` with a limit does not say that the body was cut
            return Unclear("no_answer", "the answer was cut off")
        known = {name.lower(): value for name, value in answer.getheaders()}
        return self._fate(answer.status, known, raw, sent, f"POST /{dataset_id}/events")

    def _fate(self, status: int, headers: dict[str, str], raw: bytes, sent: int, call: str) -> Fate:
        from ingestion.ads.meta.graph import redact, regain_seconds

        try:
            body = read_json(raw)
        except UnreadableError:
            body = None
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            error = dict(body["error"])
            error["message"] = redact(str(error.get("message") or ""), self._token)[:300]
            seconds = regain_seconds(headers)
            problem = problem_from(error, call=call, status=status, regain_seconds=seconds)
            return _of_error(classify(problem), error.get("fbtrace_id"))
        if status == 429:
            return Again("HTTP 429", regain_seconds(headers))
        if status != 200 or not isinstance(body, dict):
            return Unclear("unclear_answer", f"HTTP {status} without an answer from Meta")
        if body.get("events_received") != sent or isinstance(body["events_received"], bool):
            return Unclear("count_differs", f"{sent} sent, but not all of them acknowledged")
        trace = body.get("fbtrace_id")
        return Accepted(trace if isinstance(trace, str) else None)

    def _connection(self) -> http.client.HTTPConnection:
        if not self._is_tls:
            return http.client.HTTPConnection(self._host, self._port, self._connect_seconds)
        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
        proxy = getproxies().get("https")
        if not proxy or proxy_bypass(self._host):
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._connect_seconds, context=context
            )
        via = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        connection = http.client.HTTPSConnection(
            via.hostname or "", via.port, timeout=self._connect_seconds, context=context
        )
        connection.set_tunnel(self._host, self._port or 443)
        return connection


def _of_error(error: GraphError, fbtrace_id: Any) -> Fate:
    problem = error.problem
    numbers = "/".join(str(n) for n in (problem.code, problem.subcode) if n is not None)
    what = f"error {numbers or '?'}, HTTP {problem.status}: {problem.note or 'no message'}"
    if isinstance(error, GraphThrottledError | GraphUnavailableError):
        return Again(what, problem.regain_seconds)
    if isinstance(error, GraphStopError):
        return Stopped(what, _FIXES["token"], True)
    if isinstance(error, GraphPermissionError):
        return Stopped(what, _FIXES["permission"], False)
    if isinstance(error, GraphNotFoundError):
        return Stopped(what, _FIXES["dataset"], False)
    trace = fbtrace_id if isinstance(fbtrace_id, str) else None
    return Refused(problem.code, problem.subcode, what, trace)


_FIXES = {
    "token": (
        "make a new system user token with whatsapp_business_manage_events in Business settings > "
        "System users, put it into META_CONVERSIONS_TOKEN (or META_ACCESS_TOKEN) and run again; "
        "if Meta has blocked the app, settle the policy notice in its App Dashboard first"
    ),
    "permission": (
        "assign the dataset and the WhatsApp account to the token's system user, and give the "
        "token whatsapp_business_management and whatsapp_business_manage_events"
    ),
    "dataset": (
        "check the dataset in META_DATASET_IDS: `ctwa doctor` names the dataset of each WhatsApp "
        "account"
    ),
}


__all__ = [
    "NAME_REFUSED",
    "TOO_OLD",
    "Accepted",
    "Again",
    "Event",
    "EventsApi",
    "Fate",
    "Refused",
    "Stopped",
    "Unclear",
]
