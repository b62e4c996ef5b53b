"""One company on both engines: a real Spark cluster beside DuckDB, on the same lake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.identity.update import land_identity
from ingestion.lake.lake import Lake
from orchestration.dbt_manifest import load_manifest, manifest_path
from orchestration.plan import run_values
from orchestration.plan_run import run_plan
from orchestration.spark import _in_child, known_build, run_on_spark
from simulator.delivery import deliveries
from tests.properties import company as properties
from tests.support.plans import plan_for, prepare
from tests.support.spark import Cluster, differences
from tests.support.warehouse import selection
from tests.support.worlds import WorldRun

NIGHTS = 3
TODAY = datetime.now(ZoneInfo("America/Sao_Paulo")).date()
"""The day an erasure builds the marts for."""


class Company:
    """One company on both engines: the same lake, a warehouse each. DuckDB's is that of `run`."""

    def __init__(self, run: WorldRun, cluster: Cluster) -> None:
        self.run, self.cluster = run, cluster
        self.settings = run.settings.model_copy(
            update={
                "engine": "spark",
                "spark_url": SecretStr(cluster.url),
                "warehouse_path": run.settings.data_dir / "collected.duckdb",
            }
        )
        prepare(self.settings)
        self.manifest = load_manifest(manifest_path(run.settings))

    def day(self, night: int) -> date:
        return self.run.world.today - timedelta(days=NIGHTS - night)

    def lands(self, night: int) -> None:
        """What came that night, and a part of what came before once more, into the lake."""
        world, day = self.run.world, self.day(night)
        again = [body for n in range(1, night) for body in deliveries(world, night=n)[::25]]
        self.run.receive(deliveries(world, night=night) + again, day)
        self.run.show(night)
        self.run.land(day)
        land_identity(self.run.settings)

    def on_duckdb(self, night: int) -> None:
        self.run.build(as_of=self.day(night), tests=False)

    def on_spark(self, night: int, *, full: bool = False) -> None:
        done = run_on_spark(self.settings, self.day(night), self.manifest, full=full)
        assert done.failures == [], done.failures
        assert any(r.status == "pass" for r in done.results)

    def once_seen(
        self, build: str, do: Callable[[], None], too_late: threading.Event | None = None
    ) -> None:
        """Do it as soon as a build of that name, which was not there before, is being written."""
        folder, too_late = self.cluster.folder / "builds", too_late or threading.Event()
        known = {path.name for path in folder.glob(f"*.db/{build}*")}
        for _ in range(18_000):
            if {path.name for path in folder.glob(f"*.db/{build}*")} - known:
                return do()
            if too_late.wait(0.1):
                break
        raise AssertionError(f"{build} was never built")

    @contextmanager
    def doing_once_seen(self, build: str, do: Callable[[], None]) -> Iterator[None]:
        """As `once_seen`, beside what is done within."""
        ended = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(self.once_seen, build, do, ended)
            try:
                yield
            finally:
                ended.set()
            done.result(60)

    def kill_worker(self) -> None:
        self.cluster.kill("worker1")

    def build(self) -> str:
        """By what the catalogue is known: stays the same while builds go on from one another."""
        return str(known_build(self.settings)["build"])

    def tables(self) -> list[str]:
        kept = ("table", "incremental", "seed")
        return [
            f"{n['schema']}.{n['alias']}"
            for n in self.manifest["nodes"].values()
            if n["config"].get("materialized") in kept and n["resource_type"] != "test"
        ]

    def differences(self, tables: Collection[str] = ()) -> dict[str, str]:
        spark = self.cluster.session()
        return differences(spark, self.run.settings.warehouse_path, tables or self.tables())

    def count(self, table: str) -> int:
        return int(self.cluster.session().table(table).count())

    @contextmanager
    def being_read(self, *tables: str) -> Iterator[dict[str, list[int]]]:
        """Somebody counts the rows of these tables again and again while something is done."""
        spark, ended = self.cluster.session(), threading.Event()
        seen: dict[str, list[int]] = {table: [] for table in tables}

        def read() -> None:
            while not ended.wait(2):
                for table in tables:
                    seen[table].append(int(spark.table(table).count()))

        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(read)
            try:
                yield seen
            finally:
                ended.set()
                done.result(60)

    def continued(self) -> list[str]:
        """Names of the models that are continued, and of all that they are made of."""
        nodes = self.manifest["nodes"]
        found = {n for n, f in nodes.items() if f["config"].get("materialized") == "incremental"}

        def above() -> set[str]:
            made_of = (nodes[n]["depends_on"].get("nodes", ()) for n in found)
            return {p for of in made_of for p in of if p in nodes} - found

        while more := above():
            found |= more
        return sorted(nodes[n]["name"] for n in found)

    def builds(
        self, names: Sequence[str], project: Path = PROJECT_DIR, *, to_the_end: bool = True
    ) -> list[dict[str, Any]]:
        """These models on Spark, continued and without collecting; what dbt found."""
        known = json.dumps(known_build(self.settings))
        # A test that also looks at models which are not built would find those of before.
        with mock.patch.dict(os.environ, DBT_INDIRECT_SELECTION="cautious"):
            said = _in_child(self.settings, TODAY, project, "continued", known, *names)
        results: list[dict[str, Any]] = said["results"]
        if to_the_end and project == PROJECT_DIR:
            assert "tables" in said, [r for r in results if r["status"] not in ("success", "pass")]
        return results

    def project(self, macros: str, old: str, new: str) -> Path:
        """A copy of the project with known-bad code in one file of macros."""
        copy = Path(tempfile.mkdtemp(dir=self.cluster.folder))
        shutil.copytree(PROJECT_DIR / "dbt_project", copy / "dbt_project")
        for name in ("dbt_project.yml", "profiles.yml"):
            shutil.copy(PROJECT_DIR / name, copy)
        (path,) = (copy / "dbt_project/macros").rglob(macros)
        code = path.read_text()
        assert old in code
        path.write_text(code.replace(old, new))
        return copy

    def whole_on_duckdb(self, names: Sequence[str]) -> None:
        """These models from the first row on, and who is one person as the landing left it."""
        land_identity(self.run.settings)
        plan, values = plan_for(self.run.settings), run_values(self.run.settings, TODAY)
        parts = selection(plan, [f"+{name}" for name in names], tests=False)
        path = self.run.settings.warehouse_path
        assert not run_plan(plan, path, values, full=True, selected=parts).failures

    def people(self) -> set[str]:
        """Who has a lead by DuckDB's build."""
        found = self.run.query("select distinct person_key from intermediate.int_leads__sourced")
        return {row["person_key"] for row in found}

    def somebody(self) -> tuple[str, list[bytes]]:
        """Phone of a lead from an ad that is in the marts, and what there is of it."""
        names = Pseudonymizer.from_settings(self.settings)
        for event in self.run.world.events:
            if not isinstance(event.element, dict):
                continue
            phone, referral = event.element.get("from"), event.element.get("referral") or {}
            click = referral.get("ctwa_clid")
            if isinstance(phone, str) and click and (key := names.phone(phone)):
                where = f"lead_id = '{key}' and basis = 'ctwa_click'"
                if self.run.query(f"select 1 from marts.fct_leads where {where}"):
                    return phone, [phone.encode(), str(key).encode(), click.encode()]
        raise AssertionError("the world has no such lead")


