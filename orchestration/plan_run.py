"""Executes a plan: every model and check in one transaction of one DuckDB connection.

Where a check fails, or a statement raises, the run ends with a rollback: the warehouse stays as it
was. A check of severity `warn` never does that. As in `dbt build`, what rests on everything that a
failed check looked at is skipped, and the rest is still built and checked, so that a run names all
that is wrong; but after a statement that raised, DuckDB executes nothing more in the transaction.

What is current is not made again (`orchestration.plan_stamps`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from ctwa import fingerprint
from ctwa.files import write_durably
from ctwa.lock import confirm_lock
from ctwa.progress import doing
from orchestration.plan import Check, Node, Plan, filled_in
from orchestration.plan_stamps import Inputs, Stamps, new_version

SHOWN_ROWS = 20
"""Failing rows of a check that are kept with its result."""
_BAD = {"error", "fail"}
CONTINUED_FROM = "create or replace temporary table"
"""How the statement begins that holds the new rows of an incremental model."""
_RELATIONS = """
    select schema_name, table_name, 'table' as kind from duckdb_tables()
    where database_name = current_database() and not internal
    union all
    select schema_name, view_name, 'view' as kind from duckdb_views()
    where database_name = current_database() and not internal
"""
_COLUMNS = """
    select database_name = 'temp' as is_new, column_name, data_type from duckdb_columns()
    where
        (database_name = 'temp' and table_name = ?)
        or (database_name = current_database() and schema_name = ? and table_name = ?)
"""
_WRITING = {duckdb.StatementType.DELETE, duckdb.StatementType.INSERT}
_VERDICT = """
select
    '{unique_id}' as unique_id,
    cast({figure} as bigint) as failures,
    {figure} {warn_if} as should_warn,
    {figure} {error_if} as should_error,
    {faults} as faults
from (
{sql}
)
"""


@dataclass(frozen=True)
class Result:
    """What became of one seed, model or check."""

    unique_id: str
    status: str
    """As dbt says it: `success`; of checks `pass`, `warn`, `fail`; `error`, `skipped`."""
    started: datetime
    finished: datetime
    message: str = ""
    failures: int | None = None
    """Rows that a check found; None where it did not run or counts none."""
    rows: Sequence[Mapping[str, Any]] = ()
    """Some of these rows, where the check keeps them to be looked at."""
    is_current: bool = False
    """Whether nothing was done, because nothing that it is made of has changed."""

    @property
    def is_bad(self) -> bool:
        """Whether it stops the run."""
        return self.status in _BAD


@dataclass
class Run:
    """An execution of a plan."""

    results: list[Result] = field(default_factory=list)
    """In the order in which they came."""

    @property
    def failures(self) -> list[Result]:
        """What stopped the run; where there is any, nothing was changed."""
        return [result for result in self.results if result.is_bad]

    def summary(self) -> str:
        """One line: how much was built and checked, and in what time."""
        done = [result for result in self.results if not result.is_current]
        checks = sum(result.failures is not None for result in done)
        built = sum(result.status == "success" for result in done)
        current = f", {n} of both current" if (n := len(self.results) - len(done)) else ""
        span = [moment for r in self.results for moment in (r.started, r.finished)]
        seconds = (max(span) - min(span)).total_seconds() if span else 0.0
        kept = "; nothing is kept of them" if self.failures else ""
        built_and_asked = f"{built} models and seeds built, {checks} tests asked"
        return f"{built_and_asked}{current} in {seconds:.1f} s{kept}"

    def save(self, path: Path) -> None:
        """Write what `dbt_events.failed_nodes` reads, in the shape of dbt's own file."""
        results = [
            {"unique_id": r.unique_id, "status": r.status, "message": r.message}
            for r in self.results
        ]
        write_durably(path, json.dumps({"results": results}, indent=1) + "\n")


def run_plan(
    plan: Plan,
    warehouse: Path,
    values: Mapping[str, str],
    *,
    full: bool = False,
    selected: Collection[str] | None = None,
    on_result: Callable[[Result], None] | None = None,
) -> Run:
    """Build and check everything, or what is `selected` by its ids, in this file.

    `values`: as `plan.run_values` gives them. `full` makes everything whole, also what is current.
    Raises `duckdb.Error` where the warehouse cannot be opened or committed to; faults of models and
    checks are in the result.
    """
    stamps = Stamps() if full else Stamps.read(warehouse)
    run = Run()
    with duckdb.connect(str(warehouse)) as connection:
        for name, value in plan.session.items():
            connection.execute(f"set {name} = {_quoted(value)}")
        connection.begin()
        steps = _Steps(connection, plan, values, stamps, full=full)
        for result in _results(steps, plan, selected):
            run.results.append(result)
            if on_result:
                on_result(result)
        if not run.failures:
            confirm_lock()
            connection.commit()
    if not run.failures:
        stamps.save(warehouse)
    return run


