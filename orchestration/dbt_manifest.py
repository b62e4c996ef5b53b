"""dbt's manifest, prepared when the project has changed and not otherwise.

Every Dagster process (webserver's code server, run worker, sensor tick) loads the definitions,
which need the manifest. `dbt parse` in each would cost ten CPU seconds, so it is made once and
kept with a fingerprint of the files it came from; the manifest appears by rename, so that a
reader never meets half of one.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ctwa.errors import CtwaError
from ctwa.lock import refresh_lock
from ctwa.progress import doing
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.sources import SOURCES

_PARSE_WAIT_SECONDS = 300
_WRITTEN_AFTER = "activation"
"""The dbt source that is written after the models (`activation/conversions_ledger.py`)."""
_ADS = "ads"
"""The dbt source that reads the tables of all platforms of ads."""
MARTS_SCHEMA = "marts"
_LAYERS = ("seeds", "staging", "intermediate", "activation", MARTS_SCHEMA)
_IGNORED = {"target", "logs", "dbt_packages", "__pycache__"}


class ManifestError(CtwaError):
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


def load_manifest(path: Path) -> dict[str, Any]:
    """The manifest, with an asset for every singular test that names several models, with the
    datasets of ads in place of the source that reads them all, and without the source that is
    written after the models.

    dagster-dbt makes a check only of tests that belong to one model. The one furthest
    downstream is the one whose readers the test protects; `meta.dagster.ref` goes before.
    """
    manifest: dict[str, Any] = json.loads(path.read_text())
    nodes = manifest["nodes"]
    _leave_out_what_comes_after(manifest)
    _put_datasets_for_ads(manifest)
    for node in nodes.values():
        if node["resource_type"] != "test" or node.get("attached_node"):
            continue
        models = [n for n in node["depends_on"]["nodes"] if n in nodes and "test" not in n[:5]]
        if len(node["depends_on"]["nodes"]) < 2 or not models:
            continue
        last = max(models, key=lambda n: (_layer(nodes[n]["schema"]), n))
        dagster = node["config"].setdefault("meta", {}).setdefault("dagster", {})
        dagster.setdefault("ref", {"name": nodes[last]["name"]})
    return manifest


def _leave_out_what_comes_after(manifest: dict[str, Any]) -> None:
    """No asset stands before the states of what was sent: sending waits for the models."""
    after = {n for n, s in manifest["sources"].items() if s["source_name"] == _WRITTEN_AFTER}
    for source in after:
        for mapping in ("sources", "parent_map", "child_map"):
            manifest[mapping].pop(source, None)
    for node in manifest["nodes"].values():
        before = node["depends_on"].get("nodes", []) if "depends_on" in node else []
        before[:] = [n for n in before if n not in after]
    for parents in manifest["parent_map"].values():
        parents[:] = [n for n in parents if n not in after]


def _put_datasets_for_ads(manifest: dict[str, Any]) -> None:
    """The dbt source `ads` reads every dataset `<platform>_ads` of the lake: the tables of those,
    which are the assets, take its place."""
    tables = manifest["sources"]
    platforms = [s for s in SOURCES if s.dataset.endswith(f"_{_ADS}")]
    instead: dict[str, list[str]] = {}
    for unique_id in [i for i, t in tables.items() if t["source_name"] == _ADS]:
        table = tables.pop(unique_id)
        datasets = [s.dataset for s in platforms if table["name"] in s.schemas]
        instead[unique_id] = [unique_id.replace(f".{_ADS}.", f".{d}.") for d in datasets]
        for new_id, dataset in zip(instead[unique_id], datasets, strict=True):
            tables[new_id] = table | {"unique_id": new_id, "source_name": dataset}
        for mapping in ("parent_map", "child_map"):
            known = manifest[mapping].pop(unique_id, [])
            manifest[mapping].update({new_id: [*known] for new_id in instead[unique_id]})
    # Seeds depend on nothing, and their `depends_on` has no nodes.
    parents = [n.get("depends_on", {}).get("nodes", []) for n in manifest["nodes"].values()]
    for before in (*parents, *manifest["parent_map"].values()):
        before[:] = [new for old in before for new in instead.get(old, [old])]


def _layer(schema: str) -> int:
    return _LAYERS.index(schema) if schema in _LAYERS else -1


def mart_names(manifest: Mapping[str, Any]) -> list[str]:
    """Names of the models in the schema that is published."""
    return sorted(
        n["alias"]
        for n in manifest["nodes"].values()
        if n["resource_type"] == "model"
        and n["schema"] == MARTS_SCHEMA
        and n["config"].get("materialized") != "ephemeral"
        and n["config"].get("enabled", True)
    )


def run_folder(settings: Settings) -> Path:
    """dbt's artifacts of runs: one folder, as the lock lets only one dbt run; parsed once."""
    target = settings.dbt_target_dir / "run"
    target.mkdir(parents=True, exist_ok=True)
    parsed = settings.dbt_target_dir / "manifest" / "partial_parse.msgpack"
    mine = target / parsed.name
    if parsed.exists() and (not mine.exists() or mine.stat().st_mtime < parsed.stat().st_mtime):
        shutil.copy(parsed, mine)
    return target


def project_files(project_dir: Path = PROJECT_DIR) -> Iterator[Path]:
    """Every file that dbt reads, in a fixed order."""
    yield from (project_dir / n for n in ("dbt_project.yml", "profiles.yml"))
    for path in sorted((project_dir / "dbt_project").rglob("*")):
        if path.is_file() and not _IGNORED.intersection(path.parts):
            yield path


def content_hash(path: Path) -> bytes:
    """SHA-256 of a file; one that this process has read is read again only if it was touched."""
    found = path.stat()
    # The time of the change of the entry, as nobody can set it: other times may be of a copy.
    return _content_hash(path, (found.st_ino, found.st_ctime_ns, found.st_size))


@functools.lru_cache(maxsize=2_000)
def _content_hash(path: Path, _touched: tuple[int, int, int]) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


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
        digest.update(content_hash(path))
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
    doing("preparing: dbt reads the models")
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