class Landing(properties.Company):
    """Parsed envelopes and reads straight into the lake, after all that came by the vault."""

    reads = 0

    def read(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """A read has a higher number than all before, whatever sequence it is of."""
        self.reads += 1
        later = {
            table: [{**row, "read_no": row["read_no"] + self.reads * 10**9} for row in of_table]
            for table, of_table in rows.items()
        }
        super().read(later)

    def begin(self) -> None:
        """To be called before anything else."""
        self._last_seq = Lake.from_settings(self.settings).max_value(
            "event_log", "envelopes", "seq"
        )


def refresh_in_a_process(company: Company) -> subprocess.Popen[bytes]:
    """A build in a process group of its own, to be killed."""
    values = {
        **os.environ,
        **_as_environment(company.settings),
    }
    code = (
        "import sys; from datetime import date; from pathlib import Path;"
        "from ctwa.settings import load_settings;"
        "from orchestration.dbt_manifest import load_manifest;"
        "from orchestration.spark import run_on_spark;"
        "run_on_spark(load_settings(_env_file=None), date.fromisoformat(sys.argv[1]),"
        " load_manifest(Path(sys.argv[2])), full=False)"
    )
    arguments = [str(company.day(NIGHTS)), str(manifest_path(company.run.settings))]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=values, start_new_session=True
    )


def _as_environment(settings: Settings) -> dict[str, str]:
    return {
        "CTWA_DATA_DIR": str(settings.data_dir),
        "CTWA_WAREHOUSE_PATH": str(settings.warehouse_path),
        "CTWA_ENGINE": "spark",
        "CTWA_SPARK_URL": settings.spark_url.get_secret_value() if settings.spark_url else "",
    }
