"""`ctwa bench`: ratios in one run on one machine, and absolute figures beside their limits."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.bodies import people_of_news
from benchmarks.figures import HEAD, BenchmarkError, Figure, WrongAnswerError, check_leads
from benchmarks.measure import Measured, in_process, machine
from ctwa.progress import doing

out = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Sizes:
    """How much to measure with. Limits are meant for the defaults."""

    envelopes: int = 1_000_000
    deep: bool = False
    """Also a history of ten times `envelopes`."""
    ads: int = 5_000
    ad_days: int = 240
    seconds: float = 120.0
    """Of posting, for each rate of the parts `dev` and `latency`."""
    load_seconds: float = 2.0
    """Of load, for each number of connections of the part `receiver`."""


def run(parts: Sequence[str] = (), sizes: Sizes | None = None, page: Path | None = None) -> int:
    """Print the figures of these parts, by default of all; returns an exit code.

    `page`: a Markdown file that gets them as well, each part between its marks
    `<!-- bench: <part> -->` and `<!-- end -->`.
    """
    known = PARTS | ASKED_FOR
    unknown = [part for part in parts if part not in known]
    if unknown:
        out.print(f"no part {unknown[0]}: there are {', '.join(known)}", style="red")
        return 2
    out.print(machine())
    for name, (title, measure) in known.items():
        if name not in (parts or PARTS):
            continue
        out.print(f"\n{title}\n")
        doing(name)
        started = time.monotonic()
        try:
            figures = measure(sizes or Sizes())
            table = "\n".join([*HEAD, *(figure.row() for figure in figures)])
            took = f"measured in {time.monotonic() - started:,.0f} s"
            out.print(f"{table}\n\n{took}", markup=False)
            if page:
                now = f"{datetime.now(UTC):%Y-%m-%d}"
                put_into(page, name, f"{table}\n\n{now}, {took} on {machine()}")
        except BenchmarkError as error:
            out.print(str(error), style="red", markup=False)
            return 1
    return 0


def put_into(page: Path, part: str, text: str) -> None:
    """Replace what stands between the marks of a part. Raises `BenchmarkError` without marks."""
    begin, end = f"<!-- bench: {part} -->\n", "<!-- end -->"
    head, found, rest = page.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise BenchmarkError(f"{page} has no place for {part}: {begin.strip()} … {end}")
    page.write_text(f"{head}{begin}{text}\n{closed}{tail}")


def _receiver(sizes: Sizes) -> list[Figure]:
    from benchmarks.receiver import measure

    limits, ratios = {16: 141 / 2, 256: 129 / 2}, {16: 0.6, 256: 1.0}
    figures = []
    for row in measure(seconds=sizes.load_seconds):
        at = f"with {row.connections} at once"
        figures += [
            Figure(f"receiver CPU for each request {at}", row.vault.cpu_us, "µs",
                   limits.get(row.connections)),
            Figure(f"the same for signature checks only {at}", row.base.cpu_us, "µs"),
            Figure(f"answers a second {at}", row.vault.rps),
            Figure(f"these ÷ signature checks only {at}", row.ratio),
            Figure(f"these ÷ signature checks on uvicorn {at}", row.usual_ratio, "",
                   ratios.get(row.connections), is_least=True),
            Figure(f"99 % answered within, {at}", row.vault.p99_ms, "ms"),
        ]  # fmt: skip
        if refused := row.base.refused + row.usual.refused + row.vault.refused:
            raise WrongAnswerError(f"{refused} requests were refused")
    return figures


def _landing(sizes: Sizes) -> list[Figure]:
    with _folder() as folder:
        world = folder("world")
        count = max(1, sizes.envelopes // 10)
        _in("worlds", "fill_vault", data_dir=world, count=count)
        parsed = _in("landing", "parse", data_dir=world)
        landed = _in("landing", "land", data_dir=world)
        longest = _in("landing", "longest_body", data_dir=folder("longest")).result
    for what in (parsed, landed):
        if what.result["envelopes"] != count:
            raise WrongAnswerError(f"{what.result['envelopes']:,} of {count:,} envelopes came out")
    return [
        Figure("parser, CPU for each envelope", parsed.result["cpu"] / count * 1e6, "µs", 15),
        Figure("landing, CPU for each envelope", landed.result["cpu"] / count * 1e6, "µs", 20),
        Figure("landing, memory", landed.memory_mb, "MB"),
        Figure(f"a body of 3 MiB under {longest['rules']} hostile chat rules, CPU", longest["cpu"],
               "s", 2),
        Figure("the same without rules, CPU", longest["without"], "s"),
    ]  # fmt: skip


def _marts(sizes: Sizes) -> list[Figure]:
    count = sizes.envelopes
    with _folder() as folder:
        world = folder("world")
        _in("worlds", "fill_vault", data_dir=world, count=count)
        base = _in("landing", "statement", data_dir=world)
        ours = _in("landing", "product", data_dir=world)
        _compare_leads(world, base)
    return [
        Figure(f"{count:,} envelopes to published marts ÷ statement, CPU", ours.cpu / base.cpu, "",
               8),
        Figure("the same, wall clock", ours.wall / base.wall),
        Figure("of it: ours, CPU", ours.cpu, "s"),
        Figure("of it: the statement, CPU", base.cpu, "s"),
        Figure("ours, memory", ours.memory_mb, "MB", 1_000),
        Figure("the statement, memory", base.memory_mb, "MB"),
    ]  # fmt: skip


def _nightly(sizes: Sizes) -> list[Figure]:
    histories = [max(1, sizes.envelopes // 10), sizes.envelopes]
    histories += [10 * sizes.envelopes] if sizes.deep else []
    day = max(2, sizes.envelopes // 100)
    figures: list[Figure] = []
    news: dict[int, Measured] = {}
    for history in histories:
        with _folder() as folder:
            world = folder("world")
            news[history], idle = _night(world, day, history, history // histories[0])
            if not sizes.deep or history < histories[-1]:
                _compare_leads(world, _in("landing", "statement", data_dir=world))
        on = f"on {history:,} of history"
        figures += [
            Figure(f"a day's {day:,} envelopes {on}, CPU", news[history].cpu, "s"),
            Figure(f"a day's {day:,} envelopes {on}, memory", news[history].memory_mb, "MB"),
            Figure(f"nothing new {on}, CPU", idle.cpu, "s"),
            Figure(f"nothing new {on}, memory", idle.memory_mb, "MB"),
        ]
    for larger in histories[1:]:
        ratio = news[larger].cpu / news[histories[0]].cpu
        limit = 1.2 if larger == sizes.envelopes else None
        name = f"a day's news on {larger:,} ÷ that on {histories[0]:,}, CPU"
        figures.append(Figure(name, ratio, "", limit))
    return figures


def _night(world: str, day: int, history: int, months: int) -> tuple[Measured, Measured]:
    """A day's news on a history that was refreshed before, then a refresh with nothing new."""
    _in("worlds", "fill_vault", data_dir=world, count=history, days=30 * months, age=1)
    _in("landing", "product", data_dir=world)
    people = people_of_news(day, history)
    who = (people.count, people.first)
    _in("worlds", "fill_vault", data_dir=world, count=day, days=1, seed=2, people=who)
    news = _in("landing", "product", data_dir=world)
    return news, _in("landing", "product", data_dir=world)