def _results(steps: _Steps, plan: Plan, selected: Collection[str] | None) -> Iterator[Result]:
    """What becomes of each node and check, in the order of the plan."""
    checks = _checks_after(plan)
    skipped: set[str] = set()
    ended = False
    for place in range(-1, len(plan.nodes)):
        if place >= 0 and _is_in(selected, node := plan.nodes[place]):
            if ended or node.unique_id in skipped:
                yield steps.skip(node)
                skipped.add(node.unique_id)
            else:
                doing(f"building {place + 1} of {len(plan.nodes)}: {node.schema}.{node.table}")
                result = steps.build(node)
                ended = result.is_bad
                yield result
        here = [check for check in checks[place] if _is_in(selected, check)]
        runnable = [] if ended else [c for c in here if skipped.isdisjoint(c.depends_on)]
        yield from (steps.skip(check) for check in here if check not in runnable)
        for result, check in zip(steps.check(runnable), runnable, strict=True):
            if result.is_bad:
                ended = ended or steps.is_aborted
                skipped |= _below(plan, check)
            yield result


def _is_in(selected: Collection[str] | None, part: Node | Check) -> bool:
    return selected is None or part.unique_id in selected


def _checks_after(plan: Plan) -> dict[int, list[Check]]:
    """Place of a node, -1 before the first -> checks that have all they look at from there on."""
    places = {node.unique_id: place for place, node in enumerate(plan.nodes)}
    found: dict[int, list[Check]] = defaultdict(list)
    for check in plan.checks:
        found[max((places.get(parent, -1) for parent in check.depends_on), default=-1)].append(
            check
        )
    return found


def _below(plan: Plan, check: Check) -> set[str]:
    """Nodes that rest on everything that the check looks at, as dbt skips them."""
    return {node for node, above in plan.ancestors.items() if above.issuperset(check.depends_on)}


