"""dbt in the process of the tests, with a manifest that is parsed once for all of them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any

import jinja2
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.factory import reset_adapters
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest

from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings, load_settings
from tests.support.kept import WAIT_SECONDS, kept

_QUIET = ("--log-level", "none", "--log-level-file", "none", "--no-write-json")
"""Nobody reads the log: failures come with the result."""
LAKE_AT_PARSE = "/lake-of-this-test"
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
    with environment(settings.dbt_environment(as_of)):
        try:
            result = dbtRunner(manifest=manifest).invoke([*_QUIET, *args])
        finally:
            let_go()
    if not result.success:
        raise DbtFailedError(_failures(result))
    return result


def let_go() -> None:
    """Close the connections that dbt keeps open in this process."""
    DuckDBConnectionManager.close_all_connections()
    reset_adapters()


def _failures(result: dbtRunnerResult) -> str:
    if result.exception is not None:
        return f"{type(result.exception).__name__}: {result.exception}"
    nodes: list[Any] = list(result.result or [])  # type: ignore[arg-type]
    bad = [r for r in nodes if r.status in {"error", "fail", "runtime error"}]
    return "\n".join(f"{r.node.name}: {r.status}: {r.message}" for r in bad) or "dbt failed"


@functools.cache
def _settings_at_parse() -> Settings:
    folder = kept("parse")
    return load_settings(_env_file=None, CTWA_DATA_DIR=str(folder), CTWA_LAKE_URL=LAKE_AT_PARSE)


@functools.cache
def parsed_manifest() -> Manifest:
    """The project, parsed once: the next process reads what dbt itself kept of that."""
    with refresh_lock(kept("parse") / "parse.lock", wait_seconds=WAIT_SECONDS):
        result = run_dbt(_settings_at_parse(), ["parse"])
    assert isinstance(result.result, Manifest)
    return result.result


def manifest_of(settings: Settings) -> Manifest:
    """A copy of the parsed project whose sources are these settings' files."""
    manifest = parsed_manifest().deepcopy()
    moved = {
        LAKE_AT_PARSE: settings.lake_url,
        str(_settings_at_parse().activation_dir): str(settings.activation_dir),
    }
    for source in manifest.sources.values():
        here = str(source.meta["external_location"])
        for before, now in moved.items():
            here = here.replace(before, now)
        for meta in (source.meta, source.source_meta, source.config.meta):
            if "external_location" in meta:
                meta["external_location"] = here
    return manifest


def macro(name: str, *arguments: str, dialect: str = "duckdb") -> str:
    """SQL of a macro of `estimates.sql`, which need nothing of dbt, in one dialect of adapter/."""
    texts = ("estimates.sql", "adapter/exact_ratio.sql")
    text = "".join((PROJECT_DIR / "dbt_project/macros" / name).read_text() for name in texts)
    text += f"{{% set exact_ratio = {dialect}__exact_ratio %}}"
    module = jinja2.Environment(autoescape=False).from_string(text).module
    return str(getattr(module, name)(*arguments))
