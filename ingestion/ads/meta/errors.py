"""What Meta's error codes mean for us, in one table, as typed errors.

The class of an error is its remedy:

| class | what the caller does |
|---|---|
| `GraphUnavailableError` | tries again later (the client has used up its tries) |
| `GraphThrottledError` | waits for the next run (the client has waited up to its limit) |
| `GraphTooMuchDataError` | asks asynchronously, or for a smaller range |
| `GraphRunFailedError` | starts a new report run |
| `GraphRetentionError` | leaves out days that Meta no longer keeps |
| `GraphNotFoundError` | marks the object as not readable |
| `GraphPermissionError`, `GraphRequestError` | gives up this account, goes on with the others |
| `GraphMalformedError` | the same |
| `GraphTokenError`, `GraphVersionError`, `GraphBlockedError` | stops everything |

Codes decide, never the HTTP status, which is 400 for nearly all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingestion.apis.client import ApiError, Problem, StopError, UnavailableError
from ingestion.apis.versions import META, fix_for_ended
from ingestion.source import SourceError


@dataclass(frozen=True, slots=True)
class GraphProblem(Problem):
    """What Meta says of a failed call. `call` is method and path, without query; `note`: Meta's own
    message, redacted. `regain_seconds`: until the limit is lifted, as Meta estimates."""

    code: int | None = None
    subcode: int | None = None
    is_transient: bool = False
    regain_seconds: float | None = None

    def details(self) -> tuple[str, ...]:
        """Code and subcode, status, message."""
        numbers = "/".join(str(n) for n in (self.code, self.subcode) if n is not None)
        return (numbers and f"error {numbers}", self.http, self.note)


class GraphError(ApiError):
    """A call to the Graph API failed."""

    problem: GraphProblem
    what = "the Graph API refused the request"
    fix = "see the error code in Meta's Marketing API documentation"


class GraphRequestError(GraphError):
    """Refused for good: asking again in the same way cannot help."""


class GraphStopError(GraphError, StopError):
    """No account can be read: everything stops, and nothing is tried again."""


class GraphTokenError(GraphStopError):
    """The access token is dead."""

    saw = "token refused"
    what = "META_ACCESS_TOKEN is no longer valid"
    fix = (
        "make a new system user token with ads_read in Business settings > System users, "
        "put it into META_ACCESS_TOKEN and run again"
    )


class GraphVersionError(GraphStopError):
    """The version of the API has ended."""

    what = "Meta no longer serves the version of META_API_VERSION"
    fix = fix_for_ended(META, "META_API_VERSION")


class GraphBlockedError(GraphStopError):
    """Meta has blocked the app or user for a policy reason."""

    saw = "blocked"
    what = "Meta has temporarily blocked this app or user"
    fix = "open the App Dashboard, settle the policy notice, and only then run again"


class GraphPermissionError(GraphError):
    """This object or account may not be read with this token."""

    what = "no permission"
    fix = "assign the ad account to the system user, and give its token ads_read"


class GraphThrottledError(GraphError):
    """Rate limited for longer than we wait."""

    retry = "when allowed"
    saw = "rate limit"
    what = "rate limited, and the waiting time is used up"
    fix = "the next run continues where this one stopped; fewer runs or full access to the API help"


class GraphUnavailableError(GraphError, UnavailableError):
    """No usable answer after several tries."""

    setting = "META_GRAPH_URL"
    what = UnavailableError.what
    fix = "see https://metastatus.com; the next run reads it again"


class GraphNotReadyError(GraphUnavailableError):
    """A finished report run cannot be read yet."""

    what = "the report is not ready to be read"


class GraphTooMuchDataError(GraphError):
    """Too much for one synchronous call or one report run."""

    what = "Meta says that is too much data at once"
    fix = "ask for a smaller range of days"


class GraphRunFailedError(GraphError):
    """A report run failed on Meta's side."""

    what = "the report run failed"
    fix = "start it again; the next run does"


class GraphRetentionError(GraphError):
    """The range starts before Meta's retention of 37 months."""

    what = "Meta keeps insights for 37 months only"
    fix = "ask for later days"


class GraphNotFoundError(GraphError):
    """The object does not exist or is not visible to this token."""

    what = "there is no such object, or it is not visible to us"
    fix = "check that the id belongs to an account that the token may read"


class GraphMalformedError(GraphError):
    """A complete answer that cannot be read; asking again gives the same one."""

    what = "Meta's answer cannot be read"
    fix = "nothing was lost, what had been read before stays; report the call to us"


class GraphPagingError(GraphError):
    """Pages form a loop, lead to another host, or have no rows."""

    is_transient = True
    what = "the pages of the answer are not usable"
    fix = "the next run reads them again"


class MetaShapeError(SourceError):
    """Meta's answer does not look as documented: a field is missing or of another kind."""


class MetaDamageError(MetaShapeError):
    """One object of an answer has an unreadable value; only that object is left out."""


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
    2635: GraphVersionError,
    2637: GraphNotReadyError,
    3018: GraphRetentionError,
    **dict.fromkeys(range(200, 300), GraphPermissionError),
    **dict.fromkeys(range(80000, 80015), GraphThrottledError),
}


def classify(problem: GraphProblem) -> GraphError:
    """The typed error of a problem."""
    return _class_of(problem)(problem)


def _class_of(problem: GraphProblem) -> type[GraphError]:
    code, subcode = problem.code, problem.subcode
    if code is not None:
        if subcode is not None and (code, subcode) in _BY_PAIR:
            return _BY_PAIR[code, subcode]
        if subcode is not None and subcode in _BY_SUBCODE:
            return _BY_SUBCODE[subcode]
        # The only case that Meta describes in words alone.
        if code == 1 and "reduce the amount of data" in problem.note.lower():
            return GraphTooMuchDataError
        if code in _BY_CODE:
            return _BY_CODE[code]
    if problem.status == 429:
        return GraphThrottledError
    if problem.is_transient or problem.status is None or problem.status >= 500:
        return GraphUnavailableError
    return GraphRequestError


def problem_from(error: Any, **known: Any) -> GraphProblem:
    """A `GraphProblem` from Meta's `error` object, of which nothing is taken for granted."""
    body = error if isinstance(error, dict) else {}
    return GraphProblem(
        code=_number(body.get("code")),
        subcode=_number(body.get("error_subcode")),
        note=str(body.get("message") or ""),
        is_transient=body.get("is_transient") is True,
        **known,
    )


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
