"""The engine `spark`: dbt builds on a cluster, and what Python reads is collected from it.

The cluster is the warehouse then; `CTWA_WAREHOUSE_PATH` is a file with the schemas that
`spark_dbt.COLLECTED` names, written beside the old one and renamed over it only after every model
and blocking test of the run passed. So publishing, activation, alarms and the report read what
they always do, and never a half.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

from ctwa.errors import CtwaError
from ctwa.files import write_durably
from ctwa.lock import confirm_lock, lock_is_lost
from ctwa.progress import doing
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.lake.lake import Lake
from orchestration.dbt_manifest import run_folder
from orchestration.plan import filled_in, run_values
from orchestration.plan_compile import plan_of
from orchestration.plan_run import Result, Run
from orchestration.plan_stamps import stamps_path

_BEAT_SECONDS = 5.0
"""How often a build looks whether the lock is still its own."""
PACKAGES = ("pyspark", "grpc", "dbt.adapters.spark")
_CHILD = ("-m", "orchestration.spark_dbt")
_COLLECTED_BY = "spark.json"


class SparkError(CtwaError):
    """Spark could not be used, or what it built not be collected; the text says what to do."""


def ensure_installed() -> None:
    """Raises `SparkError` where the extra is missing."""
    for package in PACKAGES:
        try:
            is_there = importlib.util.find_spec(package) is not None
        except ModuleNotFoundError:
            is_there = False
        if not is_there:
            raise SparkError(
                f"CTWA_ENGINE=spark needs {package}, which is not installed: `make setup-spark`, "
                "or pip install 'ctwa-attribution[spark]'"
            )


def environment(settings: Settings, day: date) -> dict[str, str]:
    """Variables of dbt on Spark; contains the token."""
    assert settings.spark_url is not None, "the settings see to it"
    values = settings.dbt_environment(day)
    if settings.engine_lake_url:
        lake = settings.engine_lake_url.rstrip("/")
        values |= {
            "CTWA_LAKE_PATH": lake,
            "CTWA_IDENTITY_PATH": f"{lake}/identity",
            "CTWA_CHAT_SIGNALS_PATH": f"{lake}/event_log/chat_signals",
        }
    return values | {
        "CTWA_SPARK_URL": settings.spark_url.get_secret_value(),
        "CTWA_ENGINE_PATH": settings.engine_path.rstrip("/"),
    }


def run_on_spark(
    settings: Settings,
    day: date,
    manifest: Mapping[str, Any],
    *,
    full: bool,
    selected: Collection[str] | None = None,
    project_dir: Path = PROJECT_DIR,
) -> Run:
    """Build and test everything, or what is `selected` by its ids; collect it if nothing failed.

    Raises `SparkError`; faults of models and tests are in the result.
    """
    ensure_installed()
    nodes = manifest["nodes"]
    names = [
        nodes[n]["name"]
        for n in sorted(selected or ())
        if nodes[n]["resource_type"] in ("model", "seed")
    ]
    known = known_build(settings)
    how = "full" if full or not known else "continued"
    known["schemas"] = sorted(
        {n["schema"] for of in ("nodes", "sources") for n in manifest[of].values()}
    )
    if settings.engine_lake_url:  # is it the same lake?
        lake = Lake.from_settings(settings)
        known["last_seq"] = lake.max_value("event_log", "envelopes", "seq")
    doing("building on Spark")
    said = _in_child(settings, day, project_dir, how, json.dumps(known), *names)
    run = Run([_result(found) for found in said["results"]])
    if not run.failures:
        doing("collecting what Spark built")
        views = _views(settings, day, manifest, said["tables"], project_dir)
        collect(settings, said["tables"], manifest, views)
        state = {name: said[name] for name in ("build", "shown")}
        write_durably(_build_path(settings), json.dumps(state) + "\n")
    return run


def look(settings: Settings) -> dict[str, str]:
    """Version, catalogue and time zone of the cluster; raises `SparkError` if it is no use."""
    ensure_installed()
    return _in_child(settings, date(1970, 1, 1), PROJECT_DIR, "look")


def _in_child(
    settings: Settings, day: date, project_dir: Path, how: str, *arguments: str
) -> dict[str, Any]:
    """What `orchestration.spark_dbt` found. Raises `SparkError`."""
    with tempfile.TemporaryDirectory(prefix="ctwa-spark-") as folder:
        found = Path(folder) / "found.json"
        values = {
            **os.environ,
            **environment(settings, day),
            "DBT_PROJECT_DIR": str(project_dir),
            "DBT_PROFILES_DIR": str(project_dir),
            # dbt keeps what it parsed by target: another folder than DuckDB's.
            "DBT_TARGET_PATH": str(run_folder(settings).with_name("spark")),
        }
        said_on = Path(folder) / "said.txt"
        with said_on.open("wb") as sink:
            child = subprocess.Popen(
                [sys.executable, *_CHILD, str(found), how, *arguments],
                env=values,
                cwd=PROJECT_DIR,
                stdout=sink,
                stderr=sink,
            )
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    code = child.wait(_BEAT_SECONDS)
                    break
                if lock_is_lost():
                    confirm_lock()
        finally:
            # After an error only: no build may go on beside that of the host that has the lock now.
            child.kill()
            child.wait()
        if code or not found.exists():
            text = said_on.read_text(errors="replace").strip()[-2000:]
            raise SparkError(f"dbt on Spark ended with {code}:\n{text}")
        said: dict[str, Any] = json.loads(found.read_text())
    if "refused" in said:
        raise SparkError(said["refused"])
    return said


def _result(found: Mapping[str, Any]) -> Result:
    now = datetime.now(UTC)
    times = [datetime.fromisoformat(t) if (t := found[n]) else now for n in ("started", "finished")]
    status = {"runtime error": "error"}.get(found["status"], found["status"])
    return Result(
        found["unique_id"],
        status,
        times[0],
        times[1],
        found["message"],
        found["failures"],
        found["rows"],
    )


# ---- collecting ---------------------------------------------------------------------------------


def _views(
    settings: Settings,
    day: date,
    manifest: Mapping[str, Any],
    tables: Collection[str],
    project_dir: Path,
) -> dict[str, Sequence[str]]:
    """`schema.table` -> statements that make it, of what stays a view when it is collected: what it
    shows changes after the build, as what was sent does."""
    views = {
        n["unique_id"]: name
        for n in manifest["nodes"].values()
        if n["config"].get("materialized") == "view"
        and (name := f"{n['schema']}.{n['alias']}") in tables
    }
    if not views:
        return {}
    plan = plan_of(settings, project_dir)
    values = {**run_values(settings, day), "database": settings.warehouse_path.stem}
    return {
        views[node.unique_id]: [filled_in(sql, values) for sql in node.full]
        for node in plan.nodes
        if node.unique_id in views
    }


def collect(
    settings: Settings,
    tables: Mapping[str, Mapping[str, Any]],
    manifest: Mapping[str, Any],
    views: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write the tables into a new warehouse file and put it in the place of the old one.

    `tables`: `schema.table` -> its Parquet `files` and the number of `rows` that Spark counts.
    `views`: those that are made by these statements instead, after all others. The constraints of
    contracts hold for what is collected, as on DuckDB. A row against one, or another number of
    rows, raises `SparkError`, and the old file stays.
    """
    path = settings.warehouse_path
    draft = path.with_name(f"{path.name}.collecting")
    for old in (draft, draft.with_name(draft.name + ".wal")):
        old.unlink(missing_ok=True)
    nodes = {
        f"{n['schema']}.{n['alias']}": n
        for n in manifest["nodes"].values()
        if n["resource_type"] == "model"
    }
    views = views or {}
    with duckdb.connect() as warehouse:
        warehouse.execute("set TimeZone = 'UTC'")
        # Views keep the name of their database, which is that of the file's later place.
        database = f'"{path.stem}"'
        warehouse.execute(f"attach {_quoted(str(draft))} as {database}")
        warehouse.execute(f"use {database}")
        for name, found in sorted(tables.items()):
            if name in nodes and name not in views:
                _collect(warehouse, nodes[name], found["files"], found["rows"])
        for name, statements in views.items():
            _make(warehouse, name, statements, tables[name]["rows"])
        warehouse.execute(f"checkpoint {database}")
    confirm_lock()
    stamps_path(path).unlink(missing_ok=True)
    path.with_name(path.name + ".wal").unlink(missing_ok=True)
    draft.replace(path)


