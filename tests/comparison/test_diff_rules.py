"""`ctwa diff-rules` and its assets: both sides built by real dbt, shown, published, cleaned up."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest

from comparison import restatements
from comparison.report import markdown
from comparison.sides import COLUMNS, RuleSet
from comparison.tables import CREDIT_DIFF_CAMPAIGNS
from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.identity.erased import Erasure, Ledger
from orchestration import comparison
from orchestration.comparison import (
    MODELS,
    DiffRulesError,
    build_comparison_assets,
    diff_rules,
)
from orchestration.keys import CREDIT_DIFF_KEY, RECORDED, RESTATEMENTS_KEY
from orchestration.publication import drop_comparison_of_the_erased
from orchestration.resources import RefreshLock, RefreshOptions
from publishing.marts import publish_marts
from tests.support.marts import Marts, lead, qualified, spend

DAY = date(2026, 6, 30)
BEFORE = Marts([lead("ana", "A", is_qualified=True)], [spend("1", "10")], [qualified("ana")])
AFTER = Marts([lead("ana", "B", is_qualified=True)], [spend("1", "10")], [qualified("ana")])


def tiny_project(folder: Path) -> Path:
    """A project whose one lead came by campaign A, or by B where the gap is 7 days."""
    models = folder / "dbt_project" / "models" / "marts"
    models.mkdir(parents=True)
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(PROJECT_DIR / name, folder)
    shutil.copytree(PROJECT_DIR / "dbt_project" / "macros", folder / "dbt_project" / "macros")
    values = {
        "lead_id": "'ana'", "first_touch_id": "'t'", "first_touch_date": "date '2026-06-01'",
        "first_touch_at": "timestamptz '2026-06-01 12:00:00+00'", "basis": "'ctwa_click'",
        "channel": "'click_to_whatsapp'", "platform": "'meta'", "is_qualified": "true",
        "campaign_id": "case {{ conversation_gap_days() }} when 7 then 'B' else 'A' end",
        "report_date": "date '2026-06-01'", "leads": "1", "qualified_leads": "1",
        "spend": "0", "spend_reporting": "0",
    }  # fmt: skip
    for model in MODELS:
        columns = ", ".join(
            f"cast({values.get(c, 'null')} as {kind}) as {c}"
            for c, kind in COLUMNS.get(model, {"report_date": "date"}).items()
        )
        config = "{{ config(contract={'enforced': false}) }}"
        rows = "" if model in ("fct_leads", "campaign_performance") else " where false"
        (models / f"{model}.sql").write_text(f"{config} select {columns} from range(1){rows}\n")
    return folder


def ctwa(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("ctwa"), "diff-rules", *arguments],
        cwd=settings.data_dir.parent,
        env={"PATH": "/usr/bin:/bin", "CTWA_DATA_DIR": str(settings.data_dir), "COLUMNS": "140"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_shows_publishes_and_leaves_nothing_behind(
    settings: Settings, tmp_path: Path
) -> None:
    project = tiny_project(tmp_path / "project")
    BEFORE.write(settings.warehouse_path)
    publish_marts(settings, as_of=DAY)

    run = ctwa(
        settings, f"project={project}", f"project={project},conversation_gap_days=7",
        "--as-of", "2026-06-30",
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    text = " ".join(run.stdout.split())
    assert "Conversation gap 7 instead of 30 days." in text
    assert "│ A │ B │ 1 │ 1 │" in text
    assert "│ A │ 1 → 0 (-1) │ 1 → 0 (-1) │ 0.00 │ 0.00 → – │" in text
    assert "1 lead moved to another campaign or channel (conversation_gap_days). Example:" in text
    with duckdb.connect(str(settings.marts_path), read_only=True) as marts:
        (row,) = marts.execute(
            "select d.campaign_id_a, d.campaign_id_b, d.cause, a.as_of from marts.credit_diff as d "
            "inner join marts.credit_diff_about as a using (comparison_id)"
        ).fetchall()
        leads = marts.execute("select campaign_id from marts.fct_leads").fetchall()
    assert row == ("A", "B", "conversation_gap_days", DAY)
    assert leads == [("A",)], "the marts themselves changed"
    assert not (settings.data_dir / "comparisons").exists()


def test_a_rule_that_cannot_be_and_a_lock_that_is_held(settings: Settings) -> None:
    wrong = ctwa(settings, "current", "first_touch=last")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    # A slow machine has a line of progress above it.
    assert wrong.stderr.splitlines()[-1] == "first_touch=last: expects 'any' or 'paid'"
    with refresh_lock(settings.lock_path):
        busy = ctwa(settings, "current", "first_touch=paid")
    assert busy.returncode == 75
    assert "another refresh is running" in busy.stderr


def fake_build(side: RuleSet, warehouse: Path, as_of: date) -> None:
    """In place of dbt, where it is about something else."""
    (BEFORE if side.spec == "current" else AFTER).write(warehouse)


def test_a_side_that_cannot_be_built_leaves_the_comparison_before(settings: Settings) -> None:
    diff_rules(settings, "current", "first_touch=paid", as_of=DAY, build=fake_build)
    kept = (settings.data_dir / "comparison.duckdb").read_bytes()

    def fail(side: RuleSet, warehouse: Path, as_of: date) -> None:
        raise DiffRulesError("no")

    with pytest.raises(DiffRulesError):
        diff_rules(settings, "current", "first_touch=paid", build=fail)
    assert (settings.data_dir / "comparison.duckdb").read_bytes() == kept
    assert not (settings.data_dir / "comparisons").exists()


def test_the_same_rules_on_both_sides_differ_in_nothing(settings: Settings) -> None:
    made = diff_rules(settings, "current", "current", as_of=DAY, build=fake_build)
    assert (made.words, made.published, made.tables["credit_diff"].num_rows) == ("", False, 0)


def test_an_erasure_takes_the_comparison_with_it(settings: Settings) -> None:
    diff_rules(settings, "current", "first_touch=paid", as_of=DAY, build=fake_build)
    drop_comparison_of_the_erased(settings)
    assert (settings.data_dir / "comparison.duckdb").exists()

    ledger = Ledger.of(settings)
    ledger.put(Erasure("1", datetime(2026, 6, 30, tzinfo=UTC), "erased", frozenset({"mark"})))
    ledger.save()
    drop_comparison_of_the_erased(settings)

    assert not (settings.data_dir / "comparison.duckdb").exists()


# ---- assets --------------------------------------------------------------------------------------


@pytest.fixture
def materialize(settings: Settings) -> Callable[..., dg.ExecuteInProcessResult]:
    assets = build_comparison_assets(settings, marts=[])

    def run(key: dg.AssetKey, **config: Any) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            assets,
            selection=[key],
            resources={
                "lock": RefreshLock(path=str(settings.lock_path)),
                "options": RefreshOptions(as_of="2026-07-01"),
            },
            run_config={"ops": {"comparison__credit_diff": {"config": config}}} if config else {},
        )

    return run


def test_the_asset_shows_the_campaigns(
    settings: Settings,
    materialize: Callable[..., dg.ExecuteInProcessResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparison, "build_side", fake_build)
    result = materialize(CREDIT_DIFF_KEY, a="current", b="first_touch=paid", as_of="2026-06-30")
    (event,) = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert metadata["leads_changed"].value == 1
    assert "| Campaign B | 0 | 1 | +1 | +1 | – | 0.00 |" in str(metadata["campaigns"].value)


def test_restatements_that_fail_stop_nothing_and_are_seen(
    settings: Settings,
    materialize: Callable[..., dg.ExecuteInProcessResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    BEFORE.write(settings.warehouse_path)
    publish_marts(settings, as_of=DAY)
    AFTER.write(settings.warehouse_path)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(restatements, "write", fail)
        failed = materialize(RESTATEMENTS_KEY)
    (check,) = failed.get_asset_check_evaluations()
    assert failed.success
    assert (check.check_name, check.passed) == (RECORDED, False)
    assert "No space left" in (check.description or "")

    done = materialize(RESTATEMENTS_KEY)
    (check,) = done.get_asset_check_evaluations()
    assert check.passed
    (event,) = done.get_asset_materialization_events()
    assert event.materialization.metadata["rows"].value == 2
    assert "| late_referral | 2 |" in str(event.materialization.metadata["causes"].value)


def test_a_bar_in_a_name_begins_no_cell() -> None:
    row: dict[str, object] = dict.fromkeys(CREDIT_DIFF_CAMPAIGNS.names, 1)
    row |= dict.fromkeys(("comparison_id", "platform", "campaign_id", "channel"), "x")
    row |= {f.name: None for f in CREDIT_DIFF_CAMPAIGNS if pa.types.is_decimal(f.type)}
    row |= {"campaign_name": "Botox | SP", "leads_a": 0}
    table = pa.Table.from_pylist([row], schema=CREDIT_DIFF_CAMPAIGNS)
    *_, line = markdown({"credit_diff_campaigns": table}).splitlines()
    assert line.startswith("| Botox \\| SP | 0 | 1 | +1 |")
