"""What Meta's error codes mean for us, in one table, as typed errors.

The class of an error is its remedy:

| class | what the caller does |
|---|---|
| `GraphUnavailableError` | tries again (the client has: when it comes out, the tries are used up) |
| `GraphThrottledError` | waits (the client has, up to its limit) |
| `GraphTooMuchDataError` | asks asynchronously, or for a smaller range |
| `GraphRunFailedError` | starts a new report run |
| `GraphRetentionError` | leaves out days that Meta no longer keeps |
| `GraphNotFoundError` | marks the object as not readable |
| `GraphPermissionError`, `GraphRequestError` | gives up this account, goes on with the others |
| `GraphTokenError`, `GraphBlockedError` | stops everything: no account can be read |

Codes decide, never the HTTP status, which is 400 for nearly all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingestion.errors import SourceError


@dataclass(frozen=True, slots=True)
class Problem:
    """What is known of a failed call. `call` is method and path, without query."""

    call: str
    status: int | None = None
    code: int | None = None
    subcode: int | None = None
    message: str = ""
    is_transient: bool = False
    # Seconds until the limit is lifted, as Meta estimates.
    regain_seconds: float | None = None


class GraphError(SourceError):
    """A call to the Graph API failed; `str()` says what happened and the mend."""

    what = "the Graph API refused the request"
    mend = "see the error code in Meta's Marketing API documentation"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        numbers = "/".join(str(n) for n in (problem.code, problem.subcode) if n is not None)
        status = f"HTTP {problem.status}" if problem.status is not None else ""
        detail = ", ".join(filter(None, (numbers and f"error {numbers}", status, problem.message)))
        super().__init__(f"{self.what} at {problem.call} ({detail or 'no answer'}): {self.mend}")


class GraphRequestError(GraphError):
    """Refused for good: asking again in the same way cannot help."""


class GraphStopError(GraphError):
    """No account can be read any more: everything stops, nothing is tried again."""


class GraphTokenError(GraphStopError):
    """The access token is dead."""

    what = "META_ACCESS_TOKEN is no longer valid"
    mend = (
        "make a new system user token with ads_read in Business settings > System users, "
        "put it into META_ACCESS_TOKEN and run again"
    )


class GraphBlockedError(GraphStopError):
    """Meta has blocked the app or user for a policy reason."""

    what = "Meta has temporarily blocked this app or user"
    mend = "open the App Dashboard, settle the policy notice, and only then run again"


class GraphPermissionError(GraphError):
    """This object or account may not be read with this token."""

    what = "no permission"
    mend = "assign the ad account to the system user, and give its token ads_read"


class GraphThrottledError(GraphError):
    """Rate limited for longer than we wait."""

    what = "rate limited, and the waiting time is used up"
    mend = "the next run goes on where this one stopped; fewer runs or full access to the API help"


class GraphUnavailableError(GraphError):
    """No usable answer after several tries."""

    is_transient = True
    what = "no usable answer after several tries"
    mend = "usually passes by itself, the next run tries again; see https://metastatus.com"


class GraphNotReadyError(GraphUnavailableError):
    """A finished report run cannot be read yet."""

    what = "the report is not ready to be read"


class GraphTooMuchDataError(GraphError):
    """Too much for one synchronous call or one report run."""

    what = "Meta says that is too much data at once"
    mend = "ask for a smaller range of days"


class GraphRunFailedError(GraphError):
    """A report run failed at Meta's side."""

    what = "the report run failed"
    mend = "start it again; the next run does"


class GraphRetentionError(GraphError):
    """The range starts before Meta's retention of 37 months."""

    what = "Meta keeps insights for 37 months only"
    mend = "ask for later days"


class GraphNotFoundError(GraphError):
    """The object does not exist or is not visible to this token."""

    what = "there is no such object, or it is not visible to us"
    mend = "check that the id belongs to an account that the token may read"


class GraphPagingError(GraphError):
    """Pages run in a circle, lead to another host, or have no rows."""

    is_transient = True
    what = "the pages of the answer are not usable"
    mend = "usually passes by itself; the next run reads them again"


_BY_PAIR: dict[tuple[int, int], type[GraphError]] = {
    (2, 1504038): GraphTooMuchDataError,
    (2, 1504041): GraphRequestError,
    (2, 1504042): GraphRequestError,
    (2, 1504043): GraphUnavailableError,
    (2, 1504044): GraphUnavailableError,
    (17, 1885172): GraphRequestError,  # spend cap: not a rate limit
    (100, 33): GraphNotFoundError,
    (100, 3191001): GraphPermissionError,
}
_BY_SUBCODE: dict[int, type[GraphError]] = {
    99: GraphUnavailableError,
    1487534: GraphTooMuchDataError,
    1504018: GraphTooMuchDataError,
    1504045: GraphTooMuchDataError,
    1815107: GraphNotReadyError,
}
_BY_CODE: dict[int, type[GraphError]] = {
    -3: GraphTooMuchDataError,
    -2: GraphRunFailedError,
    1: GraphUnavailableError,
    2: GraphUnavailableError,
    4: GraphThrottledError,
    10: GraphPermissionError,
    17: GraphThrottledError,
    32: GraphThrottledError,
    102: GraphTokenError,
    190: GraphTokenError,
    341: GraphThrottledError,
    368: GraphBlockedError,
    613: GraphThrottledError,
    803: GraphNotFoundError,
    2637: GraphNotReadyError,
    3018: GraphRetentionError,
    **dict.fromkeys(range(200, 300), GraphPermissionError),
    **dict.fromkeys(range(80000, 80015), GraphThrottledError),
}


def classify(problem: Problem) -> GraphError:
    """The typed error of a problem."""
    return _class_of(problem)(problem)


def _class_of(problem: Problem) -> type[GraphError]:
    code, subcode = problem.code, problem.subcode
    if code is not None:
        if subcode is not None and (code, subcode) in _BY_PAIR:
            return _BY_PAIR[code, subcode]
        if subcode is not None and subcode in _BY_SUBCODE:
            return _BY_SUBCODE[subcode]
        # The one case that Meta tells in words only.
        if code == 1 and "reduce the amount of data" in problem.message.lower():
            return GraphTooMuchDataError
        if code in _BY_CODE:
            return _BY_CODE[code]
    if problem.status == 429:
        return GraphThrottledError
    if problem.is_transient or problem.status is None or problem.status >= 500:
        return GraphUnavailableError
    return GraphRequestError


def problem_from(error: Any, **known: Any) -> Problem:
    """A `Problem` from Meta's `error` object, of which nothing is taken for granted."""
    body = error if isinstance(error, dict) else {}
    return Problem(
        code=_number(body.get("code")),
        subcode=_number(body.get("error_subcode")),
        message=str(body.get("message") or ""),
        is_transient=body.get("is_transient") is True,
        **known,
    )


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