def _collect(
    warehouse: duckdb.DuckDBPyConnection,
    node: Mapping[str, Any],
    files: Sequence[str],
    rows: int,
) -> None:
    name = f'"{node["schema"]}"."{node["alias"]}"'
    source = f"read_parquet([{', '.join(map(_quoted, files))}])"
    statements = [f"create table {name} as select * from {source}"]  # noqa: S608
    if node["config"].get("contract", {}).get("enforced"):
        columns = ", ".join(f'"{column}"' for column in node["columns"])
        statements = [
            f"create table {name} ({', '.join(_columns(node))})",
            f"insert into {name} ({columns}) select {columns} from {source}",  # noqa: S608
        ]
    _make(warehouse, f"{node['schema']}.{node['alias']}", statements, rows)


def _make(
    warehouse: duckdb.DuckDBPyConnection, name: str, statements: Sequence[str], rows: int
) -> None:
    """Execute what makes a table or view, and compare its rows with Spark's."""
    schema, _, table = name.partition(".")
    warehouse.execute(f'create schema if not exists "{schema}"')
    try:
        for statement in statements:
            warehouse.execute(statement)
        found = warehouse.execute(f'select count(*) from "{schema}"."{table}"').fetchall()  # noqa: S608
    except duckdb.Error as error:
        raise SparkError(f"{name} cannot be collected: {error}") from None
    ((count,),) = found
    if count != rows:
        raise SparkError(
            f"{name} has {rows} rows on Spark, but {count} were collected: run the refresh again"
        )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _columns(node: Mapping[str, Any]) -> list[str]:
    """The columns of a contract with its constraints, as dbt writes them on DuckDB."""
    words = {"not_null": "not null"}
    found = []
    for column in node["columns"].values():
        parts = [f'"{column["name"]}"', column["data_type"]]
        for constraint in column.get("constraints", []):
            expression = constraint.get("expression")
            parts.append(
                f"check ({expression})"
                if constraint["type"] == "check"
                else words[constraint["type"]]
            )
        found.append(" ".join(parts))
    for constraint in node.get("constraints", []):
        if constraint["type"] == "check":
            found.append(f"check ({constraint['expression']})")
    return found


def _build_path(settings: Settings) -> Path:
    return settings.warehouse_path.with_name(f"{settings.warehouse_path.name}.{_COLLECTED_BY}")


def known_build(settings: Settings) -> dict[str, Any]:
    """The `build` that the last whole build called the catalogue, and what views have `shown` since
    the last run. Empty where there was none, or the warehouse, which is of the same build, is gone.
    """
    if not settings.warehouse_path.exists():
        return {}
    try:
        state = json.loads(_build_path(settings).read_text())
        return {"build": str(state["build"]), "shown": dict(state.get("shown", {}))}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
