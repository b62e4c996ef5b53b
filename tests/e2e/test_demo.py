"""`ctwa demo`, small: from signed webhook to published marts, against the truth.

Its second night, which is incremental, restates spend and repairs people, is under the eyes of BI
readers, and somebody else starts a refresh amidst. Kills and repeats are in `test_refresh`.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rich.console import Console

from ctwa.settings import Settings
from publishing.marts import versions
from simulator.demo import demo
from simulator.installation import only_settings
from tests.e2e import bi_reader

ROOT = Path(__file__).parents[2]
ELSEWHERE = "postgresql+psycopg://nobody@127.0.0.1:1/production"


@dataclass
class Played:
    """A demo, and what was seen of its second night from outside."""

    marts: Path
    exit_code: int
    said: str
    seconds: float
    """From the second night's refresh to the end."""
    other_exit_code: int
    other_seconds: float
    other_said: str
    first_version: str
    looks: dict[str, list[dict[str, Any]]]
    """Kind of reader -> what it saw, in order."""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """`ctwa demo --nasty`; settings of the machine must not leak in."""
    data = tmp_path_factory.mktemp("played") / "demo"
    marts, lock, log = data / "marts.duckdb", data / "refresh.lock", data.with_name("demo.log")
    options = ["--data-dir", str(data), "--seed", "7", "--leads", "120", "--nasty"]
    with log.open("wb") as sink:
        run = _start(sink, "demo", *options, CTWA_MARTS_URL=ELSEWHERE)
        try:
            _wait(run, 300, lambda: "Second night" in log.read_text())
            written = lock.stat().st_mtime_ns
            first = bi_reader.look(marts)["version"]
            with _readers(marts) as looks:
                # Until it says who it is; no test of ours may take the lock from it.
                _wait(run, 120, lambda: lock.stat().st_mtime_ns != written)
                began = time.monotonic()
                other = _start(subprocess.PIPE, "refresh", CTWA_DATA_DIR=str(data))
                other_said = other.communicate(timeout=60)[0].decode()
                other_seconds = time.monotonic() - began
                code = run.wait(300)
                seconds = time.monotonic() - began
                time.sleep(1)  # they see the new publication, too
        finally:
            run.kill()
    return Played(
        marts, code, log.read_text(), seconds, other.returncode, other_seconds, other_said,
        first, looks,
    )  # fmt: skip


def _start(sink: Any, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "commands.cli", *arguments]
    return subprocess.Popen(
        command, stdout=sink, stderr=subprocess.STDOUT, env={**os.environ, **variables}
    )


def _wait(run: subprocess.Popen[bytes], seconds: float, comes: Callable[[], bool]) -> None:
    """Until something comes of a running process, which is an error when it ends before."""
    deadline = time.monotonic() + seconds
    while not comes():
        assert run.poll() is None, "the demo ended before"
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


@contextmanager
def _readers(marts: Path) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """A reader process of each kind; what they saw is complete after the block."""
    command = [sys.executable, "-m", "tests.e2e.bi_reader", str(marts)]
    looks: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        readers = {
            kind: stack.enter_context(
                subprocess.Popen([*command, kind], stdout=subprocess.PIPE, text=True, cwd=ROOT)
            )
            for kind in ("file", "parquet", "held")
        }
        try:
            for kind, reader in readers.items():
                assert reader.stdout is not None
                looks[kind] = [json.loads(reader.stdout.readline())]
            yield looks
        finally:
            for kind, reader in readers.items():
                reader.terminate()
                assert reader.stdout is not None
                looks[kind] += [json.loads(line) for line in reader.stdout if line.endswith("}\n")]


def _console() -> Console:
    return Console(file=io.StringIO(), width=200, highlight=False)


