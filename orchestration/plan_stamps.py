"""What is current: which tables of the warehouse a plan need not make again, and why it may not.

A table is a function of its statements, with the values of the run filled in, and of the tables and
files that these read; an incremental model also of its own rows, which a step on the same inputs
leaves as they are. So beside the warehouse stands for each node from what inputs it was made, and
for each table a version, which another content never has. A node whose inputs are the same is not
run again, a table that is made again with the same rows keeps its version, so that nothing below it
runs, and a check that passed is not asked again on the same inputs.

None of this needs to be told of a new model: what a statement reads stands in its text.

The file names the state of the warehouse that it belongs to. Once anybody else has written there,
`dbt build` by hand for example, it says nothing any more, and the next run makes everything.
"""

from __future__ import annotations

import glob
import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb

from ctwa.files import write_durably
from orchestration.plan import Check, Node, Plan, filled_in

_TABLE = re.compile(r'"@\{database\}"\."([^"]+)"\."([^"]+)"')
_READS = re.compile(r"\bread_\w+\(\s*'((?:[^']|'')*)'")
_HEADERS = 3 * 4096
"""Bytes of a DuckDB file in which every checkpoint writes another number."""
_FORMAT = 1


def stamps_path(warehouse: Path) -> Path:
    """Where the stamps of a warehouse lie."""
    return warehouse.with_name(warehouse.name + ".stamps.json")


class Stamps:
    """What nodes and checks were made from, and the versions of tables."""

    def __init__(self, known: Mapping[str, Any] | None = None) -> None:
        known = known or {}
        self.versions: dict[str, str] = dict(known.get("versions", {}))
        """`schema.table` -> version, of tables and views that a plan made last."""
        self._inputs: dict[str, str] = dict(known.get("inputs", {}))
        self._passed: dict[str, tuple[str, int]] = {
            check: (inputs, failures)
            for check, (inputs, failures) in known.get("passed", {}).items()
        }

    @classmethod
    def read(cls, warehouse: Path) -> Stamps:
        """The stamps of this warehouse; none where they are of another state of it."""
        state = _state(warehouse)
        with suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(stamps_path(warehouse).read_text())
            if state and (known["format"], known["state"]) == (_FORMAT, state):
                return cls(known)
        return cls()

    def save(self, warehouse: Path) -> None:
        """Write them for the warehouse as it is now, which nobody has open any more."""
        state = _state(warehouse)
        known = {
            "format": _FORMAT,
            "state": state,
            "versions": self.versions,
            "inputs": self._inputs,
            "passed": self._passed,
        }
        write_durably(stamps_path(warehouse), json.dumps(known, indent=0) + "\n")

    def is_current(self, node: Node, inputs: str | None) -> bool:
        """Whether the table of a node is what these inputs would make of it."""
        return inputs is not None and self._inputs.get(node.unique_id) == inputs

    def version(self, node: Node) -> str | None:
        """The version of a node's table, if it is known."""
        return self.versions.get(_key(node.schema, node.table))

    def made(self, node: Node, inputs: str | None, version: str) -> None:
        """Note that a node was made from these inputs."""
        self.versions[_key(node.schema, node.table)] = version
        if inputs is None:
            self._inputs.pop(node.unique_id, None)
        else:
            self._inputs[node.unique_id] = inputs

    def passed(self, check: Check, inputs: str | None) -> int | None:
        """The figure of a check that passed on these inputs; None if it must be asked."""
        before, failures = self._passed.get(check.unique_id, (None, 0))
        return failures if inputs is not None and before == inputs else None

    def asked(self, check: Check, inputs: str | None, failures: int | None) -> None:
        """Note what a check said: `failures` where it passed, None where it did not."""
        if inputs is None or failures is None:
            self._passed.pop(check.unique_id, None)
        else:
            self._passed[check.unique_id] = (inputs, failures)


class Inputs:
    """Fingerprints of what nodes and checks of one run are made from."""

    def __init__(self, plan: Plan, values: Mapping[str, str], stamps: Stamps) -> None:
        self._values, self._stamps = values, stamps
        self._common = [duckdb.__version__, json.dumps(dict(plan.session), sort_keys=True)]
        self._tables = {n.unique_id: _key(n.schema, n.table) for n in plan.nodes}
        self._files: dict[str, str | None] = {}

    def of_node(self, node: Node) -> str | None:
        """None where it cannot be known whether they are the same next time."""
        own = _key(node.schema, node.table)
        texts = (*node.full, *node.continued, *node.highest)
        return self._of(texts, {self._tables.get(u, own) for u in node.depends_on} - {own}, own)

    def of_check(self, check: Check) -> str | None:
        """As `of_node`."""
        texts = (check.sql, check.severity, check.figure, check.warn_if, check.error_if)
        tables = {self._tables[u] for u in check.depends_on if u in self._tables}
        return self._of(texts, tables)

    def _of(self, texts: Iterable[str], tables: set[str], own: str = "") -> str | None:
        digest = hashlib.sha256()
        for text in (*self._common, *texts):
            tables |= {_key(*found) for found in _TABLE.findall(text)} - {own}
            # How far an incremental model came is its own rows'.
            sql = filled_in(text, _Kept(self._values))
            digest.update(sql.encode() + b"\0")
            for pattern in _READS.findall(sql):
                files = self._files_of(pattern.replace("''", "'"))
                if files is None:
                    return None
                digest.update(files.encode() + b"\0")
        for table in sorted(tables):
            if table not in self._stamps.versions:
                return None
            digest.update(f"{table} {self._stamps.versions[table]}\0".encode())
        return digest.hexdigest()

    def _files_of(self, pattern: str) -> str | None:
        """Names, sizes and times of the files that a pattern means; None if they are elsewhere."""
        if pattern not in self._files:
            self._files[pattern] = None if "://" in pattern else _listed(pattern)
        return self._files[pattern]


class _Kept(dict[str, str]):
    """Marks without a value stay."""

    def __missing__(self, name: str) -> str:
        return f"@{{{name}}}"


def new_version() -> str:
    """A version that no table ever had."""
    return uuid.uuid4().hex


def _key(schema: str, table: str) -> str:
    return f"{schema}.{table}"


def _listed(pattern: str) -> str:
    found = []
    for path in sorted(glob.glob(pattern)):  # noqa: PTH207 - as DuckDB, also from the root
        about = Path(path).stat()
        found.append((path, about.st_size, about.st_mtime_ns, about.st_ino))
    return repr(found)


def _state(warehouse: Path) -> str:
    """Changes with every change of a DuckDB file; empty where there are changes beside it."""
    wal = warehouse.with_name(warehouse.name + ".wal")
    try:
        if wal.exists() and wal.stat().st_size:
            return ""
        with warehouse.open("rb") as file:
            return hashlib.sha256(file.read(_HEADERS)).hexdigest()
    except FileNotFoundError:
        return ""
