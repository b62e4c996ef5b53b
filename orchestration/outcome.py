"""From Dagster's events to a few clear sentences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from ctwa.settings import Settings
from orchestration.assets.activation import CHECK_NAME as SENT
from orchestration.assets.comparison import RECORDED
from orchestration.assets.dbt import run_folder
from orchestration.assets.publish import MARTS_KEY, VERDICT_KEY
from orchestration.assets.raw import CHECK_NAME as LOADED
from orchestration.assets.raw import STALE_SINCE
from orchestration.dbt_checks import DBT_TEST_KEY
from orchestration.freshness import CHECK_NAME as FRESH

_DBT_STEP = "dbt_build"
_BAD = {"error", "fail", "runtime error"}


@dataclass(frozen=True)
class Checks:
    """Checks of a run. `failures`, `warnings`: those that failed, by severity, name to text."""

    failures: dict[str, str]
    warnings: dict[str, str]
    passed: frozenset[str]


def outcome_of(result: dg.ExecuteInProcessResult, settings: Settings) -> dict[str, Any]:
    """`ok`, `failures`, `warnings`, `published`, `rows`, `run_id` of a finished run."""
    events = result.all_events
    failures = failures_of(events, dbt_failures(run_folder(settings)))
    published = publication_of(events)
    rows = int(published.metadata["rows"].value) if published else 0  # type: ignore[arg-type]
    if not result.success and not failures:
        failures = [f"run {result.run_id} failed; see it in the UI (`ctwa dev`)"]
    return {
        "ok": result.success and not failures,
        "failures": failures,
        "warnings": list(dict.fromkeys(checks_of(events).warnings.values())),
        "published": published is not None,
        "rows": rows,
        "run_id": result.run_id,
    }


def failures_of(events: Sequence[dg.DagsterEvent], dbt: Sequence[str] = ()) -> list[str]:
    """What failed and what to do, each once; `dbt`: what dbt said, where that is known."""
    checks = list(checks_of(events).failures.values())
    return list(dict.fromkeys(checks + _steps(events, dbt)))


def publication_of(events: Sequence[dg.DagsterEvent]) -> dg.AssetMaterialization | None:
    """The materialization of the published marts; None where nothing was published."""
    for event in events:
        is_published = event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION
        if is_published and event.asset_key == MARTS_KEY:
            return event.materialization
    return None


def checks_of(events: Sequence[dg.DagsterEvent]) -> Checks:
    """Checks that ran, by how they ended; a name is `asset: check`."""
    found = Checks({}, {}, frozenset())
    passed = set()
    for event in events:
        if event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue
        check = event.asset_check_evaluation_data
        name = check_name(check.asset_key, check.check_name)
        if check.passed:
            passed.add(name)
        elif check.check_name == FRESH:
            continue  # told by the source's own check
        elif check.severity is dg.AssetCheckSeverity.WARN:
            found.warnings[name] = _check_text(check)
        elif DBT_TEST_KEY not in check.metadata:  # those are told in dbt's words
            found.failures[name] = _check_text(check)
    return Checks(found.failures, found.warnings, frozenset(passed))


def check_name(asset_key: dg.AssetKey, name: str) -> str:
    """How people and the ledger of alerts name a check."""
    return f"{'/'.join(asset_key.path)}: {name}"


def _check_text(check: dg.AssetCheckEvaluation) -> str:
    if check.check_name == SENT:
        return f"{check.asset_key.path[0]}: {check.description}"
    if check.check_name == LOADED:
        since = check.metadata.get(STALE_SINCE)
        return f"{check.asset_key.path[0]}: {check.description} (data as of {_plain(since)})"
    figures = ", ".join(
        f"{name} {_plain(value)}"
        for name, value in check.metadata.items()
        if isinstance(_plain(value), int)
    )
    if check.check_name == RECORDED:
        return f"restatements: {check.description}"
    text = check_name(check.asset_key, check.check_name)
    if check.description:
        return f"{text}: {check.description}"
    return f"{text} ({figures})" if figures else text


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)


def _steps(events: Sequence[dg.DagsterEvent], dbt: Sequence[str]) -> list[str]:
    """Reasons of failed steps; of the run itself when it never came to a step."""
    verdict = "__".join(VERDICT_KEY.path)
    failures: list[str] = []
    failed = [e for e in events if e.event_type == dg.DagsterEventType.STEP_FAILURE]
    for event in failed:
        if event.step_key == verdict:
            continue  # said already by the failed checks of the sources
        if event.step_key == _DBT_STEP:
            failures += dbt or [_reason(event)]
        else:
            failures.append(_reason(event))
    if not failed:
        failures += [
            _innermost(event.job_failure_data.error)
            for event in events
            if event.event_type == dg.DagsterEventType.PIPELINE_FAILURE
            and event.job_failure_data.error
        ]
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
    """The text of the first cause, without Dagster's wrapping, class names and stack."""
    while error.cause is not None:
        error = error.cause
    if error.cls_name == "DagsterExecutionInterruptedError":
        return "interrupted by a signal"
    text = str(error.message).strip().split("\nStack Trace:")[0]
    prefix, colon, rest = text.partition(": ")
    plain = colon and prefix.rpartition(".")[2] == error.cls_name and "." in prefix
    return rest if plain else text
