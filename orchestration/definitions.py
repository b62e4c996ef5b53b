"""The code location: every asset, check, job, schedule and sensor of the product."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from ctwa.settings import PROJECT_DIR, Settings, load_settings
from orchestration.alarm_checks import build_alarm_checks
from orchestration.alert_sensors import build_alert_sensors
from orchestration.assets.activation import ACTIVATION_KEYS, build_activation_assets
from orchestration.assets.alarms import build_alarm_assets
from orchestration.assets.comparison import build_comparison_assets
from orchestration.assets.dbt import MARTS_SCHEMA, build_dbt_assets
from orchestration.assets.event_log import build_event_log_assets
from orchestration.assets.exchange_rates import build_exchange_rate_assets
from orchestration.assets.google_ads import build_google_assets
from orchestration.assets.hubspot import build_hubspot_assets
from orchestration.assets.meta_ads import build_meta_assets
from orchestration.assets.publish import build_publish_assets
from orchestration.checks import build_checks
from orchestration.dbt_manifest import manifest_path
from orchestration.freshness import build_freshness_checks
from orchestration.jobs import build_jobs
from orchestration.resources import RefreshLock, RefreshOptions, dbt_resource
from orchestration.schedules import build_schedules
from orchestration.sensors import build_sensors

LOCK_WAIT_SECONDS = 1800
"""How long a run that Dagster started waits for another refresh to end."""

_SOURCES = (
    dg.AssetKey(["event_log", "envelopes"]),
    dg.AssetKey(["meta_ads", "accounts"]),
    dg.AssetKey(["meta_ads", "insights"]),
    dg.AssetKey(["google_ads", "customers"]),
    dg.AssetKey(["exchange_rates", "ecb_rates"]),
    dg.AssetKey(["hubspot", "reads"]),
)
"""The asset of each source that carries its `loaded` check."""


def build_definitions(
    settings: Settings,
    *,
    project_dir: Path = PROJECT_DIR,
    lock_wait_seconds: float = LOCK_WAIT_SECONDS,
    console: dg.LoggerDefinition | None = None,
) -> dg.Definitions:
    """Assemble everything for `settings`; no network, no secrets, no state of the module.

    `console` replaces Dagster's own lines on standard error. Raises `ManifestError` when dbt
    cannot parse its project.
    """
    manifest = manifest_path(settings, project_dir)
    jobs = build_jobs(settings)
    return dg.Definitions(
        assets=[
            *build_event_log_assets(settings),
            *build_meta_assets(settings),
            *build_google_assets(settings),
            *build_exchange_rate_assets(settings),
            *build_hubspot_assets(settings),
            *build_alarm_assets(settings),
            build_dbt_assets(settings, manifest, project_dir),
            *build_comparison_assets(settings, manifest, project_dir),
            *build_activation_assets(settings, manifest),
            *build_publish_assets(settings, manifest, _SOURCES, ACTIVATION_KEYS),
        ],
        asset_checks=[
            *build_checks(settings),
            *build_freshness_checks(manifest, _SOURCES, MARTS_SCHEMA),
            *build_alarm_checks(settings, manifest, MARTS_SCHEMA),
        ],
        jobs=jobs,
        schedules=build_schedules(settings),
        sensors=[*build_sensors(settings, jobs), *build_alert_sensors(settings)],
        resources={
            "dbt": dbt_resource(project_dir, has_lineage=settings.column_lineage),
            "lock": RefreshLock(path=str(settings.lock_path), wait_seconds=lock_wait_seconds),
            "options": RefreshOptions(timezone=settings.reporting_timezone),
        },
        # A single-writer warehouse leaves nothing to do in parallel, and each process more
        # would import everything again.
        executor=dg.in_process_executor,
        loggers={"console": console} if console else None,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """Load the code location from the environment."""
    return build_definitions(load_settings())
