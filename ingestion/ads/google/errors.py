"""What the Google Ads API's errors mean for us, as typed errors; the class is the remedy.

| class | what the caller does |
|---|---|
| `GoogleUnavailableError` | tries again later (the client has used up its tries) |
| `GoogleThrottledError` | waits for the next run (the client has waited up to its limit) |
| `GooglePermissionError`, `GoogleRequestError` | gives up this customer, goes on with the others |
| `GoogleStopError` | stops everything: no customer can be read |

The words of `errorCode` decide (`authenticationError`, `quotaError` …), then the status; texts are
for people and localised. The shapes are documented in "Understand API errors" (Google Ads API).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ingestion.apis.client import ApiError, Problem, StopError, UnavailableError
from ingestion.apis.versions import GOOGLE, fix_for_ended

TOKEN_EXCHANGE = "the token exchange"  # noqa: S105
"""`Problem.call` of requests to Google's OAuth server."""


@dataclass(frozen=True, slots=True)
class GoogleProblem(Problem):
    """What Google says of a failed call. `note`: Google's own word, e.g. `USER_PERMISSION_DENIED`.
    `quota_seconds`: until the quota has room again."""

    request_id: str = ""
    quota_seconds: float | None = None

    def details(self) -> tuple[str, ...]:
        """Google's word, status, and the id that Google's support asks for."""
        return (self.note, self.http, self.request_id and f"request {self.request_id}")


class GoogleError(ApiError):
    """A call to the Google Ads API failed."""

    problem: GoogleProblem
    what = "Google Ads refused the request"
    fix = "look the word up in Google's API documentation, and report it to us"


class GoogleRequestError(GoogleError):
    """Refused for good: asking again in the same way cannot help."""


class GooglePermissionError(GoogleError):
    """This customer cannot be read; others may."""

    what = "Google Ads does not let this account be read"
    fix = (
        "give the Google user behind GOOGLE_ADS_REFRESH_TOKEN access to it, or set "
        "GOOGLE_ADS_LOGIN_CUSTOMER_ID to the manager account above it"
    )


class GoogleShapeError(GoogleRequestError):
    """The answer does not look as documented."""

    what = "Google's answer is not as documented"
    fix = "nothing was lost, what had been read before stays; report it to us"


class GoogleDamageError(GoogleShapeError):
    """One object of an answer has an unreadable id; only that object is left out."""


class GoogleStopError(GoogleError, StopError):
    """No customer can be read: everything stops, and nothing is tried again."""

    what = "Google Ads accepts none of our requests"


class GoogleUnavailableError(GoogleError, UnavailableError):
    """No usable answer after several tries."""

    setting = "GOOGLE_ADS_URL and GOOGLE_OAUTH_URL"
    what = "Google Ads could not be reached"
    fix = "see https://ads.google.com/status; the next run reads it again"


class GoogleThrottledError(GoogleUnavailableError):
    """More was asked than the quota allows."""

    retry = "when allowed"
    what = "Google's quota is used up"
    fix = (
        "the next run continues; if it happens often, apply for a higher access level on the page "
        "Google Ads API Overview of the Google Cloud console"
    )


_ONLY_TESTS = "the Google Cloud project of the OAuth client may only read test accounts"
_APPLY = (
    "apply for Explorer or Basic access on the page Google Ads API Overview of the Google Cloud "
    "console (docs/connect/google-ads.md)"
)
_STOPS: Mapping[str, tuple[str, str]] = {
    "invalid_grant": (
        "the refresh token is no longer valid",
        "make a new one and put it into GOOGLE_ADS_REFRESH_TOKEN; of an OAuth app in testing it "
        "ends after 7 days, so publish the app first (docs/connect/google-ads.md)",
    ),
    "invalid_client": (
        "Google does not know this OAuth client",
        "check GOOGLE_ADS_CLIENT_ID and GOOGLE_ADS_CLIENT_SECRET",
    ),
    "unauthorized_client": (
        "the refresh token was made for another OAuth client",
        "make GOOGLE_ADS_REFRESH_TOKEN with the client of GOOGLE_ADS_CLIENT_ID",
    ),
    "CLOUD_PROJECT_NOT_APPROVED_FOR_PRODUCTION": (_ONLY_TESTS, _APPLY),
    "DEVELOPER_TOKEN_NOT_APPROVED": (_ONLY_TESTS, _APPLY),
    "ORGANIZATION_NOT_APPROVED": (_ONLY_TESTS, _APPLY),
    "SERVICE_DISABLED": (
        "the Google Ads API is not turned on in the Google Cloud project of the OAuth client",
        "turn it on there (APIs & Services, Library), and try again some minutes later",
    ),
    "PROJECT_DISABLED": (
        "the Google Cloud project of the OAuth client may not use the Google Ads API",
        _APPLY,
    ),
    "MISSING_TOS": (
        "the terms of the Google Ads API are not accepted",
        "accept them on the page Google Ads API Overview of the Google Cloud console",
    ),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": (
        "the refresh token does not allow reading Google Ads",
        "make GOOGLE_ADS_REFRESH_TOKEN with the scope https://www.googleapis.com/auth/adwords",
    ),
    "DEVELOPER_TOKEN_INVALID": (
        "the developer token is not valid",
        "empty GOOGLE_ADS_DEVELOPER_TOKEN, which is no longer needed",
    ),
    "DEVELOPER_TOKEN_PARAMETER_MISSING": (
        "the developer token did not arrive",
        "set GOOGLE_ADS_DEVELOPER_TOKEN",
    ),
    "DEVELOPER_TOKEN_PROHIBITED": (
        "the developer token belongs to another Google Cloud project",
        "empty GOOGLE_ADS_DEVELOPER_TOKEN, which is no longer needed",
    ),
    "NOT_ADS_USER": (
        "the Google user of the refresh token has no account in Google Ads",
        "make GOOGLE_ADS_REFRESH_TOKEN as a user who sees the accounts in Google Ads",
    ),
    "INVALID_LOGIN_CUSTOMER_ID": (
        "there is no such manager account",
        "check GOOGLE_ADS_LOGIN_CUSTOMER_ID",
    ),
    "TWO_STEP_VERIFICATION_NOT_ENROLLED": (
        "the Google user has no two-step verification",
        "turn it on for that user, then make a new GOOGLE_ADS_REFRESH_TOKEN",
    ),
    "UNSUPPORTED_VERSION": (
        "the version of GOOGLE_ADS_API_VERSION is no longer served",
        fix_for_ended(GOOGLE, "GOOGLE_ADS_API_VERSION"),
    ),
}
_DENIALS: Mapping[str, tuple[str, str]] = {
    "CUSTOMER_NOT_ENABLED": (
        "this account is not active",
        "finish its set-up or billing in Google Ads, or take it out of GOOGLE_ADS_CUSTOMER_IDS",
    ),
    **dict.fromkeys(
        ("CUSTOMER_NOT_FOUND", "CLIENT_CUSTOMER_ID_INVALID", "INVALID_CUSTOMER_ID"),
        ("there is no such account", "check GOOGLE_ADS_CUSTOMER_IDS"),
    ),
}
_QUOTA = ("RESOURCE_EXHAUSTED", "RESOURCE_TEMPORARILY_EXHAUSTED")
_OUTAGES = (
    *("INTERNAL", "INTERNAL_ERROR", "TRANSIENT_ERROR", "UNAVAILABLE", "ABORTED"),
    "DEADLINE_EXCEEDED",
)


