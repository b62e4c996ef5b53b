"""What `ctwa` says when something is wrong: one line for people, and a code."""

from __future__ import annotations

import errno
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from commands.cli import app, explanation
from tests.support.channels import hook


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["import-outcomes", "file"], {}, "columns missing"),
        (["replay", "file"], {"CTWA_VAULT_URL": "mysql://u:canary@h/x"}, "not supported"),
        (["replay", "file"], {"CTWA_VAULT_URL": "sqlite:///{here}/file/v.db"}, "file"),
        (["backup", "/proc/none"], {}, "/proc/none: No such file"),
        (["refresh"], {"CTWA_REPORTING_TIMEZONE": "Mars"}, "CTWA_REPORTING_TIMEZONE"),
        (["refresh"], {"CTWA_NIGHTLY_CRON": "60 5 * * *"}, "CTWA_NIGHTLY_CRON: is not a cron"),
        (["dev"], {"CTWA_ACTIVATION_CRON": "hourly"}, "CTWA_ACTIVATION_CRON: is not a cron"),
        (["serve", "--port", "80808"], {}, "--port 80808: ports range from 1 to 65535"),
        (["serve", "--port", "-1"], {}, "--port -1: ports range from 1 to 65535"),
        (["serve", "--port", "{taken}"], {}, "is used by another program"),
        (["serve", "--host", "no-such-host.invalid"], {}, "there is no such name"),
        (["serve", "--host", "a" * 70 + ".example"], {}, "there is no such name"),
        (["serve", "--host", "192.0.2.1"], {}, "is not an address of this machine"),
        (["dev", "--ui-port", "{taken}", "--port", "0"], {}, "another port with --ui-port"),
    ],
    ids=[
        *(
            "file",
            "database",
            "vault's folder",
            "backup's folder",
            "setting",
            "cron",
            "cron of dev",
        ),
        *("port", "negative port", "taken port", "host", "long host", "another's address"),
        "taken port of the UI",
    ],
)
def test_what_a_user_can_mend_is_one_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    (tmp_path / "file").write_text("a,b\n1,2\n")
    values = {name: value.format(here=tmp_path) for name, value in environment.items()}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        found = subprocess.run(
            [
                Path(sys.executable).with_name("ctwa"),
                *(a.replace("{taken}", port) for a in arguments),
            ],
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


def test_an_unreadable_env_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("CTWA_SITE_ID=aurora\n".encode("utf-16"))
    found = subprocess.run(
        [Path(sys.executable).with_name("ctwa"), "refresh"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    assert found.stderr.strip() == f"{tmp_path}/.env is not UTF-8 text: save it as UTF-8"


def test_people_are_told_that_the_night_cannot_begin(tmp_path: Path) -> None:
    """Nobody reads what cron says."""
    with hook() as chat:
        found = subprocess.run(
            [Path(sys.executable).with_name("ctwa"), "refresh"],
            cwd=tmp_path,
            env={
                "PATH": "/usr/bin:/bin",
                "CTWA_DATA_DIR": str(tmp_path / "data"),
                "CTWA_NIGHTLY_CRON": "60 5 * * *",
                "META_CONVERSIONS_MODE": "test",
                "CTWA_ALERT_WEBHOOK_URL": chat.url,
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert found.returncode == 1
    assert len(found.stderr.strip().splitlines()) == 1, found.stderr
    [text] = chat.texts
    assert "CTWA_NIGHTLY_CRON: is not a cron line" in text


def test_only_the_receiver_listens_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster's UI has no login: an address for the receiver is none for the UI."""
    started = {}
    monkeypatch.setattr("orchestration.instance.dev", lambda _, **given: started.update(given))
    CliRunner().invoke(app, ["dev", "--host", "0.0.0.0", "--port", "0", "--ui-port", "0"])
    assert (started["host"], started["ui_host"]) == ("0.0.0.0", "127.0.0.1")
    arguments = ["dev", "--ui-host", "0.0.0.0", "--port", "0", "--ui-port", "0"]
    CliRunner().invoke(app, arguments)
    assert (started["host"], started["ui_host"]) == ("127.0.0.1", "0.0.0.0")


def test_a_full_disk_is_a_line_and_no_traceback() -> None:
    said = explanation(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert said is not None
    assert "free space on the disk" in said
    assert explanation(OSError("no error of the disk")) is None


def test_a_full_disk_is_named_whichever_library_met_it(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'small.db'}")
    with engine.connect() as connection:
        connection.execute(text("create table t (x text)"))
        connection.execute(text("pragma max_page_count = 2"))
        with pytest.raises(OperationalError) as full:
            connection.execute(text("insert into t values (zeroblob(100000))"))

    assert "free space" in (explanation(full.value) or "")
    assert explanation(sqlite3.OperationalError("no such table: t")) is None
