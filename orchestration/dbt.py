"""The dbt models as assets, their tests as checks; one build of all per run, by the plan."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.identity.tables import DATASET as IDENTITY
from ingestion.identity.update import drop as drop_identity
from ingestion.lake.check import NIGHTLY_BYTES, check
from ingestion.lake.lake import LakeDamagedError
from keeping.backup import way_back
from orchestration.comparison import sweep_comparisons
from orchestration.dbt_events import with_figures
from orchestration.dbt_manifest import MARTS_SCHEMA, run_folder
from orchestration.dbt_process import ORPHAN_WAIT_SECONDS
from orchestration.dbt_specs import asset_specs, check_specs
from orchestration.keys import DBT_STEP, FULL_TAG
from orchestration.plan import run_values
from orchestration.plan_compile import plan_of
from orchestration.plan_events import events_of, selected_parts
from orchestration.plan_run import run_plan
from orchestration.rebuild import (
    BuildState,
    begin_build,
    drop_left_overs,
    end_build,
    forget_state,
    ready_lake,
    set_aside_if_broken,
)
from orchestration.resources import RefreshLock, RefreshOptions

_NIGHTLY = ("nightly_refresh", "__ASSET_JOB")
"""Jobs that compare the lake's files with their checksums: the night's, and assets run by hand."""


def build_dbt_assets(
    settings: Settings, manifest: Mapping[str, Any], project_dir: Path = PROJECT_DIR
) -> dg.AssetsDefinition:
    """Every model, seed and test of the project; `manifest` as `load_manifest` gives it."""

    @_assets_of(settings, manifest)
    def dbt_build(
        context: dg.AssetExecutionContext, lock: RefreshLock, options: RefreshOptions
    ) -> Iterator[Any]:
        state, reasons = prepare(
            settings, project_dir, check_files=context.run.job_name in _NIGHTLY
        )
        if options.full_refresh:
            reasons = [*reasons, "somebody asked for it"]
        for reason in reasons:
            context.log.warning("building everything from the event log: %s", reason)
        if reasons and not context.is_subset:
            context.instance.add_run_tags(context.run.run_id, {FULL_TAG: "yes"})
        if reasons and (dropped := drop_left_overs(settings, manifest)):
            context.log.info("dropped what no model makes any more: %s", ", ".join(dropped))
        if leaves_parents_out(dbt_build, context.selected_asset_keys):
            context.log.warning(
                "models are built without some of their parents: the next whole build starts over"
            )
            forget_state(settings)
        was_unchecked = begin_build(settings) and context.is_subset
        build = _build_of(settings)
        events = build(context, settings, manifest, options.day, bool(reasons), project_dir)
        yield from with_figures(events, settings, MARTS_SCHEMA, options.day)
        end_build(settings, was_unchecked=was_unchecked)
        # After a whole build only: a part says nothing of the rest.
        if not context.is_subset:
            state.save(settings)

    return dbt_build


def _assets_of(
    settings: Settings, manifest: Mapping[str, Any]
) -> Callable[..., dg.AssetsDefinition]:
    """The decorator of the build, with its assets and checks."""
    if settings.column_lineage:
        from orchestration.dbt_lineage import lineage_assets

        return lineage_assets(manifest, DBT_STEP)
    return dg.multi_asset(
        name=DBT_STEP,
        specs=asset_specs(manifest),
        check_specs=check_specs(manifest),
        can_subset=True,
        pool="duckdb",
        # A check may look at models that this run does not build.
        allow_arbitrary_check_specs=True,
    )


def _build_of(settings: Settings) -> Callable[..., Iterator[Any]]:
    if settings.column_lineage and settings.engine != "spark":
        from orchestration.dbt_lineage import built_by_dbt

        return built_by_dbt
    return _built


def _built(
    context: dg.AssetExecutionContext,
    settings: Settings,
    manifest: Mapping[str, Any],
    day: date,
    full: bool,
    project_dir: Path,
) -> Iterator[Any]:
    """Events of a build by the plan, or on the cluster, whose marts are then in the warehouse."""
    verdicts = run_folder(settings) / "run_results.json"
    verdicts.unlink(missing_ok=True)
    selected = selected_parts(context, manifest)
    if settings.engine == "spark":
        from orchestration.spark import run_on_spark

        run = run_on_spark(
            settings, day, manifest, full=full, selected=selected, project_dir=project_dir
        )
    else:
        # Made first where there is none for this code and these settings.
        plan, values = plan_of(settings, project_dir), run_values(settings, day)
        # A killed run's dbt may still be ending.
        lock = Path(f"{settings.lock_path}.dbt")
        with refresh_lock(lock, wait_seconds=ORPHAN_WAIT_SECONDS):
            run = run_plan(plan, settings.warehouse_path, values, full=full, selected=selected)
    run.save(verdicts)
    context.log.info(run.summary())
    yield from events_of(run, context, manifest)


def leaves_parents_out(models: dg.AssetsDefinition, selected: AbstractSet[dg.AssetKey]) -> bool:
    """Whether a model is built while one of its parents stays as it is.

    Incremental models take one step per run of the whole: a child that ran ahead of a parent
    would not look at that parent's rows of this step again.
    """
    return any((models.asset_deps[key] & models.keys) - selected for key in selected & models.keys)


def prepare(
    settings: Settings, project_dir: Path, *, check_files: bool = True
) -> tuple[BuildState, list[str]]:
    """Make lake and warehouse ready to be built; the state it will have, why to rebuild.

    Also when all sources are off: models read the lake's folders, which must exist. Raises
    `LakeDamagedError` where files of the lake are not as they were written (`check_files`): nothing
    is built from such files, readers keep yesterday's marts, and the build after the repair is a
    full one.
    """
    sweep_comparisons(settings)
    lake = ready_lake(settings)
    if check_files:
        damages = check(lake, budget=NIGHTLY_BYTES, turn=datetime.now(UTC).toordinal())
        if damages:
            forget_state(settings)
            drop_identity(lake)  # made of such files, or damaged itself
        if lost := [d for d in damages if d.dataset != IDENTITY]:
            raise LakeDamagedError(lost, way_back(settings, lost))
        lake = ready_lake(settings) if damages else lake
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    broken = set_aside_if_broken(settings)
    state = BuildState.current(settings, lake, project_dir)
    reasons = state.reasons_to_rebuild(settings)
    return state, [f"{broken.name} was unreadable"] if broken else reasons
