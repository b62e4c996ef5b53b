"""The data dictionary: every published table and column, from where its meaning is kept.

Marts are described by dbt's yml, tables of comparisons by their schemas, and `publication` where it
is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from comparison.tables import CREDIT_TABLES, RESTATEMENTS
from publishing.meanings import PUBLICATION_MEANING, Meaning, meanings
from publishing.publication import TABLE as PUBLICATION

Column = tuple[str, str, str]
"""Name, type, description."""

_GROUPS = {
    "reports": "Reports: figures by day",
    "alarms": "Alarms: data that may be lost without an error",
    "board": "The board: what ads are worth, and what to shift",
    "forecast": "The forecast: what young leads will come to",
    "leads": "Leads, and where they came from",
    "chats": "Chats: what messages cost, and what answering is worth",
    "ads": "Ads, accounts and spend",
    "activation": "What was sent to Meta",
    "": "Tables beside the marts",
}
_ARROW_TYPES = {"string": "varchar", "date32[day]": "date", "int64": "bigint", "bool": "boolean"}


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
    for name, meaning in meanings().items():
        yield _table(name, meaning)


def _beside() -> Iterator[Table]:
    for name, schema in {"restatements": RESTATEMENTS, **CREDIT_TABLES}.items():
        columns = [(f.name, _spelled(f.type), f.metadata[b"comment"].decode()) for f in schema]
        yield Table(name, "", schema.metadata[b"comment"].decode(), columns)
    yield _table(PUBLICATION, PUBLICATION_MEANING)


def _table(name: str, meaning: Meaning) -> Table:
    columns = [(column, meaning.types[column], text) for column, text in meaning.columns.items()]
    return Table(name, meaning.folder, meaning.about, columns)


def _spelled(kind: pa.DataType) -> str:
    """A type as the published file has it."""
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return "timestamptz" if pa.types.is_timestamp(kind) else _ARROW_TYPES[str(kind)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
