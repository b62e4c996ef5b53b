"""What a written report carries: its blocks of data, decoded as the page decodes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from html.parser import HTMLParser
from itertools import accumulate
from pathlib import Path
from typing import Any

from publishing.report.zones import AGE_DIGITS

MEASURES = (
    "spend", "won_value", "message_cost", "impressions", "clicks", "conversations", "leads",
    "replied", "qualified", "won",
)  # fmt: skip


class Blocks(HTMLParser):
    """Elements of an HTML file, and the contents of its scripts and styles, as a browser parses."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=False)
        self._open = False
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.contents: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.contents.append("")
        self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = False

    def handle_data(self, data: str) -> None:
        if self._open:
            self.contents[-1] += data

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        """Attributes and contents of every element of a name."""
        pairs = zip(self.tags, self.contents, strict=True)
        return [(attributes, content) for (name, attributes), content in pairs if name == tag]


def payload_of(path: Path) -> dict[str, Any]:
    """The data block of a report."""
    _, _, rest = path.read_bytes().partition(b'<script type="application/json" id="data">')
    made: dict[str, Any] = json.loads(rest.partition(b"</script>")[0])
    return made


def numbers(column: Any) -> list[Decimal | None]:
    """A column of counts or amounts, whole."""
    scale = Decimal(10) ** -(column.get("s", 0) if isinstance(column, Mapping) else 0)
    if isinstance(column, Mapping) and "n" in column:
        values: list[Any] = [0] * column["n"]
        for at, value in zip(accumulate(column["i"]), column["v"], strict=True):
            values[at] = value
    else:
        values = column["v"] if isinstance(column, Mapping) else column
    return [None if value is None else value * scale for value in values]


def words(column: Mapping[str, Any]) -> list[str | None]:
    """A column of texts, whole."""
    return [None if i < 0 else column["w"][i] for i in column["i"]]


def facts(payload: Mapping[str, Any], level: str = "ad") -> Iterator[dict[str, Any]]:
    """The rows of figures of a level, each with its day, entity, measures and ages.

    Where a level has no zone of its own, those of the level below are read, as on the page.
    """
    raw = payload["facts"]
    entities = {
        name: words(c) for name, c in raw["entities"].items() if name not in {"account", "level"}
    }
    for zone in zones(raw, level):
        measures = {name: numbers(zone[name]) for name in MEASURES}
        characters = iter(zone.get("ages", ""))
        within = {int(days): numbers(column) for days, column in zone.get("within", {}).items()}
        row = 0
        for day, count in zip(accumulate(zone["periods"]), zone["rows_in"], strict=True):
            for entity in accumulate(zone["entity"][row : row + count]):
                made = {name: column[row] for name, column in measures.items()}
                yield {
                    "day": day,
                    "grain": zone["grain"],
                    "level": raw["entities"]["level"][entity],
                    "account": raw["entities"]["account"][entity],
                    **{name: texts[entity] for name, texts in entities.items()},
                    **made,
                    "ages": _ages(characters, int(made["qualified"] or 0)) if not within else None,
                    "within": {days: column[row] for days, column in within.items()},
                }
                row += 1


def _ages(characters: Iterator[str], count: int) -> list[int]:
    """The next ages of the text, whose steps are written as zones.py says."""

    def two() -> int:
        return AGE_DIGITS.index(next(characters)) * 62 + AGE_DIGITS.index(next(characters))

    ages: list[int] = []
    while len(ages) < count:
        first = next(characters)
        if first == ".":
            ages += [ages[-1]] * two()
        else:
            ages.append((ages or [0])[-1] + (two() if first == "-" else AGE_DIGITS.index(first)))
    return ages


def unpacked(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A table that came as columns, by row."""
    columns = {n: words(c) if isinstance(c, Mapping) else c for n, c in table.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def zones(raw: Mapping[str, Any], level: str) -> list[dict[str, Any]]:
    """The tables that hold all days of a level, oldest first."""
    found: list[dict[str, Any]] = []
    for name in ("ad", "campaign", "total"):
        own = raw[name]
        end = own[-1]["to"] if own else -1
        found = [*own, *(zone for zone in found if zone["from"] >= end)]
        if name == level:
            break
    return found


def links_of(page: bytes) -> list[str]:
    """Every address that a browser would ask for because of the markup or the styles."""
    blocks = Blocks(page)
    found = [
        value
        for _, attributes in blocks.tags
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action", "poster"} and value is not None
    ]
    styles = "".join(content for _, content in blocks.of("style"))
    return found + re.findall(r"url\([\"']?([^\"')]+)", styles) + re.findall(r"@import.*", styles)
