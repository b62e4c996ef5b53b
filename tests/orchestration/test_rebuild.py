"""What makes the next build a full one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from ctwa.settings import Settings
from ingestion.lake.lake import Lake, LakeDamagedError
from orchestration.dbt import prepare
from orchestration.rebuild import BuildState, drop_left_overs, set_aside_if_broken


@pytest.fixture
def built(settings: Settings, project: Path) -> BuildState:
    """A warehouse and the state it was built with."""
    duckdb.connect(str(settings.warehouse_path)).close()
    state = BuildState.current(settings, Lake.from_settings(settings), project)
    state = replace(state, last_seq=10, last_read_no=5, last_google_read_no=3)
    state.save(settings)
    return state


def test_more_rows_are_no_reason(settings: Settings, built: BuildState) -> None:
    later = replace(built, last_seq=11, last_read_no=6, last_google_read_no=4)
    assert later.reasons_to_rebuild(settings) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"conversation_gap_days": "7"}, "CTWA_CONVERSATION_GAP_DAYS changed"),
        ({"reporting_currency": "USD"}, "CTWA_REPORTING_CURRENCY changed"),
        ({"reporting_timezone": "UTC"}, "CTWA_REPORTING_TIMEZONE changed"),
        ({"lake": "/elsewhere"}, "CTWA_LAKE_URL or CTWA_ENGINE_LAKE_URL changed"),
        ({"code": "other"}, "models, macros or seeds changed"),
        ({"project_version": "9"}, "version of ctwa-attribution changed"),
        ({"last_seq": 9}, "fewer envelopes"),
        ({"last_read_no": 4}, "Meta's insights have fewer reads"),
        ({"last_google_read_no": 2}, "Google's costs have fewer reads"),
    ],
)
def test_what_the_rows_depend_on_is_a_reason(
    settings: Settings, built: BuildState, change: dict[str, object], reason: str
) -> None:
    rules = {name: change.pop(name) for name in tuple(change) if name in built.rules}
    now = replace(built, rules={**built.rules, **rules}, **change)  # type: ignore[arg-type,dict-item]
    (said,) = now.reasons_to_rebuild(settings)
    assert reason in said


def test_a_warehouse_of_the_version_before_says_only_what_is_true(
    settings: Settings, built: BuildState
) -> None:
    """It kept three rules beside the rest; the others did not exist yet."""
    path = settings.warehouse_path.with_name("warehouse.duckdb.build.json")
    state = json.loads(path.read_text())
    rules = state.pop("rules")
    state |= {name: rules[name] for name in ("reporting_currency", "reporting_timezone")}
    path.write_text(json.dumps(state | {"conversation_gap_days": 7}))
    reasons = built.reasons_to_rebuild(settings)
    assert [r for r in reasons if r.endswith("changed")] == ["CTWA_CONVERSATION_GAP_DAYS changed"]
    assert "CTWA_LEAD_SCOPE is new" in reasons
    path.write_text(json.dumps(state | {"conversation_gap_days": 30, "rules": rules}))
    assert built.reasons_to_rebuild(settings) == []


def test_an_unknown_past_is_a_reason(settings: Settings, built: BuildState) -> None:
    state = settings.warehouse_path.with_name("warehouse.duckdb.build.json")
    state.write_text("{torn")
    assert built.reasons_to_rebuild(settings) != []
    state.unlink()
    assert built.reasons_to_rebuild(settings) != []


def test_rules_and_models_are_part_of_the_state(
    settings: Settings, project: Path, tmp_path: Path
) -> None:
    import shutil

    mine = tmp_path / "mine"
    shutil.copytree(project, mine)
    lake = Lake.from_settings(settings)
    before = BuildState.current(settings, lake, mine)
    (mine / "dbt_project" / "tests" / "assert_more.sql").write_text("select 1 where false")
    assert replace(BuildState.current(settings, lake, mine)).code == before.code
    project_file = mine / "dbt_project.yml"
    project_file.write_text(project_file.read_text() + '\nvars: {rule_version: "2"}\n')
    assert BuildState.current(settings, lake, mine).code != before.code


def test_a_refresh_removes_what_a_killed_comparison_left(settings: Settings, project: Path) -> None:
    left = settings.data_dir / "comparisons" / "4711" / "a.duckdb"
    left.parent.mkdir(parents=True)
    left.touch()
    prepare(settings, project)
    assert not left.parent.parent.exists()


def test_e99_a_damaged_lake_is_not_built_of_and_the_next_build_is_a_full_one(
    settings: Settings, project: Path, built: BuildState
) -> None:
    table = pa.table({"seq": [1, 2]})
    lake = Lake.from_settings(settings)
    lake.replace("event_log", "quarantine", table, [])
    prepare(settings, project)
    (name,) = lake.files("event_log", "quarantine")
    path = Path(lake.root) / "event_log" / "quarantine" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    with pytest.raises(LakeDamagedError, match=r"2 rows of envelopes 1 to 2.*--reparse"):
        prepare(settings, project)
    assert built.reasons_to_rebuild(settings) != []
    prepare(settings, project, check_files=False)  # between nights


def test_an_unreadable_warehouse_goes_aside_with_its_wal(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings()
    settings.data_dir.mkdir(parents=True)
    for _ in range(4):
        settings.warehouse_path.write_bytes(b"torn" * 4096)
        settings.warehouse_path.with_name("warehouse.duckdb.wal").write_bytes(b"torn")
        broken = set_aside_if_broken(settings)
        assert broken is not None
        assert broken.with_name(broken.name + ".wal").exists()
        assert not settings.warehouse_path.exists()
        assert not settings.warehouse_path.with_name("warehouse.duckdb.wal").exists()
    kept = [p for p in settings.data_dir.glob("*.broken-*") if p.suffix != ".wal"]
    assert len(kept) == 2, "the disk must not fill with broken files"


def test_a_full_build_drops_the_tables_of_models_that_went(settings: Settings) -> None:
    """Their rows would outlive the erasure of the people they are about."""
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(settings.warehouse_path)) as warehouse:
        for made in (
            "schema intermediate", "schema staging", "schema checks",
            "table intermediate.kept as select 1 as x", "table intermediate.gone as select 1 as x",
            "view staging.gone as select 1 as x", "view checks.of_a_test as select 1 as x",
        ):  # fmt: skip
            warehouse.execute(f"create {made}")
    manifest = {
        "nodes": {
            "model.ctwa.kept": {"schema": "intermediate", "alias": "kept"},
            "test.ctwa.of_a_test": {"schema": "checks", "alias": "of_a_test"},
        }
    }

    assert drop_left_overs(settings, manifest) == ["intermediate.gone", "staging.gone"]
    assert drop_left_overs(settings, manifest) == []
    with duckdb.connect(str(settings.warehouse_path)) as warehouse:
        left = warehouse.execute("select table_name from information_schema.tables order by 1")
        assert left.fetchall() == [("kept",), ("of_a_test",)]


def test_a_good_warehouse_stays(settings: Settings, built: BuildState) -> None:
    assert set_aside_if_broken(settings) is None
    assert settings.warehouse_path.exists()
