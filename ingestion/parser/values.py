"""Single values out of JSON objects: typed, capped, never guessed."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from ingestion.parser.limits import Reject

ID_CHARS = 1_024
TEXT_CHARS = 4_096
CODE_CHARS = 64

_MICRO = 1_000_000
_YEAR_2015 = 1_420_070_400
_DAY = 86_400


def text(obj: dict[str, Any], key: str, limit: int = ID_CHARS) -> str | None:
    """Text under `key`, or None where absent, null or empty. An integer becomes its digits.

    A float raises: a long id that went through one is another id.
    """
    value = obj.get(key)
    if value is None:
        return None
    if type(value) is str:
        if len(value) > limit:
            raise Reject(f"{key}_too_long: expected at most {limit} characters")
        return value or None
    if type(value) is int:
        return str(value)
    raise Reject(f"{key}_not_text: expected text")


def required(obj: dict[str, Any], key: str, limit: int = ID_CHARS) -> str:
    """`text` that must be there."""
    value = text(obj, key, limit)
    if value is None:
        raise Reject(f"{key}_missing: expected text")
    return value


def code(obj: dict[str, Any], key: str) -> str | None:
    """A short word such as a type; None where it is something else (it is not needed to count)."""
    value = obj.get(key)
    return value if type(value) is str and 0 < len(value) <= CODE_CHARS else None


def prose(value: Any) -> str | None:
    """Descriptive text, cut at a limit; None where it is not text."""
    return value[:TEXT_CHARS] if type(value) is str and value else None


def url(value: Any) -> str | None:
    """An address; None where it is not text or longer than browsers take (half is no address)."""
    return value if type(value) is str and 0 < len(value) <= TEXT_CHARS else None


def child(obj: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under `key`, or an empty one."""
    value = obj.get(key)
    return value if type(value) is dict else {}


def children(obj: dict[str, Any], key: str) -> list[Any]:
    """The list under `key`, or an empty one."""
    value = obj.get(key)
    return value if type(value) is list else []


def error_code(obj: dict[str, Any]) -> int | None:
    """Code of the first of `errors`, if it is a number of 32 bits."""
    errors = obj.get("errors")
    if type(errors) is not list or not errors or type(errors[0]) is not dict:
        return None
    value = errors[0].get("code")
    if type(value) is str and value.isascii() and value.isdigit():
        value = int(value[:10])
    return value if type(value) is int and abs(value) < 2**31 else None


def moment(value: Any, received_us: int) -> int | None:
    """Unix seconds (text or integer) as microseconds; None when malformed, before 2015 or more
    than a day after receipt (E13: the time of receipt then stands in, and says so)."""
    if type(value) is str and len(value) <= 12 and value.isascii() and value.isdigit():
        value = int(value)
    if type(value) is not int or value < _YEAR_2015:
        return None
    micro = value * _MICRO
    return micro if micro <= received_us + _DAY * _MICRO else None


def money(value: Any) -> Decimal | None:
    """An amount with at most 6 decimals and 14 digits before them; raises `Reject` otherwise."""
    if value is None or value == "":
        return None
    if type(value) not in (int, float, str, Decimal):
        raise Reject("value_not_a_number: expected a decimal number")
    try:
        amount = Decimal(str(value)).quantize(Decimal("0.000001"))
    except InvalidOperation:
        raise Reject("value_not_a_number: expected a decimal number") from None
    if not amount.is_finite() or abs(amount) >= 10**14:
        raise Reject("value_out_of_range: expected less than 14 digits before the point")
    return amount
