"""Runs, logs and leftovers are kept for a stated number of days, whatever the number of nights."""

# No `from __future__ import annotations` here: Dagster reads the annotations of asset functions.

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import dagster as dg
import pytest

from ctwa.settings import Settings
from orchestration import retention
from orchestration.instance import open_instance
from orchestration.keys import STATUS
from orchestration.retention import prune, size_of
from orchestration.sources import last_done

DAYS = 2
SOURCE = dg.AssetKey(["meta_ads", "accounts"])


@dg.multi_asset(
    specs=[dg.AssetSpec(SOURCE), *(dg.AssetSpec(["marts", f"m{n}"]) for n in range(3))],
    check_specs=[dg.AssetCheckSpec(f"c{n}", asset=["marts", "m0"]) for n in range(3)],
)
def night(context: dg.AssetExecutionContext) -> Iterator[Any]:
    status = context.run.tags["test/status"]
    yield dg.MaterializeResult(asset_key=SOURCE, metadata={STATUS: status})
    for n in range(3):
        yield dg.MaterializeResult(asset_key=["marts", f"m{n}"], metadata={"text": "x" * 20_000})
        yield dg.AssetCheckResult(
            asset_key=["marts", "m0"], check_name=f"c{n}", passed=True, metadata={"t": "y" * 20_000}
        )


def one_night(instance: dg.DagsterInstance, settings: Settings, status: str = "failed") -> str:
    run = dg.materialize([night], instance=instance, tags={"test/status": status}).run_id
    # As a launched run leaves them.
    logs = settings.dagster_home / "storage" / run / "compute_logs"
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "step.err").write_text("z" * 10_000)
    (settings.data_dir / "warehouse.duckdb.tmp").write_bytes(b"half")
    return run


def a_day_passes(settings: Settings) -> None:
    """Everything there becomes a day older."""
    home = settings.dagster_home
    ages = {
        "history/runs.db": [("runs", "create_timestamp"), ("runs", "update_timestamp")],
        "history/runs/index.db": [
            ("event_logs", "timestamp"), ("asset_check_executions", "create_timestamp"),
        ],
    }  # fmt: skip
    for name, columns in ages.items():
        with closing(sqlite3.connect(home / name)) as found, found:
            for table, column in columns:
                found.execute(
                    f"update {table} set {column} = "
                    f"strftime('%Y-%m-%d %H:%M:%f', {column}, '-1 day')"
                )
    for path in settings.data_dir.rglob("*"):
        if path.is_file():
            at = path.stat().st_mtime - 86_400
            os.utime(path, (at, at))


@pytest.fixture
def kept(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(run_history_days=DAYS)


def test_e96_the_history_of_many_nights_is_bounded(kept: Settings) -> None:
    sizes = []
    with open_instance(kept) as instance:
        first = one_night(instance, kept, "loaded")
        said = last_done(instance, SOURCE)
        for _ in range(4 * DAYS - 1):
            a_day_passes(kept)
            one_night(instance, kept)
            done = prune(kept, instance)
            assert done.problems == []
            sizes.append(size_of(kept.data_dir))
        runs = {run.run_id for run in instance.get_runs()}
        assert len(runs) == DAYS + 1, "as many as days are kept, and the one that is quoted"
        # The source has failed since: "data as of" is still true.
        assert first in runs
        since = datetime.fromisoformat(last_done(instance, SOURCE))
        assert abs(datetime.fromisoformat(said) - since) < timedelta(seconds=1)
        history_of_check = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey(["marts", "m0"]), "c0"), limit=99
        )
        assert 1 <= len(history_of_check) <= DAYS + 2
    grown = [later - earlier for earlier, later in pairwise(sizes)]
    assert max(sizes[DAYS + 1 :]) < 1.25 * sizes[DAYS], sizes
    assert sum(grown[DAYS + 1 :]) < sizes[DAYS] / 4, sizes
    shards = (kept.dagster_home / "history" / "runs").glob("*-*.db")
    assert {p.stem for p in shards} <= runs
    assert {p.name for p in (kept.dagster_home / "storage").iterdir()} <= runs


