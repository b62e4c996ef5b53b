"""dbt built by Dagster's own integration, which knows where columns come from.

Only for `CTWA_COLUMN_LINEAGE`: it costs a dbt process per run, several times what the plan does,
and imports dbt into every Dagster process. Nothing else imports this module.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliInvocation,
    DbtCliResource,
    DbtProject,
    dbt_assets,
)

from ctwa.settings import PROJECT_DIR, Settings
from orchestration.dbt_events import with_failing_rows
from orchestration.dbt_manifest import dbt_executable, run_folder
from orchestration.dbt_process import LOCK_VARIABLE
from orchestration.dbt_specs import description_of, group_of
from orchestration.keys import OWNERS


class Translator(DagsterDbtTranslator):
    """Keys, groups and descriptions come from dbt; the owner is the team's unless dbt says."""

    def __init__(self) -> None:
        # Tests of sources are no checks of the sources' assets: what is between a source and dbt
        # (who is one person) would wait for them, and dbt would be cut into several runs. They run
        # in the build, and fail it.
        super().__init__(DagsterDbtTranslatorSettings(enable_source_tests_as_checks=False))

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """The spec of a model or seed, with an owner."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        return spec if spec.owners else spec.replace_attributes(owners=OWNERS)

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """As without lineage."""
        return description_of(dbt_resource_props)

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """As without lineage."""
        return group_of(dbt_resource_props)


def lineage_assets(manifest: Mapping[str, Any], name: str) -> Callable[..., dg.AssetsDefinition]:
    """The decorator of the build.

    Without `project=`: given one, dagster-dbt copies the whole project directory (data and
    virtual environment included) for selections of more than 200 resources.
    """
    decorator: Callable[..., dg.AssetsDefinition] = dbt_assets(
        manifest=manifest, dagster_dbt_translator=Translator(), name=name, pool="duckdb"
    )
    return decorator


def built_by_dbt(
    context: dg.AssetExecutionContext,
    settings: Settings,
    manifest: Mapping[str, Any],
    day: date,
    full: bool,
    project_dir: Path = PROJECT_DIR,
) -> Iterator[Any]:
    """Events of `dbt build` with the lineage of columns."""
    # Unit tests prove code, not data: they run in CI.
    arguments = ["build", "--exclude-resource-type", "unit_test"]
    arguments += ["--full-refresh"] if full else []
    dbt = dbt_resource(project_dir)
    with dbt_environment(settings, day):
        build = dbt.cli(arguments, context=context, target_path=run_folder(settings))
    yield from with_failing_rows(_events_of(build), settings, manifest)


def _events_of(build: DbtCliInvocation) -> Iterator[Any]:
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    try:
        yield from build.stream().fetch_column_metadata()
    finally:
        # Close its threads' connections first: each keeps the file open, and the next step that
        # opens the warehouse would fail.
        if build.adapter is not None:
            build.adapter.cleanup_connections()
            DuckDBConnectionManager.env().close()
        DuckDBConnectionManager.close_all_connections()


def dbt_resource(project_dir: Path = PROJECT_DIR) -> DbtCliResource:
    """dbt, run through `ctwa-dbt`, which ends with its parent process."""
    return DbtCliResource(
        project_dir=os.fspath(project_dir),
        profiles_dir=os.fspath(project_dir),
        dbt_executable=os.fspath(dbt_executable()),
        global_config_flags=["--no-use-colors"],
    )


@contextmanager
def dbt_environment(settings: Settings, as_of: date) -> Iterator[None]:
    """Put dbt's settings into this process's environment, which its child inherits."""
    values = settings.dbt_environment(as_of)
    values[LOCK_VARIABLE] = f"{settings.lock_path}.dbt"
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
