"""Makes a plan: dbt builds the project once on an empty lake, and what it executes becomes marks
and statements.

The plan is tried before it is kept: executed on empty data, whole and continued, it must leave the
tables and views that dbt left, with the same columns, types and constraints.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import duckdb
import yaml

from activation.conversions_ledger import ensure_states
from ctwa.lock import refresh_lock
from ctwa.progress import doing
from ctwa.project import project_of
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.identity.tables import Rules
from ingestion.identity.update import bring_up_to_date
from ingestion.sources import known_lake
from orchestration.dbt_manifest import project_files
from orchestration.plan import (
    TOLD,
    Check,
    Node,
    Plan,
    PlanError,
    load_plan,
    marks_of,
    plan_key,
    plan_path,
    run_values,
    save_plan,
)
from orchestration.plan_run import run_plan

log = logging.getLogger(__name__)

_COMPILE_WAIT_SECONDS = 600
AS_OF_COMPILED = date(1919, 3, 7)
"""A day that nothing in the project speaks of: where it stands in SQL, `as_of` is meant."""
_DATABASE = "warehouse"
"""The name of the database in `warehouse.duckdb`, which a parsed manifest keeps."""
_IGNORED = {"", "alter", "begin", "commit", "copy", "describe", "drop", "select", "with"}
"""First words of statements that dbt looks around, swaps and cleans up with."""
_KEPT = {"create", "delete", "insert"}
_COMMENT = re.compile(r"\A\s*/\* \{.*?\} \*/", re.DOTALL)
_TEMPORARY = re.compile(r"__dbt_tmp\d+")
_CREATE = re.compile(r"\A\s*create\s+((temporary\s+)?(table|view)\b)")
_HIGHEST = re.compile(r"-?\d+ /\* own_highest: (.*?) \*/", re.DOTALL)

Captured = Mapping[str, Any]
"""As `orchestration.plan_dbt.capture` returns it."""
Capture = Callable[[Settings], Captured]
"""Runs dbt for the empty installation that it is given."""


def plan_of(settings: Settings, project_dir: Path | None = None) -> Plan:
    """The plan that fits code and settings: the one that was kept, else a new one.

    Raises `PlanError` where dbt cannot build the project.
    """
    project_dir = project_dir or project_of(settings)
    path, key = plan_path(settings), plan_key(settings, project_dir)
    if plan := load_plan(path, key):
        return plan
    with refresh_lock(path.with_suffix(".lock"), wait_seconds=_COMPILE_WAIT_SECONDS):
        plan = load_plan(path, key)  # another process may have made it meanwhile
        if plan is None:
            log.info("compiling the models: code or settings have changed")
            plan = compile_plan(settings, key, project_dir)
            if plan_key(settings, project_dir) != key:
                raise PlanError(
                    "the models changed while they were compiled: run the refresh again"
                )
            save_plan(plan, path)
    return plan


def compile_plan(
    settings: Settings,
    key: str,
    project_dir: Path = PROJECT_DIR,
    capture: Capture | None = None,
) -> Plan:
    """Have dbt build the project on empty data and make the plan of it; tried, not saved.

    `capture` runs dbt otherwise than as a process of its own. Raises `PlanError`.
    """
    _refuse_the_day(project_dir)
    with tempfile.TemporaryDirectory(prefix="ctwa-plan-") as folder:
        empty = _empty_installation(settings, Path(folder))
        captured = capture(empty) if capture else _captured(empty, project_dir)
        if "failures" in captured:
            raise PlanError(_in_words(captured["failures"]))
        session = _session(project_dir)
        doing("compiling the models: trying the result")
        with duckdb.connect(str(empty.warehouse_path)) as warehouse:
            plan = _plan(key, captured, _Marks(empty), warehouse, session)
            made = _definitions(warehouse)
        _try(plan, empty, made)
    return plan


def _refuse_the_day(project_dir: Path) -> None:
    """Raises `PlanError` where a file speaks of the day that stands for `as_of`."""
    day = AS_OF_COMPILED.isoformat()
    for path in project_files(project_dir):
        if path.suffix == ".sql" and day in path.read_text(errors="replace"):
            raise PlanError(f"{path} speaks of {day}, a day that the plan needs for itself")


def _empty_installation(settings: Settings, folder: Path) -> Settings:
    """The same settings with folders of its own and nothing in them."""
    empty = settings.model_copy(
        update={
            "data_dir": folder,
            "lake_url": str(folder / "lake"),
            "warehouse_path": folder / f"{_DATABASE}.duckdb",
        }
    )
    ensure_states(empty)
    bring_up_to_date(known_lake(empty), Rules.of(empty))
    return empty


def _captured(empty: Settings, project_dir: Path) -> Captured:
    found = empty.data_dir / "captured.json"
    environment = {
        **os.environ,
        **empty.dbt_environment(AS_OF_COMPILED),
        "DBT_PROJECT_DIR": str(project_dir),
        "DBT_PROFILES_DIR": str(project_dir),
    }
    said: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "orchestration.plan_dbt", str(found)],
        env=environment,
        cwd=PROJECT_DIR,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if line.startswith(TOLD):
                doing(line.removeprefix(TOLD).strip())
            else:
                said.append(line)
    if run.returncode:
        raise PlanError(f"dbt ended with {run.returncode}:\n{''.join(said).strip()}")
    captured: Captured = json.loads(found.read_text())
    return captured


def _in_words(failures: Mapping[str, str]) -> str:
    def words(unique_id: str, message: str) -> str:
        kind, _, name = unique_id.split(".")[:3] if unique_id else ("project", "", "")
        return f"dbt {kind} {name}".strip() + f": {message.strip()}"

    return "\n".join(words(*failure) for failure in failures.items())


def _session(project_dir: Path) -> dict[str, str]:
    """Settings of each connection, from dbt's profile."""
    profile = yaml.safe_load((project_dir / "profiles.yml").read_text())
    found = profile["ctwa"]["outputs"]["plan"].get("settings", {})
    return {str(name): str(value) for name, value in found.items()}


