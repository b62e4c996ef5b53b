"""`ctwa live` in the UI: an asset whose events the daemon reports from the worker's state file.

An event when something has changed, at most one a minute, and one every ten minutes in any case;
and a check that fails while envelopes wait for too long.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of sensor functions.

import json
import time
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from ctwa.live_state import STOPPED, STUCK_SECONDS, LiveState
from ctwa.settings import Settings
from orchestration.alerts import RunEnd, send_alerts
from orchestration.keys import LIVE_KEY, OWNERS, check_name
from orchestration.sensors import waiting_since

CHECK = "envelopes_reach_the_marts"
SENSOR = "live_worker"
EVENT_SECONDS = 60
SILENT_SECONDS = 600
"""An event is reported after so long even if nothing has changed."""


def live_spec() -> dg.AssetSpec:
    """The worker as an asset that no job makes."""
    return dg.AssetSpec(
        LIVE_KEY,
        group_name="live",
        owners=OWNERS,
        kinds={"python", "duckdb"},
        description=(
            "`ctwa live`, the process that brings new envelopes into the marts within seconds. Its "
            "events are reported by the sensor `live_worker` (docs/live.md)."
        ),
    )


def live_check(settings: Settings) -> dg.AssetChecksDefinition:
    """Whether envelopes reach the marts, where a worker was ever started."""

    @dg.asset_check(
        asset=LIVE_KEY,
        name=CHECK,
        description=(
            f"Warns while envelopes have waited for over {STUCK_SECONDS:.0f} s although `ctwa "
            "live` was started here."
        ),
    )
    def envelopes_reach_the_marts() -> dg.AssetCheckResult:
        problem = problem_of(LiveState.read(settings.data_dir), waiting_seconds(settings))
        return dg.AssetCheckResult(
            passed=not problem,
            severity=dg.AssetCheckSeverity.WARN,
            description=problem or "nothing waits for long",
        )

    return envelopes_reach_the_marts


def live_sensor(settings: Settings) -> dg.SensorDefinition:
    """Reports the worker's state as events of its asset, and alerts people while it stands
    still."""

    @dg.sensor(
        name=SENSOR,
        minimum_interval_seconds=EVENT_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Shows what `ctwa live` does, and alerts if envelopes wait for long.",
    )
    def live_worker(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        state = LiveState.read(settings.data_dir)
        if state is None:
            return dg.SkipReason("`ctwa live` has never run here; envelopes_waiting serves")
        problem = problem_of(state, waiting_seconds(settings))
        now = [state.pid, state.cycles, bool(state.error), bool(problem), state.is_fresh]
        before, at = json.loads(context.cursor) if context.cursor else (None, 0)
        if now == before and time.time() - at < SILENT_SECONDS:
            return dg.SkipReason("nothing has changed")
        instance = context.instance
        instance.report_runless_asset_event(
            dg.AssetMaterialization(LIVE_KEY, metadata=metadata_of(state))
        )
        if before is None or before[3] != now[3]:
            instance.report_runless_asset_event(_evaluation(problem))
        name = check_name(LIVE_KEY, CHECK)
        warnings = {name: f"{name}: {problem}"} if problem else {}
        passed = frozenset() if problem else frozenset({name})
        send_alerts(settings, RunEnd(SENSOR, warnings=warnings, passed=passed))
        context.update_cursor(json.dumps([now, time.time()]))
        return dg.SkipReason(problem or f"{state.doing}, {state.cycles} cycles")

    return live_worker


def waiting_seconds(settings: Settings) -> float:
    """For how long the oldest envelope that has not landed has waited; 0 if there is none."""
    since = waiting_since(settings)
    return max(0.0, (datetime.now(UTC) - since).total_seconds()) if since else 0.0


def problem_of(state: LiveState | None, waiting: float) -> str:
    """What is wrong and what to do; '' if nothing is. `waiting`: as `waiting_seconds`."""
    if state is None:
        return ""
    longest = max(waiting, state.lag_seconds if state.is_fresh else 0.0)
    if longest <= STUCK_SECONDS:
        return ""
    if not state.is_fresh:
        when = f"{datetime.fromtimestamp(state.heartbeat_at, UTC):%Y-%m-%d %H:%M} UTC"
        since = "was stopped" if state.doing == STOPPED else f"has not been heard of since {when}"
        return (
            f"envelopes have waited for {longest:.0f} s, and `ctwa live` {since}: start it again, "
            "or see in the log why envelopes_waiting does not serve"
        )
    reason = state.error or f"it is {state.doing}"
    return f"envelopes have waited for {longest:.0f} s although `ctwa live` runs: {reason}"


def metadata_of(state: LiveState) -> dict[str, Any]:
    """Figures for plots."""
    return {
        "lag_seconds": round(state.last_lag_seconds, 1),
        "waiting_seconds": round(state.lag_seconds, 1),
        "cycle_seconds": state.last_cycle_seconds,
        "cycles": state.cycles,
        "envelopes": state.envelopes,
        "heartbeat_age_seconds": round(state.age_seconds, 1),
        "doing": state.doing if state.is_fresh else "not running",
        "error": state.error,
    }


def _evaluation(problem: str) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=LIVE_KEY,
        check_name=CHECK,
        passed=not problem,
        severity=dg.AssetCheckSeverity.WARN,
        description=problem or "nothing waits for long",
    )