def test_e96_without_pruning_it_is_not(kept: Settings) -> None:
    """The test above sees growth where there is some."""
    sizes = []
    with open_instance(kept) as instance:
        for _ in range(3):
            a_day = size_of(kept.data_dir)
            one_night(instance, kept)
            sizes.append(size_of(kept.data_dir) - a_day)
    assert min(sizes) > 50_000


def test_e96_a_run_that_goes_on_is_never_pruned(kept: Settings) -> None:
    with open_instance(kept) as instance:
        one_night(instance, kept)
        going = instance.create_run_for_job(
            dg.define_asset_job("j", [night]).resolve(
                asset_graph=dg.Definitions([night]).resolve_asset_graph()
            ),
            status=dg.DagsterRunStatus.STARTED,
        )
        for _ in range(DAYS + 2):
            a_day_passes(kept)
        assert prune(kept, instance).runs == 1
        assert [run.run_id for run in instance.get_runs()] == [going.run_id]


def test_e96_it_is_pruned_beside_a_daemon_and_a_ui_that_read_and_write(kept: Settings) -> None:
    errors: list[BaseException] = []
    ended = threading.Event()

    def ui() -> None:
        try:
            with open_instance(kept) as other:
                while not ended.is_set():
                    for run in other.get_runs(limit=5):
                        other.all_logs(run.run_id)
                    one_night(other, kept)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    with open_instance(kept) as instance:
        for _ in range(2):
            one_night(instance, kept)
        for _ in range(DAYS + 2):
            a_day_passes(kept)
        thread = threading.Thread(target=ui)
        thread.start()
        time.sleep(0.5)
        done = prune(kept, instance)
        ended.set()
        thread.join()
    assert (done.runs, done.problems, errors) == (2, [], [])


def test_e96_leftovers_go_and_what_is_needed_stays(kept: Settings) -> None:
    data = kept.data_dir
    old, new = (datetime.now(UTC) - timedelta(days=n) for n in (DAYS + 1, 1))
    gone = [
        f"alerts.db.broken-{old:%Y%m%dT%H%M%S}123456", f"activation/x.broken-{old:%Y%m%dT%H%M%S}",
        "report.html.4711.tmp", "pii.key.4711", "dbt/run/dbt.log.3", "dbt/run/compiled/m/gone.sql",
        "lake/restatements/x.tmp", "dagster/history/runs/0a1b2c3d-0000-0000-0000-000000000000.db",
    ]  # fmt: skip
    stay = [
        f"alerts.db.broken-{new:%Y%m%dT%H%M%S}123456", "pii.key", "vault.db", "dbt/run/dbt.log",
        "lake/restatements/20200101T000000000000.000001.parquet", "lake/event_log/m/1.0.parquet",
        "erasures.json", "activation/conversions.parquet", "notes.txt",
    ]  # fmt: skip
    with open_instance(kept) as instance:
        one_night(instance, kept)
        for name in (*gone, *stay):
            path = data / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
            at = old.timestamp()
            os.utime(path, (at, at))
        assert prune(kept, instance).problems == []
    assert [name for name in gone if (data / name).exists()] == []
    assert [name for name in stay if not (data / name).exists()] == []


def test_e96_what_fails_is_said_and_the_rest_goes_on(
    kept: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(retention, "_rows", fails)
    with open_instance(kept) as instance:
        one_night(instance, kept)
        for _ in range(DAYS + 2):
            a_day_passes(kept)
        done = prune(kept, instance)
    assert done.problems == ["checks, tags and snapshots: OperationalError"]
    assert done.runs == 1


@pytest.mark.parametrize("name", ["history/runs.db", "history/runs/index.db"])
def test_e95_a_damaged_history_is_begun_anew(kept: Settings, name: str) -> None:
    with open_instance(kept) as instance:
        one_night(instance, kept)
    path = kept.dagster_home / name
    path.write_bytes(b"torn" * 5000)
    with open_instance(kept) as instance:
        one_night(instance, kept)
        assert len(instance.get_runs()) >= 1
    assert len(list(path.parent.glob(f"{path.name}.broken-*"))) == 1