class _Marks:
    """Puts marks in the place of what is this empty installation's."""

    def __init__(self, empty: Settings) -> None:
        values = run_values(empty, AS_OF_COMPILED)
        # Longer texts first: the lake's folder is in that of the data.
        marks = sorted(values.items(), key=lambda pair: -len(pair[1]))
        self._replaced = [(value, f"@{{{name}}}") for name, value in marks]
        self._replaced.append((f'"{_DATABASE}".', '"@{database}".'))
        self._folder = str(empty.data_dir)

    def put(self, sql: str) -> str:
        """Raises `PlanError` where something of the empty installation remains."""
        if any(True for _ in marks_of(sql)):
            raise PlanError(f"`@{{...}}` in SQL would be taken for a mark of the plan:\n{sql}")
        for value, mark in self._replaced:
            sql = sql.replace(value, mark)
        if self._folder in sql:
            raise PlanError(f"the plan cannot say what is of one installation here:\n{sql}")
        return sql


def _plan(
    key: str,
    captured: Captured,
    marks: _Marks,
    warehouse: duckdb.DuckDBPyConnection,
    session: Mapping[str, str],
) -> Plan:
    found = {n["unique_id"]: n for n in captured["nodes"] if n["materialized"] != "ephemeral"}
    order = TopologicalSorter({u: sorted(found[u]["depends_on"]) for u in sorted(found)})
    nodes = [
        _node(found[u], captured, marks, warehouse) for u in order.static_order() if u in found
    ]
    checks = [_check(c, marks) for c in sorted(captured["checks"], key=lambda c: c["unique_id"])]
    return Plan(key, tuple(nodes), tuple(checks), session)


def _node(
    found: Mapping[str, Any],
    captured: Captured,
    marks: _Marks,
    warehouse: duckdb.DuckDBPyConnection,
) -> Node:
    unique_id, table = found["unique_id"], found["table"]
    full = [*_statements(captured["full"].get(unique_id, []), table)]
    continued = [*_statements(captured["continued"].get(unique_id, []), table)]
    if not full:
        raise PlanError(f"dbt executed nothing for {unique_id}")
    full = [marks.put(sql) for sql in full]
    if found["materialized"] == "seed":
        full += _rows(found, warehouse)
    continued, highest = _with_highest([marks.put(sql) for sql in continued])
    return Node(
        unique_id=unique_id,
        path=found["path"],
        schema=found["schema"],
        table=table,
        materialized=found["materialized"],
        depends_on=tuple(found["depends_on"]),
        full=tuple(full),
        continued=tuple(continued),
        highest=tuple(highest),
    )


