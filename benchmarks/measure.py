"""One function in a process of its own, with the operating system's account of it."""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.figures import BenchmarkError
from ctwa.settings import PREFIXES

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """Wall and CPU seconds, peak memory in MB of the process with its children, and what the
    function returned (JSON)."""

    wall: float
    cpu: float
    memory_mb: float
    result: Any


def in_process(module: str, function: str, **kwargs: Any) -> Measured:
    """Run `module.function(**kwargs)` in a fresh interpreter; its children are counted too.

    Raises `BenchmarkError` with the end of what it wrote if it fails.
    """
    command = [sys.executable, "-m", "benchmarks.measure", module, function, json.dumps(kwargs)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors, env=environment())
        with peak_memory(process.pid) as peak:
            code = process.wait()
        out.seek(0)
        errors.seek(0)
        if code:
            raise BenchmarkError(f"{module}.{function} failed:\n{errors.read()[-4000:]}")
        told = json.loads(out.read().splitlines()[-1])
    # The sampler may miss a short peak, the kernel's own mark knows no sum over processes.
    memory = max(told.pop("rss_mb"), peak.mb)
    return Measured(**told, memory_mb=memory)


def environment(**more: str) -> dict[str, str]:
    """The environment without any setting of ours, so that no source is on by accident."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
    return kept | more


def machine() -> str:
    """Cores, memory and the versions that matter, for the head of a report."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    names = ("duckdb", "dlt", "dbt-core", "dbt-duckdb", "dagster", "uvicorn", "pyarrow")
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
    )


def cpu_seconds() -> float:
    """CPU of this process and of its ended children so far."""
    usages = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def cpu_seconds_of(pid: int) -> float:
    """CPU of a running process so far, without its children; NaN where there is no /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return math.nan
    # Behind the name in brackets, which may hold blanks: state is field 3, utime 14, stime 15.
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass
class Peak:
    """The highest memory seen, in MB: proportional shares of shared pages, over all processes."""

    mb: float = 0.0


@contextmanager
def peak_memory(pid: int, every: float = 0.5) -> Iterator[Peak]:
    """Watch a process and its descendants until the block ends (Linux; elsewhere it stays 0)."""
    peak, ended = Peak(), threading.Event()

    def watch() -> None:
        while not ended.wait(every):
            peak.mb = max(peak.mb, sum(map(memory_mb, family(pid))))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def family(pid: int) -> list[int]:
    """A process and all its descendants that live."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def memory_mb(pid: int) -> float:
    """Proportional share of memory of a process; 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _main() -> None:
    import importlib

    module, function, kwargs = sys.argv[1:]
    started = time.monotonic()
    result = getattr(importlib.import_module(module), function)(**json.loads(kwargs))
    wall = time.monotonic() - started
    highest = max(
        resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    told = {"wall": wall, "cpu": cpu_seconds(), "rss_mb": highest / 1024, "result": result}
    print(json.dumps(told))


if __name__ == "__main__":
    _main()
