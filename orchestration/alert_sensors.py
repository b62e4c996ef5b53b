"""What the daemon tells people of: runs that ended, and webhooks that have gone silent between two.

`ctwa refresh` tells of its own run; the ledger sees to it that each is told once.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of sensor functions.

import json
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from ctwa.settings import Settings
from ingestion.watch import ENVELOPES_MISSING, Observation
from orchestration.alarm_checks import ENVELOPES_KEY, described
from orchestration.alerts import RunEnd, tell_run
from orchestration.assets.dbt import run_folder
from orchestration.outcome import (
    check_name,
    checks_of,
    dbt_failures,
    failures_of,
    publication_of,
)

SILENCE_SECONDS = 600
END_SECONDS = 30
_TELLING = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.PIPELINE_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
}
_RETRIED = "dagster/will_retry"


def build_alert_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """`envelopes_missing`; `run_failed` and `run_succeeded` only where somebody is to be told."""

    @dg.sensor(
        name=ENVELOPES_MISSING,
        minimum_interval_seconds=SILENCE_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells when webhooks have been silent for longer than usual for that hour.",
    )
    def envelopes_missing(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        from ingestion.watch.envelopes import look

        found = look(settings, datetime.now(UTC))
        silent = [o for o in found if o.status == "warn"]
        before = set(json.loads(context.cursor or "[]"))
        now = {o.subject for o in silent}
        if now != before:
            # What the nightly run's check says is out of date: in the UI, too.
            context.instance.report_runless_asset_event(_evaluation(silent))
        name = check_name(ENVELOPES_KEY, ENVELOPES_MISSING)
        texts = {name: f"{name}: {_text(silent)}"} if silent else {}
        passed = frozenset() if silent else frozenset({name})
        tell_run(settings, RunEnd(ENVELOPES_MISSING, warnings=texts, passed=passed))
        return dg.SensorResult(
            skip_reason="; ".join(o.message for o in found), cursor=json.dumps(sorted(now))
        )

    if not settings.alerts_are_on:
        return [envelopes_missing]

    @dg.run_failure_sensor(
        name="run_failed",
        minimum_interval_seconds=END_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people of a failed run that will not be tried again.",
    )
    def run_failed(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        run = context.dagster_run
        if run.tags.get(_RETRIED) == "true":
            return dg.SkipReason(f"run {run.run_id[:8]} will be tried again")
        tell_run(settings, end_of(context.instance, settings, run))
        return None

    @dg.run_status_sensor(
        name="run_succeeded",
        run_status=dg.DagsterRunStatus.SUCCESS,
        minimum_interval_seconds=END_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells people of warnings that are new in a run.",
    )
    def run_succeeded(context: dg.RunStatusSensorContext) -> None:
        tell_run(settings, end_of(context.instance, settings, context.dagster_run))

    return [envelopes_missing, run_failed, run_succeeded]


def end_of(instance: dg.DagsterInstance, settings: Settings, run: dg.DagsterRun) -> RunEnd:
    """How a run of the daemon's ended, from its events."""
    logs = instance.all_logs(run.run_id, of_type=_TELLING)
    events = [e.dagster_event for e in logs if e.dagster_event is not None]
    checks = checks_of(events)
    failures = failures_of(events, _dbt_said(instance, settings, run.run_id))
    if not failures and run.status is dg.DagsterRunStatus.FAILURE:
        failures = ["the run ended without saying why"]
    return RunEnd(
        run.job_name,
        run.run_id,
        failures,
        checks.warnings,
        checks.passed,
        publication_of(events) is not None,
    )


def _dbt_said(instance: dg.DagsterInstance, settings: Settings, run_id: str) -> list[str]:
    """What dbt said in that run; nothing where another has built since."""
    file = run_folder(settings) / "run_results.json"
    record = instance.get_run_record_by_id(run_id)
    if record is None or not file.exists() or record.start_time is None:
        return []
    ended = record.end_time or datetime.now(UTC).timestamp()
    return dbt_failures(file.parent) if record.start_time <= file.stat().st_mtime <= ended else []


def _text(silent: list[Observation]) -> str:
    return "; ".join(described({"message": o.message, "mend": o.mend}) for o in silent)


def _evaluation(silent: list[Observation]) -> dg.AssetCheckEvaluation:
    metadata: dict[str, Any] = {o.subject: float(o.measured or 0) for o in silent}
    return dg.AssetCheckEvaluation(
        asset_key=ENVELOPES_KEY,
        check_name=ENVELOPES_MISSING,
        passed=not silent,
        severity=dg.AssetCheckSeverity.WARN,
        description=_text(silent) or "webhooks come again",
        metadata=metadata,
    )
