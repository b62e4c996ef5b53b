"""A lake and a warehouse for one test: rows in, mart rows out.

Built by the plan, as a refresh builds. Where dbt itself is wanted it runs in this process with a
manifest that is parsed once per test session; each command gets a copy of it whose sources point at
the test's own lake.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
from dbt.cli.main import dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from activation.conversions_ledger import ensure_states
from ctwa.settings import Settings, load_settings
from ingestion.identity.update import land_identity
from orchestration.plan import Check, Node, Plan, filled_in, run_values
from orchestration.plan_run import CONTINUED_FROM, Result, Run, run_plan
from tests.support.dbt import (
    AS_OF,
    LAKE_AT_PARSE,
    DbtFailedError,
    manifest_of,
    parsed_manifest,
    run_dbt,
)
from tests.support.lake import ensure_lake, sorted_rows, write_rows
from tests.support.plans import plan_for

__all__ = ["AS_OF", "DbtFailedError", "DbtWorld", "parsed_manifest", "run_dbt"]


@functools.cache
def _reader() -> duckdb.DuckDBPyConnection:
    """One database for all questions: making one costs more than most answers do."""
    reader = duckdb.connect()
    reader.execute("set global timezone = 'UTC'")
    return reader


def selection(
    plan: Plan, select: Sequence[str], *, tests: bool = True, without: Sequence[str] = ()
) -> set[str]:
    """Ids of the nodes that dbt's selectors choose, and of the tests that look at nothing else.

    `without`: selectors of what is left out, with all that rests on it.
    """
    chosen = set().union(*plan.ancestors.values(), plan.ancestors) if not select else set()
    for selector in select:
        found = _matching(plan, selector.removeprefix("+"))
        chosen |= found
        if selector.startswith("+"):
            chosen = chosen.union(*(plan.ancestors.get(node, ()) for node in found))
    for selector in without:
        out = _matching(plan, selector)
        chosen -= out | {
            node for node, above in plan.ancestors.items() if not above.isdisjoint(out)
        }
    checks = {c.unique_id for c in plan.checks if not select or chosen.issuperset(c.depends_on)}
    return chosen | checks if tests else chosen


def _matching(plan: Plan, selector: str) -> set[str]:
    """Ids by the name of a model or test, the file of a test, or a folder of models."""
    path = selector.removeprefix("path:")
    name = Path(path).stem if path.endswith(".sql") else selector
    found = {part.unique_id for part in (*plan.nodes, *plan.checks) if name_in(part) == name}
    if path != selector:
        found |= {node.unique_id for node in plan.nodes if node.path.startswith(f"{path}/")}
    assert found, f"nothing is selected by {selector}"
    return found


def name_in(part: Node | Check | Result) -> str:
    """Name of a model or test, or of the one that a result is of."""
    return part.unique_id.split(".")[2]


def warned(run: Run) -> dict[str, int | None]:
    """Test that warned -> rows that it found."""
    return {name_in(r): r.failures for r in run.results if r.status == "warn"}


class DbtWorld:
    """One test's lake and warehouse, or those that `settings` name.

    Keyword arguments are settings by their environment names, e.g. CTWA_CONVERSATION_GAP_DAYS="7".
    """

    def __init__(
        self,
        root: Path,
        *,
        as_of: date = AS_OF,
        settings: Settings | None = None,
        **overrides: Any,
    ) -> None:
        self.settings = settings or load_settings(
            _env_file=None, **{"CTWA_DATA_DIR": str(root / "data"), **overrides}
        )
        self.as_of = as_of
        self.changed_code: dict[str, tuple[str, str]] = {}
        self.seeds: dict[str, str] = {}
        """Seed -> CSV in place of the project's own."""
        self._seed_folder = root / "seeds"
        self.lake = Path(self.settings.lake_url)
        ensure_lake(self.lake)
        ensure_states(self.settings)

    def write(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows to e.g. `event_log.messages` or `meta_ads.ads` (see `write_rows`)."""
        dataset, name = table.split(".")
        write_rows(self.lake, dataset, name, rows)

    def dbt(self, *args: str, as_of: date | None = None) -> dbtRunnerResult:
        """Run one dbt command on this world."""
        land_identity(self.settings, full="--full-refresh" in args)
        manifest = manifest_of(self.settings)
        self.change_models(manifest)
        return run_dbt(self.settings, [*args], as_of=as_of or self.as_of, manifest=manifest)

    def change_models(self, manifest: Manifest) -> set[str]:
        """Apply `changed_code`, model or macro -> (old, new) piece of it, and `seeds`: names of
        what is changed."""
        for name, text in self.seeds.items():
            self._seed_folder.mkdir(parents=True, exist_ok=True)
            (self._seed_folder / f"{name}.csv").write_text(text)
            seed: Any = manifest.nodes[f"seed.ctwa.{name}"]
            seed.root_path, seed.original_file_path = str(self._seed_folder), f"{name}.csv"
        for name, (old, new) in self.changed_code.items():
            node = manifest.nodes.get(f"model.ctwa.{name}")
            macro = manifest.macros.get(f"macro.ctwa.{name}")
            code = node.raw_code if node else macro.macro_sql if macro else ""
            assert old in code, f"{name} has no {old!r} any more"
            if node:
                node.raw_code = code.replace(old, new)
            elif macro:
                macro.macro_sql = code.replace(old, new)
        return {*self.changed_code, *self.seeds}

    def build(
        self,
        *select: str,
        full_refresh: bool = False,
        as_of: date | None = None,
        tests: bool = True,
        without: Sequence[str] = (),
    ) -> Run:
        """Build all, or what is selected as dbt would, by the plan, as a refresh does.

        Data tests as well, of a part those that look at nothing else. `select`: `model`, `+model`,
        `path:folder`, `+path:folder`; `without`: models or folders that are left out with
        all that rests on them. Raises `DbtFailedError`, and then nothing is changed.
        """
        land_identity(self.settings, full=full_refresh)
        plan = plan_for(self.settings, self.change_models, self._changes())
        values = run_values(self.settings, as_of or self.as_of)
        parts = selection(plan, select, tests=tests, without=without)
        run = run_plan(
            plan, self.settings.warehouse_path, values, full=full_refresh, selected=parts
        )
        if run.failures:
            raise DbtFailedError(
                "\n".join(f"{name_in(r)}: {r.status}: {r.message}" for r in run.failures)
            )
        return run

    def _changes(self) -> str:
        changes = {**self.changed_code, **self.seeds}
        return repr(sorted(changes.items())) if changes else ""

    def continued_by(self, model: str) -> str:
        """The query by which the plan continues an incremental model that stands as it does now."""
        plan = plan_for(self.settings, self.change_models, self._changes())
        (node,) = (n for n in plan.nodes if n.table == model)
        (statement,) = (s for s in node.continued if s.startswith(CONTINUED_FROM))
        values = {**run_values(self.settings, self.as_of), "database": "warehouse"}
        highest = {
            f"highest_{place}": str(*self.query(filled_in(query, values))[0].values())
            for place, query in enumerate(node.highest)
        }
        sql = filled_in(statement, values | highest)
        return sql[sql.index("(") + 1 : sql.rindex(")")]

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of the warehouse as dicts."""
        path = str(self.settings.warehouse_path).replace("'", "''")
        with _reader().cursor() as cursor:
            cursor.execute(f"attach '{path}' as warehouse (read_only)")
            try:
                cursor.execute("use warehouse")
                cursor.execute(sql)
                names = [column[0] for column in cursor.description or []]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            finally:
                cursor.execute("use memory")
                cursor.execute("detach warehouse")

    def rows(self, table: str, order_by: str = "all") -> list[dict[str, Any]]:
        """Every row of e.g. `marts.fct_leads`."""
        return self.query(f"select * from {table} order by {order_by}")

    def identity(self, table: str) -> list[dict[str, Any]]:
        """Every row of a table of who is one person, as the models read it."""
        source = parsed_manifest().sources[f"source.ctwa.identity.{table}"]
        location = str(source.meta["external_location"]).replace(LAKE_AT_PARSE, str(self.lake))
        with _reader().cursor() as cursor:
            rows = cursor.sql(f"from {location.format(name=table)} order by all")
            return list(rows.to_arrow_table().to_pylist())

    def one(self, table: str, where: str = "true") -> dict[str, Any]:
        """The only row of a table that fits; an assertion fails where there are more or none."""
        found = self.query(f"select * from {table} where {where}")
        assert len(found) == 1, f"{table} where {where}: {len(found)} rows, expected 1: {found}"
        return found[0]

    def snapshot(
        self,
        schemas: Iterable[str] = ("intermediate", "marts"),
        exclude: Iterable[str] = ("changed_seq", "read_seq", "last_seq", "catalogue_no"),
    ) -> dict[str, list[tuple[Any, ...]]]:
        """Table -> sorted rows, without the columns that say when a row was made."""
        listed = ", ".join(f"'{s}'" for s in schemas)
        columns = self.query(
            "select table_schema || '.' || table_name as name, column_name"
            f" from information_schema.columns where table_schema in ({listed})"
            " order by name, column_name"
        )
        tables: dict[str, list[str]] = {}
        for column in columns:
            chosen = tables.setdefault(column["name"], [])
            if column["column_name"] not in set(exclude):
                chosen.append(f'"{column["column_name"]}"')
        return {
            name: sorted_rows(
                [tuple(r.values()) for r in self.query(f"select {', '.join(cols)} from {name}")]
            )
            for name, cols in tables.items()
        }
