"""What `ctwa demo` shows: steps, the cost-per-qualified-lead table, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ctwa.progress import shown
from ctwa.settings import Settings
from simulator.compare import Comparison
from simulator.world import World

_SHOWN = 40
_FIGURES_WIDTH = 64

# Sums over sums (rule R11): never an average of ratios; a sum with a day that was not read is not
# known (rule R13).
_CAMPAIGNS = """
    select
        campaign_name,
        currency,
        case when bool_and(spend is not null) then sum(spend) end as spend,
        cast(sum(leads) as bigint) as leads,
        cast(sum(qualified_leads) as bigint) as qualified
    from marts.campaign_performance
    group by platform, campaign_id, campaign_name, account_id, currency
    order by
        case when bool_and(spend_reporting is not null)
            then sum(spend_reporting) / nullif(sum(qualified_leads), 0) end nulls last,
        spend desc nulls last
"""
_CHANNELS = """
    select
        channel,
        case when bool_and(spend_reporting is not null) then sum(spend_reporting) end as spend,
        cast(sum(leads) as bigint) as leads,
        cast(sum(qualified_leads) as bigint) as qualified
    from marts.channel_performance
    group by channel
    order by leads desc, spend desc nulls last
"""
_UNREAD = """
    select platform, account_id, account_name, spend_unread_since, spend_unread_days
    from marts.dim_accounts
    where spend_unread_days > 0
    order by platform, account_id
"""
_EXCLUDED = "select cast(sum(excluded_leads) as bigint) from marts.channel_performance"


class Story:
    """Shows step by step what happens: a moving line on a terminal, plain lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def title(self, world: World) -> None:
        """What company this is."""
        self.console.print(
            f"[bold]ctwa demo[/bold]  company of seed {world.seed}: {len(world.leads)} leads, "
            f"{len(world.ads.ads)} ads in {len(world.account_ids)} accounts, "
            f"{world.start:%Y-%m-%d} to {world.today}"
        )

    def heading(self, text: str) -> None:
        """A new part."""
        self.console.print(f"\n[bold]{text}[/bold]")

    def step(self, text: str) -> None:
        """Something was done."""
        self.console.print(Text.assemble(("✓ ", "green"), text))

    def fail(self, text: str) -> None:
        """Something went wrong."""
        self.console.print(Text.assemble(("✗ ", "red"), text))

    @contextmanager
    def waiting(self, text: str) -> Iterator[Callable[[str], None]]:
        """While it lasts; the function yielded says how it ended."""
        with shown(text, lambda said: self.console.print(Text(f"… {said}")), console=self.console):
            yield self.step


def cost_tables(console: Console, marts_path: Path) -> None:
    """Cost per qualified lead by campaign, then by channel, over the whole period."""
    with duckdb.connect(str(marts_path), read_only=True) as marts:
        campaigns = marts.sql(_CAMPAIGNS).fetchall()
        channels = marts.sql(_CHANNELS).fetchall()
        ((excluded,),) = marts.sql(_EXCLUDED).fetchall()
        unread = marts.sql(_UNREAD).fetchall()
    table = _table(
        console.width, "Cost per qualified lead, by campaign; cheapest first", "campaign", ""
    )
    for name, currency, spend, leads, qualified in campaigns:
        label = Text(" ".join(str(name).split()), overflow="ellipsis", no_wrap=True)
        table.add_row(label, currency or "", *_figures(spend, leads, qualified))
    console.print(table)
    table = _table(console.width, "By channel, in the reporting currency", "channel")
    for channel, spend, leads, qualified in channels:
        table.add_row(str(channel), *_figures(spend, leads, qualified))
    counted = sum(leads for _, _, leads, _ in channels)
    amounts = [row[1] for row in channels]
    everything = (None if None in amounts else sum(amounts, Decimal(0)), counted)
    table.add_section()
    table.add_row("all", *_figures(*everything, sum(row[3] for row in channels)))
    console.print(table)
    for platform, account, name, since, days in unread:
        when = f"not read since {since}" if since else f"{days} day(s) could not be read"
        what = f"{platform} {name or account} ({account}): {when}"
        console.print(Text(f"! {what}; sums with such a day show a dash"), style="yellow")
    if excluded:
        console.print(
            f"{counted:,} leads counted + {excluded:,} excluded (staff, tests: `ctwa exclude`) "
            f"= {counted + excluded:,}"
        )


def _table(width: int, title: str, name: str, *labels: str) -> Table:
    """Narrow enough for 80 columns."""
    table = Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    # Names are shortened on narrow terminals, figures never.
    table.add_column(name, max_width=max(12, min(32, width - _FIGURES_WIDTH)), no_wrap=True)
    for label in labels:
        table.add_column(label, min_width=3)
    figures = {"spend": 10, "leads": 5, "per lead": 8, "qualified": 9, "per qualified": 13}
    for figure, width in figures.items():
        table.add_column(figure, justify="right", no_wrap=True, min_width=width)
    return table


def _figures(spend: Any, leads: int, qualified: int) -> tuple[str, ...]:
    """What costs nothing has no price: 0.00 would rank as the cheapest. None: not known."""
    money = Decimal(spend or 0)
    return (
        "–" if spend is None else _money(money),
        f"{leads:,}",
        _money(money / leads) if leads and money else "–",
        f"{qualified:,}",
        _money(money / qualified) if qualified and money else "–",
    )


def _money(amount: Decimal) -> str:
    return f"{amount:,.2f}"


def verdict(console: Console, result: Comparison) -> None:
    """Equal or not, and every difference."""
    if result.is_equal:
        console.print(Text.assemble(("\n✓ ", "green"), ("marts and truth: ", "bold")), end="")
        console.print(Text(result.summary()))
        rows = ", ".join(f"{n} of {name}" for name, n in result.compared.items())
        console.print(Text(f"  rows compared, both ways: {rows}", style="dim"))
        return
    console.print(Text.assemble(("\n✗ ", "red"), result.summary()))
    for line in result.differences[:_SHOWN]:
        console.print(Text(f"  {line}"))
    if len(result.differences) > _SHOWN:
        console.print(Text(f"  … and {len(result.differences) - _SHOWN} more"))


def where_next(console: Console, settings: Settings, seconds: float) -> None:
    """Where to look after the demo."""
    console.print(Text(f"\nTook {seconds:.0f} s. Where to look next:", style="bold"))
    for what, where in (
        ("the report, in any browser", str(settings.marts_path.with_name("report.html"))),
        ("the marts, for any BI tool", str(settings.marts_path)),
        ("the graph of assets", f"ctwa dev --data-dir {settings.data_dir}"),
        ("why a lead has its source", "column `why` of fct_leads"),
        ("the rules", "docs/attribution.md"),
    ):
        console.print(Text(f"  {what:<28}{where}"))
