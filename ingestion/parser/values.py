"""Single values from JSON objects: typed, limited in length, never guessed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from ingestion.parser.limits import Reject, Unfit, left_out, repaired
from ingestion.vault.vault import microseconds

ID_CHARS = 1_024
TEXT_CHARS = 4_096
CODE_CHARS = 64

_MICRO = 1_000_000
_YEAR_2018 = 1_514_764_800
"""WhatsApp Business began in January 2018, its API in August: no message to a company is older."""
_DAY = 86_400


def text(obj: dict[str, Any], key: str, limit: int = ID_CHARS) -> str | None:
    """Text under `key`, or None if it is absent, null or empty. An integer becomes its digits.

    A float raises `Reject`: a long id that passed through a float is a different id.
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
    if type(value) is Unfit:
        raise Reject(value.reason)
    raise Reject(f"{key}_not_text: expected text")


def required(obj: dict[str, Any], key: str, limit: int = ID_CHARS) -> str:
    """`text`, but raises `Reject` if there is none."""
    value = text(obj, key, limit)
    if value is None:
        raise Reject(f"{key}_missing: expected text")
    return value


def code(obj: dict[str, Any], key: str) -> str | None:
    """An optional short word such as a type; None if the value is anything else."""
    value = obj.get(key)
    if type(value) is Unfit:
        value = value.stripped()
    return value if type(value) is str and 0 < len(value) <= CODE_CHARS else None


def shown(value: Any) -> Any:
    """The value as it is; text with bad characters is repaired."""
    return value.repaired() if type(value) is Unfit else value


def read_only(value: Any) -> Any:
    """Like `shown`, for a value that is checked but not kept: it is not counted as repaired."""
    if type(value) is not Unfit:
        return value
    return None if value.text is None else repaired(value.text)


def prose(value: Any) -> str | None:
    """Descriptive text, cut at a limit; None if it is not text."""
    value = shown(value)
    return value[:TEXT_CHARS] if type(value) is str and value else None


def url(value: Any) -> str | None:
    """A URL; None if it is not text, or longer than browsers accept (a cut URL is useless)."""
    if type(value) is Unfit:
        value = value.stripped()
    return value if type(value) is str and 0 < len(value) <= TEXT_CHARS else None


def child(obj: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under `key`, or an empty one. Raises `Reject` if the value is in doubt."""
    value = obj.get(key)
    if type(value) is Unfit:
        raise Reject(value.reason)
    return value if type(value) is dict else {}


def extra(obj: dict[str, Any], key: str) -> dict[str, Any]:
    """The optional object under `key`; an empty one if the value is in doubt."""
    value = obj.get(key)
    left_out(value)
    return value if type(value) is dict else {}


def children(obj: dict[str, Any], key: str) -> list[Any]:
    """The list under `key`; an empty one if it is missing or in doubt."""
    value = obj.get(key)
    left_out(value)
    return value if type(value) is list else []


def settled(obj: dict[str, Any], key: str) -> Any:
    """The value under `key`, of any type. Raises `Reject` if it is in doubt."""
    value = obj.get(key)
    if type(value) is Unfit:
        raise Reject(value.reason)
    return value


def error_code(obj: dict[str, Any]) -> int | None:
    """Code of the first of `errors`, if it is a number of 32 bits."""
    errors = obj.get("errors")
    if type(errors) is not list or not errors or type(errors[0]) is not dict:
        return None
    value = errors[0].get("code")
    left_out(value)
    if type(value) is str and value.isascii() and value.isdigit():
        value = int(value[:10])
    return value if type(value) is int and abs(value) < 2**31 else None


def moment(value: Any, received_us: int) -> int | None:
    """Unix seconds (text or integer) as microseconds; None if malformed, before 2018 or more than a
    day after receipt (E13: the time of receipt is then used, and marked as such)."""
    if type(value) is Unfit:
        value = value.stripped()
    if type(value) is str and len(value) <= 12 and value.isascii() and value.isdigit():
        value = int(value)
    if type(value) is not int or value < _YEAR_2018:
        return None
    micro = value * _MICRO
    return micro if micro <= received_us + _DAY * _MICRO else None


def iso_moment(value: Any, received_us: int) -> int:
    """Microseconds of a time with an offset, at most a day after receipt; else raises `Reject`."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        found = None
    if found is None or found.tzinfo is None or not 2000 <= found.year < 2100:
        raise Reject("time_unreadable: expected ISO 8601 with an offset")
    at_us = microseconds(found)
    if at_us > received_us + _DAY * _MICRO:
        raise Reject("time_in_future: expected a time in the past")
    return at_us


def iso_text(at_us: int) -> str:
    """A time as ISO 8601 with milliseconds and `Z`, as HubSpot writes it."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def money(value: Any) -> Decimal | None:
    """An amount with at most 6 decimals and 14 digits before them; raises `Reject` otherwise."""
    if value is None or value == "":
        return None
    if type(value) is Unfit:
        raise Reject(value.reason)
    if type(value) not in (int, float, str, Decimal):
        raise Reject("value_not_a_number: expected a decimal number")
    try:
        amount = Decimal(str(value)).quantize(Decimal("0.000001"))
    except InvalidOperation:
        raise Reject("value_not_a_number: expected a decimal number") from None
    if not amount.is_finite() or abs(amount) >= 10**14:
        raise Reject("value_out_of_range: expected less than 14 digits before the point")
    return amount
