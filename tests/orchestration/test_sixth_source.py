"""A source is a folder and a line: one that only this test has shows in graph, doctor and marts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from commands.doctor import examine
from ctwa.settings import Settings
from ingestion import sources
from ingestion.lake.lake import Lake
from ingestion.source import Finding, Landing, Source, SourceError, ok
from orchestration.definitions import build_definitions
from orchestration.instance import open_instance
from orchestration.refresh import refresh

CALLS = {"calls": pa.schema([pa.field("call_id", pa.string(), nullable=False)])}
KEY = dg.AssetKey(["phone_system", "calls"])
SOURCES_YML = """
version: 2
sources:
  - name: phone_system
    config:
      meta:
        external_location: >-
          read_parquet('{{ env_var("CTWA_LAKE_PATH", "data/lake") }}/phone_system/{name}/*.parquet')
    tables: [{name: calls, description: One row per call.}]
"""
MODEL = "select call_id from {{ source('phone_system', 'calls') }}\n"


class LineCutError(SourceError):
    """The phone system does not answer."""


class PhoneSystem:
    """What a source folder would hold: how its tables are landed, and its part of doctor."""

    is_up = True

    def land(self, settings: Settings) -> dict[str, int]:
        if not self.is_up:
            raise LineCutError("the phone system does not answer: plug it in")
        with Lake.from_settings(settings).commit("phone_system") as commit:
            commit.write("calls", pa.table({"call_id": ["c1"]}, schema=CALLS["calls"]))
        return {"calls": 1}

    def examine(self, settings: Settings) -> Iterator[Finding]:
        yield ok("phone system", "it rings")


@pytest.fixture
def phones(monkeypatch: pytest.MonkeyPatch) -> PhoneSystem:
    """The one line: a value more in the list of sources."""
    system = PhoneSystem()
    source = Source(
        dataset="phone_system",
        title="phone system",
        group="sources",
        schemas=CALLS,
        descriptions={"calls": "One row per call."},
        landings=(Landing("phone_system", ["calls"], system.land),),
        examine=system.examine,
    )
    monkeypatch.setattr(sources, "SOURCES", (*sources.SOURCES, source))
    return system


@pytest.fixture
def with_mart(project: Path, settings: Settings, tmp_path: Path) -> Path:
    """The small project with a mart that is made of the new table."""
    copy = tmp_path / "project"
    shutil.copytree(project, copy)
    (copy / "dbt_project/models/staging/_phone_system.yml").write_text(SOURCES_YML)
    (copy / "dbt_project/models/marts/fct_calls.sql").write_text(MODEL)
    return copy


def test_a_sixth_source_is_in_the_graph_the_doctor_and_the_marts(
    phones: PhoneSystem,
    with_mart: Path,
    settings: Settings,
) -> None:
    definitions = build_definitions(settings, project_dir=with_mart)
    graph = definitions.resolve_asset_graph()
    assert graph.get(KEY).description == "One row per call."
    assert dg.AssetCheckKey(KEY, "loaded") in graph.asset_check_keys
    assert KEY in graph.get(dg.AssetKey(["publish", "refresh_verdict"])).parent_keys
    nightly = definitions.resolve_job_def("nightly_refresh").asset_layer
    assert KEY in nightly.executable_asset_keys
    assert ok("phone system", "it rings") in examine(settings)

    first = refresh(settings, project_dir=with_mart)
    assert first.failures == []
    assert first.sources["phone_system"] == "read in this run"

    phones.is_up = False
    second = refresh(settings, project_dir=with_mart)
    assert [text.partition(" (")[0] for text in second.failures] == [
        "phone_system: the phone system does not answer: plug it in"
    ]
    assert second.published
    with open_instance(settings) as instance:
        key = dg.AssetCheckKey(dg.AssetKey(["marts", "fct_calls"]), "sources_are_fresh")
        [record] = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    assert record.event is not None
    mark = record.event.get_dagster_event().asset_check_evaluation_data
    assert not mark.passed
    assert mark.metadata["stale_sources"].value == "phone_system"
