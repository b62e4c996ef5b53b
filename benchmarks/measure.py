"""One function in a process of its own, with the operating system's account of it."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any


@dataclass(frozen=True)
class Measured:
    """Wall and CPU seconds, peak resident MB, and what the function returned (JSON)."""

    wall: float
    cpu: float
    rss_mb: float
    result: Any


def in_process(module: str, function: str, **kwargs: Any) -> Measured:
    """Run `module.function(**kwargs)` in a fresh interpreter; children of it are counted too."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.measure", module, function, json.dumps(kwargs)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module}.{function} failed:\n{done.stderr[-4000:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def machine() -> str:
    """Cores, memory and the versions that matter, for the head of a report."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    names = ("duckdb", "dlt", "dbt-core", "dbt-duckdb", "dagster", "uvicorn", "pyarrow")
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
    )


def _main() -> None:
    import importlib

    module, function, kwargs = sys.argv[1:]
    started = time.monotonic()
    result = getattr(importlib.import_module(module), function)(**json.loads(kwargs))
    wall = time.monotonic() - started
    own, children = (
        resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(
        json.dumps(
            {
                "wall": wall,
                "cpu": own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime,
                "rss_mb": max(own.ru_maxrss, children.ru_maxrss) / 1024,
                "result": result,
            }
        )
    )


if __name__ == "__main__":
    _main()
