"""The nightly schedule."""

from __future__ import annotations

import dagster as dg

from ctwa.settings import Settings
from orchestration.jobs import NIGHTLY


def build_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Nightly, in the reporting time zone, running from the start.

    Missed nights need no catching up: the job is cumulative, and Dagster launches the last one.
    """
    return [
        dg.ScheduleDefinition(
            name="nightly",
            job_name=NIGHTLY,
            cron_schedule=settings.nightly_cron,
            execution_timezone=settings.reporting_timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="CTWA_NIGHTLY_CRON, in CTWA_REPORTING_TIMEZONE.",
        )
    ]
