"""The schedules: every night, and what goes out between nights."""

from __future__ import annotations

import dagster as dg

from ctwa.settings import Settings
from orchestration.jobs import ACTIVATION, NIGHTLY, writes_to_hubspot


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Nightly, in the reporting time zone, running from the start; `activation` as set.

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
    # Absent, not merely stopped, where nothing goes out.
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
                description="CTWA_ACTIVATION_CRON; runs by itself where something is really sent.",
            )
        )
    return schedules
