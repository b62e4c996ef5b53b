"""Failed dbt tests as checks that say what failed: the rows themselves, not only how many.

Only tests that keep their failures (`store_failures_as: view`, schema `checks`) can be asked; those
are the ones about data that people mend, such as a CRM stage that nobody has mapped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
import duckdb

from ctwa.settings import Settings

DBT_TEST_KEY = "unique_id"
"""Metadata that dagster-dbt puts on the result of a dbt test."""
_ROWS = 20
_TOLD = 5


def with_failing_rows(
    events: Iterable[Any], settings: Settings, manifest: Mapping[str, Any]
) -> Iterator[Any]:
    """Events of a dbt run as they come; failed tests at its end, each with its failing rows.

    At the end, because dbt holds the warehouse until then. What dbt raises is raised after them.
    """
    failed: list[dg.AssetCheckResult] = []
    problem: Exception | None = None
    try:
        for event in events:
            if isinstance(event, dg.AssetCheckResult) and not event.passed:
                failed.append(event)
            else:
                yield event
    except Exception as error:  # noqa: BLE001 - raised again below
        problem = error
    for result in failed:
        yield _explained(result, settings, manifest)
    if problem is not None:
        raise problem


def _explained(
    result: dg.AssetCheckResult, settings: Settings, manifest: Mapping[str, Any]
) -> dg.AssetCheckResult:
    rows = _failing_rows(result, settings, manifest)
    if not rows:
        return result
    names = list(rows[0])
    lines = [" | ".join(_cell(row[n]).replace("|", "\\|") for n in names) for row in rows]
    table = "\n".join([" | ".join(names), "|".join("---" for _ in names), *lines])
    told = "; ".join(", ".join(f"{n} {_cell(row[n])}" for n in names) for row in rows[:_TOLD])
    more = " ..." if len(rows) > _TOLD else ""
    return dg.AssetCheckResult(
        passed=False,
        asset_key=result.asset_key,
        check_name=result.check_name,
        severity=result.severity,
        description=told + more,
        metadata={**result.metadata, "failing_rows": dg.MetadataValue.md(table)},
    )


def _failing_rows(
    result: dg.AssetCheckResult, settings: Settings, manifest: Mapping[str, Any]
) -> list[dict[str, Any]]:
    unique_id = result.metadata.get(DBT_TEST_KEY)
    node = manifest["nodes"].get(str(getattr(unique_id, "value", unique_id)), {})
    if not node.get("config", {}).get("store_failures"):
        return []
    relation = f'"{node["schema"]}"."{node["alias"]}"'
    try:
        with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
            found = warehouse.execute(f"select * from {relation} order by all limit {_ROWS}")  # noqa: S608
            names = [column[0] for column in found.description or []]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    except duckdb.Error:
        return []  # the view of a test that itself could not run


def _cell(value: Any) -> str:
    return str("-" if value is None else value)[:80].replace("\n", " ")
