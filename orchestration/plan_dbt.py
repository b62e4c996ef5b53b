"""What dbt executes and checks, as its own events say it: the raw material of a plan.

Run by `orchestration.plan_compile` as a process of its own: dbt is a large import, which a refresh
that has a plan does without. The environment names the project and an empty warehouse, where dbt
builds everything, and then the incremental models once more, which it continues that time. Only
public parts of dbt are used: `dbtRunner`, its callbacks, and the manifest.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from orchestration.dbt_process import die_with_parent
from orchestration.plan import TOLD

_QUIET = ("--log-level", "none", "--log-level-file", "none")
_TARGET = ("--target", "plan")
_NO_TESTS = ("--exclude-resource-type", "unit_test", "--exclude-resource-type", "test")
COMMANDS = {
    "full": ("build", *_TARGET, *_NO_TESTS, "--full-refresh"),
    "continued": ("run", *_TARGET, "--select", "config.materialized:incremental"),
    "checks": ("compile", *_TARGET, "--select", "resource_type:test"),
}
"""What dbt does, in this order, and what it is done for."""
_IN_WORDS = {
    "full": "compiling the models: {index} of {total}",
    "continued": "compiling the incremental models: {index} of {total}",
}
_BAD = {"error", "fail", "runtime error"}
_CHECK_SETTINGS = (
    "severity",
    "fail_calc",
    "warn_if",
    "error_if",
    "limit",
    "store_failures",
    "store_failures_as",
)


def main() -> None:
    """Write what was found to the file that the argument names, as JSON; say how far it is."""
    die_with_parent(os.getppid())
    gc.set_threshold(20_000, 20, 100)  # as `ctwa-dbt` does
    Path(sys.argv[1]).write_text(json.dumps(capture(tell=_print)))


def _print(text: str) -> None:
    sys.stdout.write(f"{TOLD}{text}\n")
    sys.stdout.flush()


def capture(
    manifest: Manifest | None = None,
    commands: Mapping[str, Sequence[str]] = COMMANDS,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Build the project of the environment on its empty warehouse and note what dbt executes.

    `nodes`: seeds and models; `checks`: data tests with their SQL; `full` and `continued`: id ->
    statements in order. Instead of all that `failures`, id -> dbt's message, where dbt failed; the
    id is empty where the project cannot even be parsed. `manifest`: of an earlier parse;
    `commands`: for a part of the project, where the warehouse has the rest. `tell`: gets a text for
    each node that begins.
    """
    tell = tell or (lambda _: None)
    if manifest is None:
        tell("compiling the models: dbt reads them")
        parsed = dbtRunner().invoke([*_QUIET, "parse", *_TARGET])
        if not isinstance(parsed.result, Manifest):
            return {"failures": _failures(parsed)}
        manifest = parsed.result
    heard: dict[str, list[str]] = defaultdict(list)

    def hear(event: Any) -> None:
        if event.info.name == "SQLQuery":
            heard[event.data.node_info.unique_id].append(event.data.sql)
        elif event.info.name == "LogStartLine" and name in _IN_WORDS:
            tell(_IN_WORDS[name].format(index=event.data.index, total=event.data.total))

    runner = dbtRunner(manifest=manifest, callbacks=[hear])
    executed: dict[str, dict[str, list[str]]] = {"full": {}, "continued": {}}
    compiled: dict[str, str] = {}
    name = ""
    for name, command in commands.items():
        heard.clear()
        if name not in _IN_WORDS:
            tell("compiling the tests")
        done = runner.invoke([*_QUIET, *command])
        if not done.success:
            return {"failures": _failures(done)}
        if name == "checks":
            results: Any = done.result
            compiled = {r.node.unique_id: r.node.compiled_code for r in results}
        else:
            executed[name] = {node: list(said) for node, said in heard.items() if node}
    nodes: Sequence[Any] = list(manifest.nodes.values())
    return {
        **executed,
        "nodes": [_node(n) for n in nodes if n.resource_type in ("model", "seed")],
        "checks": [_check(n, compiled[n.unique_id]) for n in nodes if n.unique_id in compiled],
    }


def _failures(done: dbtRunnerResult) -> dict[str, str]:
    results: Sequence[Any] = list(getattr(done.result, "results", None) or [])
    bad = {r.node.unique_id: str(r.message) for r in results if r.status in _BAD}
    return bad or {"": str(done.exception or "dbt failed")}


def _node(node: Any) -> dict[str, Any]:
    return {
        "unique_id": node.unique_id,
        "path": node.original_file_path,
        "schema": node.schema,
        "table": node.alias,
        "materialized": node.config.materialized,
        "depends_on": list(getattr(node.depends_on, "nodes", [])),
    }


def _check(test: Any, sql: str) -> dict[str, Any]:
    metadata = getattr(test, "test_metadata", None)
    return {
        "unique_id": test.unique_id,
        "schema": test.schema,
        "table": test.alias,
        "depends_on": list(test.depends_on.nodes),
        "sql": sql,
        "generic": metadata.name if metadata else "",
        **{name: getattr(test.config, name) for name in _CHECK_SETTINGS},
    }


if __name__ == "__main__":
    main()
