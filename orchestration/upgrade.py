"""`ctwa upgrade --check`: what the next refresh does after the program was updated.

There is no other step to an upgrade: a refresh converts, rebuilds and publishes by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from ctwa import __version__
from ctwa.errors import CtwaError
from ctwa.project import project_of
from ctwa.settings import Settings
from ingestion import sources
from ingestion.source import Finding, ok, wrong
from keeping.formats import FORMATS, Formats
from orchestration.dbt_manifest import MARTS_SCHEMA, load_manifest, manifest_path
from orchestration.history import last_seconds
from orchestration.rebuild import BuildState

_BESIDE = ("credit_diff", "publication", "restatements")
"""How tables begin that are published without being a model."""
_COLUMNS = """
    select table_name, column_name, data_type from duckdb_columns()
    where schema_name = 'main' and not internal
"""


def upgrade_check(settings: Settings) -> list[Finding]:
    """Findings about formats, the rebuild and the marts; changes nothing but dbt's parsed files."""
    return [*_formats(settings), *_rebuild(settings), *_marts(settings)]


def _formats(settings: Settings) -> Iterator[Finding]:
    try:
        found = Formats.read(settings)
    except CtwaError as error:
        yield wrong("data folder", str(error), "as it says")
        return
    by = found.version or "a version before 0.2.0, or none"
    if found.newer:
        yield wrong(
            "data folder",
            f"written by {by}, formats {', '.join(found.newer)}; this is {__version__}",
            f"install {by} or later, or restore a backup from before the upgrade",
        )
        return
    formats = ", ".join(f"{name} {number}" for name, number in FORMATS.items())
    yield ok("data folder", f"written last by {by}; this is {__version__}, formats {formats}")


def _rebuild(settings: Settings) -> Iterator[Finding]:
    lake = sources.known_lake(settings)
    state = BuildState.current(settings, lake, project_of(settings))
    reasons = state.reasons_to_rebuild(settings)
    if not reasons:
        last = last_seconds(settings, full=False)
        lasts = f"; the last refresh took {_readable(last[1])}" if last else ""
        yield ok("warehouse", f"is continued, nothing is built again{lasts}")
        return
    events = lake.max_value("event_log", "envelopes", "seq")
    yield ok(
        "warehouse",
        f"the next refresh builds every model again from {events:,} envelopes: "
        f"{'; '.join(reasons)}. Until it has ended well, readers keep the marts of before",
    )
    whole = last_seconds(settings, full=True)
    if whole is None:
        text = "unknown: no refresh that built everything is on record; docs/sizing.md has figures"
    else:
        text = f"the last one, on {whole[0]:%Y-%m-%d}, took {_readable(whole[1])}"
    yield ok("how long", text)


def _readable(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _marts(settings: Settings) -> Iterator[Finding]:
    if not settings.marts_path.exists():
        yield ok("marts", "none are published yet")
        return
    manifest = load_manifest(manifest_path(settings, project_of(settings)))
    changes = [*changed_marts(settings.marts_path, manifest)]
    yield from changes or [ok("marts", "tables and columns stay as they are")]


def changed_marts(marts_path: Path, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """One finding for each table that comes, goes or gets other columns."""
    now: dict[str, dict[str, str]] = {}
    with duckdb.connect(str(marts_path), read_only=True) as marts:
        for table, column, kind in marts.execute(_COLUMNS).fetchall():
            now.setdefault(table, {})[column] = kind
        then = {
            node["alias"]: _columns(marts, node["columns"].values())
            for node in manifest["nodes"].values()
            if node["resource_type"] == "model" and node["schema"] == MARTS_SCHEMA
            and node["config"].get("materialized") != "ephemeral"
        }  # fmt: skip
    for table in sorted(now.keys() | then.keys()):
        if table not in then:
            if not table.startswith(_BESIDE):
                yield ok(table, "goes")
        elif table not in now:
            yield ok(table, "is new")
        elif then[table] and (texts := [*_differences(now[table], then[table])]):
            yield ok(table, "; ".join(texts))


def _columns(connection: duckdb.DuckDBPyConnection, declared: Any) -> dict[str, str]:
    """Column -> its type as DuckDB calls it; empty where a model of one's own declares none."""
    found = {}
    for column in declared:
        kind = column.get("data_type")
        if kind:
            ((kind,),) = connection.execute(f"select typeof(null::{kind})").fetchall()
        found[column["name"]] = kind or ""
    return found if all(found.values()) else {}


def _differences(now: Mapping[str, str], then: Mapping[str, str]) -> Iterator[str]:
    groups = {
        "new columns": [name for name in then if name not in now],
        "columns that go": [name for name in now if name not in then],
        "other types": [
            f"{name} {now[name]} to {kind}"
            for name, kind in then.items()
            if name in now and now[name] != kind
        ],
    }
    yield from (f"{what}: {', '.join(sorted(names))}" for what, names in groups.items() if names)
