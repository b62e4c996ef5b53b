"""Specs of dbt's assets and checks: those of dagster-dbt, without its import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_dbt.asset_utils import build_dbt_specs

from ctwa.settings import load_settings
from orchestration.dbt_lineage import Translator
from orchestration.dbt_manifest import load_manifest, manifest_path
from orchestration.dbt_specs import asset_specs, check_specs
from tests.support.kept import with_manifest

_OBJECTS = {"dagster_dbt/manifest", "dagster_dbt/dagster_dbt_translator"}
"""Python objects that dagster-dbt hands to itself as metadata; no page of the UI shows them."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    settings = load_settings(_env_file=None, data_dir=tmp_path_factory.mktemp("specs"))
    return load_manifest(manifest_path(with_manifest(settings)))


def _asset(spec: dg.AssetSpec) -> dict[str, Any]:
    return {
        "deps": sorted(spec.deps, key=lambda dep: dep.asset_key),
        "description": spec.description,
        "metadata": {n: v for n, v in spec.metadata.items() if n not in _OBJECTS},
        "skippable": spec.skippable,
        "group": spec.group_name,
        "code": spec.code_version,
        "owners": list(spec.owners),
        "tags": spec.tags,
        "kinds": spec.kinds,
        "condition": spec.automation_condition,
        "partitions": spec.partitions_def,
    }


def _check(spec: dg.AssetCheckSpec) -> dict[str, Any]:
    return {
        "description": spec.description,
        "deps": sorted(spec.additional_deps, key=lambda dep: dep.asset_key),
        "metadata": spec.metadata,
        "blocking": spec.blocking,
    }


def _theirs(manifest: Mapping[str, Any]) -> tuple[Any, Any]:
    return build_dbt_specs(
        translator=Translator(),
        manifest=manifest,
        select="fqn:*",
        exclude="",
        selector="",
        io_manager_key=None,
        project=None,
    )


def test_they_are_those_of_dagster_dbt(manifest: dict[str, Any]) -> None:
    assets, checks = _theirs(manifest)
    mine = {spec.key: _asset(spec) for spec in asset_specs(manifest)}
    assert mine == {spec.key: _asset(spec) for spec in assets}
    assert len(mine) > 50
    found = {spec.key: _check(spec) for spec in check_specs(manifest)}
    assert found == {spec.key: _check(spec) for spec in checks}
    assert len(found) > 50


def test_also_where_a_model_is_ephemeral_and_where_tags_are_set(manifest: dict[str, Any]) -> None:
    """What our project does not have, another one may."""
    inner = next(
        node for i, node in manifest["nodes"].items() if i == "model.ctwa.int_leads__sourced"
    )
    changed = {**inner, "config": {**inner["config"], "materialized": "ephemeral"}}
    marts = {i: n for i, n in manifest["nodes"].items() if n["schema"] == "marts"}
    tagged = {i: {**n, "tags": ["daily"]} for i, n in marts.items()}
    other = {
        **manifest,
        "nodes": {**manifest["nodes"], **tagged, inner["unique_id"]: changed},
    }
    assets, _ = _theirs(other)
    mine = {spec.key: _asset(spec) for spec in asset_specs(other)}
    assert mine == {spec.key: _asset(spec) for spec in assets}


@pytest.mark.parametrize("module", ["dbt", "dagster_dbt", "dlt", "dagster_dlt", "scipy"])
def test_what_a_run_may_not_need_is_not_imported_with_the_definitions(
    module: str, tmp_path: Path
) -> None:
    """Every process of Dagster imports the definitions: these are half of what that costs."""
    code = f"import sys, orchestration.definitions; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
