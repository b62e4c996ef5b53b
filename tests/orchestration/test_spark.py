"""What can be said of the engine `spark` without a cluster; with one: tests/spark."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ctwa.errors import LockLostError
from ctwa.settings import PROJECT_DIR, Settings, SettingsError, load_settings
from ingestion.lake.lake import Lake
from orchestration import live, spark, spark_session
from orchestration.faults import plain_message
from orchestration.rebuild import BuildState
from orchestration.spark import SparkError, collect

URL = "sc://127.0.0.1:1"
_COLUMNS = {
    "mart_id": ("varchar", [{"type": "not_null"}]),
    "seen_at": ("timestamptz", []),
    "verdict": ("varchar", [{"type": "check", "expression": "verdict in ('hold', 'cut')"}]),
}
MANIFEST: dict[str, Any] = {
    "nodes": {
        "model.ctwa.mart": {
            "resource_type": "model",
            "schema": "marts",
            "alias": "mart",
            "config": {"contract": {"enforced": True}},
            "columns": {
                name: {"name": name, "data_type": kind, "constraints": constraints}
                for name, (kind, constraints) in _COLUMNS.items()
            },
        },
        "model.ctwa.outbox": {
            "resource_type": "model",
            "schema": "activation",
            "alias": "outbox",
            "config": {},
            "columns": {},
        },
    }
}


@pytest.fixture
def on_spark(make_settings: Callable[..., Settings]) -> Settings:
    settings = make_settings(engine="spark", spark_url=URL)
    settings.data_dir.mkdir(parents=True)
    return settings


def _built(folder: Path, rows: str) -> dict[str, dict[str, Any]]:
    """As Spark leaves it: columns in its own order, moments without a zone's name."""
    tables = {}
    for name, query in (
        (
            "marts.mart",
            f"select verdict, seen_at, mart_id from (values {rows})"
            " as t(mart_id, seen_at, verdict)",
        ),
        ("activation.outbox", "select 'x' as outbox_id"),
    ):
        path = folder / f"{name}.parquet"
        duckdb.sql(f"copy ({query}) to '{path}' (format parquet)")
        ((count,),) = duckdb.sql(f"select count(*) from '{path}'").fetchall()
        tables[name] = {"files": [str(path)], "rows": count}
    return tables


GOOD = "('1', timestamptz '2026-01-02 03:04:05+00', 'hold'), ('2', null, null)"


def test_what_spark_built_becomes_the_warehouse(on_spark: Settings, tmp_path: Path) -> None:
    collect(on_spark, _built(tmp_path, GOOD), MANIFEST)
    with duckdb.connect(str(on_spark.warehouse_path), read_only=True) as warehouse:
        described = warehouse.execute("describe marts.mart").fetchall()
        assert [(row[0], row[1], row[2]) for row in described] == [
            ("mart_id", "VARCHAR", "NO"),
            ("seen_at", "TIMESTAMP WITH TIME ZONE", "YES"),
            ("verdict", "VARCHAR", "YES"),
        ]
        assert warehouse.execute("select count(seen_at), count(*) from marts.mart").fetchall() == [
            (1, 2)
        ]
        assert warehouse.execute("from activation.outbox").fetchall() == [("x",)]


@pytest.mark.parametrize("bad", ["(null, null, 'hold')", "('3', null, 'maybe')"])
def test_a_row_against_its_contract_leaves_the_warehouse_of_yesterday(
    on_spark: Settings, tmp_path: Path, bad: str
) -> None:
    collect(on_spark, _built(tmp_path, GOOD), MANIFEST)
    before = on_spark.warehouse_path.read_bytes()
    with pytest.raises(SparkError, match=r"marts\.mart cannot be collected"):
        collect(on_spark, _built(tmp_path, f"{GOOD}, {bad}"), MANIFEST)
    assert on_spark.warehouse_path.read_bytes() == before


def test_a_row_that_is_lost_on_the_way_is_noticed(on_spark: Settings, tmp_path: Path) -> None:
    tables = _built(tmp_path, GOOD)
    tables["marts.mart"]["rows"] = 3
    with pytest.raises(SparkError, match=r"marts\.mart has 3 rows on Spark, but 2 were collected"):
        collect(on_spark, tables, MANIFEST)
    assert not on_spark.warehouse_path.exists()


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _collect_and_die(data_dir: str, folder: str, point: str, code: str) -> None:
    """Collects other rows; killed at the point. `code`: of another `collect`, if not empty."""
    settings = load_settings(_env_file=None, data_dir=data_dir, engine="spark", spark_url=URL)
    module: Any = spark
    if point == "after a table":
        make = module._make
        module._make = lambda *given: _die(make(*given))
    else:
        module.confirm_lock = _die
    if code:
        exec(code, vars(module))
    tables = json.loads(Path(folder, "tables.json").read_text())
    module.collect(settings, tables, MANIFEST)


