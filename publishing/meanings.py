"""What published tables and columns mean, from dbt's yml: the words that BI tools show beside them.

    DuckDB, PostgreSQL    comments of tables and columns
    Parquet               `comment` of the file; `comment` of each field (Arrow's metadata)

dbt does not write them into the warehouse (`persist_docs`): each build would pay for them, and only
what is published is read by people. The data dictionary is made from the same texts.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from ctwa.settings import PROJECT_DIR

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where PyYAML was built with libyaml."""
_BLOCK = re.compile(r"\{% docs (\w+) %\}(.*?)\{% enddocs %\}", re.DOTALL)
_NAMED = re.compile(r"""\{\{\s*doc\(["'](\w+)["']\)\s*\}\}""")


@dataclass(frozen=True, slots=True)
class Meaning:
    """One table; the first sentence of `about` says what a row is."""

    about: str
    columns: Mapping[str, str]
    """Column -> meaning, one line each."""
    types: Mapping[str, str] = field(default_factory=dict)
    """Column -> type, as the yml spells it."""
    folder: str = ""
    """Of the model, below `marts`: its group."""


PUBLICATION_MEANING = Meaning(
    "One row: which publication this is, and which rules it was made with.",
    {
        "version": "Name of the publication; the file kept of it has it in its name.",
        "as_of": "The last day that the marts cover.",
        "published_at": "When the marts were published.",
        "rule_version": "Version of the attribution rules R1-R13.",
        "rules": "Settings of the rules as `name=value`, comma-separated.",
        "project_version": "Version of ctwa-attribution.",
        "mart_rows": "Rows of all other tables.",
    },
    {
        "version": "varchar", "as_of": "date", "published_at": "timestamptz",
        "rule_version": "varchar", "rules": "varchar", "project_version": "varchar",
        "mart_rows": "bigint",
    },
)  # fmt: skip


@functools.cache
def meanings(project_dir: Path = PROJECT_DIR) -> Mapping[str, Meaning]:
    """Every mart of the project by name; steps towards a mart (`int_`) are not published."""
    models = project_dir / "dbt_project/models"
    blocks: dict[str, str] = {}
    for path in models.rglob("*.md"):
        blocks |= dict(_BLOCK.findall(path.read_text()))
    found: dict[str, Meaning] = {}
    for path in sorted((models / "marts").rglob("*.yml")):
        text = yaml.load(path.read_text(), Loader=_Loader) or {}  # noqa: S506, a safe loader
        for model in text.get("models", []):
            if not model["name"].startswith("int_"):
                columns = model.get("columns", [])
                found[model["name"]] = Meaning(
                    _told(model.get("description", ""), blocks),
                    {c["name"]: _told(c.get("description", ""), blocks) for c in columns},
                    {c["name"]: c.get("data_type", "") for c in columns},
                    path.parent.name,
                )
    return found


def _told(description: str, blocks: Mapping[str, str]) -> str:
    """A description in one line, with the text of the block that it names."""
    return " ".join(_NAMED.sub(lambda named: blocks[named[1]], description).split())


def meaning_of(schema: pa.Schema) -> Meaning:
    """Of a table whose schema and fields have the metadata `comment`."""
    return Meaning(_comment_in(schema.metadata), {f.name: _comment_in(f.metadata) for f in schema})


def _comment_in(metadata: Mapping[bytes, bytes] | None) -> str:
    return (metadata or {}).get(b"comment", b"").decode()


def parquet_metadata(schema: pa.Schema, told: Meaning) -> dict[str, str]:
    """Metadata of a Parquet file with this schema: key -> text.

    Parquet has no place for a column's comment. Readers that know Arrow take the metadata of fields
    from the serialized schema that Arrow's own writers put there.
    """
    fields = [
        pa.field(f.name, f.type, metadata={"comment": told.columns.get(f.name, "")}) for f in schema
    ]
    with_comments = pa.schema(fields, metadata={"comment": told.about}).serialize().to_pybytes()
    return {"comment": told.about, "ARROW:schema": base64.b64encode(with_comments).decode()}
