"""Sensors: new envelopes become leads within a minute, a back-fill reaches the marts, new contacts
in the CRM get their source, and people are alerted to failed runs and silent webhooks.

`ctwa refresh` reports its own run; the ledger of alerts makes sure that each is reported once.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of sensor functions.

import json
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from ctwa.live_state import takes_envelopes
from ctwa.settings import Settings
from ingestion.lake.lake import Lake
from ingestion.vault import open_vault
from ingestion.watch import ENVELOPES_MISSING, Observation, look_at_envelopes
from orchestration.alarm_checks import described
from orchestration.alerts import RunEnd, send_alerts
from orchestration.dbt_manifest import run_folder
from orchestration.destinations import writes_to_hubspot
from orchestration.keys import BACKFILL_KEY, ENVELOPES_KEY, FRESH_LEADS, REFRESH_JOBS, check_name
from orchestration.outcome import checks_of, dbt_failures, failures_of, publication_of
from orchestration.reaper import UNFINISHED, is_dead

INTERVAL_SECONDS = 30
RETRY_SECONDS = 600
"""Seconds until the next request, if a run failed or was busy and left the envelopes."""
SILENCE_SECONDS = 600
END_SECONDS = 30
_REPORTED = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.PIPELINE_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
}
_RETRIED = "dagster/will_retry"


def build_sensors(settings: Settings, jobs: Sequence[Any]) -> list[dg.SensorDefinition]:
    """`envelopes_waiting`, `backfill_done` and, if leads are written to HubSpot's contacts,
    `contacts_waiting`; all are on by default."""
    by_name = {job.name: job for job in jobs}

    @dg.sensor(
        name="envelopes_waiting",
        job_name=FRESH_LEADS,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts fresh_leads if the vault has envelopes that the event log lacks.",
    )
    def envelopes_waiting(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        landed, last = landed_seq(settings), last_seq(settings)
        if last <= landed:
            return dg.SkipReason(f"nothing new: all {last} envelopes are in the event log")
        if takes_envelopes(settings):
            return dg.SkipReason("`ctwa live` runs and takes them")
        active = active_run(context.instance)
        if active:
            return dg.SkipReason(f"{active} is running; it or the next run takes the envelopes")
        request = _Request.load(context.cursor)
        if request.seq >= last and time.time() - request.at < RETRY_SECONDS:
            return dg.SkipReason(f"a run was requested up to envelope {last}")
        request = _Request(last, time.time(), request.number + 1)
        return dg.SensorResult(
            # Numbered, because Dagster never starts two runs with the same key.
            run_requests=[dg.RunRequest(run_key=f"{last}-{request.number}")],
            cursor=request.dump(),
        )

    # By asset, not by job: a range chosen on the asset's page runs in Dagster's own job.
    @dg.asset_sensor(
        name="backfill_done",
        asset_key=BACKFILL_KEY,
        job=by_name[FRESH_LEADS],
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts fresh_leads after a back-fill, so that the marts show its days.",
    )
    def backfill_done(
        context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry
    ) -> dg.RunRequest:
        return dg.RunRequest(run_key=f"after-{asset_event.run_id}")

    @dg.sensor(
        name="contacts_waiting",
        job_name=FRESH_LEADS,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts fresh_leads if HubSpot has new contacts, so that they get a source.",
    )
    def contacts_waiting(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if takes_envelopes(settings):
            return dg.SkipReason("`ctwa live` runs and looks for new contacts itself")
        active = active_run(context.instance)
        if active:
            return dg.SkipReason(f"{active} is running; checked again after it")
        from ingestion.crm.hubspot.source import new_contacts

        found = new_contacts(settings)
        if isinstance(found, str):
            return dg.SkipReason(found)
        read, number = found
        seen_read, seen = json.loads(context.cursor) if context.cursor else ("", 0)
        if number <= (seen if read == seen_read else 0):
            return dg.SkipReason(
                "a run was requested for the new contacts" if number else "no new contacts"
            )
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=f"contacts-{read}-{number}")],
            cursor=json.dumps(found),
        )

    sensors: list[dg.SensorDefinition] = [envelopes_waiting, backfill_done]
    return [*sensors, contacts_waiting] if writes_to_hubspot(settings) else sensors


class _Request:
    """The last request: up to which envelope, when, and a sequence number."""

    def __init__(self, seq: int, at: float, number: int) -> None:
        self.seq, self.at, self.number = seq, at, number

    @classmethod
    def load(cls, cursor: str | None) -> "_Request":
        if not cursor:
            return cls(0, 0.0, 0)
        seq, at, number = json.loads(cursor)
        return cls(int(seq), float(at), int(number))

    def dump(self) -> str:
        return json.dumps([self.seq, round(self.at), self.number])


def landed_seq(settings: Settings) -> int:
    """The highest envelope in the event log."""
    return Lake.from_settings(settings).max_value("event_log", "envelopes", "seq")


def last_seq(settings: Settings) -> int:
    """The highest settled envelope of the vault; 0 if there is no vault yet."""
    if not _has_vault(settings):
        return 0
    with closing(open_vault(settings.vault_url)) as vault:
        return vault.last_seq()


def waiting_since(settings: Settings) -> datetime | None:
    """Receipt of the oldest envelope that has not landed; None if none waits."""
    if not _has_vault(settings):
        return None
    with closing(open_vault(settings.vault_url)) as vault:
        return vault.waiting_since()


def _has_vault(settings: Settings) -> bool:
    file = settings.vault_url.removeprefix("sqlite:///")
    return file == settings.vault_url or Path(file).exists()


def active_run(instance: dg.DagsterInstance) -> str | None:
    """Name and id of a running or queued refresh; dead ones do not count."""
    for job in REFRESH_JOBS:
        for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED)):
            if not is_dead(run):
                return f"{job} {run.run_id[:8]}"
    return None


# ---- alerts -----------------------------------------------------------------------------------


def build_alert_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """`envelopes_missing`; `run_failed` and `run_succeeded` only if alerts are set up."""

    @dg.sensor(
        name=ENVELOPES_MISSING,
        minimum_interval_seconds=SILENCE_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alerts if webhooks have been silent for longer than usual at that hour.",
    )
    def envelopes_missing(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        found = look_at_envelopes(settings, datetime.now(UTC))
        silent = [o for o in found if o.status == "warn"]
        before = set(json.loads(context.cursor or "[]"))
        now = {o.subject for o in silent}
        if now != before:
            # The nightly run's check is out of date: correct it in the UI, too.
            context.instance.report_runless_asset_event(_evaluation(silent))
        name = check_name(ENVELOPES_KEY, ENVELOPES_MISSING)
        texts = {name: f"{name}: {_text(silent)}"} if silent else {}
        passed = frozenset() if silent else frozenset({name})
        send_alerts(settings, RunEnd(ENVELOPES_MISSING, warnings=texts, passed=passed))
        return dg.SensorResult(
            skip_reason="; ".join(o.message for o in found), cursor=json.dumps(sorted(now))
        )

    if not settings.alerts_are_on:
        return [envelopes_missing]

    @dg.run_failure_sensor(
        name="run_failed",
        minimum_interval_seconds=END_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alerts people to a failed run that will not be retried.",
    )
    def run_failed(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        run = context.dagster_run
        if run.tags.get(_RETRIED) == "true":
            return dg.SkipReason(f"run {run.run_id[:8]} will be retried")
        send_alerts(settings, end_of(context.instance, settings, run))
        return None

    @dg.run_status_sensor(
        name="run_succeeded",
        run_status=dg.DagsterRunStatus.SUCCESS,
        minimum_interval_seconds=END_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alerts people to warnings that are new in a run.",
    )
    def run_succeeded(context: dg.RunStatusSensorContext) -> None:
        send_alerts(settings, end_of(context.instance, settings, context.dagster_run))

    return [envelopes_missing, run_failed, run_succeeded]


def end_of(instance: dg.DagsterInstance, settings: Settings, run: dg.DagsterRun) -> RunEnd:
    """How a run of the daemon ended, from its events."""
    logs = instance.all_logs(run.run_id, of_type=_REPORTED)
    events = [e.dagster_event for e in logs if e.dagster_event is not None]
    checks = checks_of(events)
    failures = failures_of(events, _dbt_failures(instance, settings, run.run_id))
    if not failures and run.status is dg.DagsterRunStatus.FAILURE:
        failures = ["the run failed without giving a reason"]
    return RunEnd(
        run.job_name,
        run.run_id,
        failures,
        checks.warnings,
        checks.passed,
        publication_of(events) is not None,
    )


def _dbt_failures(instance: dg.DagsterInstance, settings: Settings, run_id: str) -> list[str]:
    """dbt's own messages about that run; empty if another run has built since."""
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
        description=_text(silent) or "webhooks are arriving again",
        metadata=metadata,
    )
