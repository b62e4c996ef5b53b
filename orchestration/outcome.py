"""From Dagster's events to a few clear sentences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg

from ctwa.settings import Settings
from orchestration.assets.dbt import run_folder
from orchestration.assets.publish import MARTS_KEY, VERDICT_KEY

_DBT_STEP = "dbt_build"
_BAD = {"error", "fail", "runtime error"}


def outcome_of(result: dg.ExecuteInProcessResult, settings: Settings) -> dict[str, Any]:
    """`ok`, `failures`, `warnings`, `published`, `rows`, `run_id` of a finished run."""
    failures, warnings = _checks(result)
    failures += _steps(result, settings)
    published = [
        event.materialization
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION
        and event.asset_key == MARTS_KEY
    ]
    rows = int(published[0].metadata["rows"].value) if published else 0  # type: ignore[arg-type]
    if not result.success and not failures:
        failures = [f"run {result.run_id} failed; see it in the UI (`ctwa dev`)"]
    return {
        "ok": result.success and not failures,
        "failures": list(dict.fromkeys(failures)),
        "warnings": list(dict.fromkeys(warnings)),
        "published": bool(published),
        "rows": rows,
        "run_id": result.run_id,
    }


def _checks(result: dg.ExecuteInProcessResult) -> tuple[list[str], list[str]]:
    """Failed checks by severity; those of dbt's failed tests are told by `_dbt_failures`."""
    failures: list[str] = []
    warnings: list[str] = []
    for check in result.get_asset_check_evaluations():
        if check.passed:
            continue
        where = "/".join(check.asset_key.path)
        text = f"{where}: {check.check_name}"
        if check.description:
            text = f"{text}: {check.description}"
        if check.severity is dg.AssetCheckSeverity.WARN:
            warnings.append(text)
        else:
            failures.append(text)
    return failures, warnings


def _steps(result: dg.ExecuteInProcessResult, settings: Settings) -> list[str]:
    failures: list[str] = []
    verdict = "__".join(VERDICT_KEY.path)
    for event in result.get_step_failure_events():
        if event.step_key == verdict:
            continue  # said already by the failed checks of the sources
        if event.step_key == _DBT_STEP:
            failures += dbt_failures(run_folder(settings)) or [_reason(event)]
        else:
            failures.append(_reason(event))
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.PIPELINE_FAILURE and event.step_key is None:
            data = event.job_failure_data
            if data.error and not failures:
                failures.append(_innermost(data.error))
    return failures


def dbt_failures(folder: Path) -> list[str]:
    """Models and tests that failed in the last dbt run, in dbt's words."""
    try:
        results = json.loads((folder / "run_results.json").read_text())["results"]
    except (OSError, ValueError, KeyError):
        return []
    return [
        f"dbt {r['unique_id'].split('.')[0]} {r['unique_id'].split('.')[2]}: "
        f"{(r.get('message') or r['status']).strip()}"
        for r in results
        if r["status"] in _BAD
    ]


def _reason(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error
    return f"{event.step_key}: {_innermost(error) if error else event.message}"


def _innermost(error: Any) -> str:
    """The text of the first cause, without Dagster's wrapping and without a stack."""
    while error.cause is not None:
        error = error.cause
    return str(error.message).strip().split("\nStack Trace:")[0]
