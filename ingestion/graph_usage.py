"""Usage headers of the Marketing API: how near a limit is, and when it is lifted.

The headers may be missing, and their exact layout is not documented in full: what is not as
expected counts as "nothing known".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

_HEADERS = (
    "x-business-use-case-usage",
    "x-ad-account-usage",
    "x-fb-ads-insights-throttle",
    "x-app-usage",
)
_PERCENTAGES = {"call_count", "total_cputime", "total_time", "acc_id_util_pct", "app_id_util_pct"}


def usage_percent(headers: Mapping[str, str]) -> float:
    """The highest percentage of any limit, 0 if nothing is known."""
    return max((v for k, v in _numbers(headers) if k in _PERCENTAGES), default=0.0)


def regain_seconds(headers: Mapping[str, str]) -> float | None:
    """Seconds until access comes back, as Meta or a proxy estimates; None if unknown."""
    minutes = [v for k, v in _numbers(headers) if k == "estimated_time_to_regain_access"]
    if minutes and max(minutes) > 0:
        return max(minutes) * 60
    after = _number(headers.get("retry-after"))
    if after:
        return after
    full = usage_percent(headers) >= 100
    resets = [v for k, v in _numbers(headers) if k == "reset_time_duration"]
    return max(resets) if full and resets and max(resets) > 0 else None


def _numbers(headers: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    for name in _HEADERS:
        try:
            yield from _walk(orjson.loads(headers.get(name) or "null"))
        except orjson.JSONDecodeError:
            continue


def _walk(value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, list):
        for item in value:
            yield from _walk(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            number = _number(item)
            if number is None:
                yield from _walk(item)
            else:
                yield key, number


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < 1e9 else None
