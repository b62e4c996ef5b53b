"""The data dictionary: every published table and column, from where its meaning is kept.

Marts are described by dbt's yml, tables of comparisons by their schemas, and `publication` here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import yaml

from comparison.tables import CREDIT_TABLES, RESTATEMENTS

ROOT = Path(__file__).resolve().parent.parent
MODELS = ROOT / "dbt_project/models"

Column = tuple[str, str, str]
"""Name, type, description."""

_GROUPS = {
    "reports": "Reports: figures by day",
    "alarms": "Alarms: data that may be lost without an error",
    "board": "The board: what ads are worth, and what to shift",
    "forecast": "The forecast: what young leads will come to",
    "leads": "Leads, and where they came from",
    "ads": "Ads, accounts and spend",
    "activation": "What was sent to Meta",
    "": "Tables beside the marts",
}
_ARROW_TYPES = {"string": "varchar", "date32[day]": "date", "int64": "bigint", "bool": "boolean"}
_PUBLICATION = [
    ("version", "varchar", "Name of the publication; the file kept of it has it in its name."),
    ("as_of", "date", "The last day that the marts cover."),
    ("published_at", "timestamptz", "When the marts were published."),
    ("rule_version", "varchar", "Version of the attribution rules R1-R13."),
    ("rules", "varchar", "Settings of the rules as `name=value`, comma-separated."),
    ("project_version", "varchar", "Version of ctwa-attribution."),
    ("mart_rows", "bigint", "Rows of all other tables."),
]


@dataclass(frozen=True, slots=True)
class Table:
    """One published table; the first sentence of `about` says what a row is."""

    name: str
    group: str
    about: str
    columns: list[Column]


def tables() -> list[Table]:
    """Every published table, in the order of the page."""
    order = list(_GROUPS)
    return sorted([*_marts(), *_beside()], key=lambda t: order.index(t.group))


def dictionary() -> str:
    """The generated part of docs/data-dictionary.md."""
    known = tables()
    lines: list[str] = []
    for group, title in _GROUPS.items():
        names = [f"[`{t.name}`](#{t.name})" for t in known if t.group == group]
        lines += [f"- {title}: {', '.join(names)}"]
    for table in known:
        lines += ["", f"## {table.name}", "", table.about, ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {kind} | {_cell(text)} |" for name, kind, text in table.columns]
    return "\n".join(lines)


def _marts() -> Iterator[Table]:
    blocks = _doc_blocks()
    for path in sorted((MODELS / "marts").rglob("*.yml")):
        for model in yaml.safe_load(path.read_text()).get("models", []):
            if model["name"].startswith("int_"):  # a step towards a mart, not published
                continue
            columns = [
                (c["name"], c["data_type"], _told(c["description"], blocks))
                for c in model["columns"]
            ]
            group = path.parent.name
            yield Table(model["name"], group, _told(model["description"], blocks), columns)


def _beside() -> Iterator[Table]:
    for name, schema in {"restatements": RESTATEMENTS, **CREDIT_TABLES}.items():
        columns = [(f.name, _spelled(f.type), f.metadata[b"comment"].decode()) for f in schema]
        yield Table(name, "", schema.metadata[b"comment"].decode(), columns)
    about = "One row: which publication this is, and which rules it was made with."
    yield Table("publication", "", about, _PUBLICATION)


def _doc_blocks() -> dict[str, str]:
    """Name of each `docs` block of dbt -> its text."""
    found: dict[str, str] = {}
    for path in MODELS.rglob("*.md"):
        block = r"\{% docs (\w+) %\}(.*?)\{% enddocs %\}"
        found |= dict(re.findall(block, path.read_text(), flags=re.S))
    return found


def _told(description: str, blocks: dict[str, str]) -> str:
    """A description in one line, with the text of the block that it names."""
    text = re.sub(r"""\{\{\s*doc\(["'](\w+)["']\)\s*\}\}""", lambda m: blocks[m[1]], description)
    return " ".join(text.split())


def _spelled(kind: pa.DataType) -> str:
    """A type as the published file has it."""
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return "timestamptz" if pa.types.is_timestamp(kind) else _ARROW_TYPES[str(kind)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
