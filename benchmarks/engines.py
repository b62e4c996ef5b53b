"""The same lake built by DuckDB and by Spark on a cluster of this machine: what each step costs.

Needs `make setup-spark` and Java 17. Figures of Spark are of a master, two workers of one core and
a Connect server (`deploy/spark/cluster.sh`); its files and DuckDB's lie on the same disk.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from benchmarks.figures import BenchmarkError, Figure, WrongAnswerError
from benchmarks.measure import Measured, cpu_seconds_of, family, memory_mb
from benchmarks.worlds import TODAY, settings_of
from ctwa.settings import PROJECT_DIR, Settings

SCRIPT = PROJECT_DIR / "deploy/spark/cluster.sh"
PORT = 15_602
TASKS = 8
"""Tasks of a shuffle: enough to see whether one of them is the whole."""
_NAMES = ("master", "worker1", "worker2", "connect")


def ready(data_dir: str) -> None:
    """What both begin with: who is one person, and the plan, which is compiled once per version."""
    from orchestration.dbt_manifest import manifest_path
    from orchestration.plan_compile import plan_of
    from orchestration.rebuild import ready_lake

    settings = settings_of(data_dir)
    ready_lake(settings)
    plan_of(settings)
    manifest_path(settings)


def build(data_dir: str, spark_url: str = "") -> dict[str, Any]:
    """A full build of the lake with all tests, by Spark if there is a URL; nothing is published."""
    from orchestration.dbt_manifest import load_manifest, manifest_path
    from orchestration.plan import run_values
    from orchestration.plan_compile import plan_of
    from orchestration.plan_run import run_plan
    from orchestration.spark import run_on_spark

    settings = _settings(data_dir, spark_url)
    if spark_url:
        manifest = load_manifest(manifest_path(settings))
        run = run_on_spark(settings, TODAY, manifest, full=True)
    else:
        values = run_values(settings, TODAY)
        run = run_plan(plan_of(settings), settings.warehouse_path, values, full=True)
    if run.failures:
        raise BenchmarkError("; ".join(f"{r.unique_id}: {r.message}" for r in run.failures))
    seconds = {r.unique_id: (r.finished - r.started).total_seconds() for r in run.results}
    return {"seconds": seconds, "bytes": settings.warehouse_path.stat().st_size}


def differing(data_dir: str) -> list[str]:
    """Marts that are not the same on both engines, row for row and both ways, but for a digest that
    each makes in its own way."""
    import duckdb

    paths = [_settings(data_dir, url).warehouse_path for url in ("", "sc://x:1")]
    with duckdb.connect() as both:
        for name, path in zip(("one", "two"), paths, strict=True):
            both.execute(f"attach '{path}' as {name} (read_only)")
        columns = both.execute(
            "select table_name, string_agg('\"' || column_name || '\"', ', ') from duckdb_columns()"
            " where database_name = 'one' and schema_name = 'marts' and column_name <> 'day_digest'"
            " group by table_name order by table_name"
        ).fetchall()
        return [
            table
            for table, names in columns
            for a, b in (("one", "two"), ("two", "one"))
            if both.execute(
                f"select {names} from {a}.marts.{table}"
                f" except all select {names} from {b}.marts.{table} limit 1"
            ).fetchall()
        ]


def _settings(data_dir: str, spark_url: str) -> Settings:
    settings = settings_of(data_dir)
    if not spark_url:
        return settings
    return settings.model_copy(
        update={
            "engine": "spark",
            "spark_url": SecretStr(spark_url),
            "warehouse_path": settings.data_dir / "collected.duckdb",
        }
    )


@dataclass
class Cluster:
    """A running cluster and what it has used up since it was started."""

    folder: Path
    url: str = f"sc://127.0.0.1:{PORT}"
    memory_mb: float = 0.0
    _cpu: dict[int, float] = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        """CPU seconds of all its processes, also of those that have ended."""
        return sum(self._cpu.values())

    @property
    def bytes(self) -> int:
        """Of what is built."""
        builds = self.folder / "builds"
        return sum(p.stat().st_size for p in builds.rglob("*") if p.is_file())

    def look(self) -> None:
        """Take down what its processes use now."""
        pids = [
            pid
            for name in _NAMES
            if (file := self.folder / f"{name}.pid").exists()
            for pid in family(int(file.read_text()))
        ]
        self._cpu.update({pid: cpu for pid in pids if (cpu := cpu_seconds_of(pid)) > 0})
        self.memory_mb = max(self.memory_mb, sum(map(memory_mb, pids)))

    def stages(self) -> list[dict[str, Any]]:
        """Every stage that ended, as Spark's own interface tells of it."""
        found: list[dict[str, Any]] = self._get("stages?status=complete")
        return found

    def largest_task(self) -> float:
        """Of the twenty stages that took longest and have a shuffle before them: the highest share
        of one task in the time of all tasks."""
        after = [s for s in self.stages() if s["shuffleReadBytes"] and s["numCompleteTasks"] > 1]
        shares = [0.0]
        for stage in sorted(after, key=lambda s: -s["executorRunTime"])[:20]:
            place = f"stages/{stage['stageId']}/{stage['attemptId']}"
            summary = self._get(f"{place}/taskSummary?quantiles=1.0")
            shares.append(summary["executorRunTime"][-1] / max(1, stage["executorRunTime"]))
        return max(shares)

    def _get(self, path: str) -> Any:
        base = f"http://127.0.0.1:{PORT + 3}/api/v1/applications/"
        with urllib.request.urlopen(base, timeout=60) as answer:
            (application,) = json.load(answer)
        with urllib.request.urlopen(f"{base}{application['id']}/{path}", timeout=600) as answer:
            return json.load(answer)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster of its own, which is ended and removed with the block."""
    options = (
        f"--conf spark.sql.shuffle.partitions={TASKS} --conf spark.ui.retainedStages=100000"
        " --conf spark.ui.retainedJobs=100000 --conf spark.ui.retainedTasks=1000000"
        " --conf spark.sql.adaptive.coalescePartitions.enabled=false"
    )
    environment = os.environ | {"SPARK_PORT": str(PORT), "SPARK_OPTIONS": options}
    environment.setdefault("SPARK_MEMORY", "3g")
    with tempfile.TemporaryDirectory(prefix="ctwa-bench-spark-") as folder:
        up = Cluster(Path(folder))
        done = subprocess.run(
            [SCRIPT, "up", folder], env=environment, capture_output=True, text=True, check=False
        )
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(2.0):  # to look at hundreds of threads is work, too
                up.look()

        thread = threading.Thread(target=watch, daemon=True)
        try:
            if done.returncode:
                raise BenchmarkError(done.stdout + done.stderr)
            thread.start()
            yield up
        finally:
            ended.set()
            subprocess.run([SCRIPT, "down", folder], env=environment, check=False)
            time.sleep(2)


def measure(world: str, count: int, run: Callable[..., Measured]) -> list[Figure]:
    """Figures of the lake in the folder `world`, which is landed. `run`: as `run._in`."""
    people = run("engines", "ready", data_dir=world)
    duck = run("engines", "build", data_dir=world)
    with cluster() as up:
        up.look()
        before = up.cpu
        spark = run("engines", "build", data_dir=world, spark_url=up.url)
        up.look()
        stages, built, share = up.stages(), up.bytes, up.largest_task()
        cpu, memory = up.cpu - before + spark.cpu, up.memory_mb + spark.memory_mb
    if others := run("engines", "differing", data_dir=world).result:
        raise WrongAnswerError(f"these marts differ between the engines: {', '.join(others)}")
    shuffled = sum(s["shuffleWriteBytes"] for s in stages)
    spilled = sum(s["diskBytesSpilled"] for s in stages)
    on = f"{count:,} envelopes"
    figures = [
        Figure(f"{on}: who is one person, and the plan of the models, CPU", people.cpu, "s"),
        Figure(f"{on} on DuckDB, CPU", duck.cpu, "s"),
        Figure("the same, wall clock", duck.wall, "s"),
        Figure("the same, memory", duck.memory_mb, "MB"),
        Figure("the same, warehouse", duck.result["bytes"] / 1e6, "MB"),
        Figure(f"{on} on Spark, CPU", cpu, "s"),
        Figure("the same, wall clock", spark.wall, "s"),
        Figure("the same, memory of all processes", memory, "MB"),
        Figure("the same, builds", built / 1e6, "MB"),
        Figure("the same, shuffled", shuffled / 1e6, "MB"),
        Figure("the same, spilled to disk", spilled / 1e6, "MB"),
        Figure("Spark ÷ DuckDB, CPU", cpu / duck.cpu),
        Figure(f"largest of {TASKS} tasks ÷ its stage, of the 20 longest stages", share),
    ]
    for engine, done in (("DuckDB", duck), ("Spark", spark)):
        slowest = sorted(done.result["seconds"].items(), key=lambda found: -found[1])[:5]
        figures += [Figure(f"{node.split('.')[2]} on {engine}", s, "s") for node, s in slowest]
    return figures
