"""The part of the Google Ads Query Language that is supported here, and errors in Google's shape.

`SELECT fields FROM resource [WHERE condition AND condition]`, with `=`, `!=`, `IN (…)` and
`BETWEEN … AND …`. A field that does not exist, or does not go with the resource, is Google's error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

REQUEST_ID = "AbCdEfGhIjKlMnOpQrStUv"
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
_MESSAGES = {
    400: "Request contains an invalid argument.",
    401: "Request had invalid authentication credentials.",
    403: "The caller does not have permission",
    429: "Resource has been exhausted (e.g. check quota).",
    500: "Internal error encountered.",
    503: "The service is currently unavailable.",
}

FIELDS: Mapping[str, tuple[str, ...]] = {
    "customer": ("id", "descriptive_name", "currency_code", "time_zone", "status", "manager"),
    "customer_client": (
        *("id", "client_customer", "descriptive_name", "currency_code", "time_zone"),
        *("status", "manager", "level"),
    ),
    "campaign": ("id", "name", "advertising_channel_type", "status"),
    "ad_group": ("id", "name", "type", "status"),
    "ad_group_ad": (
        *("ad.id", "ad.name", "ad.type", "status"),
        *("ad.responsive_search_ad.headlines", "ad.responsive_search_ad.descriptions"),
    ),
    "click_view": ("gclid", "ad_group_ad", "keyword_info.text"),
    "segments": ("date",),
    "metrics": ("cost_micros", "impressions", "clicks"),
}
_WITH = {
    "customer": ("customer",),
    "customer_client": ("customer_client", "customer"),
    "campaign": ("campaign", "customer"),
    "ad_group": ("ad_group", "campaign", "customer"),
    "ad_group_ad": ("ad_group_ad", "ad_group", "campaign", "customer"),
    "click_view": ("click_view", "ad_group", "campaign", "customer"),
}
_QUERY = re.compile(r"SELECT (.+?) FROM (\w+)(?: WHERE (.+))?", re.IGNORECASE)
_CONDITION = re.compile(
    r"(?P<field>[\w.]+) ?(?:(?P<op>!=|=) ?(?P<value>'[^']*'|[\w.]+)"
    r"|BETWEEN (?P<low>'[^']*') AND (?P<high>'[^']*')|IN ?\((?P<list>[^)]*)\))",
    re.IGNORECASE,
)


class CallError(Exception):
    """An answer of the API that is an error. `body`: as `searchStream` sends it."""

    def __init__(self, status: int, error_code: Mapping[str, str], message: str) -> None:
        super().__init__(message)
        self.status = status
        self.word = next(iter(error_code.values()), "")
        self.body = google_error(status, error_code, message)


def google_error(
    status: int,
    error_code: Mapping[str, str] | None = None,
    message: str = "",
    *,
    retry_delay: str | None = None,
    version: str = "v23",
) -> list[dict[str, Any]]:
    """An error body of `searchStream`, e.g. of `{"quotaError": "RESOURCE_EXHAUSTED"}`."""
    error: dict[str, Any] = {
        "code": status,
        "message": _MESSAGES.get(status, "error"),
        "status": _STATUSES.get(status, "UNKNOWN"),
    }
    if error_code:
        failure: dict[str, Any] = {"errorCode": dict(error_code), "message": message}
        if retry_delay is not None:
            scope = {"rateScope": "DEVELOPER", "rateName": "Requests", "retryDelay": retry_delay}
            failure["details"] = {"quotaErrorDetails": scope}
        error["details"] = [
            {
                "@type": f"type.googleapis.com/google.ads.googleads.{version}"
                ".errors.GoogleAdsFailure",
                "errors": [failure],
                "requestId": REQUEST_ID,
            }
        ]
    return [{"error": error}]


@dataclass(frozen=True)
class Condition:
    """`field` has one of `values`, or a value between `low` and `high`, or is not `is_not`."""

    field: str
    values: tuple[str, ...] = ()
    is_not: str | None = None
    low: str | None = None
    high: str | None = None

    def holds(self, value: Any) -> bool:
        """Whether a row's value passes."""
        text = "" if value is None else str(value)
        if self.is_not is not None:
            return text != self.is_not
        if self.low is not None and self.high is not None:
            return self.low <= text <= self.high
        return text in self.values


