"""What an error body of Google's says: its word, its request, and how long to wait.

Of a body only what has the form that Google gives it is taken: an answer that quotes what it was
sent must not bring our secrets into errors and logs.
"""

from __future__ import annotations

import re
from typing import Any

from ingestion.google_errors import Problem

_WORD = re.compile(r"[a-z][a-z_]{1,60}|[A-Z][A-Z0-9_]{1,80}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{22}")


def problem_from(body: Any, call: str, status: int) -> Problem:
    """What an error body says: `{"error": …}`, alone or as an element of the stream."""
    items = body if isinstance(body, list) else [body]
    error = next((i["error"] for i in items if isinstance(i, dict) and "error" in i), None)
    if isinstance(error, str):  # of the OAuth server
        return Problem(call, status, _known(_WORD, error))
    if not isinstance(error, dict):
        return Problem(call, status)
    code = error.get("code")
    details = _objects(error.get("details"))
    failures = [failure for detail in details for failure in _objects(detail.get("errors"))]
    words = [
        word
        for failure in failures
        if isinstance(failure.get("errorCode"), dict)
        for word in failure["errorCode"].values()
    ]
    # Refusals before Google Ads itself was asked, e.g. SERVICE_DISABLED.
    words += [d.get("reason") for d in details]
    words.append(error.get("status"))
    requests = (_known(_REQUEST_ID, d.get("requestId")) for d in details)
    return Problem(
        call,
        code if isinstance(code, int) and status < 400 else status,
        next(filter(None, (_known(_WORD, word) for word in words)), ""),
        next(filter(None, requests), ""),
        _retry_seconds([*details, *failures]),
    )


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _known(form: re.Pattern[str], value: Any) -> str:
    """A value if it has the form that Google gives it, else ''."""
    return value if isinstance(value, str) and form.fullmatch(value) else ""


def _retry_seconds(details: list[dict[str, Any]]) -> float | None:
    """`retryDelay` such as "5s", wherever in the details Google puts it."""
    for detail in details:
        inner: Any = detail.get("details", {})
        quota = inner.get("quotaErrorDetails", {}) if isinstance(inner, dict) else {}
        for holder in (detail, quota):
            text = str(holder.get("retryDelay", "")) if isinstance(holder, dict) else ""
            if text.endswith("s") and text[:-1].replace(".", "", 1).isdigit():
                return float(text[:-1])
    return None
