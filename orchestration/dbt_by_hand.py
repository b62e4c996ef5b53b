"""`ctwa dbt`: dbt itself, with the settings, the folders and the lock that the models need."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

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
    today = datetime.now(ZoneInfo(settings.reporting_timezone)).date()
    with refresh_lock(settings):
        project = project_of(settings)
        ready_lake(settings)
        settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            **settings.dbt_environment(today),
            "CTWA_MARTS_PATH": str(settings.marts_path),
            "DBT_PROJECT_DIR": str(project),
            "DBT_PROFILES_DIR": str(project),
        }
        command = [*dbt_command(), *arguments]
        return subprocess.run(command, env=environment, cwd=project, check=False).returncode
