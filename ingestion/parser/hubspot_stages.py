"""The stages that a record of HubSpot's reached, each with its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ingestion.parser.limits import Reject
from ingestion.parser.rows import Path
from ingestion.parser.values import child, children, text
from ingestion.webhook.vault import microseconds

ENTERED = "hs_v2_date_entered_"
"""Properties of HubSpot's that say when a record last entered a stage."""

_STAGE_CHARS = 128
_DAY_US = 86_400 * 1_000_000

Take = Callable[[str, Any, Path, Callable[[Any, Path], None]], None]
"""As `Rows.take`: runs the function on an element, or quarantines the element."""


class Entry(NamedTuple):
    """A stage that a record got at a time (µs)."""

    at_us: int
    stage: str


def stages_of(
    kind: str, record: dict[str, Any], path: Path, take: Take, received_us: int
) -> list[Entry]:
    """Stages of a record in the order of their times; of one time, as HubSpot lists them."""
    found: list[Entry] = []

    def add(entry: Any, _at: Path) -> None:
        if type(entry) is not dict:
            raise Reject("entry_not_object: expected an object")
        stage = (text(entry, "value", _STAGE_CHARS) or "").strip()
        if stage:  # else it was cleared
            found.append(Entry(moment_us(entry.get("timestamp"), received_us), stage))

    listed = children(record, "history") or list(_without_history(kind, record))
    for index in reversed(range(len(listed))):  # HubSpot lists the latest first
        take("outcome", listed[index], (*path, "history", index), add)
    found.sort(key=lambda entry: entry.at_us)
    if found and record.get("restored_at") is not None:
        # Deleted and brought back: its stage is what it was, from now on.
        found.append(Entry(moment_us(record["restored_at"], received_us), found[-1].stage))
    return list(dict.fromkeys(found))


def _without_history(kind: str, record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Entries for a record whose history did not come: what its other properties tell."""
    properties = child(record, "properties")
    entered = [
        {"value": name.removeprefix(ENTERED), "timestamp": value}
        for name, value in properties.items()
        if name.startswith(ENTERED) and value
    ]
    stage = properties.get("lifecyclestage" if kind == "contact" else "dealstage")
    if entered or not stage:
        yield from entered
    else:
        yield {"value": stage, "timestamp": properties.get("createdate")}


def moment_us(value: Any, received_us: int) -> int:
    """Microseconds of a time with offset, not later than a day after receipt; else `Reject`."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None or not 2000 <= moment.year < 2100:
        raise Reject("time_unreadable: expected ISO 8601 with an offset")
    at_us = microseconds(moment)
    if at_us > received_us + _DAY_US:
        raise Reject("time_in_future: expected a time that has come")
    return at_us


def written_moment(at_us: int) -> str:
    """A time as HubSpot writes it, whatever spelling it came in."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


__all__ = ["ENTERED", "Entry", "moment_us", "stages_of", "written_moment"]
