"""`ctwa demo`, small: from signed webhook to published marts, against the truth."""

from __future__ import annotations

import fcntl
import io
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from simulator.demo import demo


def _console() -> Console:
    return Console(file=io.StringIO(), width=200, highlight=False)


@pytest.mark.timeout(600)
def test_the_marts_of_the_demo_equal_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nights, every story, row by row; settings of the machine must not leak in."""
    monkeypatch.setenv("CTWA_MARTS_URL", "postgresql+psycopg://nobody@127.0.0.1:1/production")
    console, data = _console(), tmp_path / "demo"

    code = demo(data, seed=7, leads=120, console=console)

    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert code == 0, said
    assert "all equal: 1" in said
    assert "campaign-days compared" in said
    assert "per qualified" in said
    assert "refused (401)" in said
    assert (data / "marts.duckdb").exists()
    assert (data / "report.html").stat().st_mtime > (data / "marts.duckdb").stat().st_mtime
    assert os.environ["CTWA_MARTS_URL"].endswith("/production")
    assert "CTWA_INTAKE_SECRET" not in os.environ


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


@pytest.mark.timeout(120)
def test_ctrl_c_ends_everything_that_was_started(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ctwa.cli", "demo", "--data-dir", str(tmp_path / "demo")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout is not None
            started = ""
            while "receiver (ctwa serve) at" not in started:
                started += next(run.stdout)
            run.send_signal(signal.SIGINT)
            rest = run.stdout.read()
            code = run.wait(60)
        finally:
            run.kill()
    ports = [int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", started)]

    assert code == 130
    assert "has been ended" in rest
    assert len(set(ports)) == 4  # receiver, Meta, Google, HubSpot
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