def _killed_while_collecting(settings: Settings, folder: Path, point: str, code: str = "") -> None:
    folder.mkdir()
    (folder / "tables.json").write_text(json.dumps(_built(folder, "('9', null, 'cut')")))
    command = (
        "import sys; from tests.orchestration.test_spark import _collect_and_die as collect;"
        "collect(*sys.argv[1:])"
    )
    arguments = [str(settings.data_dir), str(folder), point, code]
    ended = subprocess.run(
        [sys.executable, "-c", command, *arguments], cwd=PROJECT_DIR, check=False
    )
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize("point", ["after a table", "before the rename"])
def test_killed_while_it_collects_readers_keep_yesterday_s_and_the_next_one_ends_it(
    on_spark: Settings, tmp_path: Path, point: str
) -> None:
    collect(on_spark, _built(tmp_path, GOOD), MANIFEST)
    before = on_spark.warehouse_path.read_bytes()
    _killed_while_collecting(on_spark, tmp_path / "killed", point)
    assert on_spark.warehouse_path.read_bytes() == before
    draft = on_spark.warehouse_path.with_name(f"{on_spark.warehouse_path.name}.collecting")
    assert draft.exists(), "it was killed before it began"
    collect(on_spark, _built(tmp_path, f"{GOOD}, ('3', null, 'cut')"), MANIFEST)
    assert not draft.exists()
    with duckdb.connect(str(on_spark.warehouse_path), read_only=True) as warehouse:
        assert warehouse.execute("select count(*) from marts.mart").fetchall() == [(3,)]


def test_known_bad_collecting_into_the_warehouse_itself_leaves_a_half(
    on_spark: Settings, tmp_path: Path
) -> None:
    collect(on_spark, _built(tmp_path, GOOD), MANIFEST)
    before = on_spark.warehouse_path.read_bytes()
    code = inspect.getsource(collect)
    bad = code.replace('path.with_name(f"{path.name}.collecting")', "path")
    assert bad != code
    _killed_while_collecting(on_spark, tmp_path / "killed", "after a table", bad)
    assert on_spark.warehouse_path.read_bytes() != before


def test_nothing_is_collected_once_another_host_has_the_lock(
    on_spark: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> None:
        raise LockLostError("it went to another host")

    monkeypatch.setattr(spark, "confirm_lock", lost)
    with pytest.raises(LockLostError):
        collect(on_spark, _built(tmp_path, GOOD), MANIFEST)
    assert not on_spark.warehouse_path.exists()
    # A build that is on its way is ended as well.
    code = "import time; time.sleep(600)"
    monkeypatch.setattr(spark, "_BEAT_SECONDS", 0.2)
    monkeypatch.setattr(spark, "lock_is_lost", lambda: True)
    monkeypatch.setattr(spark, "_CHILD", ("-c", code))
    began = time.monotonic()
    with pytest.raises(LockLostError):
        spark._in_child(on_spark, date(2026, 1, 2), PROJECT_DIR, "look")
    assert time.monotonic() - began < 60


def test_a_missing_part_is_named_before_anything_is_built(
    on_spark: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "pyspark" else found(n))
    with pytest.raises(
        SparkError, match="needs pyspark, which is not installed: `make setup-spark`"
    ):
        spark.ensure_installed()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (URL, r"no Spark Connect server answers at 127\.0\.0\.1:1 \(.*\): start it, or correct"),
        ("sc://no.such.host.invalid:15002", "answers at no.such.host.invalid:15002"),
    ],
)
def test_a_server_that_is_not_there_is_named_at_once(url: str, says: str) -> None:
    with pytest.raises(spark_session.Refused, match=says):
        spark_session.reach(url)


def test_a_server_that_goes_away_in_the_middle_of_a_build_ends_it(tmp_path: Path) -> None:
    """Spark's client would try again for ten minutes, and for the next model once more."""
    found, code = (
        tmp_path / "found.json",
        (
            "import sys; from pathlib import Path; from orchestration import spark_dbt as it;"
            "it.AWAY_SECONDS = 1.0; it._watch(Path(sys.argv[1]))"
        ),
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"sc://127.0.0.1:{server.getsockname()[1]}"
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(found)],
            env={**os.environ, "CTWA_SPARK_URL": url},
            cwd=PROJECT_DIR,
        )
        server.accept()[0].close()
        server.accept()[0].close()
        assert child.poll() is None, "it goes on while the server is there"
    assert child.wait(60) == 0
    said = json.loads(found.read_text())["refused"]
    assert said.startswith("in the middle of a build no Spark Connect server answers at 127.0.0.1")