class _Steps:
    """Single steps, within a transaction that is open."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        plan: Plan,
        values: Mapping[str, str],
        stamps: Stamps,
        *,
        full: bool,
    ) -> None:
        self._connection = connection
        self._full = full
        self._stamps, self._inputs = stamps, Inputs(plan, values, stamps)
        ((database,),) = connection.execute("select current_database()").fetchall()
        self._values = {**values, "database": database}
        found = connection.execute(_RELATIONS).fetchall()
        self._kinds = {(schema, name): kind for schema, name, kind in found}
        self.is_aborted = False
        """Whether a statement raised: DuckDB executes nothing more then."""
        schemas = {node.schema for node in plan.nodes}
        schemas |= {check.view[0] for check in plan.checks if check.view}
        for schema in sorted(schemas):
            connection.execute(f"create schema if not exists {_name(schema)}")

    def skip(self, part: Node | Check) -> Result:
        """Nothing is done: what it rests on failed."""
        now = datetime.now(UTC)
        return Result(part.unique_id, "skipped", now, now)

    def build(self, node: Node) -> Result:
        """Make the table or view of a node, unless it is current."""
        started = datetime.now(UTC)
        inputs = self._inputs.of_node(node)
        is_there = self._kinds.get((node.schema, node.table)) == _kind(node)
        if is_there and self._stamps.is_current(node, inputs):
            return Result(node.unique_id, "success", started, started, is_current=True)
        try:
            if is_there and node.continued and not self._full:
                self._continue(node, inputs)
            else:
                self._make(node, inputs)
        except duckdb.Error as error:
            self.is_aborted = True
            return Result(node.unique_id, "error", started, datetime.now(UTC), str(error))
        return Result(node.unique_id, "success", started, datetime.now(UTC))

    def _make(self, node: Node, inputs: str | None) -> None:
        there = self._kinds.get((node.schema, node.table))
        if there and there != _kind(node):
            self._connection.execute(f"drop {there} {_name(node.schema, node.table)}")
        for statement in node.full:
            self._connection.execute(filled_in(statement, self._values))
        if node.materialized == "table":
            database = self._values["database"]
            version = fingerprint.of_table(self._connection, node.schema, node.table, database)
        elif node.materialized == "incremental":
            version = new_version()
        else:
            version = inputs or new_version()
        self._stamps.made(node, inputs, version)

    def _continue(self, node: Node, inputs: str | None) -> None:
        # Before anything changes: dbt asks while it compiles, and its hooks come later.
        highest = {
            f"highest_{place}": str(
                self._connection.execute(filled_in(query, self._values)).fetchall()[0][0]
            )
            for place, query in enumerate(node.highest)
        }
        written = 0
        for text in node.continued:
            for statement in self._connection.extract_statements(
                filled_in(text, self._values | highest)
            ):
                done = self._connection.execute(statement)
                if statement.type in _WRITING:
                    written += done.fetchall()[0][0]
            if text.startswith(CONTINUED_FROM):
                self._compare_columns(node)
        version = self._stamps.version(node)
        self._stamps.made(node, inputs, new_version() if written or not version else version)

    def _compare_columns(self, node: Node) -> None:
        """As dbt's `on_schema_change: fail`."""
        names = [f"{node.table}__dbt_tmp", node.schema, node.table]
        found = self._connection.execute(_COLUMNS, names).fetchall()
        new, old = ({(n, t) for is_new, n, t in found if is_new is side} for side in (True, False))
        if new != old:
            differing = ", ".join(sorted({name for name, _ in new ^ old}))
            raise duckdb.BinderException(
                f"the columns of {node.table} are not those of its table ({differing}): "
                "run `ctwa refresh --full`"
            )

    def check(self, checks: Sequence[Check]) -> list[Result]:
        """Verdicts of some checks, asked by one statement but for those that are known."""
        started = datetime.now(UTC)
        inputs = {check.unique_id: self._inputs.of_check(check) for check in checks}
        known = {c.unique_id: self._stamps.passed(c, inputs[c.unique_id]) for c in checks}
        unknown = [check for check in checks if known[check.unique_id] is None]
        found: dict[str, tuple[Any, ...]] = {}
        try:
            found = self._verdicts(unknown) if unknown else {}
        except duckdb.Error as error:
            self.is_aborted = True
            now = datetime.now(UTC)
            return [Result(c.unique_id, "error", started, now, str(error)) for c in checks]
        results = []
        for check in checks:
            name = check.unique_id
            if (figure := known[name]) is not None:
                results.append(
                    Result(name, "pass", started, started, failures=figure, is_current=True)
                )
                continue
            results.append(result := _verdict(check, found[name], started))
            passed = result.failures if result.status == "pass" else None
            self._stamps.asked(check, inputs[name], passed)
        return results

    def _verdicts(self, checks: Iterable[Check]) -> dict[str, tuple[Any, ...]]:
        """Id -> failures, should_warn, should_error, faults, rows."""
        queries = []
        views: dict[str, str] = {}
        for check in checks:
            sql = filled_in(check.sql, self._values)
            if check.view:
                views[check.unique_id] = _name(*check.view)
                sql = self._shown(check, sql)
            queries.append(
                _VERDICT.format(
                    unique_id=check.unique_id,
                    figure=check.figure,
                    warn_if=check.warn_if,
                    error_if=check.error_if,
                    faults="min(faults)" if check.says_faults else "cast(null as varchar)",
                    sql=sql,
                )
            )
        found = self._connection.execute("union all".join(queries)).fetchall()
        return {
            unique_id: (
                *rest,
                self._rows(views[unique_id]) if unique_id in views and rest[0] else (),
            )
            for unique_id, *rest in found
        }

    def _shown(self, check: Check, sql: str) -> str:
        """Make the view of a check's rows; the query that reads it."""
        assert check.view is not None
        there = self._kinds.get(check.view)
        if there and there != "view":
            self._connection.execute(f"drop {there} {_name(*check.view)}")
        self._connection.execute(f"create or replace view {_name(*check.view)} as (\n{sql}\n)")
        return f"select * from {_name(*check.view)}"  # noqa: S608

    def _rows(self, view: str) -> list[dict[str, Any]]:
        found = self._connection.execute(f"select * from {view} order by all limit {SHOWN_ROWS}")  # noqa: S608
        names = [column[0] for column in found.description or []]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _kind(node: Node) -> str:
    return "view" if node.materialized == "view" else "table"


def _verdict(check: Check, found: tuple[Any, ...], started: datetime) -> Result:
    failures, should_warn, should_error, faults, rows = found
    status, message = "pass", ""
    count: int | None = failures
    if faults is not None:
        status, message, count = "error", faults, None
    elif check.severity == "error" and should_error:
        status, message = "fail", f"{_got(failures)} fail if {check.error_if}"
    elif should_warn:
        status, message = "warn", f"{_got(failures)} warn if {check.warn_if}"
    return Result(check.unique_id, status, started, datetime.now(UTC), message, count, rows)


def _got(failures: int) -> str:
    return f"Got {failures} {'result' if failures == 1 else 'results'}, configured to"


def _name(*parts: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