def _statements(executed: Iterable[str], table: str) -> Iterator[str]:
    """Those that make or change the table, at once under its own name.

    dbt makes a table beside the old one and swaps them; in a transaction that is not needed.
    """
    for statement in executed:
        sql = _TEMPORARY.sub("__dbt_tmp", _COMMENT.sub("", statement)).strip()
        word = sql.split(maxsplit=1)[0].lower() if sql else ""
        if word in _IGNORED:
            continue
        if word not in _KEPT or (word == "create" and not _CREATE.match(sql)):
            raise PlanError(f"the plan does not know what this is for:\n{sql}")
        # Temporary tables have no schema before their name, and keep it.
        sql = sql.replace(f'."{table}__dbt_tmp"', f'."{table}"')
        yield _CREATE.sub(r"create or replace \1", sql)


def _with_highest(statements: Iterable[str]) -> tuple[list[str], list[str]]:
    """The statements with marks for the literals of `own_highest()`, and the queries for those."""
    queries: list[str] = []

    def mark(found: re.Match[str]) -> str:
        query = found.group(1)
        if query not in queries:
            queries.append(query)
        return f"@{{highest_{queries.index(query)}}}"

    return [_HIGHEST.sub(mark, sql) for sql in statements], queries


def _rows(found: Mapping[str, Any], warehouse: duckdb.DuckDBPyConnection) -> list[str]:
    """A statement with the rows of a seed, which dbt reads from a file."""
    relation = f'"{found["schema"]}"."{found["table"]}"'
    text = warehouse.execute(f"select columns(*)::varchar from {relation}").fetchall()  # noqa: S608
    lines = [", ".join(_literal(value) for value in row) for row in text]
    values = ",\n".join(f"({line})" for line in lines)
    if any(True for _ in marks_of(values)):
        raise PlanError(f"`@{{...}}` in the seed {found['table']} would be taken for a mark")
    return [f'insert into "@{{database}}".{relation} values\n{values}'] if lines else []


def _literal(value: str | None) -> str:
    return "null" if value is None else "'" + value.replace("'", "''") + "'"


def _check(found: Mapping[str, Any], marks: _Marks) -> Check:
    limit = found["limit"]
    sql = f"select * from (\n{found['sql']}\n) limit {limit}" if limit else found["sql"]  # noqa: S608
    shown = found["store_failures_as"] or ("table" if found["store_failures"] else None)
    if shown not in (None, "view", "ephemeral"):
        raise PlanError(f"{found['unique_id']}: the plan can keep failing rows as a view only")
    return Check(
        unique_id=found["unique_id"],
        depends_on=tuple(found["depends_on"]),
        sql=marks.put(sql),
        severity=found["severity"].lower(),
        figure=found["fail_calc"],
        warn_if=found["warn_if"],
        error_if=found["error_if"],
        says_faults=found["generic"] == "sound_rows",
        view=(found["schema"], found["table"]) if shown == "view" else None,
    )


def _definitions(warehouse: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], str]:
    """Schema and name -> the statement that would make it, of every table and view."""
    found = warehouse.execute(
        "select schema_name, table_name, sql from duckdb_tables() where not internal"
        " union all select schema_name, view_name, sql from duckdb_views() where not internal"
    ).fetchall()
    return {(schema, name): sql for schema, name, sql in found}


def _try(plan: Plan, empty: Settings, made: Mapping[tuple[str, str], str]) -> None:
    """Raises `PlanError` where the plan does not leave what dbt left."""
    folder = empty.data_dir / "tried"
    folder.mkdir()
    warehouse = folder / empty.warehouse_path.name  # views name their database
    values = run_values(empty, AS_OF_COMPILED)
    for full in (True, False):
        run = run_plan(plan, warehouse, values, full=full)
        if wrong := [result.message for result in run.failures]:
            raise PlanError("the plan cannot be executed:\n" + "\n".join(wrong))
    shown = {check.view for check in plan.checks if check.view}
    with duckdb.connect(str(warehouse)) as connection:
        left = {k: v for k, v in _definitions(connection).items() if k not in shown}
    if left != made:
        names = sorted(n for n in left.keys() | made.keys() if left.get(n) != made.get(n))
        raise PlanError(f"the plan does not leave what dbt leaves: {names}")