def classify(problem: GoogleProblem) -> GoogleError:
    """The error of a refusal."""
    if problem.note in _STOPS:
        return GoogleStopError(problem, *_STOPS[problem.note])
    if problem.note in _DENIALS:
        return GooglePermissionError(problem, *_DENIALS[problem.note])
    if problem.status == 429 or problem.note in _QUOTA:
        return GoogleThrottledError(problem)
    if problem.note in _OUTAGES or problem.status is None or problem.status >= 500:
        return GoogleUnavailableError(problem)
    if 300 <= problem.status < 400:
        what = "the answer is a redirect to another address"
        fix = "check GOOGLE_ADS_URL and GOOGLE_OAUTH_URL, and any proxy on the way"
        return GoogleStopError(problem, what, fix)
    if problem.call == TOKEN_EXCHANGE:
        if problem.status == 404:
            return GoogleStopError(problem, "nothing is at this address", "check GOOGLE_OAUTH_URL")
        what = "Google gives no access token"
        fix = (
            "check GOOGLE_ADS_CLIENT_ID, GOOGLE_ADS_CLIENT_SECRET and GOOGLE_ADS_REFRESH_TOKEN "
            "(docs/connect/google-ads.md)"
        )
        return GoogleStopError(problem, what, fix)
    if problem.status == 401:
        what = "Google rejects our access token, even a new one"
        return GoogleStopError(problem, what, "make a new GOOGLE_ADS_REFRESH_TOKEN")
    if problem.status == 403:
        return GooglePermissionError(problem)
    if problem.status == 404:
        return GoogleStopError(problem, *_STOPS["UNSUPPORTED_VERSION"])
    return GoogleRequestError(problem)


# ---- what an error body says -----------------------------------------------------------------

# Only parts of a body that have the form Google gives them are taken: an answer that quotes our
# request must not bring our secrets into errors and logs.
_WORD = re.compile(r"[a-z][a-z_]{1,60}|[A-Z][A-Z0-9_]{1,80}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{22}")


def problem_from(body: Any, call: str, status: int) -> GoogleProblem:
    """What an error body says: `{"error": …}`, alone or as an element of the stream."""
    items = body if isinstance(body, list) else [body]
    error = next((i["error"] for i in items if isinstance(i, dict) and "error" in i), None)
    if isinstance(error, str):  # from the OAuth server
        return GoogleProblem(call, status, _matching(_WORD, error))
    if not isinstance(error, dict):
        return GoogleProblem(call, status)
    code = error.get("code")
    details = _objects(error.get("details"))
    failures = [failure for detail in details for failure in _objects(detail.get("errors"))]
    words = [
        word
        for failure in failures
        if isinstance(failure.get("errorCode"), dict)
        for word in failure["errorCode"].values()
    ]
    # Refusals by what stands in front of Google Ads, e.g. SERVICE_DISABLED.
    words += [d.get("reason") for d in details]
    words.append(error.get("status"))
    requests = (_matching(_REQUEST_ID, d.get("requestId")) for d in details)
    return GoogleProblem(
        call,
        code if isinstance(code, int) and status < 400 else status,
        next(filter(None, (_matching(_WORD, word) for word in words)), ""),
        request_id=next(filter(None, requests), ""),
        quota_seconds=_retry_delay([*details, *failures]),
    )


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _matching(form: re.Pattern[str], value: Any) -> str:
    """A value if it has the form that Google gives it, else ''."""
    return value if isinstance(value, str) and form.fullmatch(value) else ""


def _retry_delay(details: list[dict[str, Any]]) -> float | None:
    """`retryDelay` such as "5s", wherever in the details Google puts it."""
    for detail in details:
        inner: Any = detail.get("details", {})
        quota = inner.get("quotaErrorDetails", {}) if isinstance(inner, dict) else {}
        for holder in (detail, quota):
            text = str(holder.get("retryDelay", "")) if isinstance(holder, dict) else ""
            if text.endswith("s") and text[:-1].replace(".", "", 1).isdigit():
                return float(text[:-1])
    return None
