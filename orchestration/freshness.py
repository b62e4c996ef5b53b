"""What a mart was built with: a check on each mart that fails while a source it rests on is stale.

A source that cannot be read leaves its rows of before, and the marts are built from them. That is
right, and must be seen where people look: at the mart, not only at the source.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of check functions.

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from orchestration.assets.raw import PROBLEM, STALE_SINCE, STATUS

CHECK_NAME = "sources_are_fresh"

_BY_WAY_OF = {"hubspot": ("model.ctwa.stg_event_log__outcomes",)}
"""Sources whose rows come by the event log: the models that take them from there."""


def build_freshness_checks(
    manifest: Path, sources: Sequence[dg.AssetKey], marts_schema: str
) -> list[dg.AssetChecksDefinition]:
    """One check for each mart. `sources`: the assets that carry the `loaded` checks."""
    names = sorted({key.path[0] for key in sources})
    rests_on = sources_of_marts(json.loads(manifest.read_text()), names, marts_schema)
    if not rests_on:
        return []

    @dg.multi_asset_check(
        name=CHECK_NAME,
        specs=[
            dg.AssetCheckSpec(
                CHECK_NAME,
                asset=dg.AssetKey([marts_schema, mart]),
                description=f"Warns while one of these could not be read: {', '.join(names)}.",
            )
            for mart, names in rests_on.items()
        ],
        can_subset=True,
    )
    def sources_are_fresh(
        context: dg.AssetCheckExecutionContext,
    ) -> Iterator[dg.AssetCheckResult]:
        stale = {key.path[0]: text for key in sources if (text := _stale(context, key))}
        for check in sorted(context.selected_asset_check_keys):
            names = [n for n in rests_on[check.asset_key.path[-1]] if n in stale]
            yield dg.AssetCheckResult(
                asset_key=check.asset_key,
                check_name=CHECK_NAME,
                passed=not names,
                severity=dg.AssetCheckSeverity.WARN,
                description="; ".join(stale[n] for n in names) or "every source was read",
                metadata={"stale_sources": ", ".join(names)} if names else {},
            )

    return [sources_are_fresh]


def sources_of_marts(
    manifest: Mapping[str, Any], names: list[str], marts_schema: str
) -> dict[str, list[str]]:
    """Mart to the sources it is made of, however many models lie between."""
    children: dict[str, set[str]] = defaultdict(set)
    for unique_id, node in manifest["nodes"].items():
        for parent in node.get("depends_on", {}).get("nodes", ()):
            children[parent].add(unique_id)
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        start = {i for i, s in manifest["sources"].items() if s["source_name"] == name}
        for unique_id in sorted(_descendants(start | set(_BY_WAY_OF.get(name, ())), children)):
            node = manifest["nodes"].get(unique_id, {})
            if node.get("resource_type") == "model" and node["schema"] == marts_schema:
                found[node["alias"]].append(name)
    return dict(sorted(found.items()))


def _descendants(start: set[str], children: Mapping[str, set[str]]) -> set[str]:
    reached, ahead = set(start), list(start)
    while ahead:
        for child in children.get(ahead.pop(), set()) - reached:
            reached.add(child)
            ahead.append(child)
    return reached


def _stale(context: dg.AssetCheckExecutionContext, key: dg.AssetKey) -> str:
    """What is wrong with a source and since when; '' where it is off or was read."""
    event = context.instance.get_latest_materialization_event(key)
    if event is None or event.asset_materialization is None:
        return ""
    metadata = event.asset_materialization.metadata
    if STATUS not in metadata or metadata[STATUS].value != "failed":
        return ""
    return f"{key.path[0]} as of {metadata[STALE_SINCE].value}: {metadata[PROBLEM].value}"
