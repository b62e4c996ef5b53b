"""Upgrades: what wrote a data folder, and that an older program leaves newer data alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from ctwa import __version__
from ctwa.errors import DataFolderError
from ctwa.settings import Settings
from keeping.backup import BackupError, backup, restore
from keeping.data_folder import put_right
from keeping.formats import FILE, FORMATS, Formats
from orchestration.refresh import refresh
from orchestration.upgrade import changed_marts, upgrade_check

NEWER = {"version": "9.1.0", "formats": {**FORMATS, "lake": 2, "attic": 1}}


@pytest.fixture
def own(settings: Settings) -> Settings:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    return settings


def test_a_folder_of_before_is_taken_and_marked(own: Settings) -> None:
    assert Formats.read(own) == Formats("", dict.fromkeys(FORMATS, 1))
    put_right(own)
    assert Formats.read(own) == Formats(__version__, FORMATS)
    marked = (own.data_dir / FILE).stat().st_mtime_ns
    put_right(own)
    assert (own.data_dir / FILE).stat().st_mtime_ns == marked


def test_a_downgrade_is_refused_by_name_and_changes_nothing(own: Settings) -> None:
    (own.data_dir / FILE).write_text(json.dumps(NEWER))
    before = {p: p.stat().st_mtime_ns for p in own.data_dir.rglob("*")}

    result = refresh(own)

    assert not result.ok
    (text,) = result.failures
    assert "9.1.0 (format lake 2, attic 1)" in text
    assert "Install 9.1.0 or later" in text
    assert {p: p.stat().st_mtime_ns for p in own.data_dir.rglob("*")} == before
    (found,) = [f for f in upgrade_check(own) if f.status == "wrong"]
    assert "install 9.1.0 or later" in found.fix


def test_a_newer_version_with_the_same_formats_may_be_left_again(own: Settings) -> None:
    (own.data_dir / FILE).write_text(json.dumps({"version": "9.1.0", "formats": FORMATS}))
    put_right(own)
    assert Formats.read(own).version == __version__


def test_a_damaged_mark_is_said(own: Settings) -> None:
    (own.data_dir / FILE).write_text('{"version"')
    with pytest.raises(DataFolderError, match=r"format\.json is damaged"):
        put_right(own)


def test_a_backup_of_a_newer_version_is_not_restored(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    source = make_settings(data_dir=tmp_path / "one")
    source.data_dir.mkdir()
    made = backup(source, tmp_path / "backups")
    manifest = made.path / "manifest.json"
    content = json.loads(manifest.read_text())
    assert content["formats"] == FORMATS
    manifest.write_text(json.dumps(content | NEWER))

    with pytest.raises(BackupError, match=r"9\.1\.0 \(format lake 2, attic 1\)"):
        restore(make_settings(data_dir=tmp_path / "two"), made.path)


def test_changes_of_marts_are_told_by_table_and_column(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "marts.duckdb")) as marts:
        marts.execute("create table fct_leads (lead_id varchar, old int, spend decimal(9, 2))")
        marts.execute("create table gone (a int)")
        marts.execute("create table same (a varchar, seen timestamptz)")
        marts.execute("create table credit_diff (a int)")
        marts.execute("create table own (a int)")

    def model(name: str, **columns: str | None) -> dict[str, object]:
        declared = {n: {"name": n, "data_type": kind} for n, kind in columns.items()}
        return {
            "resource_type": "model", "schema": "marts", "alias": name, "columns": declared,
            "config": {"materialized": "table"},
        }  # fmt: skip

    nodes = [
        model("fct_leads", lead_id="text", spend="decimal(18, 2)", new="bigint"),
        model("fresh", a="int"),
        model("same", a="text", seen="timestamp with time zone"),
        model("own", a=None),
    ]
    manifest = {"nodes": {str(n["alias"]): n for n in nodes}}

    found = {f.subject: f.found for f in changed_marts(tmp_path / "marts.duckdb", manifest)}

    assert found == {
        "fct_leads": "new columns: new; columns that go: old; "
        "other types: spend DECIMAL(9,2) to DECIMAL(18,2)",
        "fresh": "is new",
        "gone": "goes",
    }
