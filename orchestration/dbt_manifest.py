"""dbt's manifest, prepared when the project has changed and not otherwise.

Every Dagster process (webserver's code server, run worker, sensor tick) loads the definitions,
which need the manifest. `dbt parse` in each would cost ten CPU seconds, so it is made once and
kept with a fingerprint of the files it came from; the manifest appears by rename, so that a
reader never meets half of one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings

_PARSE_WAIT_SECONDS = 300
_IGNORED = {"target", "logs", "dbt_packages", "__pycache__"}


class ManifestError(RuntimeError):
    """dbt cannot parse the project; the text is dbt's own."""


def manifest_path(settings: Settings, project_dir: Path = PROJECT_DIR) -> Path:
    """Path of an up-to-date manifest; runs `dbt parse` when the project's files have changed."""
    target = settings.dbt_target_dir / "manifest"
    manifest, stamp = target / "manifest.json", target / "fingerprint"
    wanted = project_fingerprint(project_dir)
    if _is_fresh(manifest, stamp, wanted):
        return manifest
    with refresh_lock(settings.dbt_target_dir / "parse.lock", wait_seconds=_PARSE_WAIT_SECONDS):
        if not _is_fresh(manifest, stamp, wanted):  # another process may have made it meanwhile
            _prepare(settings, project_dir, target)
            stamp.write_text(wanted)
    return manifest


def project_files(project_dir: Path = PROJECT_DIR) -> Iterator[Path]:
    """Every file that dbt reads, in a fixed order."""
    yield from (project_dir / n for n in ("dbt_project.yml", "profiles.yml"))
    for path in sorted((project_dir / "dbt_project").rglob("*")):
        if path.is_file() and not _IGNORED.intersection(path.parts):
            yield path


def project_fingerprint(project_dir: Path = PROJECT_DIR) -> str:
    """Hash of names and contents of the project's files and of dbt's version.

    Contents, not times: a checkout or a copy may give files any time.
    """
    digest = hashlib.sha256()
    for package in ("dbt-core", "dbt-duckdb"):
        digest.update(importlib.metadata.version(package).encode())
    digest.update(str(project_dir).encode())
    for path in project_files(project_dir):
        digest.update(str(path.relative_to(project_dir)).encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def dbt_command() -> list[str]:
    """How dbt is started: our executable, of this interpreter."""
    return [str(dbt_executable())]


def dbt_executable() -> Path:
    """`ctwa-dbt` beside this interpreter, else on the path."""
    beside = Path(sys.executable).parent / "ctwa-dbt"
    found = beside if beside.exists() else shutil.which("ctwa-dbt")
    if not found:
        raise ManifestError("`ctwa-dbt` is not installed; run `make setup`")
    return Path(found)


def _is_fresh(manifest: Path, stamp: Path, wanted: str) -> bool:
    return manifest.exists() and stamp.exists() and stamp.read_text() == wanted


def _prepare(settings: Settings, project_dir: Path, target: Path) -> None:
    draft = settings.dbt_target_dir / "parse"
    environment = {
        **os.environ,
        # Any day will do: models take it when they run.
        **settings.dbt_environment(date(1970, 1, 1)),
        "DBT_PROJECT_DIR": str(project_dir),
        "DBT_PROFILES_DIR": str(project_dir),
        "DBT_TARGET_PATH": str(draft),
        "DBT_LOG_PATH": str(draft),
    }
    done = subprocess.run(
        [*dbt_command(), "--quiet", "parse"],
        env=environment,
        cwd=project_dir,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        text = (done.stdout + done.stderr).strip()
        raise ManifestError(f"dbt cannot parse the project in {project_dir}:\n{text}")
    target.mkdir(parents=True, exist_ok=True)
    (target / "fingerprint").unlink(missing_ok=True)
    for name in ("partial_parse.msgpack", "manifest.json"):
        if (draft / name).exists():
            copy = target / f"{name}.tmp"
            shutil.copy(draft / name, copy)
            copy.replace(target / name)
