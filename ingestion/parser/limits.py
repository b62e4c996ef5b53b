"""Reading hostile JSON: what is refused, at which place, and how that is found out cheaply.

Almost every body passes two cheap tests (`read_body`) and is then trusted to hold ordinary JSON.
The others are read again by a slower reader that marks what it must not trust at its place, so
that one bad element is quarantined and its siblings are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import orjson

MAX_DEPTH = 32
MAX_INT_DIGITS = 19
MAX_LIST = 10_000
"""A history chunk holds thousands of messages; beyond this, elements are quarantined."""

_HOSTILE_KEY = "\x00hostile"
_BAD_TEXT = re.compile("[\x00\ud800-\udfff]")
_HIDING_ESCAPE = re.compile(rb"\\u00(?:00|3[aA])")
"""An escaped NUL, or an escaped colon, by which a repeated key could be hidden from the count."""
_NOT_OPENING = bytes(set(range(256)) - set(b"{["))


class Reject(Exception):  # noqa: N818 - it is a verdict on the input, not a fault of ours
    """An element cannot be taken. The text is a code and what was expected, never a value."""


class _Hostile:
    """Stands in the place of a value that must not be trusted."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


def read_body(body: bytes) -> tuple[Any, bool]:
    """The JSON value of a body, and whether its elements need `hostile` before they are used.

    Raises `Reject` when it cannot be read at all.
    """
    try:
        value = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        return _read_marking(body), True
    # False alarms only cost time.
    if b"\\" in body and _HIDING_ESCAPE.search(body):
        return _read_marking(body), True
    if len(body.translate(None, _NOT_OPENING)) > MAX_DEPTH and _is_doubtful(value):
        return _read_marking(body), True
    # Fewer colons when written again than in the text: a repeated key, of which one was lost
    # (readers differ on which one counts).
    again = orjson.dumps(value)
    if again != body and again.count(b":") != body.count(b":"):
        return _read_marking(body), True
    return value, False


def _is_doubtful(value: Any) -> bool:
    """Whether a large value may hold what `hostile` refuses: depth, long lists, long integers.

    Most large bodies are many elements side by side, and need not be read the slow way.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict:
                below.extend(item.values())
            elif kind is list:
                if len(item) > MAX_LIST:
                    return True
                below.extend(item)
            elif kind is float or (kind is int and item >= 10**MAX_INT_DIGITS):
                return True  # orjson reads an integer beyond 64 bits as a float
        if not below:
            return False
        level = below
    return True


def _read_marking(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8", "surrogateescape"),
            strict=False,
            object_pairs_hook=_pairs,
            parse_constant=lambda _: _Hostile("number_not_finite: expected a finite number"),
            parse_int=_int,
            parse_float=_float,
        )
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecursionError):
            raise Reject(f"too_deep: expected at most {MAX_DEPTH} levels") from None
        raise Reject("not_json: expected one JSON value in UTF-8") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = dict(pairs)
    if len(result) != len(pairs):
        result[_HOSTILE_KEY] = _Hostile("duplicate_key: expected every key once in an object")
    return result


def _int(digits: str) -> Any:
    if len(digits.lstrip("-")) > MAX_INT_DIGITS:
        return _Hostile(f"integer_too_long: expected at most {MAX_INT_DIGITS} digits")
    return int(digits)


def _float(digits: str) -> Any:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        return _Hostile("number_not_finite: expected a finite number")
    return value


def hostile(value: Any, skip: Iterable[str] = ()) -> str | None:
    """Why an element must not be trusted, or None. `skip`: keys of the top level left out."""
    left_out = frozenset(skip)
    stack: list[tuple[Any, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > MAX_DEPTH:
            return f"too_deep: expected at most {MAX_DEPTH} levels"
        if type(item) is dict:
            for key, inner in item.items():
                if depth == 1 and key in left_out:
                    continue
                if key == _HOSTILE_KEY and type(inner) is _Hostile:
                    return inner.reason
                if _BAD_TEXT.search(key):
                    return _bad_text(key)
                stack.append((inner, depth + 1))
        elif type(item) is list:
            if len(item) > MAX_LIST:
                return f"list_too_long: expected at most {MAX_LIST} elements"
            stack.extend((inner, depth + 1) for inner in item)
        elif type(item) is str:
            if _BAD_TEXT.search(item):
                return _bad_text(item)
        elif type(item) is _Hostile:
            return item.reason
    return None


def _bad_text(value: str) -> str:
    if "\x00" in value:
        return "nul_in_text: expected text without NUL"
    return "lone_surrogate: expected text that is valid Unicode"
