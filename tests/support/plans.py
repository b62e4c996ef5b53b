"""Plans for tests: compiled once for each version of code and settings, for all processes."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from dbt.contracts.graph.manifest import Manifest

from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings
from orchestration import plan_dbt
from orchestration.plan import Plan, load_plan, plan_key, save_plan
from orchestration.plan_compile import AS_OF_COMPILED, Captured, compile_plan
from tests.support import dbt

_WAIT_SECONDS = 600
_KEPT_SECONDS = 7 * 24 * 3600
_loaded: dict[str, Plan] = {}


@functools.cache
def _folder() -> Path:
    """Beside pytest's own cache, without the plans of code that is gone for long."""
    folder = PROJECT_DIR / ".pytest_cache" / "plans"
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        with suppress(FileNotFoundError):  # another process does the same
            if time.time() - file.stat().st_mtime > _KEPT_SECONDS:
                file.unlink()
    return folder


def plan_for(
    settings: Settings, change: Callable[[Manifest], None] | None = None, changed: str = ""
) -> Plan:
    """The plan of the project under these settings.

    `change`: what is done to the manifest before, said in full by `changed`.
    """
    key = plan_key(settings) + (f"-{changed}" if changed else "")
    if key in _loaded:
        return _loaded[key]
    path = _folder() / f"{key[:32]}.json"
    with refresh_lock(path.with_suffix(".lock"), wait_seconds=_WAIT_SECONDS):
        plan = None if changed else load_plan(path, key)
        if plan is None:
            plan = compile_plan(settings, key, capture=functools.partial(_capture, change))
            if not changed:
                save_plan(plan, path)
    _loaded[key] = plan
    return plan


def _capture(change: Callable[[Manifest], None] | None, empty: Settings) -> Captured:
    manifest = dbt.manifest_of(empty)
    if change:
        change(manifest)
    with dbt.environment(empty.dbt_environment(AS_OF_COMPILED)):
        try:
            return plan_dbt.capture(manifest)
        finally:
            dbt.let_go()
