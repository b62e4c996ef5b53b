"""What `ctwa` says when something is wrong: one line for people, and a code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["import-outcomes", "file"], {}, "columns missing"),
        (["replay", "file"], {"CTWA_VAULT_URL": "mysql://u:canary@h/x"}, "not supported"),
        (["replay", "file"], {"CTWA_VAULT_URL": "sqlite:///{here}/file/v.db"}, "file"),
        (["backup", "/proc/none"], {}, "/proc/none: No such file"),
        (["refresh"], {"CTWA_REPORTING_TIMEZONE": "Mars"}, "CTWA_REPORTING_TIMEZONE"),
    ],
    ids=["file", "database", "vault's folder", "backup's folder", "setting"],
)
def test_what_a_user_can_mend_is_one_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    (tmp_path / "file").write_text("a,b\n1,2\n")
    values = {name: value.format(here=tmp_path) for name, value in environment.items()}
    found = subprocess.run(
        [Path(sys.executable).with_name("ctwa"), *arguments],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "CTWA_DATA_DIR": str(tmp_path / "data"), **values},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    lines = found.stderr.strip().splitlines()
    assert len(lines) == 1, found.stderr
    assert said in lines[0]
    assert "canary" not in found.stderr
