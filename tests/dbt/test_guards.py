"""Each guard that the yml declares notices what it is there for, and says which column it is.

Derived from the project: for each guard a row that breaks it is put into an empty copy of the
table that it guards. So a guard that is declared, but not enforced, fails here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pytest
from dbt.contracts.graph.manifest import Manifest

from tests.support.warehouse import DbtWorld, parsed_manifest

_STRANGE = "no such value"


@dataclass(frozen=True)
class Guard:
    """One guard: what breaks it, and how the fault is called."""

    node: str
    table: str
    fault: str
    broken: Mapping[str, str | None] = field(default_factory=dict)
    copies: int = 1


def _test_guards(manifest: Manifest) -> Iterator[Guard]:
    """The guards of the `sound_rows` tests."""
    for node in manifest.nodes.values():
        metadata = getattr(node, "test_metadata", None)
        if metadata is None or metadata.name != "sound_rows":
            continue
        of: dict[str, Any] = metadata.kwargs
        table = re.findall(r"'(\w+)'", of["model"])[-1]

        def guard(
            fault: str,
            broken: Mapping[str, str | None],
            copies: int = 1,
            node: Any = node,
            table: str = table,
        ) -> Guard:
            return Guard(node.unique_id, table, fault, broken, copies)

        for column in [*of.get("grain", []), *of.get("not_null", [])]:
            yield guard(f"{column} is null, rows: 1", {column: None})
        for column in of.get("accepted", {}):
            yield guard(f"{column} has a value outside its list, rows: 1", {column: _STRANGE})
        for key in [*([of["grain"]] if "grain" in of else []), *of.get("unique", [])]:
            yield guard(f"{', '.join(key)} is not unique, keys: 1", {}, 2)
        for reference in of.get("references", []):
            (parent,) = re.findall(r"ref\('(\w+)'\)", reference["to"])
            fault = f"{reference['column']} is not in {parent}, rows: 1"
            where = dict(re.findall(r"(\w+) = '(\w+)'", reference.get("where", "")))
            yield guard(fault, {**where, reference["column"]: _STRANGE})


def _constraints(manifest: Manifest) -> Iterator[Guard]:
    """The guards of the contracts of marts."""
    nodes: list[Any] = list(manifest.nodes.values())
    for node in nodes:
        if node.resource_type != "model" or not node.config.contract.enforced:
            continue
        for column in node.columns.values():
            for constraint in column.constraints:
                is_check = constraint.type == "check"
                broken = {column.name: _STRANGE if is_check else None}
                yield Guard(node.unique_id, node.name, constraint.type.value, broken)


Empty = tuple[duckdb.DuckDBPyConnection, dict[str, str]]
"""The warehouse of a world without a row, and test -> its SQL."""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Empty]:
    """One build and one connection for all guards."""
    world = DbtWorld(tmp_path_factory.mktemp("guards"))
    done = world.dbt("build", "--exclude-resource-type", "unit_test")
    results: Any = done.result
    tests = [r.node for r in results if r.node.resource_type == "test"]
    with duckdb.connect(str(world.settings.warehouse_path), read_only=True) as connection:
        yield connection, {test.unique_id: test.compiled_code for test in tests}


def _row(
    types: Mapping[str, str], broken: Mapping[str, str | None], listed: Mapping[str, str]
) -> list[str | None]:
    """A row that keeps to every list, but for `broken`."""
    by_type = {"VARCHAR": "x", "BOOLEAN": "true", "DATE": "2026-06-01", "UUID": None}

    def value(name: str, kind: str) -> str | None:
        if name in broken:
            return broken[name]
        if name in listed:
            return listed[name]
        if kind.startswith("TIMESTAMP"):
            return "2026-06-01 00:00:00"
        if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "JSON")):
            return None
        return by_type.get(kind, "1")

    return [value(name, kind) for name, kind in types.items()]


def _types(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    return {r[0]: r[1] for r in connection.execute(f"describe select * from {relation}").fetchall()}


def _insert(connection: duckdb.DuckDBPyConnection, row: list[str | None]) -> None:
    marks = ", ".join("?" for _ in row)
    connection.execute(f"insert into broken values ({marks})", row)


def test_every_test_of_rows_catches_what_it_declares(
    empty: Empty, subtests: pytest.Subtests
) -> None:
    guards = list(_test_guards(parsed_manifest()))
    assert len(guards) > 200
    for guard in guards:
        with subtests.test(f"{guard.table}: {guard.fault}"):
            _the_test_of_rows_catches(guard, empty)


def test_every_contract_refuses_what_it_declares(empty: Empty, subtests: pytest.Subtests) -> None:
    manifest = parsed_manifest()
    guards = list(_constraints(manifest))
    assert len(guards) > 200
    for guard in guards:
        with subtests.test(f"{guard.table}.{next(iter(guard.broken))}: {guard.fault}"):
            _the_contract_refuses(guard, manifest, empty)


def _the_test_of_rows_catches(guard: Guard, empty: Empty) -> None:
    connection, tests = empty
    sql = tests[guard.node]
    (relation, *_) = re.findall(r"^ *from (?!\()(.+)$", sql, re.MULTILINE)
    listed = dict(re.findall(r"(\w+) not in \('(\w+)'", sql))
    types = _types(connection, relation)
    connection.execute(f"create or replace temp table broken as from {relation} limit 0")
    for _ in range(guard.copies):
        _insert(connection, _row(types, guard.broken, listed))

    with pytest.raises(duckdb.InvalidInputException) as caught:
        connection.execute(f"select count(*) from ({sql.replace(relation, 'broken')})")

    model, _, faults = str(caught.value).removeprefix("Invalid Input Error: ").partition(": ")
    assert model == guard.table
    assert guard.fault in faults.split("; ")
    assert _STRANGE not in faults


def _the_contract_refuses(guard: Guard, manifest: Manifest, empty: Empty) -> None:
    connection, _ = empty
    (column,) = guard.broken
    model: Any = manifest.nodes[guard.node]
    listed = {
        name: re.findall(r"'(\w+)'", constraint.expression)[0]
        for name, declared in model.columns.items()
        for constraint in declared.constraints
        if constraint.type == "check"
    }
    types = _types(connection, f"marts.{guard.table}")
    # As DuckDB knows the table, not as the project declares it.
    ((ddl,),) = connection.execute(
        "select sql from duckdb_tables() where schema_name = 'marts' and table_name = ?",
        [guard.table],
    ).fetchall()
    connection.execute(
        re.sub(r"^CREATE TABLE [^(]+\(", "create or replace temp table broken(", ddl)
    )

    with pytest.raises(duckdb.ConstraintException) as caught:
        _insert(connection, _row(types, guard.broken, listed))

    text = str(caught.value)
    if guard.fault == "check":
        assert f"CHECK(({column} IN (" in text.replace('"', "")
    else:
        assert f"NOT NULL constraint failed: broken.{column}" in text.replace('"', "")
    assert _STRANGE not in text
