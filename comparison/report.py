"""A comparison as people read it: on a terminal, and as a table in the Dagster UI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from comparison.credit import with_deltas

TOP = 15
TRIAL_DAYS = 31

_CHANGES = {
    "moved": "moved to another campaign or channel",
    "appeared": "appeared as a separate lead",
    "vanished": "vanished as a separate lead",
    "excluded": "dropped out of the counts",
    "included": "came into the counts",
    "redated": "moved to another day of the same campaign",
    "requalified": "became, or ceased to be, qualified",
    "reclassified": "kept campaign and day, with another touch, ad or basis",
    "latest_touch": "kept the source; only the latest touch differs",
}


def print_comparison(
    console: Console, tables: Mapping[str, pa.Table], words: str, currency: str
) -> None:
    """Moves, campaigns, totals and causes of a comparison (`comparison.tables.credit_tables`)."""
    leads = tables["credit_diff"].to_pylist()
    campaigns = tables["credit_diff_campaigns"].to_pylist()
    about = tables["credit_diff_about"].to_pylist()[0]
    console.print(
        f"[bold]{about['rules_a']}[/] → [bold]{about['rules_b']}[/], as of {about['as_of']}"
    )
    if words:
        console.print(f"{words}.", markup=False)
    if not leads and not _changed(campaigns):
        console.print("No lead and no amount differs.")
        return
    moves = _moves(leads)
    if moves:
        console.print(_moves_table(moves, "Credit moves"))
        if len(moves) > TOP:
            console.print(f"… and {len(moves) - TOP} more pairs, all in marts.credit_diff")
    else:
        console.print("No lead changes campaign or channel.")
    latest = _latest_moves(leads)
    if latest:
        console.print(_moves_table(latest, "Latest touch only (credit stays the same)"))
    console.print(_campaign_table(campaigns, currency))
    for line in summary(leads):
        console.print(f"• {line}", markup=False)


def print_trial(
    console: Console,
    rules: Sequence[str],
    by_day: Sequence[Mapping[str, Any]],
    moved: Sequence[Mapping[str, Any]],
    notes: Iterable[str],
    currency: str,
) -> None:
    """What chat rules would find: outcomes by rule and day, the leads moved most, what is odd."""
    days = sorted({row["day"] for row in by_day}, reverse=True)
    table = Table(title="Outcomes by day and rule", title_justify="left")
    table.add_column("day")
    for rule in rules:
        table.add_column(_plain(rule), justify="right")
    counts = {(row["day"], row["rule_id"]): row["outcomes"] for row in by_day}
    for day in days[:TRIAL_DAYS]:
        table.add_row(f"{day}", *(f"{counts.get((day, rule), 0):,}" for rule in rules))
    if len(days) > TRIAL_DAYS:
        rest = [sum(counts.get((d, rule), 0) for d in days[TRIAL_DAYS:]) for rule in rules]
        table.add_row(f"{len(days) - TRIAL_DAYS} days before", *(f"{n:,}" for n in rest))
    table.add_section()
    total = [sum(row["outcomes"] for row in by_day if row["rule_id"] == rule) for rule in rules]
    table.add_row("all", *(f"{n:,}" for n in total), style="bold")
    console.print(table if days else "No chat meets a rule.")
    if moved:
        leads = Table(title="Leads that would move most", title_justify="left")
        for name in ("lead", "campaign or channel", "stage", f"value in {currency}"):
            leads.add_column(name)
        for row in moved:
            leads.add_row(
                row["lead_id"][:12],  # as many as `ctwa why` takes
                _plain(row["campaign"] or "–"),
                f"{row['stage_before'] or 'none'} → {row['stage_after'] or 'none'}",
                _change(row["value_before"], row["value_after"]),
            )
        console.print(leads)
    for note in notes:
        console.print(f"• {note}", markup=False)


def summary(leads: Iterable[Mapping[str, Any]]) -> list[str]:
    """How many leads changed in which way and by which cause, one sentence each."""
    rows = list(leads)
    by = Counter((r["change"], r["cause"]) for r in rows)
    order = list(_CHANGES)
    lines = []
    for change, cause in sorted(by, key=lambda pair: (order.index(pair[0]), pair[1])):
        count = by[change, cause]
        example = min(r["because"] for r in rows if (r["change"], r["cause"]) == (change, cause))
        noun = "lead" if count == 1 else "leads"
        lines.append(f"{count:,} {noun} {_CHANGES[change]} ({cause}). Example: {example}")
    return lines


def markdown(tables: Mapping[str, pa.Table]) -> str:
    """The campaigns that differ, as a table for the Dagster UI."""
    rows = _changed(tables["credit_diff_campaigns"].to_pylist())
    lines = [
        f"| {_cell(_name(r))} | {r['leads_a']:,} | {r['leads_b']:,} | {r['leads_delta']:+,} "
        f"| {r['qualified_leads_delta']:+,} "
        f"| {_money(r[f'{_COST}_a'])} | {_money(r[f'{_COST}_b'])} |"
        for r in rows
    ]
    head = "| campaign | leads a | leads b | Δ | Δ qualified | CPQL a | CPQL b |"
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|---:|", *lines])


def _cell(text: str) -> str:
    """A name in a table cell: a bar in it would start another cell."""
    return text.replace("|", "\\|")


_COST = "cost_per_qualified_lead_reporting"


def _moves(leads: Iterable[Mapping[str, Any]]) -> list[tuple[tuple[str, str], int, int]]:
    """((from, to), leads, qualified ones), most first; including appeared and vanished."""
    kinds = ("moved", "appeared", "vanished", "excluded", "included")
    rows = [row for row in leads if row["change"] in kinds]
    return _counted([((_place(r, "a"), _place(r, "b")), r) for r in rows])


def _counted(
    pairs: list[tuple[tuple[str, str], Mapping[str, Any]]],
) -> list[tuple[tuple[str, str], int, int]]:
    counts = Counter(pair for pair, _ in pairs)
    qualified = Counter(
        pair for pair, row in pairs if row["is_qualified_a"] or row["is_qualified_b"]
    )
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(pair, count, qualified[pair]) for pair, count in ordered]


def _latest_moves(
    leads: Iterable[Mapping[str, Any]],
) -> list[tuple[tuple[str, str], int, int]]:
    """The same for the latest touch, of leads whose credit stays."""
    rows = [row for row in leads if row["change"] == "latest_touch"]
    return _counted([((str(r["latest_channel_a"]), str(r["latest_channel_b"])), r) for r in rows])


def _place(row: Mapping[str, Any], side: str) -> str:
    """Where a lead is counted on one side."""
    if row[f"basis_{side}"] is None:
        return "(no lead)"
    if row[f"is_excluded_{side}"]:
        return "(excluded)"
    if row[f"platform_{side}"] is None:
        return f"({row[f'channel_{side}']})"
    return str(row[f"campaign_name_{side}"] or row[f"campaign_id_{side}"])


def _moves_table(moves: list[tuple[tuple[str, str], int, int]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("from")
    table.add_column("to")
    table.add_column("leads", justify="right")
    table.add_column("qualified", justify="right")
    for (source, target), count, qualified in moves[:TOP]:
        table.add_row(_plain(source), _plain(target), f"{count:,}", f"{qualified:,}")
    return table


def _campaign_table(campaigns: list[dict[str, Any]], currency: str) -> Table:
    table = Table(
        title=f"By campaign: a → b (cost per qualified lead in {currency})", title_justify="left"
    )
    table.add_column("campaign")
    for name in ("leads", "qualified", "spend", "cost per qualified lead"):
        table.add_column(name, justify="right")
    for row in _changed(campaigns):
        table.add_row(_plain(_name(row)), *_cells(row))
    paid = _total([r for r in campaigns if r["platform"] is not None])
    table.add_section()
    table.add_row("all campaigns", *_cells(paid), style="bold")
    table.add_row("all leads", *_cells(_total(campaigns)), style="bold")
    return table


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        _change(row["leads_a"], row["leads_b"]),
        _change(row["qualified_leads_a"], row["qualified_leads_b"]),
        _change(row["spend_reporting_a"], row["spend_reporting_b"]),
        _change(row[f"{_COST}_a"], row[f"{_COST}_b"]),
    ]


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for side in ("a", "b"):
        for name in ("leads", "qualified_leads", "spend_reporting"):
            values = [r[f"{name}_{side}"] for r in rows]
            total[f"{name}_{side}"] = None if None in values else sum(values)
    return with_deltas(total)


def _changed(campaigns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Campaigns with any difference, those with the most moved leads first."""
    measures = ("leads", "qualified_leads", "spend_reporting")
    found = [r for r in campaigns if any(r[f"{m}_a"] != r[f"{m}_b"] for m in measures)]
    return sorted(found, key=lambda r: (-abs(r["leads_delta"]), _name(r)))


def _name(row: Mapping[str, Any]) -> str:
    if row["platform"] is None:
        return f"({row['channel']})"
    return str(row["campaign_name"] or row["campaign_id"])


def _change(a: Any, b: Any) -> str:
    if a == b:
        return _money(a) if isinstance(a, Decimal) or a is None else f"{a:,}"
    if isinstance(a, int) and isinstance(b, int):
        return f"{a:,} → {b:,} ({b - a:+,})"
    return f"{_money(a)} → {_money(b)}"


def _money(value: Any) -> str:
    return "–" if value is None else f"{value:,.2f}"


def _plain(text: str) -> str:
    """Names of campaigns must not be read as markup."""
    return text.replace("[", r"\[")
