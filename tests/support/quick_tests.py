"""dbt's data tests without dbt's two hundred tasks: the same SQL, asked of the warehouse at once.

The first whole build of a process with certain settings runs its tests in dbt as ever, and their
SQL, as dbt rendered it, is kept. Later builds with the same settings leave those tests out of dbt
and ask their questions afterwards: a third of a build's time. Tests that warn, store rows or speak
of `as_of` stay dbt's in every build.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from dbt.contracts.graph.manifest import Manifest

_OWN_OF_EVERY_BUILD = {"CTWA_AS_OF"}
Names = Mapping[str, str]
"""Path of this world -> name of it in what is kept."""


@dataclass(frozen=True)
class KeptTest:
    """One data test as dbt rendered it."""

    unique_id: str
    name: str
    sql: str


_kept: dict[tuple[tuple[str, str], ...], list[KeptTest]] = {}


def settings_key(environment: Mapping[str, str], paths: Names) -> tuple[tuple[str, str], ...]:
    """What the SQL of a test may depend on, apart from where the world is."""
    named = {name: _replaced(value, paths) for name, value in environment.items()}
    return tuple(sorted((n, v) for n, v in named.items() if n not in _OWN_OF_EVERY_BUILD))


def kept_for(key: tuple[tuple[str, str], ...]) -> list[KeptTest]:
    """The tests that need not run in dbt; none before the first build with these settings."""
    return _kept.get(key, [])


def keep(
    key: tuple[tuple[str, str], ...], results: Iterable[Any], paths: Names, as_of: str
) -> None:
    """Keep the SQL of a whole build's data tests that say pass or fail and nothing else."""
    _kept[key] = [
        KeptTest(node.unique_id, node.name, _replaced(node.compiled_code, paths))
        for node in (result.node for result in results)
        if node.resource_type == "test" and _is_plain(node) and as_of not in node.compiled_code
    ]


def _is_plain(test: Any) -> bool:
    said = test.config
    return (
        (said.severity.lower(), said.error_if, said.fail_calc) == ("error", "!= 0", "count(*)")
        and not said.store_failures
        and said.limit is None
    )


def without(manifest: Manifest, tests: Iterable[KeptTest]) -> None:
    """Take them out of a copy of the manifest."""
    for test in tests:
        del manifest.nodes[test.unique_id]


def failing(warehouse: Path, tests: Iterable[KeptTest], paths: Names) -> list[str]:
    """`name: fail: Got 3 results` of each test that finds a row."""
    found = []
    back = {name: path for path, name in paths.items()}
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        for test in tests:
            sql = f"select count(*) from (\n{_replaced(test.sql, back)}\n)"
            ((count,),) = connection.execute(sql).fetchall()
            if count:
                found.append(f"{test.name}: fail: Got {count} results, configured to fail if != 0")
    return found


def _replaced(text: str, names: Names) -> str:
    # The longest first: the lake is in the data directory.
    for old, new in sorted(names.items(), key=lambda pair: -len(pair[0])):
        text = text.replace(old, new)
    return text
