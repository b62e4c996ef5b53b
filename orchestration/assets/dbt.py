"""The dbt models as assets, their tests as checks; one `dbt build` per run."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtProject, dbt_assets

from ctwa.settings import PROJECT_DIR, Settings
from orchestration.assets.raw import OWNERS
from orchestration.comparison import sweep_comparisons
from orchestration.dbt_checks import with_failing_rows
from orchestration.lake import ready_lake
from orchestration.mart_figures import with_figures
from orchestration.rebuild import (
    BuildState,
    begin_build,
    end_build,
    forget_state,
    set_aside_if_broken,
)
from orchestration.resources import LeanDbtCli, RefreshLock, RefreshOptions, dbt_environment

MARTS_SCHEMA = "marts"
_WRITTEN_AFTER = "activation"
"""The dbt source that is written after the models (`activation/states.py`)."""
_LAYERS = ("seeds", "staging", "intermediate", "activation", MARTS_SCHEMA)


class Translator(DagsterDbtTranslator):
    """Keys, groups and descriptions come from dbt; the owner is the team's unless dbt says."""

    def __init__(self) -> None:
        super().__init__(DagsterDbtTranslatorSettings(enable_source_tests_as_checks=True))

    def get_asset_spec(
        self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetSpec:
        """The spec of a model or seed, with an owner."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        return spec if spec.owners else spec.replace_attributes(owners=OWNERS)

    def get_description(self, dbt_resource_props: Mapping[str, Any]) -> str:
        """dbt's description; the SQL is in the repository, not in every asset's text."""
        text: str = dbt_resource_props.get("description") or ""
        return text or f"dbt {dbt_resource_props['resource_type']} {dbt_resource_props['name']}"

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """From `meta.dagster.group`, else the layer, i.e. the schema."""
        group = super().get_group_name(dbt_resource_props)
        return group or dbt_resource_props.get("config", {}).get("schema")


def build_dbt_assets(
    settings: Settings, manifest: Path, project_dir: Path = PROJECT_DIR
) -> dg.AssetsDefinition:
    """Every model, seed and test of the project.

    Without `project=`: given one, dagster-dbt copies the whole project directory (data and
    virtual environment included) for selections of more than 200 resources.
    """

    contents = load_manifest(manifest)

    @dbt_assets(
        manifest=contents,
        dagster_dbt_translator=Translator(),
        name="dbt_build",
        pool="duckdb",
    )
    def dbt_build(
        context: dg.AssetExecutionContext,
        dbt: LeanDbtCli,
        lock: RefreshLock,
        options: RefreshOptions,
    ) -> Iterator[Any]:
        state, reasons = prepare(settings, project_dir)
        if options.full_refresh:
            reasons = [*reasons, "it was asked for"]
        for reason in reasons:
            context.log.warning("building everything from the event log: %s", reason)
        # Unit tests prove code, not data: they run in CI.
        if leaves_parents_out(dbt_build, context.selected_asset_keys):
            context.log.warning(
                "models are built without some of their parents: the next whole build starts over"
            )
            forget_state(settings)
        arguments = ["build", "--exclude-resource-type", "unit_test"]
        arguments += ["--full-refresh"] if reasons else []
        was_unchecked = begin_build(settings) and context.is_subset
        with dbt_environment(settings, options.day):
            build = dbt.cli(arguments, context=context, target_path=run_folder(settings))
        told = with_failing_rows(dbt.events_of(build), settings, contents)
        yield from with_figures(told, settings, MARTS_SCHEMA, options.day)
        end_build(settings, was_unchecked=was_unchecked)
        # After a whole build only: a part says nothing of the rest.
        if not context.is_subset:
            state.save(settings)

    return dbt_build


def load_manifest(path: Path) -> dict[str, Any]:
    """The manifest, with an asset for every singular test that names several models, and without
    the source that is written after the models.

    dagster-dbt makes a check only of tests that belong to one model. The one furthest
    downstream is the one whose readers the test protects; `meta.dagster.ref` goes before.
    """
    manifest: dict[str, Any] = json.loads(path.read_text())
    nodes = manifest["nodes"]
    _leave_out_what_comes_after(manifest)
    for node in nodes.values():
        if node["resource_type"] != "test" or node.get("attached_node"):
            continue
        models = [n for n in node["depends_on"]["nodes"] if n in nodes and "test" not in n[:5]]
        if len(node["depends_on"]["nodes"]) < 2 or not models:
            continue
        last = max(models, key=lambda n: (_layer(nodes[n]["schema"]), n))
        dagster = node["config"].setdefault("meta", {}).setdefault("dagster", {})
        dagster.setdefault("ref", {"name": nodes[last]["name"]})
    return manifest


def _leave_out_what_comes_after(manifest: dict[str, Any]) -> None:
    """No asset stands before the states of what was sent: sending waits for the models."""
    after = {n for n, s in manifest["sources"].items() if s["source_name"] == _WRITTEN_AFTER}
    for source in after:
        for mapping in ("sources", "parent_map", "child_map"):
            manifest[mapping].pop(source, None)
    for node in manifest["nodes"].values():
        before = node["depends_on"].get("nodes", []) if "depends_on" in node else []
        before[:] = [n for n in before if n not in after]
    for parents in manifest["parent_map"].values():
        parents[:] = [n for n in parents if n not in after]


def _layer(schema: str) -> int:
    return _LAYERS.index(schema) if schema in _LAYERS else -1


def leaves_parents_out(models: dg.AssetsDefinition, selected: AbstractSet[dg.AssetKey]) -> bool:
    """Whether a model is built while one of its parents stays as it is.

    Incremental models take one step per run of the whole: a child that ran ahead of a parent
    would not look at that parent's rows of this step again.
    """
    return any((models.asset_deps[key] & models.keys) - selected for key in selected & models.keys)


def prepare(settings: Settings, project_dir: Path) -> tuple[BuildState, list[str]]:
    """Make lake and warehouse ready to be built; the state it will have, why to rebuild.

    Also when all sources are off: models read the lake's folders, which must exist.
    """
    sweep_comparisons(settings)
    lake = ready_lake(settings)
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    broken = set_aside_if_broken(settings)
    state = BuildState.current(settings, lake, project_dir)
    reasons = state.reasons_to_rebuild(settings)
    return state, [f"{broken.name} was unreadable"] if broken else reasons


def run_folder(settings: Settings) -> Path:
    """dbt's artifacts of runs: one folder, as the lock lets only one dbt run; parsed once."""
    target = settings.dbt_target_dir / "run"
    target.mkdir(parents=True, exist_ok=True)
    parsed = settings.dbt_target_dir / "manifest" / "partial_parse.msgpack"
    mine = target / parsed.name
    if parsed.exists() and (not mine.exists() or mine.stat().st_mtime < parsed.stat().st_mtime):
        shutil.copy(parsed, mine)
    return target


def mart_names(manifest: Path) -> Sequence[str]:
    """Names of the models in the schema that is published."""
    nodes = json.loads(manifest.read_text())["nodes"].values()
    return sorted(
        n["alias"]
        for n in nodes
        if n["resource_type"] == "model"
        and n["schema"] == MARTS_SCHEMA
        and n["config"].get("materialized") != "ephemeral"
        and n["config"].get("enabled", True)
    )
