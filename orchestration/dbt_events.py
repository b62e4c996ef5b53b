"""What is added to dbt's events: why a test failed, and figures on the marts' own pages.

Tests about data that people correct, such as a CRM stage that is not mapped, keep the failing rows
(`store_failures_as: view`, schema `checks`), and those are shown; for other tests it is dbt's
message. Rows of a mart and what a qualified lead costs are asked once, when dbt has let go of the
warehouse: therefore failed tests and the marts' events come at the end of a build.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from ctwa.settings import Settings
from orchestration.dbt_manifest import run_folder
from orchestration.faults import plain_message

DBT_TEST_KEY = "unique_id"
"""Metadata that dagster-dbt puts on the result of a dbt test."""
_BAD = {"error", "fail", "runtime error"}
_ROWS = 20
_SHOWN = 5

DAYS = 30
"""The figures of a report are those of so many days up to `as_of`, the day itself left out."""
_LISTED = 20

# Unknown as soon as a part is (rule R13); leads of a platform that nobody can read are none of it.
_SPEND = (
    "case when count(spend_reporting) "
    "= count(*) filter (where spend_unread_reason is distinct from 'no_source') "
    "then sum(spend_reporting) end"
)
_TOTALS = """
    select
        coalesce(sum(leads), 0) as leads,
        coalesce(sum(qualified_leads), 0) as qualified_leads,
        {spend} as spend
    from {mart} where report_date >= ? and report_date < ?
"""
_LISTS = {
    "campaign_performance": ("campaign", "campaign_name", "platform, campaign_id"),
    "ad_performance": ("ad", "ad_name", "platform, ad_id"),
    "channel_performance": ("channel", "channel", "channel"),
}
_LIST = """
    select
        max({name}) as name,
        sum(leads) as leads,
        sum(qualified_leads) as qualified_leads,
        {spend} as spend
    from {mart} where report_date >= ? and report_date < ?
    group by {keys}
    order by spend desc nulls last, leads desc, name
    limit {limit}
"""


# ---- failures ---------------------------------------------------------------------------------


def failed_nodes(folder: Path) -> dict[str, str]:
    """Id of each model or test that failed in the last dbt run of this folder -> what is wrong."""
    try:
        results = json.loads((folder / "run_results.json").read_text())["results"]
    except (OSError, ValueError, KeyError):
        return {}
    return {
        result["unique_id"]: plain_message(result.get("message") or result["status"])
        for result in results
        if result["status"] in _BAD
    }


def with_failing_rows(
    events: Iterable[Any], settings: Settings, manifest: Mapping[str, Any]
) -> Iterator[Any]:
    """Events of a dbt run as they come; failed tests at its end, each with what is wrong.

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
        rows = _failing_rows(result, settings, manifest)
        message = failed_nodes(run_folder(settings)).get(_unique_id(result), "")
        yield explained(result, rows, message)
    if problem is not None:
        raise problem


def explained(
    result: dg.AssetCheckResult, rows: Sequence[Mapping[str, Any]], message: str
) -> dg.AssetCheckResult:
    """A failed check with its rows, where it keeps some, else with what dbt says of it."""
    description, metadata = message or result.description, {**result.metadata}
    if rows:
        names = list(rows[0])
        lines = [" | ".join(_plain(row[n]).replace("|", "\\|") for n in names) for row in rows]
        table = "\n".join([" | ".join(names), "|".join("---" for _ in names), *lines])
        metadata["failing_rows"] = dg.MetadataValue.md(table)
        shown = [", ".join(f"{n} {_plain(row[n])}" for n in names) for row in rows[:_SHOWN]]
        description = "; ".join(shown) + (" ..." if len(rows) > _SHOWN else "")
    return dg.AssetCheckResult(
        passed=False,
        asset_key=result.asset_key,
        check_name=result.check_name,
        severity=result.severity,
        description=description,
        metadata=metadata,
    )


def _unique_id(result: dg.AssetCheckResult) -> str:
    unique_id = result.metadata.get(DBT_TEST_KEY)
    return str(getattr(unique_id, "value", unique_id))


