"""`ctwa-dbt`: a cheap version, an early death, one at a time."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ctwa.settings import PROJECT_DIR, Settings
from orchestration.dbt_lineage import dbt_environment, dbt_resource
from orchestration.dbt_manifest import dbt_executable
from orchestration.dbt_process import LOCK_VARIABLE


def test_dagster_dbt_reads_the_version_and_it_is_cheap() -> None:
    resource = dbt_resource()

    version = resource._cli_version

    assert str(version) == importlib.metadata.version("dbt-core")
    started = time.monotonic()
    for _ in range(3):
        subprocess.run([dbt_executable(), "--version"], check=True, capture_output=True)
    assert time.monotonic() - started < 3, "dbt's own answer takes four seconds each time"


_PARENT = """
import subprocess, sys, time
code = (
    "import os, sys, time; from orchestration.dbt_process import die_with_parent;"
    "die_with_parent(os.getppid()); print(os.getpid(), flush=True); time.sleep(120)"
)
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
print(child.stdout.readline().strip(), flush=True)
time.sleep(120)
"""
_PARENT_KNOWN_BAD = _PARENT.replace("die_with_parent(os.getppid());", "")


@pytest.mark.parametrize(("parent", "survives"), [(_PARENT, False), (_PARENT_KNOWN_BAD, True)])
def test_a_child_dies_with_its_killed_parent(parent: str, survives: bool) -> None:
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    deadline = time.monotonic() + 3
    while _lives(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    alive = _lives(child)
    if alive:
        os.kill(child, 9)
    assert alive is survives


def _lives(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def test_a_second_dbt_waits_until_the_first_has_really_ended(tmp_path: Path) -> None:
    lock = tmp_path / "refresh.lock.dbt"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code = (
            "from orchestration import dbt_process as p; p.ORPHAN_WAIT_SECONDS = 0.3; "
            "p.sys.argv = ['ctwa-dbt', 'build']; p.main()"
        )
        refused = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, LOCK_VARIABLE: str(lock)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert refused.returncode == 75
    assert "another dbt is still writing" in refused.stderr


def test_dbt_gets_the_settings_and_this_process_keeps_its_own(settings: Settings) -> None:
    from datetime import date

    before = dict(os.environ)
    with dbt_environment(settings, date(2026, 5, 4)):
        assert os.environ["CTWA_AS_OF"] == "2026-05-04"
        assert os.environ["CTWA_WAREHOUSE_PATH"] == str(settings.warehouse_path)
    assert dict(os.environ) == before


@pytest.mark.deep
@pytest.mark.timeout(600)
def test_plain_dbt_looks_without_settings_and_names_the_command_that_builds(tmp_path: Path) -> None:
    """At the top of a checkout, as data people and editors start it."""
    folders = {"DBT_TARGET_PATH": str(tmp_path / "target"), "DBT_LOG_PATH": str(tmp_path / "logs")}

    def dbt(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("dbt"), *arguments],
            cwd=PROJECT_DIR, env=os.environ | folders, capture_output=True, text=True, check=False,
        )  # fmt: skip

    at_once = dbt("run", "--select", "fct_leads")
    listed = dbt("ls", "--select", "fct_leads", "--resource-type", "model")
    parsed_before = dbt("run", "--select", "fct_leads")

    assert "fct_leads" in listed.stdout
    for built in (at_once, parsed_before):
        assert built.returncode != 0
        assert built.stdout.count("write `ctwa dbt` in place of `dbt`") == 1, built.stdout
        assert "Database Error" not in built.stdout
    assert dbt("debug").returncode == 0
