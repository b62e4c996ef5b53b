"""Dagster's storage with kept connections: the same files, also beside Dagster's own class."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from ctwa.settings import Settings, load_settings
from orchestration.event_store import _OPEN_FILES, KeptEventLogStorage
from orchestration.instance import open_instance

KEY = dg.AssetKey(["table"])


@dg.asset(key=KEY)
def table() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"rows": 7})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(_env_file=None, data_dir=tmp_path / "data")


@pytest.fixture
def instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    with open_instance(settings, held=True) as opened:
        yield opened


def _store(instance: dg.DagsterInstance) -> KeptEventLogStorage:
    store = instance.event_log_storage
    assert isinstance(store, KeptEventLogStorage)
    return store


def _run(instance: dg.DagsterInstance) -> str:
    return dg.materialize([table], instance=instance).run_id


def test_events_are_in_dagsters_own_files(instance: dg.DagsterInstance) -> None:
    run_id = _run(instance)
    store = _store(instance)
    # While they are held open here, as the daemon and the UI do.
    theirs = SqliteEventLogStorage(store._base_dir)
    theirs.register_instance(instance)
    assert len(theirs.get_logs_for_run(run_id)) == len(instance.all_logs(run_id)) > 5
    record = instance.get_latest_materialization_event(KEY)
    assert record
    assert record.asset_materialization
    assert record.asset_materialization.metadata["rows"].value == 7


def test_only_the_newest_files_stay_open(instance: dg.DagsterInstance) -> None:
    runs = [_run(instance) for _ in range(_OPEN_FILES + 2)]
    assert len(_store(instance)._kept) == _OPEN_FILES
    assert all(instance.all_logs(run_id) for run_id in runs)


def test_a_file_that_was_deleted_is_made_again(instance: dg.DagsterInstance) -> None:
    run_id = _run(instance)
    store = _store(instance)
    for file in Path(store._base_dir).glob(f"{run_id}.db*"):
        file.unlink()
    assert instance.all_logs(run_id) == []


def test_a_table_counts_once_it_is_there(instance: dg.DagsterInstance) -> None:
    store = _store(instance)
    assert store.has_table("asset_keys")
    assert not store.has_table("later")
    with store.index_connection() as connection:
        connection.exec_driver_sql("create table later (n integer)")
    assert store.has_table("later")
    assert store.has_table("asset_keys")


def test_threads_share_them(instance: dg.DagsterInstance) -> None:
    """Whole runs in threads block each other in Dagster's own class, too."""
    run_id = _run(instance)
    expected = len(instance.all_logs(run_id))
    found: list[int] = []

    def read() -> None:
        for _ in range(5):
            found.append(len(instance.all_logs(run_id)))
            instance.fetch_materializations(KEY, limit=10)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [expected] * 15


def test_nothing_stays_open_afterwards(settings: Settings) -> None:
    with open_instance(settings, held=True) as opened:
        store = _store(opened)
        _run(opened)
        assert store._kept
    assert not store._kept
