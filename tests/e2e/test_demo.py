"""`ctwa demo`, small: from signed webhook to published marts, against the truth."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from simulator.demo import demo


def _console() -> Console:
    return Console(file=io.StringIO(), width=200, highlight=False)


@pytest.mark.timeout(600)
def test_the_marts_of_the_demo_equal_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nights, every story, row by row; settings of the machine must not leak in."""
    monkeypatch.setenv("CTWA_MARTS_URL", "postgresql+psycopg://nobody@127.0.0.1:1/production")
    console, data = _console(), tmp_path / "demo"

    code = demo(data, seed=7, leads=120, console=console)

    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert code == 0, said
    assert "all equal: 1" in said
    assert "campaign-days compared" in said
    assert "per qualified lead" in said
    assert "refused (401)" in said
    assert (data / "marts.duckdb").exists()
    assert os.environ["CTWA_MARTS_URL"].endswith("/production")
    assert "CTWA_INTAKE_SECRET" not in os.environ


def test_a_folder_with_other_files_is_never_wiped(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years of work")
    console = _console()

    assert demo(tmp_path, console=console) == 1

    assert (tmp_path / "thesis.txt").exists()
    assert "no demo made" in console.file.getvalue()  # type: ignore[attr-defined]
