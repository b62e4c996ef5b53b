"""What is made once for each version of the code, for the processes of all test runs."""

from __future__ import annotations

import functools
import shutil
import time
from contextlib import suppress
from pathlib import Path

from ctwa.settings import PROJECT_DIR, Settings, load_settings
from orchestration.dbt_manifest import manifest_path

WAIT_SECONDS = 600
"""For another process that makes it."""
_KEPT_SECONDS = 7 * 24 * 3600


@functools.cache
def kept(name: str) -> Path:
    """A folder for it, without the files that nobody has written for a week."""
    folder = PROJECT_DIR / ".pytest_cache" / "ctwa" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        with suppress(FileNotFoundError):  # another process does the same
            if file.is_file() and time.time() - file.stat().st_mtime > _KEPT_SECONDS:
                file.unlink()
    return folder


def with_manifest(settings: Settings) -> Settings:
    """These settings, in whose data folder lies the manifest that a first refresh would make."""
    made = load_settings(_env_file=None, data_dir=kept("installation"))
    manifest_path(made)
    shutil.copytree(
        made.dbt_target_dir / "manifest", settings.dbt_target_dir / "manifest", dirs_exist_ok=True
    )
    return settings
