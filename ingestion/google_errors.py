"""What the Google Ads API's errors mean for us, as typed errors; the class is the remedy.

| class | what the caller does |
|---|---|
| `GoogleUnavailableError` | tries again (the client has, until its tries were used up) |
| `GoogleThrottledError` | waits (the client has, up to its limit) |
| `GooglePermissionError`, `GoogleRequestError` | gives up this customer, goes on with the others |
| `GoogleStopError` | stops everything: no customer can be read |

The words of `errorCode` decide (`authenticationError`, `quotaError` …), then the status; texts are
for people and localised. Shapes: Google Ads API, "Understand API errors".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ingestion.errors import SourceError

TOKEN_EXCHANGE = "the token exchange"  # noqa: S105
"""`Problem.call` of what Google's OAuth server was asked."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is known of a failed call. `call`: what was asked, without query and secrets."""

    call: str
    status: int | None = None
    word: str = ""
    """Google's own word, e.g. `USER_PERMISSION_DENIED`."""
    request_id: str = ""
    retry_seconds: float | None = None


class GoogleError(SourceError):
    """A call to the Google Ads API failed; `str()` says what happened and the mend."""

    what = "Google Ads refused the request"
    mend = "look the word up in Google's API documentation, and report it to us"

    def __init__(self, problem: Problem, what: str = "", mend: str = "") -> None:
        self.problem = problem
        request = f"request {problem.request_id}" if problem.request_id else ""
        status = f"HTTP {problem.status}" if problem.status is not None else ""
        detail = ", ".join(filter(None, (problem.word, status, request)))
        said = f" ({detail})" if detail else ""
        super().__init__(f"{what or self.what} at {problem.call}{said}: {mend or self.mend}")


class GoogleRequestError(GoogleError):
    """Refused for good: asking again in the same way cannot help."""


class GooglePermissionError(GoogleError):
    """This customer cannot be read; others may."""

    what = "Google Ads does not let this account be read"
    mend = (
        "give the Google user behind GOOGLE_ADS_REFRESH_TOKEN access to it, or set "
        "GOOGLE_ADS_LOGIN_CUSTOMER_ID to the manager account above it"
    )


class GoogleShapeError(GoogleRequestError):
    """The answer does not look as documented."""

    what = "Google's answer is not as documented"
    mend = "usually passes by itself, the next run reads it again; if not, report it to us"


class GoogleStopError(GoogleError):
    """No customer can be read any more: everything stops, nothing is tried again."""

    what = "Google Ads accepts none of our requests"


class GoogleUnavailableError(GoogleError):
    """An outage that mostly passes by itself."""

    what = "Google Ads could not be reached"
    mend = "usually passes by itself, the next run reads it again"
    is_transient = True


class GoogleThrottledError(GoogleUnavailableError):
    """More was asked than the quota allows."""

    what = "Google's quota is used up"
    mend = (
        "the next run goes on; where it happens often, apply for a higher access level on the page "
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
        "the refresh token does not allow to read Google Ads",
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
        "this version of the API is no longer served",
        "set GOOGLE_ADS_API_VERSION to a newer one",
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


def classify(problem: Problem) -> GoogleError:
    """The error of a refusal."""
    if problem.word in _STOPS:
        return GoogleStopError(problem, *_STOPS[problem.word])
    if problem.word in _DENIALS:
        return GooglePermissionError(problem, *_DENIALS[problem.word])
    if problem.status == 429 or problem.word in _QUOTA:
        return GoogleThrottledError(problem)
    if problem.word in _OUTAGES or problem.status is None or problem.status >= 500:
        return GoogleUnavailableError(problem)
    if 300 <= problem.status < 400:
        what = "another address was named instead of an answer"
        mend = "check GOOGLE_ADS_URL and GOOGLE_OAUTH_URL, and any proxy on the way"
        return GoogleStopError(problem, what, mend)
    if problem.call == TOKEN_EXCHANGE:
        if problem.status == 404:
            return GoogleStopError(problem, "nothing is at this address", "check GOOGLE_OAUTH_URL")
        what = "Google gives no access token"
        mend = (
            "check GOOGLE_ADS_CLIENT_ID, GOOGLE_ADS_CLIENT_SECRET and GOOGLE_ADS_REFRESH_TOKEN "
            "(docs/connect/google-ads.md)"
        )
        return GoogleStopError(problem, what, mend)
    if problem.status == 401:
        what = "Google calls our access token invalid, also a new one"
        return GoogleStopError(problem, what, "make a new GOOGLE_ADS_REFRESH_TOKEN")
    if problem.status == 403:
        return GooglePermissionError(problem)
    if problem.status == 404:
        return GoogleStopError(problem, *_STOPS["UNSUPPORTED_VERSION"])
    return GoogleRequestError(problem)
