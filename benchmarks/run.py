"""`ctwa bench`: ratios in one run on one machine, against the simplest thing for the same work."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.measure import in_process, machine

out = Console(highlight=False, soft_wrap=True)
PARTS = ("receiver", "landing", "nightly")


def run(*, envelopes: int = 1_000_000, only: str | None = None) -> int:
    """Print the figures of contract §8; returns an exit code."""
    if only is not None and only not in PARTS:
        out.print(f"--only expects one of {', '.join(PARTS)}", style="red")
        return 2
    out.print(machine())
    for part in PARTS:
        if only in (None, part):
            {"receiver": _receiver, "landing": _landing, "nightly": _nightly}[part](envelopes)
    return 0


def _receiver(_: int) -> None:
    from benchmarks.receiver import measure

    out.print("\nReceiver: stored and durable before the 200 ÷ signature check only, same server")
    out.print("connections   base req/s   vault req/s   ratio   p50 ms   p99 ms   refused")
    for row in measure():
        out.print(
            f"{row['connections']:>11}   {row['base_rps']:>10,.0f}   {row['vault_rps']:>11,.0f}"
            f"   {row['ratio']:>5.2f}   {row['p50_ms']:>6.1f}   {row['p99_ms']:>6.1f}"
            f"   {row['refused']:>7}"
        )


def _landing(envelopes: int) -> None:
    out.print(f"\nVault to published marts, {envelopes:,} envelopes, first run")
    with tempfile.TemporaryDirectory(prefix="ctwa-bench-") as folder:
        world = str(Path(folder, "world"))
        in_process("benchmarks.landing", "fill_vault", data_dir=world, count=envelopes)
        base = in_process("benchmarks.landing", "statement", data_dir=world)
        land = in_process("benchmarks.landing", "land_only", data_dir=world)
        marts = in_process("benchmarks.landing", "product", data_dir=world)
        out.print("                                wall s    CPU s   peak MB")
        rows = [
            ("one DuckDB statement", base),
            ("vault → event log", land),
            ("event log → tested marts", marts),
        ]
        for name, figures in rows:
            out.print(
                f"{name:<30} {figures.wall:>7.1f}  {figures.cpu:>7.1f}   {figures.rss_mb:>7.0f}"
            )
        out.print(
            f"ratio (ours ÷ statement)       {(land.wall + marts.wall) / base.wall:>7.1f}"
            f"  {(land.cpu + marts.cpu) / base.cpu:>7.1f}"
        )


def _nightly(envelopes: int) -> None:
    small, large = max(1, envelopes // 10), envelopes
    day = max(1, envelopes // 100)
    out.print(f"\nNightly run on {day:,} new envelopes with history of {large:,} against {small:,}")
    figures = {}
    with tempfile.TemporaryDirectory(prefix="ctwa-bench-") as folder:
        for history in (small, large):
            world = str(Path(folder, f"world-{history}"))
            history_days = 300 if history == large else 30
            in_process(
                "benchmarks.landing",
                "fill_vault",
                data_dir=world,
                count=history,
                days=history_days,
                age=1,
            )
            in_process("benchmarks.landing", "product", data_dir=world)
            in_process(
                "benchmarks.landing", "fill_vault", data_dir=world, count=day, days=1, seed=2
            )
            figures[history] = in_process("benchmarks.landing", "product", data_dir=world)
            idle = in_process("benchmarks.landing", "product", data_dir=world)
            figure = figures[history]
            out.print(
                f"history {history:>10,}:  {figure.wall:>6.1f} s wall  {figure.cpu:>6.1f} s CPU  "
                f"{figure.rss_mb:>6.0f} MB   nothing new: {idle.wall:.1f} s"
            )
        ratio = figures[large].wall / figures[small].wall
        ratio_cpu = figures[large].cpu / figures[small].cpu
        out.print(f"ratio 10 × ÷ 1 ×:  {ratio:.2f} wall  {ratio_cpu:.2f} CPU")