@dataclass(frozen=True)
class Query:
    """A checked query."""

    resource: str
    fields: tuple[str, ...]
    conditions: tuple[Condition, ...]

    @property
    def has_metrics(self) -> bool:
        """Whether the query asks for figures."""
        return any(name.startswith("metrics.") for name in self.fields)

    @property
    def by_day(self) -> bool:
        """Whether figures are by day."""
        return "segments.date" in self.fields

    def days(self) -> tuple[date, date] | None:
        """The requested days, both included; None without such a condition."""
        found = next((c for c in self.conditions if c.field == "segments.date"), None)
        if found is None or found.is_not is not None:
            return None
        low = _day(found.low or min(found.values))
        high = _day(found.high or max(found.values))
        if low > high:
            raise query_error("DATE_RANGE_TOO_NARROW", "the range ends before it begins")
        return low, high


def query_error(word: str, message: str) -> CallError:
    """A refused query."""
    return CallError(400, {"queryError": word}, message)


def parse(text: str) -> Query:
    """A query, checked as Google does; raises `CallError`."""
    flat = " ".join(text.split())
    match = _QUERY.fullmatch(flat)
    if match is None:
        raise query_error("UNEXPECTED_INPUT", "the query cannot be read")
    fields = tuple(name.strip() for name in match[1].split(","))
    resource = match[2]
    if resource not in _WITH:
        raise query_error("BAD_RESOURCE_TYPE_IN_FROM_CLAUSE", resource)
    conditions = _conditions(match[3] or "")
    for name in (*fields, *(c.field for c in conditions)):
        _check_field(name, resource)
    query = Query(resource, fields, conditions)
    if resource == "click_view":
        days = query.days()
        if days is None or days[0] != days[1]:
            word = "EXPECTED_FILTER_ON_A_SINGLE_DAY"
            raise CallError(400, {"clickViewError": word}, "Missing filter on a single day.")
    elif query.by_day and query.days() is None:
        raise query_error("EXPECTED_FILTERS_ON_DATE_RANGE", "segments.date needs a date range")
    elif query.has_metrics and not query.by_day:
        raise query_error("QUERY_ERROR", "this stand-in tells figures by segments.date only")
    return query


def _conditions(text: str) -> tuple[Condition, ...]:
    found: list[Condition] = []
    rest = text
    while rest:
        match = _CONDITION.match(rest)
        if match is None:
            raise query_error("UNEXPECTED_INPUT", "a condition cannot be read")
        found.append(_condition(match))
        rest = rest[match.end() :]
        if rest and not rest.lower().startswith(" and "):
            raise query_error("UNEXPECTED_INPUT", "conditions are joined by AND")
        rest = rest[5:]
    return tuple(found)


def _condition(match: re.Match[str]) -> Condition:
    name = match["field"]
    if match["low"] is not None:
        return Condition(name, low=match["low"].strip("'"), high=match["high"].strip("'"))
    if match["list"] is not None:
        return Condition(name, tuple(v.strip().strip("'") for v in match["list"].split(",")))
    value = match["value"].strip("'")
    return Condition(name, is_not=value) if match["op"] == "!=" else Condition(name, (value,))


def _check_field(name: str, resource: str) -> None:
    kind, _, rest = name.partition(".")
    if rest not in FIELDS.get(kind, ()) and rest != "resource_name":
        raise query_error("UNRECOGNIZED_FIELD", f"Unrecognized field in the query: '{name}'.")
    if kind == "metrics" and (
        resource == "customer_client" or (resource == "click_view" and rest != "clicks")
    ):
        raise query_error("PROHIBITED_METRIC_IN_SELECT_OR_WHERE_CLAUSE", name)
    if kind == "segments" and resource == "customer_client":
        raise query_error("PROHIBITED_SEGMENT_IN_SELECT_OR_WHERE_CLAUSE", name)
    if kind not in ("metrics", "segments") and kind not in _WITH[resource]:
        raise query_error("PROHIBITED_RESOURCE_TYPE_IN_SELECT_CLAUSE", name)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise query_error("INVALID_DATE_FORMAT", "Expected 'YYYY-MM-DD'.") from None
