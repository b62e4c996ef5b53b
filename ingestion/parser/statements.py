"""Bodies of our own making: one statement or a list of them, each taken or refused by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ingestion.parser.limits import Reject, hostile
from ingestion.parser.rows import Path, Rows
from ingestion.webhook.intake import MAX_ELEMENTS


def each_statement(
    value: Any, suspicious: bool, rows: Rows, element: str, add: Callable[[Any], None]
) -> None:
    """Call `add` for each element of a body as `read_body` gave it; quarantine what it refuses.

    `add` raises `Reject` with code and reason. One bad element never stops the others (rule R1).
    """
    items = value if type(value) is list else [value]
    for index, item in enumerate(items):
        path: Path = (index,) if type(value) is list else ()
        reason = hostile(item) if suspicious else None
        if index >= MAX_ELEMENTS:
            reason = f"list_too_long: expected at most {MAX_ELEMENTS} {element}s"
        try:
            if reason is not None:
                raise Reject(reason)
            add(item)
        except Reject as reject:
            rows.reject(element, path, str(reject))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this element's alone
            rows.reject(element, path, f"parser_error: {type(error).__name__}")
