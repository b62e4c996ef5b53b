"""A lake, a warehouse and dbt for one test: rows in, mart rows out.

dbt runs in this process with a manifest that is parsed once per test session; each build gets a
copy of it whose sources point at the test's own lake.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.factory import reset_adapters
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from activation.states import ensure_states
from ctwa.settings import Settings, load_settings
from tests.support import quick_dbt, quick_tests
from tests.support.lake import ensure_lake, sorted_rows, write_rows

_LAKE_AT_PARSE = "/lake-of-this-test"
AS_OF = date(2026, 6, 30)
"""`as_of` where a test does not say."""


class DbtFailedError(AssertionError):
    """dbt did not succeed; the text names each node and its message."""


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the duration of the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def run_dbt(
    settings: Settings, args: list[str], *, as_of: date = AS_OF, manifest: Manifest | None = None
) -> dbtRunnerResult:
    """Run dbt in this process and let go of the warehouse; raises `DbtFailedError`."""
    quick_dbt.install()
    with environment(settings.dbt_environment(as_of)):
        try:
            result = dbtRunner(manifest=manifest).invoke([*quick_dbt.FLAGS, *args])
        finally:
            DuckDBConnectionManager.close_all_connections()
            reset_adapters()
    if not result.success:
        raise DbtFailedError(_failures(result))
    return result


def _failures(result: dbtRunnerResult) -> str:
    if result.exception is not None:
        return f"{type(result.exception).__name__}: {result.exception}"
    nodes: list[Any] = list(result.result or [])  # type: ignore[arg-type]
    bad = [r for r in nodes if r.status in {"error", "fail", "runtime error"}]
    return "\n".join(f"{r.node.name}: {r.status}: {r.message}" for r in bad) or "dbt failed"


@functools.cache
def _settings_at_parse() -> Settings:
    target = tempfile.mkdtemp(prefix="ctwa-dbt-")
    return load_settings(_env_file=None, CTWA_DATA_DIR=target, CTWA_LAKE_URL=_LAKE_AT_PARSE)


@functools.cache
def _parsed_manifest() -> Manifest:
    result = run_dbt(_settings_at_parse(), ["parse"])
    assert isinstance(result.result, Manifest)
    return result.result


_NO_TESTS = {"build", "unit_test", "test"}
"""Arguments of a build of models only."""


@functools.cache
def _manifest_of_models() -> Manifest:
    """Without tests, which dbt would copy and sort into its graph before it leaves them out."""
    manifest = _parsed_manifest().deepcopy()
    manifest.unit_tests = {}
    manifest.nodes = {k: n for k, n in manifest.nodes.items() if n.resource_type != "test"}
    return manifest


@functools.cache
def _reader() -> duckdb.DuckDBPyConnection:
    """One database for all questions: making one costs more than most answers do."""
    reader = duckdb.connect()
    reader.execute("set global timezone = 'UTC'")
    return reader


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

    def dbt(
        self,
        *args: str,
        as_of: date | None = None,
        without: Iterable[quick_tests.KeptTest] = (),
    ) -> dbtRunnerResult:
        """Run one dbt command on this world, with all of the project but the tests `without`."""
        manifest = (_manifest_of_models if {*args} >= _NO_TESTS else _parsed_manifest)().deepcopy()
        quick_tests.without(manifest, without)
        self.change_models(manifest)
        moved = {
            _LAKE_AT_PARSE: self.lake,
            str(_settings_at_parse().activation_dir): self.settings.activation_dir,
        }
        for source in manifest.sources.values():
            location = str(source.meta["external_location"])
            here = location
            for before, now in moved.items():
                here = here.replace(before, str(now))
            for meta in (source.meta, source.source_meta, source.config.meta):
                if "external_location" in meta:
                    meta["external_location"] = here
        return run_dbt(self.settings, [*args], as_of=as_of or self.as_of, manifest=manifest)

    def change_models(self, manifest: Manifest) -> None:
        """Apply `changed_code`, model or macro -> (old, new) piece of it: known-bad variants."""
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

    def build(
        self,
        *select: str,
        full_refresh: bool = False,
        as_of: date | None = None,
        tests: bool = True,
    ) -> dbtRunnerResult:
        """`dbt build` (all, or what is selected), seeds and data tests included, unit tests not."""
        args = ["build", "--exclude-resource-type", "unit_test"]
        args += [] if tests else ["--exclude-resource-type", "test"]
        args += ["--full-refresh"] if full_refresh else []
        if tests and not select and not self.changed_code:
            return self._build_all(args, as_of or self.as_of)
        # Of a part, only the tests that look at nothing else.
        args += ["--indirect-selection", "cautious", "--select", *select] if select else []
        return self.dbt(*args, as_of=as_of)

    def _build_all(self, args: list[str], as_of: date) -> dbtRunnerResult:
        """Models and tests, those tests in short whose SQL an earlier build has rendered."""
        paths = {
            str(self.lake): "{lake}",
            str(self.settings.activation_dir): "{activation}",
            str(self.settings.data_dir): "{data}",
        }
        key = quick_tests.settings_key(self.settings.dbt_environment(as_of), paths)
        kept = quick_tests.kept_for(key)
        result = self.dbt(*args, as_of=as_of, without=kept)
        if not kept:
            quick_tests.keep(key, result.result, paths, as_of.isoformat())  # type: ignore[arg-type]
        if failing := quick_tests.failing(self.settings.warehouse_path, kept, paths):
            raise DbtFailedError("\n".join(failing))
        return result

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

    def one(self, table: str, where: str = "true") -> dict[str, Any]:
        """The only row of a table that fits; an assertion fails where there are more or none."""
        found = self.query(f"select * from {table} where {where}")
        assert len(found) == 1, f"{table} where {where}: {len(found)} rows, expected 1: {found}"
        return found[0]

    def snapshot(
        self,
        schemas: Iterable[str] = ("intermediate", "marts"),
        exclude: Iterable[str] = ("changed_seq", "read_seq", "last_seq"),
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