@pytest.mark.timeout(600)
def test_the_marts_of_the_demo_equal_the_truth(played: Played) -> None:
    """Two nights, every story, row by row."""
    said = played.said
    assert played.exit_code == 0, said
    assert re.search(r"all equal: \d{3} leads", said)
    assert "campaign-days compared" in said
    assert "refused (401)" in said
    with duckdb.connect(str(played.marts), read_only=True) as marts:
        found = marts.execute("select distinct channel from fct_leads").fetchall()
    assert {("meta_lead_form",), ("click_to_whatsapp",), ("direct",)} <= {*found}
    report = played.marts.with_name("report.html")
    assert report.stat().st_mtime > played.marts.stat().st_mtime


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["file", "parquet"])
def test_a_reader_sees_no_error_and_whole_publications_only(played: Played, kind: str) -> None:
    seen = played.looks[kind]

    assert [look for look in seen if "error" in look or look["wrong"]] == []
    found = list(dict.fromkeys((look["version"], look["rows"]) for look in seen))
    assert len(found) == 2, "one publication before and one after, never back again"
    assert found[0][0] == played.first_version
    assert found[0][1] != found[1][1], "both nights look alike: a mixture would not be seen"
    assert len(seen) > 10


@pytest.mark.timeout(600)
def test_a_reader_that_holds_the_file_open_goes_on_and_disturbs_nobody(played: Played) -> None:
    seen = played.looks["held"]

    assert played.exit_code == 0
    assert {json.dumps(look) for look in seen} == {json.dumps(seen[0])}, "it saw a change"
    assert seen[0]["version"] == played.first_version
    assert seen[0]["wrong"] == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["rows of another publication", "a mart that lacks a row"])
def test_known_bad_a_half_made_publication_would_be_seen(
    played: Played, tmp_path: Path, kind: str
) -> None:
    torn = tmp_path / "marts.duckdb"
    shutil.copyfile(played.marts, torn)
    with duckdb.connect(str(torn)) as connection:
        if kind == "a mart that lacks a row":
            connection.execute("delete from fct_touches where is_first_touch and rowid % 50 = 1")
        else:
            (old,) = [v for v in versions(played.marts) if played.first_version in v.name]
            connection.execute(f"attach '{old}' as old (read_only)")
            connection.execute("create or replace table fct_leads as from old.main.fct_leads")

    assert bi_reader.look(torn)["wrong"] != []


@pytest.mark.timeout(600)
def test_e73_a_second_refresh_says_at_once_that_one_is_running(played: Played) -> None:
    assert played.other_exit_code == 75
    assert "another refresh is running" in played.other_said
    assert played.other_seconds < played.seconds / 2


def test_the_settings_of_the_machine_are_back_after_the_demo_s(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTWA_MARTS_URL", ELSEWHERE)
    with only_settings(settings):
        assert os.environ["CTWA_MARTS_URL"] == ""
        assert os.environ["CTWA_DATA_DIR"] == str(settings.data_dir)
    assert os.environ["CTWA_MARTS_URL"] == ELSEWHERE
    assert "CTWA_DATA_DIR" not in os.environ


def test_a_folder_with_other_files_is_never_wiped(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    console = _console()

    assert demo(tmp_path, console=console) == 1

    assert (tmp_path / "thesis.txt").exists()
    assert "no demo made" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_folder_in_use_is_not_wiped(tmp_path: Path) -> None:
    data, console = tmp_path / "demo", _console()
    data.mkdir()
    (data / ".ctwa-demo").touch()
    (data / "marts.duckdb").touch()
    with (data / "refresh.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert demo(data, console=console) == 1

    assert (data / "marts.duckdb").exists()
    assert "is in use" in console.file.getvalue()  # type: ignore[attr-defined]


def test_ctrl_c_ends_everything_that_was_started(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "commands.cli", "demo", "--data-dir", str(tmp_path / "demo")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        try:
            assert run.stdout is not None
            started = ""
            for line in run.stdout:
                started += line
                if "receiver (ctwa serve) at" in line:
                    break
            run.send_signal(signal.SIGINT)
            rest = run.stdout.read()
            code = run.wait(60)
            # Not whether its ports are closed: another program may have been given them since.
            with pytest.raises(ProcessLookupError):
                os.killpg(run.pid, 0)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)

    assert code == 130
    assert "has been ended" in rest
    ports = re.findall(r"127\.0\.0\.1:(\d+)", started)
    assert len(set(ports)) == 4, started  # receiver, Meta, Google, HubSpot
