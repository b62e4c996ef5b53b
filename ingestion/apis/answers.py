"""Answers of APIs as values: the one reader of all clients.

People type half an emoji into a name, or a tool cuts a text in the middle of a character. That must
cost the name a character and nothing else, so `read_json` accepts what a strict parser rejects, and
repairs it:

| in the answer | becomes |
|---|---|
| half of a surrogate pair, NUL, bytes that are no UTF-8 | U+FFFD, in names and keys alike |
| an unescaped control character, a byte order mark | is accepted |
| a whole number of more than 64 bits | an exact `int` (an id); with over 40 digits `inf` |
| `NaN`, `Infinity` | a float that no reader of amounts or ids accepts |
| a key that occurs twice | its last value, as in every JSON parser |

An id that had to be repaired is no longer an id: `is_damaged` finds it, and its reader leaves out
that one object.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal

import orjson

from ctwa.errors import CtwaError

if TYPE_CHECKING:
    from requests import Response

REPLACEMENT = "\ufffd"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
# Valid JSON that orjson reads differently from the table above.
_NOT_FOR_ORJSON = re.compile(rb"\\u0000|[0-9]{20}")
_LONGEST_NUMBER = 40
_NEAR_THE_END = 6  # characters of a literal or an escape that may be cut

Kind = Literal["cut", "page", "broken"]


class UnreadableError(CtwaError, ValueError):
    """An answer that is no JSON; `str()` says what it is, without any of its text.

    `kind`: `cut` (it ends too early), `page` (of something on the way, such as a proxy) or
    `broken`. The first two mostly pass by themselves, the last one does not.
    """

    def __init__(self, kind: Kind, what: str) -> None:
        self.kind = kind
        super().__init__(what)


def read_json(content: bytes) -> Any:
    """The value of an answer, repaired as the table above says; raises `UnreadableError`."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return _repaired(content)
    return _repaired(content) if _NOT_FOR_ORJSON.search(content) else value


def is_damaged(text: str) -> bool:
    """Whether a text of an answer has lost a character: harmless in a name, not in an id."""
    return REPLACEMENT in text


def set_body(response: Response, body: Any) -> None:
    """Make `response.json()` return `body`, so that nobody parses the answer a second time."""
    response.__dict__["json"] = lambda **_: body


def write_json(value: Any, *, sort_keys: bool = False) -> bytes:
    """A value of `read_json` as JSON again, also one that orjson does not write."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort_keys else None)
    except orjson.JSONEncodeError:  # a whole number of more than 64 bits
        return json.dumps(value, sort_keys=sort_keys, separators=(",", ":")).encode()


def _repaired(content: bytes) -> Any:
    text = content.decode("utf-8-sig", "replace")
    try:
        value = json.JSONDecoder(parse_int=_whole, strict=False).decode(text)
    except json.JSONDecodeError as error:
        problem = _problem(text, error)
    except RecursionError:
        problem = UnreadableError("broken", "nested too deeply to be read")
    else:
        return _clean(value)
    raise problem


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float("inf")


def _problem(text: str, error: json.JSONDecodeError) -> UnreadableError:
    size = len(text.rstrip())
    if text.lstrip()[:1] not in ("{", "["):
        return UnreadableError("page", "not JSON" if size else "empty")
    if error.msg.startswith("Unterminated") or error.pos >= size - _NEAR_THE_END:
        return UnreadableError("cut", f"cut off after {size} characters")
    return UnreadableError("broken", f"not JSON from character {error.pos} on")


def _clean(value: Any) -> Any:
    """The same value without characters that stores reject; in place, at any depth."""
    top = [value]
    ahead: list[Any] = [top]
    while ahead:
        part = ahead.pop()
        items = list(part.items()) if isinstance(part, dict) else list(enumerate(part))
        if isinstance(part, dict):
            part.clear()
        for key, item in items:
            if isinstance(key, str):
                key = _UNSTORABLE.sub(REPLACEMENT, key)
            if isinstance(item, str):
                item = _UNSTORABLE.sub(REPLACEMENT, item)
            elif isinstance(item, dict | list):
                ahead.append(item)
            part[key] = item
    return top[0]


__all__ = ["REPLACEMENT", "UnreadableError", "is_damaged", "read_json", "set_body", "write_json"]
