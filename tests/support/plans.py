"""Plans and installations for tests: made once for each version of the code, for all processes.

A plan under other settings, or of changed code, is that of the default settings but for the nodes
that read what differs: dbt builds only those again (`tests/orchestration/test_plan.py` compares it
with one that dbt makes whole).
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from dbt.contracts.graph.manifest import Manifest

from ctwa.files import write_durably
from ctwa.lock import refresh_lock
from ctwa.settings import Settings, load_settings
from orchestration import plan_dbt
from orchestration.plan import Plan, load_plan, plan_key, plan_path, run_values, save_plan
from orchestration.plan_compile import AS_OF_COMPILED, Captured, compile_plan
from orchestration.plan_run import run_plan
from tests.support import dbt
from tests.support.kept import WAIT_SECONDS, kept, with_manifest

Change = Callable[[Manifest], Collection[str]]
"""Changes a manifest; names of the nodes and macros that it changed."""
_FOLDER = "@folder@"
"""In place of the folder of the installation that dbt was run for."""
_loaded: dict[str, Plan] = {}


def plan_for(settings: Settings, change: Change | None = None, changed: str = "") -> Plan:
    """The plan of the project under these settings.

    `change`: what is done to the manifest before, said in full by `changed`.
    """
    key = plan_key(settings)
    if changed:
        key = hashlib.sha256(f"{key}\0{changed}".encode()).hexdigest()
    if key not in _loaded:
        is_whole = key == plan_key(_default())
        path = _kept_as(key, "json")
        with refresh_lock(path.with_suffix(".lock"), wait_seconds=WAIT_SECONDS):
            plan = load_plan(path, key)
            if plan is None or (is_whole and not _kept_as(key, "captured").exists()):
                make = _whole if is_whole else _part
                plan = compile_plan(settings, key, capture=functools.partial(make, change))
                save_plan(plan, path)
        _loaded[key] = plan
    return _loaded[key]


def compiled_whole(settings: Settings) -> Plan:
    """The plan by dbt alone, whatever there is already."""
    return compile_plan(settings, plan_key(settings), capture=_by_dbt)


def prepare(settings: Settings) -> Settings:
    """These settings, in whose data folder lies what a first refresh would make of the code."""
    save_plan(plan_for(settings), plan_path(settings))
    return with_manifest(settings)


@functools.cache
def _default() -> Settings:
    return load_settings(_env_file=None, data_dir=kept("plans"))


def _kept_as(key: str, suffix: str) -> Path:
    """Also for the code here: it makes plans, too."""
    name = hashlib.sha256(f"{key}\0{Path(__file__).read_text()}".encode()).hexdigest()
    return kept("plans") / f"{name[:32]}.{suffix}"


def _whole(_: Change | None, empty: Settings) -> Captured:
    """All of the project, and kept for `_part`."""
    captured = _by_dbt(empty)
    text = json.dumps(captured).replace(str(empty.data_dir), _FOLDER)
    write_durably(_kept_as(plan_key(_default()), "captured"), text)
    return captured


def _by_dbt(empty: Settings) -> Captured:
    return _run(dbt.manifest_of(empty), empty, plan_dbt.COMMANDS)


def _part(change: Change | None, empty: Settings) -> Captured:
    """What differs from the project under the default settings, and the rest as it is there."""
    plan = plan_for(_default())
    manifest = dbt.manifest_of(empty)
    nodes = _touched(manifest, change(manifest) if change else (), [*_settings_in_sql(empty)])
    built = {node.unique_id for node in plan.nodes}
    values = run_values(empty, AS_OF_COMPILED)
    assert not run_plan(plan, empty.warehouse_path, values, selected=built).failures
    found = _run(manifest, empty, _commands(nodes))
    if "failures" in found:
        return found
    whole = json.loads(
        _kept_as(plan_key(_default()), "captured").read_text().replace(_FOLDER, str(empty.data_dir))
    )
    checks = {check["unique_id"]: check for check in (*whole["checks"], *found["checks"])}
    return {
        "nodes": found["nodes"],
        "checks": [*checks.values()],
        **{name: whole[name] | found[name] for name in ("full", "continued")},
    }


def _run(manifest: Manifest, empty: Settings, commands: Mapping[str, Any]) -> dict[str, Any]:
    with dbt.environment(empty.dbt_environment(AS_OF_COMPILED)):
        try:
            return plan_dbt.capture(manifest, commands)
        finally:
            dbt.let_go()


def _settings_in_sql(settings: Settings) -> Iterator[str]:
    """How code names what these settings and the defaults have different values for."""
    day = date(1970, 1, 1)
    default = _default().dbt_environment(day)
    for name, value in settings.dbt_environment(day).items():
        is_a_place = name.startswith("DBT_") or name.endswith(("_PATH", "_AS_OF"))
        if not is_a_place and value != default[name]:
            yield from (name, f'"{name.removeprefix("CTWA_").lower()}"')


def _touched(manifest: Manifest, changed: Collection[str], settings: Iterable[str]) -> list[Any]:
    """Nodes that are changed or read one of the settings, themselves or by a macro."""
    settings = list(settings)
    assert changed or settings, "the same project under the same settings has another key"

    def is_touched(part: Any, code: str) -> bool:
        # By the text: dbt knows nothing of macros that are called where a model is continued only.
        called = any(f"{macro}(" in code for macro in macros)
        return called or part.name in changed or any(name in code for name in settings)

    macros: set[str] = set()
    more = {m.name for m in manifest.macros.values() if is_touched(m, m.macro_sql)}
    while not more <= macros:
        macros |= more
        more = {m.name for m in manifest.macros.values() if is_touched(m, m.macro_sql)}
    return [
        node for node in manifest.nodes.values() if is_touched(node, getattr(node, "raw_code", ""))
    ]


def _commands(nodes: Iterable[Any]) -> dict[str, tuple[str, ...]]:
    """dbt's commands for some nodes; none where there is nothing to do."""
    models = [n for n in nodes if n.resource_type in ("model", "seed")]
    continued = [n for n in models if n.config.materialized == "incremental"]
    tests = [n for n in nodes if n.resource_type == "test"]
    parts = (("full", models), ("continued", continued), ("checks", tests))
    return {
        name: (*_without_selection(plan_dbt.COMMANDS[name]), "--select", *(n.name for n in part))
        for name, part in parts
        if part
    }


def _without_selection(command: tuple[str, ...]) -> tuple[str, ...]:
    return command[: command.index("--select")] if "--select" in command else command
