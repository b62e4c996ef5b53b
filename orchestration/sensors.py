"""Sensors: new envelopes become leads within a minute; a back-fill reaches the marts; contacts that
the CRM made are written onto while they are new."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from ctwa.settings import Settings
from orchestration.jobs import FRESH, REFRESH_JOBS, writes_to_hubspot
from orchestration.reaper import UNFINISHED, is_dead

INTERVAL_SECONDS = 30
RETRY_SECONDS = 600
"""After a run that did not take the envelopes (it failed, or was busy), ask again this late."""


def build_sensors(settings: Settings, jobs: Sequence[Any]) -> list[dg.SensorDefinition]:
    """`envelopes_waiting`, `backfill_done`, and where leads are written onto HubSpot's contacts
    `contacts_waiting`; all start running."""
    by_name = {job.name: job for job in jobs}

    @dg.sensor(
        name="envelopes_waiting",
        job_name=FRESH,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts fresh_leads when the vault holds envelopes the event log has not.",
    )
    def envelopes_waiting(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        landed, last = landed_seq(settings), last_seq(settings)
        if last <= landed:
            return dg.SkipReason(f"nothing new: all {last} envelopes are in the event log")
        active = active_run(context.instance)
        if active:
            return dg.SkipReason(f"{active} is at work; it or the next run takes the envelopes")
        asked = _Asked.load(context.cursor)
        if asked.seq >= last and time.time() - asked.at < RETRY_SECONDS:
            return dg.SkipReason(f"a run was asked for up to envelope {last}")
        asked = _Asked(last, time.time(), asked.number + 1)
        return dg.SensorResult(
            # Also of an earlier try: the same run is never asked for twice by one evaluation.
            run_requests=[dg.RunRequest(run_key=f"{last}-{asked.number}")],
            cursor=asked.dump(),
        )

    # By asset, not by job: a range chosen on the asset's page is a run of Dagster's own job.
    @dg.asset_sensor(
        name="backfill_done",
        asset_key=dg.AssetKey(["meta_ads", "insights_backfill"]),
        job=by_name[FRESH],
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
        job_name=FRESH,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts fresh_leads when HubSpot has new contacts, so that they get a source.",
    )
    def contacts_waiting(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        active = active_run(context.instance)
        if active:
            return dg.SkipReason(f"{active} is at work; look again after it")
        found = new_contacts(settings)
        if isinstance(found, str):
            return dg.SkipReason(found)
        # Of the same read: more than were there when it was looked at first?
        read, number = found
        seen_read, seen = json.loads(context.cursor) if context.cursor else ("", 0)
        cursor = json.dumps(found)
        if read != seen_read or number <= seen:
            context.update_cursor(cursor)
            return dg.SkipReason(f"no new contacts: {number} around the last read")
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=f"contacts-{read}-{number}")], cursor=cursor
        )

    sensors: list[dg.SensorDefinition] = [envelopes_waiting, backfill_done]
    return [*sensors, contacts_waiting] if writes_to_hubspot(settings) else sensors


class _Asked:
    """What was asked for last: up to which envelope, when, and a running number."""

    def __init__(self, seq: int, at: float, number: int) -> None:
        self.seq, self.at, self.number = seq, at, number

    @classmethod
    def load(cls, cursor: str | None) -> _Asked:
        if not cursor:
            return cls(0, 0.0, 0)
        seq, at, number = json.loads(cursor)
        return cls(int(seq), float(at), int(number))

    def dump(self) -> str:
        return json.dumps([self.seq, round(self.at), self.number])


def landed_seq(settings: Settings) -> int:
    """The highest envelope that is in the event log."""
    from ingestion.lake import Lake

    return Lake.from_settings(settings).max_value("event_log", "envelopes", "seq")


def last_seq(settings: Settings) -> int:
    """The highest settled envelope of the vault; 0 when there is no vault yet."""
    from ingestion.webhook.vault import Vault

    file = settings.vault_url.removeprefix("sqlite:///")
    if file != settings.vault_url and not Path(file).exists():
        return 0
    vault = Vault.open(settings.vault_url)
    try:
        return vault.last_seq()
    finally:
        vault.close()


def new_contacts(settings: Settings) -> tuple[str, int] | str:
    """When contacts were read last, and how many were created around then or since; one call.

    Or why it cannot be said. Around: HubSpot's searches find a contact some moments late.
    """
    from ingestion.errors import SourceError
    from ingestion.graph_session import RetryPolicy
    from ingestion.hubspot_api import HubspotClient
    from ingestion.sources.hubspot import contacts_read, created_since

    last = contacts_read(settings)
    if last is None or settings.hubspot_token is None:
        return "contacts were never read: the nightly refresh comes first"
    token = settings.hubspot_token.get_secret_value().strip()
    impatient = RetryPolicy(tries=1, max_total_wait=0, timeout=10.0)
    client = HubspotClient(settings.hubspot_url, token, policy=impatient)
    try:
        return last.isoformat(), created_since(client, last)
    except SourceError as error:
        return str(error)
    finally:
        client.close()


def active_run(instance: dg.DagsterInstance) -> str | None:
    """Name and id of a refresh that is under way or queued; dead ones do not count."""
    for job in REFRESH_JOBS:
        for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED)):
            if not is_dead(run):
                return f"{job} {run.run_id[:8]}"
    return None
