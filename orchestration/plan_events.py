"""What Dagster is told of an executed plan: the events that dagster-dbt makes of a `dbt build`.

Assets, checks and their metadata are the same by either way, but dagster-dbt, which imports dbt, is
not needed for it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from ctwa.errors import CtwaError
from orchestration.dbt_events import explained
from orchestration.dbt_specs import asset_key, check_key, node_of
from orchestration.faults import plain_message
from orchestration.plan_run import Result, Run


class BuildFailedError(CtwaError):
    """Models or checks of a build failed, and nothing of it was kept; the text names them."""


def selected_parts(
    context: dg.AssetExecutionContext, manifest: Mapping[str, Any]
) -> set[str] | None:
    """Ids of the nodes of the selected assets, and of the tests that look at one; None: all."""
    if not context.is_subset:
        return None
    nodes = manifest["nodes"]
    chosen = {
        unique_id
        for unique_id, node in nodes.items()
        if node["resource_type"] in ("model", "seed")
        and asset_key(node) in context.selected_asset_keys
    }
    tests = {
        unique_id
        for unique_id, node in nodes.items()
        if node["resource_type"] == "test" and chosen.intersection(node["depends_on"]["nodes"])
    }
    return chosen | tests


def events_of(
    run: Run, context: dg.AssetExecutionContext, manifest: Mapping[str, Any]
) -> Iterator[Any]:
    """Materializations and checks of a run, in its order.

    Where it failed nothing was built, so only what the checks found is told, and
    `BuildFailedError` is raised after that.
    """
    invocation = str(uuid.uuid4())
    for result in run.results:
        is_check = result.unique_id.startswith("test.")
        if result.status == "skipped" or (run.failures and not is_check):
            continue
        metadata = _metadata(result, invocation)
        if is_check:
            yield from _check_events(result, metadata, context, manifest)
        else:
            key = asset_key(node_of(manifest, result.unique_id))
            yield dg.Output(None, key.to_python_identifier(), metadata=metadata)
    if run.failures:
        raise BuildFailedError(
            "\n".join(f"{f.unique_id}: {plain_message(f.message)}" for f in run.failures)
        )


def _check_events(
    result: Result,
    metadata: Mapping[str, Any],
    context: dg.AssetExecutionContext,
    manifest: Mapping[str, Any],
) -> Iterator[dg.AssetCheckResult | dg.AssetObservation]:
    """The result of a check; of a test that is none, an observation of what it looks at."""
    if result.failures is not None:
        metadata = {**metadata, "dagster_dbt/failed_row_count": result.failures}
    key = check_key(manifest, result.unique_id)
    if key is None or key not in context.selected_asset_check_keys:
        test = manifest["nodes"][result.unique_id]
        text = f"dbt test `{test['name']}`, which is no check of one of the assets of this run."
        for parent in test["depends_on"]["nodes"]:
            yield dg.AssetObservation(
                asset_key(node_of(manifest, parent)), metadata=metadata, description=text
            )
        return
    is_warning = result.status == "warn"
    event = dg.AssetCheckResult(
        passed=result.status == "pass",
        asset_key=key.asset_key,
        check_name=key.name,
        severity=dg.AssetCheckSeverity.WARN if is_warning else dg.AssetCheckSeverity.ERROR,
        metadata=metadata,
    )
    yield event if event.passed else explained(event, result.rows, plain_message(result.message))


def _metadata(result: Result, invocation: str) -> dict[str, Any]:
    current = {"is_current": True} if result.is_current else {}
    return {
        **current,
        "Execution Duration": (result.finished - result.started).total_seconds(),
        "unique_id": result.unique_id,
        "invocation_id": invocation,
        "status": result.status,
    }
