"""The weekly digest as a job with a schedule of its own."""

# No `from __future__ import annotations` here: Dagster reads the annotations of ops.

import dagster as dg

from ctwa.settings import Settings
from orchestration.keys import DIGEST
from publishing.digest import send_digest

NO_CHANNEL = "set CTWA_ALERT_WEBHOOK_URL, or CTWA_ALERT_EMAIL_TO and CTWA_SMTP_URL"


def build_digest_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Absent, not merely stopped, without `CTWA_DIGEST_CRON`."""
    if settings.digest_cron is None:
        return []

    @dg.op(name="send_digest", description="What to do first, costs and alarms, to people.")
    def send(context: dg.OpExecutionContext) -> None:
        sent = send_digest(settings)
        problems = [f"{name}: {problem}" for name, problem in sent.problems.items()]
        if problems or not sent.by:
            raise dg.Failure(
                f"the digest was not sent by every channel: {'; '.join(problems) or NO_CHANNEL}",
                allow_retries=False,
            )
        context.log.info("the digest was sent by %s", " and ".join(sent.by))

    @dg.job(
        name=DIGEST,
        tags={"dagster/max_runtime": "3600"},
        description="Sends the digest of the published marts (CTWA_DIGEST_CRON).",
    )
    def digest() -> None:
        send()

    return [
        dg.ScheduleDefinition(
            name=DIGEST,
            job=digest,
            cron_schedule=settings.digest_cron,
            execution_timezone=settings.reporting_timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="CTWA_DIGEST_CRON, in CTWA_REPORTING_TIMEZONE.",
        )
    ]