@pytest.mark.parametrize("url", ["spark://host:7077", "host:15002", "sc://host:99999"])
def test_an_address_of_another_kind_is_refused_by_the_settings(url: str) -> None:
    with pytest.raises(SettingsError, match="CTWA_SPARK_URL: expects the address of a Spark Conn"):
        load_settings(_env_file=None, engine="spark", spark_url=url)


def test_spark_without_an_address_is_refused_and_its_token_is_never_shown() -> None:
    with pytest.raises(SettingsError, match="CTWA_SPARK_URL: CTWA_ENGINE=spark needs the address"):
        load_settings(_env_file=None, engine="spark")
    settings = load_settings(
        _env_file=None, engine="spark", spark_url="sc://host:443/;use_ssl=true;token=s3cret"
    )
    assert "s3cret" not in repr(settings)


def test_another_engine_is_a_reason_to_build_everything_again(
    make_settings: Callable[..., Settings],
) -> None:
    duck = make_settings()
    duck.data_dir.mkdir(parents=True)
    duck.warehouse_path.touch()
    state = BuildState("1", "code", duck.rules, duck.lake_url, 1, 1, 1)
    state.save(duck)
    assert state.reasons_to_rebuild(duck) == []
    other = BuildState("1", "code", duck.rules, duck.lake_url, 1, 1, 1, engine="spark")
    assert other.reasons_to_rebuild(duck) == ["CTWA_ENGINE changed"]


def test_another_place_of_the_lake_is_known_by_all_its_folders_and_a_reason_to_build_again(
    make_settings: Callable[..., Settings],
) -> None:
    """The views of the lake on the cluster keep the place that they were made with."""
    places = ("s3a://lake", "s3a://other/")
    here = make_settings(engine="spark", spark_url=URL, engine_lake_url=places[0])
    there = make_settings(engine="spark", spark_url=URL, engine_lake_url=places[1])
    values = spark.environment(there, date(2026, 1, 2))
    assert [n for n, value in values.items() if there.lake_url in value] == []
    assert values["CTWA_CHAT_SIGNALS_PATH"] == "s3a://other/event_log/chat_signals"
    here.data_dir.mkdir(parents=True)
    here.warehouse_path.touch()
    lake = Lake.from_settings(here)
    BuildState.current(here, lake).save(here)
    assert BuildState.current(here, lake).reasons_to_rebuild(here) == []
    said = BuildState.current(there, lake).reasons_to_rebuild(there)
    assert said == ["CTWA_LAKE_URL or CTWA_ENGINE_LAKE_URL changed"]


@pytest.mark.parametrize(
    ("release", "says"),
    [
        ("11.0.2", "is Java 11: Spark 4 needs 17"),
        ("", r"there is no \S+/bin/java: install Java 17"),
    ],
)
def test_a_java_that_is_missing_or_too_old_is_named(
    tmp_path: Path, release: str, says: str
) -> None:
    if release:
        java = tmp_path / "bin/java"
        java.parent.mkdir()
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{release}\" 2019-01-15' >&2\n")
        java.chmod(0o755)
    done = subprocess.run(
        [PROJECT_DIR / "deploy/spark/cluster.sh", "up", tmp_path / "cluster"],
        env={**os.environ, "JAVA_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(says, done.stderr)


def test_a_cluster_that_writes_where_this_host_cannot_read_is_named() -> None:
    with pytest.raises(
        spark_session.Refused, match=r"cannot read what the cluster built .*ENGINE_P"
    ):
        spark_session._read_here(["/no/such/build/part-0.parquet"])


def test_the_live_worker_says_that_it_builds_with_duckdb(on_spark: Settings) -> None:
    with pytest.raises(live.LiveEngineError, match="builds with DuckDB only"):
        live.live(on_spark)


def test_a_fault_that_a_test_raises_on_spark_reads_as_on_duckdb() -> None:
    message = (
        "Runtime Error\n  [USER_RAISED_EXCEPTION] dim_ads: ad_id is null, rows: 2 SQLSTATE: P0001"
    )
    assert plain_message(message) == "dim_ads: ad_id is null, rows: 2"
