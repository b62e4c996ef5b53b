"""The manifest is prepared when the project changed, and only then."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from ctwa.settings import Settings
from orchestration.dbt_manifest import ManifestError, manifest_path


def models(manifest: Path) -> set[str]:
    return {n["name"] for n in json.loads(manifest.read_text())["nodes"].values()}


def test_a_changed_project_is_parsed_again_and_an_unchanged_one_is_not(
    settings: Settings, project: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(project, mine)
    manifest = manifest_path(settings, mine)
    written = manifest.stat().st_mtime_ns
    assert "fct_new" not in models(manifest)

    # Touched or copied files are the same files.
    for path in mine.rglob("*.sql"):
        os.utime(path)
    assert manifest_path(settings, mine).stat().st_mtime_ns == written

    # A new file that is older than the manifest is a change all the same.
    new = mine / "dbt_project" / "models" / "marts" / "fct_new.sql"
    new.write_text("select 1 as id\n")
    os.utime(new, (1, 1))
    assert "fct_new" in models(manifest_path(settings, mine))

    # What dbt cannot parse is said in dbt's words; the manifest of before stays.
    new.write_text("select * from {{ ref('nowhere') }}\n")
    with pytest.raises(ManifestError, match="nowhere"):
        manifest_path(settings, mine)
    assert "fct_new" in models(manifest)