def _failing_rows(
    result: dg.AssetCheckResult, settings: Settings, manifest: Mapping[str, Any]
) -> list[dict[str, Any]]:
    node = manifest["nodes"].get(_unique_id(result), {})
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


def _plain(value: Any) -> str:
    return str("-" if value is None else value)[:80].replace("\n", " ")


# ---- figures of marts -------------------------------------------------------------------------


def with_figures(
    events: Iterable[Any], settings: Settings, schema: str, day: date
) -> Iterator[Any]:
    """Events of a dbt run; those of marts at its end, with their figures as metadata.

    What dbt raises is raised after them: what was built before it is still reported. A model that
    rests on a mart is reported after it: Dagster wants the order in which they were built.
    """
    held: list[dg.Output[Any]] = []
    problem: Exception | None = None
    try:
        for event in events:
            is_model = isinstance(event, dg.Output)
            if is_model and (held or event.output_name.startswith(f"{schema}__")):
                held.append(event)
            else:
                yield event
    except Exception as error:  # noqa: BLE001 - raised again below
        problem = error
    outputs = (e.output_name for e in held if e.output_name.startswith(f"{schema}__"))
    marts = {output: output.removeprefix(f"{schema}__") for output in outputs}
    found = figures(settings, schema, marts.values(), day)
    for event in held:
        more = found.get(marts.get(event.output_name, ""), {})
        yield event.with_metadata({**event.metadata, **more})
    if problem is not None:
        raise problem


def figures(
    settings: Settings, schema: str, marts: Iterable[str], day: date
) -> dict[str, dict[str, Any]]:
    """Mart -> metadata; empty where the warehouse cannot be asked: figures never fail a run."""
    found: dict[str, dict[str, Any]] = {}
    since = date.fromordinal(day.toordinal() - DAYS)
    try:
        with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
            for mart in marts:
                name = f'"{schema}"."{mart}"'
                rows = warehouse.execute(f"select count(*) from {name}").fetchall()  # noqa: S608
                found[mart] = {"dagster/row_count": int(rows[0][0])}
                if mart in _LISTS:
                    found[mart] |= _report(warehouse, name, mart, (since, day), settings)
    except duckdb.Error:
        return found
    return found


def _report(
    warehouse: duckdb.DuckDBPyConnection,
    name: str,
    mart: str,
    days: tuple[date, date],
    settings: Settings,
) -> dict[str, Any]:
    """Numbers to be plotted, and the table of what costs what, of the last days."""
    currency = settings.reporting_currency
    title, column, keys = _LISTS[mart]
    totals = warehouse.execute(_TOTALS.format(mart=name, spend=_SPEND), days).fetchall()[0]
    leads, qualified, spend = totals
    metadata: dict[str, Any] = {
        f"leads_{DAYS}d": int(leads),
        f"qualified_leads_{DAYS}d": int(qualified),
    }
    if spend is not None:
        metadata[f"spend_{DAYS}d_{currency}"] = float(spend)
        if qualified:
            metadata[f"cost_per_qualified_lead_{DAYS}d_{currency}"] = round(
                float(spend / qualified), 2
            )
    sql = _LIST.format(mart=name, name=column, keys=keys, limit=_LISTED, spend=_SPEND)
    rows = [
        f"| {_cell(label)} | {_money(cost)} | {n:,} | {q:,} | {_ratio(cost, q)} |"
        for label, n, q, cost in warehouse.execute(sql, days).fetchall()
    ]
    head = (
        f"| {title} | spend {currency} | leads | qualified | per qualified lead {currency} |\n"
        "|---|---:|---:|---:|---:|"
    )
    metadata[f"cost_per_qualified_lead_of_{DAYS}_days"] = dg.MetadataValue.md(
        "\n".join([head, *rows])
    )
    return metadata


def _cell(value: object) -> str:
    """A name is data: what would be a table, a link or markup is shown as it is."""
    text = " ".join(str(value if value is not None else "–").split())
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-.!|<>~" else c for c in text)


def _money(value: Any) -> str:
    return "–" if value is None else f"{value:,.2f}"


def _ratio(spend: Any, number: int) -> str:
    return "–" if spend is None or not number else f"{spend / number:,.2f}"
