"""Figures on the marts' own pages: rows, and what a qualified lead costs.

DuckDB knows the rows of a table without reading it, and the reports are small; both are asked
once, when dbt has let go of the warehouse. Therefore the marts' events come at the end of a build.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import dagster as dg
import duckdb

from ctwa.settings import Settings

DAYS = 30
"""The figures of a report are those of so many days up to `as_of`, the day itself left out."""
_LISTED = 20

_TOTALS = """
    select
        coalesce(sum(leads), 0) as leads,
        coalesce(sum(qualified_leads), 0) as qualified_leads,
        case when count(spend_reporting) = count(*) then sum(spend_reporting) end as spend
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
        case when count(spend_reporting) = count(*) then sum(spend_reporting) end as spend
    from {mart} where report_date >= ? and report_date < ?
    group by {keys}
    order by spend desc nulls last, leads desc, name
    limit {limit}
"""


def with_figures(
    events: Iterable[Any], settings: Settings, schema: str, day: date
) -> Iterator[Any]:
    """Events of a dbt run; those of marts at its end, with their figures as metadata.

    What dbt raises is raised after them: what was built before is told all the same. A model that
    rests on a mart is told after it: Dagster wants the order in which they were built.
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
    totals = warehouse.execute(_TOTALS.format(mart=name), days).fetchall()[0]
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
    sql = _LIST.format(mart=name, name=column, keys=keys, limit=_LISTED)
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
