"""Superset's dashboard: it names columns that the marts have, holds no secret, and packs."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.dictionary import tables
from docs.generate import ROOT

FOLDER = ROOT / "deploy/superset/dashboard"
COLUMNS = {t.name: {name for name, _, _ in t.columns} for t in tables()}
_SQL = {
    "case",
    "when",
    "then",
    "end",
    "count",
    "sum",
    "nullif",
    "filter",
    "where",
    "and",
    "not",
    "like",
    "is",
    "distinct",
    "from",
}
_TEXTS = re.compile(r"'[^']*'")


def _read(kind: str) -> list[dict[str, Any]]:
    return [yaml.safe_load(p.read_text()) for p in sorted((FOLDER / kind).rglob("*.yaml"))]


def _names(sql: str) -> set[str]:
    return set(re.findall(r"[a-z_][a-z_0-9]*", _TEXTS.sub("", sql).lower())) - _SQL


@pytest.mark.parametrize("dataset", _read("datasets"), ids=lambda d: d["table_name"])
def test_a_dataset_has_columns_of_its_table_only(dataset: dict[str, Any]) -> None:
    known = COLUMNS[dataset["table_name"]]
    assert {c["column_name"] for c in dataset["columns"]} <= known
    for metric in dataset["metrics"]:
        assert _names(metric["expression"]) <= known, metric["metric_name"]


@pytest.mark.parametrize("chart", _read("charts"), ids=lambda c: c["slice_name"])
def test_a_chart_asks_for_what_its_dataset_has(chart: dict[str, Any]) -> None:
    (dataset,) = [d for d in _read("datasets") if d["uuid"] == chart["dataset_uuid"]]
    columns = {c["column_name"] for c in dataset["columns"]}
    params = chart["params"]
    asked = {*params.get("groupby", ()), *params.get("all_columns", ())}
    asked |= {params["x_axis"]} if "x_axis" in params else set()
    for condition in params["adhoc_filters"]:
        asked |= _names(condition.get("sqlExpression") or condition["subject"])
    assert asked <= columns
    metrics = {*params.get("metrics", ()), *params.get("metrics_b", ())}
    metrics |= {params["metric"]} if "metric" in params else set()
    assert metrics <= {m["metric_name"] for m in dataset["metrics"]}


def test_costs_divide_sums() -> None:
    costs = [
        metric["expression"]
        for dataset in _read("datasets")
        for metric in dataset["metrics"]
        if metric["metric_name"].startswith("cp")
    ]
    assert len(costs) == 6
    assert all("NULLIF(SUM(" in cost and "AVG" not in cost for cost in costs)


def test_the_zip_has_every_file_and_the_address_given(tmp_path: Path) -> None:
    target, uri = (
        tmp_path / "dashboard.zip",
        "postgresql+psycopg2://bi_reader:canary@db.example/marts",
    )
    script = ROOT / "deploy/superset/pack.py"
    subprocess.run([sys.executable, str(script), uri, str(target)], check=True)
    with zipfile.ZipFile(target) as bundle:
        texts = {name: bundle.read(name).decode() for name in bundle.namelist()}
    files = {p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*.yaml")}
    assert set(texts) == {f"dashboard/{name}" for name in files}
    assert [name for name, text in texts.items() if "canary" in text] == [
        "dashboard/databases/ctwa_marts.yaml"
    ]


def test_the_folder_names_no_server_and_no_password() -> None:
    (database,) = _read("databases")
    assert database["sqlalchemy_uri"] == (
        "postgresql+psycopg2://bi_reader:password@localhost:5432/marts"
    )
