"""The code location: every asset, check, job, schedule and sensor of the product."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from ctwa.errors import DataFolderError
from ctwa.files import UMASK
from ctwa.project import project_of
from ctwa.settings import Settings, SettingsError, load_settings
from ingestion import sources
from ingestion.source import Source
from keeping.data_folder import put_right
from orchestration.activation import build_activation_assets
from orchestration.alarm_checks import build_alarm_checks
from orchestration.backup import build_backup_assets
from orchestration.checks import build_checks, build_freshness_checks
from orchestration.comparison import build_comparison_assets
from orchestration.dbt import build_dbt_assets
from orchestration.dbt_manifest import load_manifest, manifest_path, mart_names
from orchestration.destinations import writes_to_hubspot
from orchestration.digest import build_digest_schedules
from orchestration.keys import (
    ACTIVATION,
    BACKFILL,
    BACKFILL_KEY,
    COMPARE,
    CREDIT_DIFF_KEY,
    FRESH_LEADS,
    NIGHTLY,
)
from orchestration.live_asset import live_check, live_sensor, live_spec
from orchestration.publish import build_publish_assets
from orchestration.resources import RefreshLock, RefreshOptions
from orchestration.retention import build_retention_assets
from orchestration.sensors import build_alert_sensors, build_sensors
from orchestration.sources import build_source_assets

LOCK_WAIT_SECONDS = 1800
"""How long a run started by Dagster waits for another refresh to end."""


def build_definitions(
    settings: Settings,
    *,
    project_dir: Path | None = None,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
    console: dg.LoggerDefinition | None = None,
) -> dg.Definitions:
    """Assemble everything for `settings`, without network, secrets or module state.

    `console` replaces Dagster's own lines on standard error. Raises `ManifestError` if dbt cannot
    parse its project.
    """
    project_dir = project_dir or project_of(settings)
    manifest = load_manifest(manifest_path(settings, project_dir))
    marts = mart_names(manifest)
    jobs = build_jobs(settings)
    return dg.Definitions(
        assets=[
            *build_source_assets(settings),
            build_dbt_assets(settings, manifest, project_dir),
            *build_comparison_assets(settings, marts, project_dir),
            *build_activation_assets(settings, marts),
            *build_publish_assets(settings, marts),
            *build_retention_assets(settings),
            *build_backup_assets(settings),
            live_spec(),
        ],
        asset_checks=[
            *build_checks(settings),
            *build_freshness_checks(manifest),
            *build_alarm_checks(settings, marts),
            live_check(settings),
        ],
        jobs=jobs,
        schedules=build_schedules(settings),
        sensors=[
            *build_sensors(settings, jobs),
            *build_alert_sensors(settings),
            live_sensor(settings),
        ],
        resources={
            "lock": RefreshLock.of(settings, lock_wait_seconds),
            "options": RefreshOptions(timezone=settings.reporting_timezone),
        },
        # With a single-writer warehouse there is nothing to do in parallel, and each further
        # process would import everything again.
        executor=dg.in_process_executor,
        loggers={"console": console} if console else None,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Load the code location from the environment.

    A wrong setting, or an incomplete data folder, is an error of one line that names it: without
    its schedule the location would look fine and do nothing.
    """
    os.umask(UMASK)
    try:
        settings = load_settings()
        put_right(settings)
    except (SettingsError, DataFolderError) as error:
        raise error.with_traceback(None) from None
    return build_definitions(settings)


# ---- jobs and schedules -----------------------------------------------------------------------

_HOUR = 3600
_BACKFILL = dg.AssetSelection.assets(BACKFILL_KEY)
_COMPARISON = dg.AssetSelection.assets(CREDIT_DIFF_KEY)
_RETENTION = dg.AssetSelection.groups("retention")


def build_jobs(settings: Settings) -> list[dg.UnresolvedAssetJobDefinition]:
    """Every job has a time limit: a run that hangs holds the lock and blocks all others."""
    small = dg.AssetSelection.all() - _that_run("nightly") - _RETENTION - _COMPARISON
    return [
        dg.define_asset_job(
            NIGHTLY,
            selection=dg.AssetSelection.all() - _BACKFILL - _COMPARISON,
            tags=_max_runtime(3),
            description="Reads every source, builds every model, publishes the marts.",
        ),
        dg.define_asset_job(
            FRESH_LEADS,
            # To write to contacts, they must be read first: a contact is as new as its lead.
            selection=small if writes_to_hubspot(settings) else small - _that_run("with the CRM"),
            tags=_max_runtime(2),
            description="Brings new envelopes into the marts, with the ads and spend already read.",
        ),
        dg.define_asset_job(
            ACTIVATION,
            selection=small,
            tags=_max_runtime(2),
            description="Reads the CRM's news about leads and sends what is due to Meta.",
        ),
        dg.define_asset_job(
            BACKFILL,
            selection=_BACKFILL,
            tags=_max_runtime(6),
            description="Reads insights of chosen days again; launch it with a range of days.",
        ),
        dg.define_asset_job(
            COMPARE,
            selection=_COMPARISON,
            tags=_max_runtime(3),
            description="Builds the leads under two sets of rules and shows which credit moves.",
        ),
    ]


def of_what_is_here(job: dg.JobDefinition) -> list[dg.AssetKey]:
    """The assets of a job that neither call an API nor send anything."""
    graph = job.asset_layer.asset_graph
    models = dg.AssetSelection.key_prefixes(["activation"])
    apis = _of_sources(lambda source: source.runs != "always" or bool(source.settings))
    elsewhere = apis | _RETENTION | (dg.AssetSelection.groups("activation") - models)
    return sorted(set(job.asset_layer.executable_asset_keys) - elsewhere.resolve(graph))


def _that_run(when: str) -> dg.AssetSelection:
    """The assets of sources that run `nightly`, or `with the CRM`."""
    return _of_sources(lambda source: source.runs == when)


def _of_sources(is_chosen: Callable[[Source], bool]) -> dg.AssetSelection:
    datasets = [source.dataset for source in sources.SOURCES if is_chosen(source)]
    return dg.AssetSelection.key_prefixes(*([dataset] for dataset in datasets))


def _max_runtime(hours: int) -> dict[str, str]:
    return {"dagster/max_runtime": str(hours * _HOUR)}


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """The nightly schedule, in the reporting time zone and on by default, and `activation`.

    Missed nights need no catching up: the job is cumulative, and Dagster launches the last one.
    """
    schedules = [
        dg.ScheduleDefinition(
            name="nightly",
            job_name=NIGHTLY,
            cron_schedule=settings.nightly_cron,
            execution_timezone=settings.reporting_timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="CTWA_NIGHTLY_CRON, in CTWA_REPORTING_TIMEZONE.",
        )
    ]
    mode = settings.meta_conversions_mode
    # Absent, not merely stopped, if nothing is to be sent.
    if mode != "off" or writes_to_hubspot(settings):
        is_live = mode in ("test", "live") or writes_to_hubspot(settings)
        schedules.append(
            dg.ScheduleDefinition(
                name="activation",
                job_name=ACTIVATION,
                cron_schedule=settings.activation_cron,
                execution_timezone=settings.reporting_timezone,
                default_status=(
                    dg.DefaultScheduleStatus.RUNNING
                    if is_live
                    else dg.DefaultScheduleStatus.STOPPED
                ),
                description="CTWA_ACTIVATION_CRON; runs by default if something is really sent.",
            )
        )
    return [*schedules, *build_digest_schedules(settings)]
