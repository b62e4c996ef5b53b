"""Reading hostile JSON: which values cannot be trusted, and how to find that out cheaply.

Almost every body passes two cheap tests (`read_body`) and is then trusted to be ordinary JSON. The
others are read again by a slower reader that replaces each value that cannot be trusted by an
`Unfit`. So an element is judged by the values that are read from it: an unfit id quarantines its
element, an unfit headline is repaired, and values that nothing reads do no harm (E83). After
`read_body`, no text anywhere in the value holds a NUL or half of a surrogate pair.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

MAX_DEPTH = 32
"""If a body is nested too deeply to be read, this many levels are kept; deeper values are unfit."""
MAX_LIST = 10_000
"""A history chunk holds thousands of messages; elements beyond this limit are quarantined."""

_BAD_TEXT = re.compile("[\x00\ud800-\udfff]")
_HIDING_ESCAPE = re.compile(rb"\\u00(?:00|3[aA])")
"""An escaped NUL, or an escaped colon, by which a repeated key could be hidden from the count."""
_TOO_DEEP_KEY = "\x00deep"
_TOO_DEEP = '{"\\u0000deep":0}'
# Either a whole text (to the end of the body if it is not closed), whose brackets are not levels,
# or a bracket. The pattern never backtracks, so its time is linear in the body's length.
_LEVELS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)|[\[\]{}]', re.DOTALL)
_INT_DIGITS = 20
_REPLACED = "\N{REPLACEMENT CHARACTER}"


class Reject(Exception):  # noqa: N818 - a verdict on the input, not a failure of the parser
    """An element cannot be accepted. The text is a code and what was expected, never a value."""


class Unfit:
    """Replaces a value that cannot be trusted.

    `text`: the value, if it was text with bad characters. `items`: the items of all lists of a
    repeated key. `is_counted`: the element was kept without this value, or with it repaired.
    """

    __slots__ = ("is_counted", "items", "reason", "text")

    def __init__(
        self, reason: str, text: str | None = None, items: list[Any] | None = None
    ) -> None:
        self.reason, self.text, self.items = reason, text, items
        self.is_counted = False

    def repaired(self) -> str | None:
        """Its text with a replacement character for each bad one; counts the repair."""
        self.is_counted = True
        return None if self.text is None else repaired(self.text)

    def stripped(self) -> str | None:
        """Its text without the bad characters, for words, addresses and numbers; counts the
        repair."""
        self.is_counted = True
        return None if self.text is None else _BAD_TEXT.sub("", self.text)


def repaired(text: str) -> str:
    """Text that any table and file can hold: a replacement character for each bad one.

    >>> repaired("Oferta \\ud83d")
    'Oferta \N{REPLACEMENT CHARACTER}'
    """
    return _BAD_TEXT.sub(_REPLACED, text)


def left_out(value: Any) -> None:
    """Count a value that is unfit, if its element is kept without it."""
    if type(value) is Unfit:
        value.is_counted = True


def unfit_text(text: str) -> Unfit | None:
    """What replaces this text if it holds characters that no table may hold; else None."""
    if not _BAD_TEXT.search(text):
        return None
    nul = "\x00" in text
    reason = (
        "nul_in_text: expected text without NUL"
        if nul
        else "lone_surrogate: expected text that is valid Unicode"
    )
    return Unfit(reason, text)


def opened(holder: dict[str, Any], key: str) -> tuple[Any, str | None]:
    """The value under `key`, and why it is in doubt; for a repeated key, the items of all its
    lists."""
    value = holder.get(key)
    return (value.items, value.reason) if type(value) is Unfit else (value, None)


def read_body(body: bytes) -> tuple[Any, Sequence[Unfit]]:
    """The JSON value of a body, and all unfit values in it (usually none).

    Raises `Reject` if the body cannot be read at all.
    """
    try:
        value = orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError):
        return _read_marking(body)
    # In these tests a false alarm only costs time.
    if b"\\" in body and _HIDING_ESCAPE.search(body):
        return _read_marking(body)
    try:
        # If the value, written again, has fewer colons than the body, a key was repeated and one
        # value was lost (readers differ on which one counts).
        again = orjson.dumps(value)
    except TypeError:  # nested more deeply than orjson writes
        return _read_marking(body)
    if again != body and again.count(b":") != body.count(b":"):
        return _read_marking(body)
    return value, ()


def _read_marking(body: bytes) -> tuple[Any, Sequence[Unfit]]:
    text = body.decode("utf-8", "surrogateescape")
    try:
        value = _load(text)
    except RecursionError:
        try:
            value = _load(_cut(text))
        except RecursionError:
            raise Reject(f"too_deep: expected at most {MAX_DEPTH} levels") from None
    return _marked(value)


def _load(text: str) -> Any:
    try:
        return json.loads(
            text,
            strict=False,
            object_pairs_hook=_pairs,
            parse_constant=lambda _: _not_finite(),
            parse_int=_int,
            parse_float=_float,
        )
    except ValueError:
        raise Reject("not_json: expected one JSON value in UTF-8") from None


def _cut(text: str) -> str:
    """The text with a marker in place of each part that is nested too deeply."""
    parts: list[str] = []
    depth = start = 0
    for token in _LEVELS.finditer(text):
        sign = token[0]
        if sign in "[{":
            if depth == MAX_DEPTH:
                parts.append(text[start : token.start()])
            depth += 1
        elif sign in "]}":
            depth -= 1
            if depth == MAX_DEPTH:
                parts.append(_TOO_DEEP)
                start = token.end()
    return "".join(parts) + (text[start:] if depth <= MAX_DEPTH else "")


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    result: dict[str, Any] = dict(pairs)
    if len(result) == len(pairs):
        is_cut = _TOO_DEEP_KEY in result
        return Unfit(f"too_deep: expected at most {MAX_DEPTH} levels") if is_cut else result
    values: dict[str, list[Any]] = {}
    for key, value in pairs:
        values.setdefault(key, []).append(value)
    for key, (first, *others) in values.items():
        # If both values are the same, there is nothing to doubt.
        if any(type(other) is not type(first) or other != first for other in others):
            all_lists = all(type(value) is list for value in (first, *others))
            items = [item for value in (first, *others) for item in value] if all_lists else None
            result[key] = Unfit("duplicate_key: expected every key once in an object", items=items)
    return result


def _not_finite() -> Unfit:
    return Unfit("number_not_finite: expected a finite number")


def _int(digits: str) -> Any:
    # The range that the fast reader accepts; beyond it, a number that passed through a double has
    # changed.
    value = int(digits) if len(digits) <= _INT_DIGITS else None
    if value is None or not -(2**63) <= value < 2**64:
        return Unfit("integer_too_long: expected an integer of 64 bits")
    return value


def _float(digits: str) -> Any:
    value = float(digits)
    return value if value - value == 0 else _not_finite()


def _marked(value: Any) -> tuple[Any, Sequence[Unfit]]:
    """The value with an `Unfit` for each bad text, and a list of all `Unfit` in it."""
    marks: list[Unfit] = []
    holder = [value]
    stack: list[Any] = [holder]
    while stack:
        item = stack.pop()
        if type(item) is dict and any(map(_BAD_TEXT.search, item)):  # no reader asks for such a key
            pairs = [(repaired(key), inner) for key, inner in item.items()]
            item.clear()
            item.update(pairs)
        for key, inner in item.items() if type(item) is dict else enumerate(item):
            kind = type(inner)
            if kind is str:
                mark = unfit_text(inner)
                if mark is not None:
                    item[key] = mark
                    marks.append(mark)
            elif kind is Unfit:
                marks.append(inner)
                if inner.items:
                    stack.append(inner.items)
            elif kind is dict or kind is list:
                stack.append(inner)
    return holder[0], marks


def plain(value: Any, levels: int = MAX_DEPTH) -> Any:
    """The value as any JSON writer accepts it: unfit texts are repaired; other unfit values, and
    values deeper than `levels`, become null."""
    kind = type(value)
    if kind is Unfit:
        return value.repaired()
    if kind is dict or kind is list:
        if levels == 0:
            return None
        if kind is list:
            return [plain(inner, levels - 1) for inner in value]
        return {key: plain(inner, levels - 1) for key, inner in value.items()}
    return value
