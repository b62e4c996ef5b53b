"""`ctwa dbt` and `ctwa mf`: dbt and MetricFlow themselves, with settings, folders and the lock."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from ctwa.errors import CtwaError
from ctwa.lock import refresh_lock
from ctwa.project import project_of
from ctwa.settings import Settings
from orchestration.dbt_manifest import dbt_command
from orchestration.rebuild import ready_lake


def run_dbt(settings: Settings, arguments: Sequence[str]) -> int:
    """Run dbt on the installation's warehouse; its exit code.

    A new installation gets the empty tables that the models read. Raises `RefreshBusyError` while
    a refresh runs, and `HomeError`.
    """
    with refresh_lock(settings):
        project = project_of(settings)
        ready_lake(settings)
        settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
        command = [*dbt_command(), *arguments]
        environment = _environment(settings, project)
        return subprocess.run(command, env=environment, cwd=project, check=False).returncode


class MetricsError(CtwaError):
    """Metrics cannot be queried; the text says what is missing."""


def run_metricflow(settings: Settings, arguments: Sequence[str]) -> int:
    """Run MetricFlow on the published marts; its exit code. Raises `MetricsError`, `HomeError`.

    It reads what dbt says of the metrics in `target/` of the project, which is written first.
    """
    if importlib.util.find_spec("dbt_metricflow") is None:
        raise MetricsError(
            "MetricFlow is not installed: `pip install 'ctwa-attribution[metrics]'`, by the file "
            "of the wheel or the checkout you installed from"
        )
    if not settings.marts_path.exists():
        raise MetricsError(f"no marts at {settings.marts_path} yet: run `ctwa refresh`")
    project = project_of(settings)
    if settings.ctwa_home is None and not (project / "pyproject.toml").exists():
        raise MetricsError("run it in a folder that `ctwa init` made, or in a checkout")
    environment = _environment(settings, project) | {"DBT_TARGET": "marts"}
    parse = [*dbt_command(), "--quiet", "parse", "--target-path", str(project / "target")]
    parsed = subprocess.run(parse, env=environment, cwd=project, check=False).returncode
    if parsed:
        return parsed
    program = [sys.executable, "-c", "from dbt_metricflow.cli.main import cli; cli(prog_name='mf')"]
    return subprocess.run(
        [*program, *arguments], env=environment, cwd=project, check=False
    ).returncode


def _environment(settings: Settings, project: Path) -> dict[str, str]:
    today = datetime.now(ZoneInfo(settings.reporting_timezone)).date()
    return {
        **os.environ,
        **settings.dbt_environment(today),
        "CTWA_MARTS_PATH": str(settings.marts_path),
        "DBT_PROJECT_DIR": str(project),
        "DBT_PROFILES_DIR": str(project),
    }