def _idle(sizes: Sizes) -> list[Figure]:
    with _folder() as folder:
        world = folder("world")
        count = max(1, sizes.envelopes // 1000)
        _in("worlds", "fill_vault", data_dir=world, count=count)
        _in("landing", "product", data_dir=world)
        idle = _in("landing", "product", data_dir=world)
    return [
        Figure("a refresh with nothing new, CPU", idle.cpu, "s", 16),
        Figure("a refresh with nothing new, wall clock", idle.wall, "s"),
        Figure("a refresh with nothing new, memory", idle.memory_mb, "MB", 600),
    ]


def _spend(sizes: Sizes) -> list[Figure]:
    size = {"ads": sizes.ads, "days": sizes.ad_days}
    with _folder() as folder:
        empty, world = folder("empty"), folder("world")
        _in("landing", "product", data_dir=empty)
        base = _in("landing", "product", data_dir=empty)
        landed = _in("worlds", "fill_spend", data_dir=world, **size)
        first = _in("landing", "product", data_dir=world)
        idle = _in("landing", "product", data_dir=world)
        restated = _in("worlds", "restate_spend", data_dir=world, **size)
        again = _in("landing", "product", data_dir=world)
        later = _in("landing", "product", data_dir=world, later=1)
        report = _in("landing", "report", data_dir=world)
    days, changed = f"{landed.result:,} ad days", f"{restated.result:,} of them restated"
    return [
        Figure(f"first refresh of {days}, CPU", first.cpu, "s"),
        Figure(f"first refresh of {days}, memory", first.memory_mb, "MB"),
        Figure("nothing new on an empty installation, CPU", base.cpu, "s"),
        Figure(f"nothing new on {days}, CPU", idle.cpu, "s"),
        Figure("more than on an empty installation, CPU", idle.cpu - base.cpu, "s", 4),
        Figure(f"nothing new on {days}, memory", idle.memory_mb, "MB", 800),
        Figure(f"{changed}, CPU", again.cpu, "s"),
        Figure(f"{changed}, memory", again.memory_mb, "MB"),
        Figure(f"the report of {days}, CPU", report.cpu, "s"),
        Figure(f"the report of {days}, size", report.result / 1e6, "MB"),
        Figure(f"nothing new but the day on {days}, CPU", later.cpu, "s"),
        Figure(f"nothing new but the day on {days}, memory", later.memory_mb, "MB"),
    ]


def _dev(sizes: Sizes) -> list[Figure]:
    from benchmarks.latency import dev

    count = max(1, sizes.envelopes // 1000)
    return _waits(count, dev, [rate for rate in RATES if rate in LATENCY_LIMITS], sizes.seconds)


def _latency(sizes: Sizes) -> list[Figure]:
    from benchmarks.latency import serving

    return _waits(max(1, sizes.envelopes // 10), serving, RATES, sizes.seconds)


def _waits(
    history: int,
    serving: Callable[[int], list[list[str]]],
    rates: Sequence[float],
    seconds: float,
) -> list[Figure]:
    """How long leads take on so many envelopes of history, with the commands that serve a port."""
    from benchmarks.latency import measure
    from benchmarks.receiver import free_port

    with _folder() as folder:
        world, port = folder("world"), free_port()
        _in("worlds", "fill_vault", data_dir=world, count=history, age=1)
        _in("landing", "product", data_dir=world)
        rows, memory = measure(
            world, rates, seconds=seconds, commands=serving(port), port=port, with_crm=True
        )
    figures = []
    for row in rows:
        at = f"webhook to visible lead at {row.per_second:g} posts a second on {history:,}"
        limit = LATENCY_LIMITS.get(row.per_second)
        figures += [
            Figure(f"{at}, p50", row.p50, "s"),
            Figure(f"{at}, p95", row.p95, "s", limit),
            Figure("the same to its source on HubSpot's contact, p50", row.crm_p50, "s"),
            Figure("the same to its source on HubSpot's contact, p95", row.crm_p95, "s", limit),
            Figure("99 % of these posts answered within", row.answered_p99_ms, "ms",
                   250 if row.per_second == 50 else None),
            Figure("later half of these posts ÷ earlier half, median to visible lead",
                   row.growth, "", 2 if row.per_second == 50 else None),
            Figure("after the last of these posts all leads were visible within", row.behind, "s"),
        ]  # fmt: skip
    return [*figures, Figure("memory of all that serves", memory, "MB")]


def _engines(sizes: Sizes) -> list[Figure]:
    from benchmarks.engines import measure

    figures: list[Figure] = []
    for count in (max(1, sizes.envelopes // 10), sizes.envelopes):
        with _folder() as folder:
            world = folder("world")
            _in("worlds", "fill_vault", data_dir=world, count=count, days=730, junk=0.3)
            landed = _in("landing", "land", data_dir=world)
            # Four times as many ads as `spend` has, of a quarter of its days, ten in a campaign.
            ads = max(10, 4 * sizes.ads * count // sizes.envelopes)
            days = max(1, sizes.ad_days // 4)
            _in("worlds", "fill_spend", data_dir=world, ads=ads, days=days, of_campaign=10)
            of_count = [Figure(f"{count:,} envelopes landed, CPU", landed.cpu, "s")]
            of_count += measure(world, count, _in)
        # At once: the larger one takes an hour, in which much can happen.
        out.print("\n".join(figure.row() for figure in of_count), markup=False)
        figures += of_count
    return figures


RATES = (1, 10, 50)
LATENCY_LIMITS: dict[float, float] = {1: 5, 50: 15}
"""Posts a second to seconds within which 95 % of the leads are visible."""

PARTS: dict[str, tuple[str, Callable[[Sizes], list[Figure]]]] = {
    "receiver": ("Receiver: stored and durable before the 200", _receiver),
    "landing": ("Landing: vault to event log", _landing),
    "marts": ("Vault to published marts, first refresh", _marts),
    "nightly": ("A day's news, and none, on more and more history", _nightly),
    "idle": ("Nothing new, on a small installation", _idle),
    "spend": ("Ads and spend without chats", _spend),
    "dev": ("From a webhook to its lead through `ctwa dev`, on a small installation", _dev),
    "latency": ("From a webhook to its lead, on more history", _latency),
}
ASKED_FOR: dict[str, tuple[str, Callable[[Sizes], list[Figure]]]] = {
    "engines": ("The same lake on DuckDB and on Spark", _engines),
}
"""Parts that need more than `make setup`, and are measured where they are named only."""


def _compare_leads(world: str, base: Measured) -> None:
    """Print both counts of leads, and raise where they differ."""
    product, statement = _in("landing", "leads", data_dir=world).result, base.result["leads"]
    out.print(f"leads: {product:,} in the marts, {statement:,} by the statement")
    check_leads(product, statement)


def _in(module: str, function: str, **kwargs: Any) -> Measured:
    sizes = ", ".join(f"{name} {kwargs[name]:,}" for name in ("count", "ads") if name in kwargs)
    doing(f"{function.replace('_', ' ')} {sizes}".rstrip())
    return in_process(f"benchmarks.{module}", function, **kwargs)


@contextmanager
def _folder() -> Iterator[Callable[[str], str]]:
    """Names to data folders, which are removed with the block."""
    with tempfile.TemporaryDirectory(prefix="ctwa-bench-") as folder:
        yield lambda name: str(Path(folder, name))
