"""What people read about a run: clear sentences on how it ended, and the console meanwhile.

A headless refresh prints a line per step; no debug output.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from ctwa.progress import doing
from ctwa.settings import Settings
from orchestration.dbt_events import DBT_TEST_KEY, failed_nodes
from orchestration.dbt_manifest import run_folder
from orchestration.keys import (
    DBT_STEP,
    FRESH,
    LOADED,
    MARTS_KEY,
    RECORDED,
    ROWS_LOADED,
    SAW,
    SENT,
    STALE_SINCE,
    STATUS,
    VERDICT_KEY,
    check_name,
)


@dataclass(frozen=True)
class Checks:
    """Checks of a run. `failures` and `warnings`: failed checks by severity, name to text."""

    failures: dict[str, str]
    warnings: dict[str, str]
    passed: frozenset[str]


def outcome_of(result: dg.ExecuteInProcessResult, settings: Settings) -> dict[str, Any]:
    """`ok`, `failures`, `warnings`, `published`, `rows`, `sources`, `run_id` of a finished run."""
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
        "sources": sources_of(events),
        "run_id": result.run_id,
    }


def failures_of(events: Sequence[dg.DagsterEvent], dbt: Sequence[str] = ()) -> list[str]:
    """What failed and what to do, each once; `dbt`: dbt's own messages, if known."""
    checks = list(checks_of(events).failures.values())
    return list(dict.fromkeys(checks + _steps(events, dbt)))


def publication_of(events: Sequence[dg.DagsterEvent]) -> dg.AssetMaterialization | None:
    """The materialization of the published marts; None if nothing was published."""
    for event in events:
        is_published = event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION
        if is_published and event.asset_key == MARTS_KEY:
            return event.materialization
    return None


def sources_of(events: Sequence[dg.DagsterEvent]) -> dict[str, str]:
    """Source -> the age of its data, `read in this run` or `as of …`; without sources that are off.

    If a source has several assets, the one that failed counts.
    """
    found: dict[str, str] = {}
    for event in events:
        if event.event_type != dg.DagsterEventType.ASSET_MATERIALIZATION:
            continue
        metadata = event.materialization.metadata
        status, name = _plain(metadata.get(STATUS)), event.materialization.asset_key.path[0]
        if status == "failed" and STALE_SINCE in metadata and ROWS_LOADED in metadata:
            found[name] = f"as of {_plain(metadata[STALE_SINCE])}"
        elif status == "loaded":
            found.setdefault(name, "read in this run")
    return found


def checks_of(events: Sequence[dg.DagsterEvent]) -> Checks:
    """Checks that ran, by result; names are `asset: check`."""
    found = Checks({}, {}, frozenset())
    passed = set()
    outages = set()
    for event in events:
        if event.event_type != dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue
        check = event.asset_check_evaluation_data
        name = check_name(check.asset_key, check.check_name)
        if check.passed:
            passed.add(name)
        elif check.check_name == FRESH:
            continue  # the source's own check reports it
        elif check.check_name == LOADED and (saw := _plain(check.metadata.get(SAW))):
            # One outage is reported once, by the first asset of the source that met it.
            if (check.asset_key.path[0], saw) not in outages:
                outages.add((check.asset_key.path[0], saw))
                found.failures[name] = _check_text(check)
        elif check.severity is dg.AssetCheckSeverity.WARN:
            found.warnings[name] = _check_text(check)
        elif DBT_TEST_KEY not in check.metadata:  # those are reported in dbt's words
            found.failures[name] = _check_text(check)
    return Checks(found.failures, found.warnings, frozenset(passed))


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
    """Reasons of failed steps, or of the run itself if it never reached a step."""
    verdict = "__".join(VERDICT_KEY.path)
    failures: list[str] = []
    failed = [e for e in events if e.event_type == dg.DagsterEventType.STEP_FAILURE]
    for event in failed:
        if event.step_key == verdict:
            continue  # the failed checks of the sources have said it
        if event.step_key == DBT_STEP:
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
    """Models and tests that failed in the last dbt run, and why."""
    return [
        f"dbt {unique_id.split('.')[0]} {unique_id.split('.')[2]}: {text}"
        for unique_id, text in failed_nodes(folder).items()
    ]


def _reason(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error
    return f"{event.step_key}: {_innermost(error) if error else event.message}"


def _innermost(error: Any) -> str:
    """The text of the original cause, without Dagster's wrapping, class names and stack."""
    while error.cause is not None:
        error = error.cause
    if error.cls_name == "DagsterExecutionInterruptedError":
        return "interrupted by a signal"
    text = str(error.message).strip().split("\nStack Trace:")[0]
    prefix, colon, rest = text.partition(": ")
    plain = colon and prefix.rpartition(".")[2] == error.cls_name and "." in prefix
    return rest if plain else text


# ---- on the console ---------------------------------------------------------------------------

log = logging.getLogger("ctwa.refresh")

_DBT_LINE = re.compile(r"(\d+) of (\d+) (\w+) (.*?) ?\.{2,}|(\d+) of (\d+) (\w+) (.*)")
_BAD = {"FAIL", "WARN", "ERROR"}


class DbtOutput(io.TextIOBase):
    """Standard output of the run: dbt's lines become progress, its failures lines in the log."""

    def __init__(self) -> None:
        self._rest = ""

    def writable(self) -> bool:
        """Part of the interface of a stream."""
        return True

    def write(self, text: str) -> int:
        """Take dbt's lines; failed and warning tests also go to the log."""
        lines = (self._rest + text).split("\n")
        self._rest = lines.pop()
        for line in lines:
            match = _DBT_LINE.search(line)
            if match is None:
                continue
            number, total, word, what = (g for g in match.groups() if g is not None)
            if word in _BAD:
                log.warning("dbt: %s %s", word, what.strip())
            doing(f"dbt {number}/{total} {what.strip()}")
        return len(text)


def plain_console() -> dg.LoggerDefinition:
    """A console logger for a run: starts and ends of steps, and warnings."""

    @dg.logger(None, description="One plain line per step.")
    def console(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("ctwa.run", logging.DEBUG)
        logger.addHandler(_Lines())
        return logger

    return console


_SKIPPED = re.compile(r"Dependencies for step (\S+) (?:failed|were not executed): ")


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Translate Dagster's events; pass on warnings and errors from assets."""
        meta: dict[str, Any] = getattr(record, "dagster_meta", {})
        event = meta.get("dagster_event")
        if event is None:
            text = meta.get("orig_message", record.getMessage())
            if skipped := _SKIPPED.match(text):  # Dagster names each input, so it fills the screen
                log.info("%s: not run, because something before it failed", skipped.group(1))
            elif record.levelno >= logging.WARNING:
                log.log(record.levelno, "%s", text)
            return
        if event.event_type == dg.DagsterEventType.STEP_START:
            doing(event.step_key)
        elif event.event_type == dg.DagsterEventType.STEP_SUCCESS:
            seconds = event.event_specific_data.duration_ms / 1000
            if "." not in event.step_key and seconds >= 0.05:
                log.info("%s: %.1f s", event.step_key, seconds)
        elif event.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY:
            log.warning("%s: will be tried again", event.step_key)
