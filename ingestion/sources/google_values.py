"""Values of Google's JSON: camelCase, int64 as text, zero metrics absent."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ingestion.google_errors import GoogleShapeError, Problem

Row = dict[str, Any]
_MICRO = Decimal(1_000_000)
_ONE = Decimal("0.000001")


def field(row: Row, path: str) -> Any:
    """Value at a dotted path, None where it is absent.

    >>> field({"adGroup": {"id": "7"}}, "adGroup.id")
    '7'
    """
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text(row: Row, path: str) -> str | None:
    """Text; a whole number becomes its digits, anything else is a `GoogleShapeError`."""
    value = field(row, path)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise GoogleShapeError(Problem(f"`{path}`"))
    return str(value)


def required(row: Row, path: str) -> str:
    """Text that must be there."""
    value = text(row, path)
    if value is None:
        raise GoogleShapeError(Problem(f"`{path}`"))
    return value


def whole(row: Row, path: str) -> int:
    """A count; absent is zero."""
    value = text(row, path) or "0"
    if not value.removeprefix("-").isdecimal():
        raise GoogleShapeError(Problem(f"`{path}`"))
    return int(value)


def money(row: Row, path: str) -> Decimal:
    """Micros as an exact amount; absent is zero."""
    return (Decimal(whole(row, path)) / _MICRO).quantize(_ONE)
