"""The list of sources: each is whole, and everything that it names is there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from ctwa.settings import PROJECT_DIR, Settings
from ingestion.lake.lake import Lake
from ingestion.source import Landed, Source
from ingestion.sources import SOURCES, known_lake

ENV_EXAMPLE = (PROJECT_DIR / ".env.example").read_text()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.dataset)
def test_a_source_is_whole(source: Source, settings: Settings) -> None:
    assert source.descriptions.keys() == source.schemas.keys()
    tables = [table for landing in source.landings for table in landing.tables]
    assert sorted(tables) == sorted(source.schemas), "each table is landed once"
    known = {(other.dataset, table) for other in SOURCES for table in other.schemas}
    needed = {table for landing in source.landings for table in landing.after}
    assert needed | {*source.reaches_models_by} <= known
    assert not source.docs or (PROJECT_DIR / source.docs).exists()
    for name in source.settings:
        assert re.search(rf"^{name}=", ENV_EXAMPLE, re.MULTILINE), name
    assert source.is_on(settings) == (source.off_because(settings) is None)
    if not source.is_on(settings):
        assert source.settings, "what turns it on is named"


def test_every_table_is_there_before_anything_has_landed(settings: Settings) -> None:
    lake = known_lake(settings)
    assert isinstance(lake, Lake)
    for source in SOURCES:
        assert set(lake.tables(source.dataset)) == set(source.schemas)


def test_what_an_api_or_the_vault_gives_is_a_dlt_source(settings: Settings) -> None:
    found = {s.dataset: s.dlt_source(settings).name for s in SOURCES if s.dlt_source is not None}
    assert found == {
        name: name for name in ("event_log", "meta_ads", "google_ads", "hubspot", "exchange_rates")
    }


@dataclass
class Counts:
    """As sources count."""

    read_no: int = 7
    rows: dict[str, int] = field(default_factory=lambda: {"a": 1})


def test_counts_of_a_landing_become_rows_and_figures() -> None:
    assert Landed.of({"a": 1}) == Landed({"a": 1})
    assert Landed.of(Landed({"a": 1})) == Landed({"a": 1})
    assert Landed.of(Counts()) == Landed({"a": 1}, {"read_no": 7})
