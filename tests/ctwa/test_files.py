"""Files appear whole or not at all, and on the disk before their name."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ctwa import files


def test_contents_are_on_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final, steps = tmp_path / "f", []
    replace, fsync = Path.replace, files.fsync
    monkeypatch.setattr(files, "fsync", lambda p: (steps.append(f"sync {p.suffix}"), fsync(p)))
    monkeypatch.setattr(Path, "replace", lambda p, to: (steps.append("name"), replace(p, to))[1])
    files.write_durably(final, "whole")
    assert steps == ["sync .tmp", "name", "sync "]
    assert final.read_text() == "whole"


def test_a_block_that_raises_leaves_what_was_there_and_no_draft(tmp_path: Path) -> None:
    final = tmp_path / "f"
    files.write_durably(final, b"old")

    def cut() -> None:
        with files.replacing(final) as draft:
            draft.write_text("half")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        cut()
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert final.read_bytes() == b"old"


def test_a_private_file_is_private_before_anything_is_in_it(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "f", mode=0o600) as draft:
        assert stat.S_IMODE(draft.stat().st_mode) == 0o600
        draft.write_text("secret")
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


def test_of_two_that_create_a_file_the_first_wins(tmp_path: Path) -> None:
    files.create_durably(tmp_path / "f", "first", mode=0o600)
    files.create_durably(tmp_path / "f", "second", mode=0o600)
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_text() == "first"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
