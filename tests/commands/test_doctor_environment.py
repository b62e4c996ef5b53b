"""`ctwa doctor` on what surrounds an installation: each line is true, and says how to mend it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from activation.ledger import open_ledger
from commands.doctor import examine, installation, outbound, stores
from ctwa.settings import Settings
from ingestion.ads.meta import accounts as meta
from ingestion.source import Finding
from orchestration.alerts import RunEnd, send_alerts
from publishing import notify


def found(findings: object) -> dict[str, Finding]:
    told = {f.subject: f for f in findings}  # type: ignore[attr-defined]
    for finding in told.values():
        assert (finding.status == "wrong") == bool(finding.fix), finding
    return told


# ---- names ---------------------------------------------------------------------------------------


def test_a_missing_env_file_has_a_line(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = found(installation.names(settings))[".env"]
    assert (said.status, "no setting is in" in said.found) == ("wrong", True)
    assert "copy .env.example" in said.fix
    monkeypatch.setenv("CTWA_DATA_DIR", "data")
    said = found(installation.names(settings))[".env"]
    assert (said.status, "only the environment" in said.found) == ("off", True)


def test_names_that_mean_nothing_are_told_with_the_nearest_that_does(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env = tmp_path / ".env"
    env.write_text("META_ACESS_TOKEN=canary\nCTWA_SITE_ID=a\n")
    env.chmod(0o600)
    monkeypatch.setenv("HUBSPOT_TOKENS", "canary")
    monkeypatch.setenv("CTWA_QQQ", "canary")
    told = found(installation.names(settings))
    assert told[".env"].status == "ok"
    assert told["META_ACESS_TOKEN"].fix == "did you mean META_ACCESS_TOKEN?"
    assert told["META_ACESS_TOKEN"].found.startswith("in .env")
    assert told["HUBSPOT_TOKENS"].fix == "did you mean HUBSPOT_TOKEN?"
    assert told["CTWA_QQQ"].found.startswith("in the environment")
    assert "CTWA_SITE_ID" not in told
    assert "canary" not in str(told)
    env.chmod(0o644)
    assert "chmod 600" in found(installation.names(settings))[".env"].fix


# ---- schedules and history -----------------------------------------------------------------------


def test_the_next_night_is_told_in_the_reporting_zone(
    make_settings: Callable[..., Settings],
) -> None:
    told = found(installation.schedules(make_settings(nightly_cron="30 4 * * *")))
    said = told["nightly refresh"].found
    assert said.startswith("CTWA_NIGHTLY_CRON 30 4 * * *: next 2")
    assert said.endswith("04:30 America/Sao_Paulo")


def test_the_size_of_the_run_history_has_a_line(settings: Settings) -> None:
    assert found(installation.history(settings))["run history"].status == "off"
    runs = settings.dagster_home / "history" / "runs.db"
    runs.parent.mkdir(parents=True)
    with sqlite3.connect(runs) as connection:
        connection.execute("create table runs (update_timestamp timestamp)")
        connection.execute("insert into runs values (?)", [datetime.now(UTC).isoformat(" ")])
    (runs.parent / "padding").write_bytes(b"x" * 3 * 2**20)
    said = found(installation.history(settings))["run history"]
    assert (said.status, said.found) == ("ok", "1 runs, 3 MiB; kept for 30 days")
    with sqlite3.connect(runs) as connection:
        old = [("2020-01-01 00:00:00.000000",)] * 99
        connection.executemany("insert into runs values (?)", old)
    assert "99 are older" in found(installation.history(settings))["run history"].found
    runs.write_bytes(b"torn" * 999)
    assert "cannot be read" in found(installation.history(settings))["run history"].found


# ---- ledgers -------------------------------------------------------------------------------------


def test_e94_damaged_ledgers_are_named(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "PAUSES", ())
    settings = make_settings(alert_webhook_url="http://127.0.0.1:9/canary")
    assert found(stores.ledgers(settings)) == {}
    send_alerts(settings, RunEnd("nightly_refresh", "r1", failures=["x"]))
    with open_ledger(settings):
        pass
    told = found(stores.ledgers(settings))
    assert told["ledgers"].found == "intact: alerts, what was sent"
    # Also what did not go out, until something has.
    assert "connection refused" in told["alerts by webhook"].found

    (settings.data_dir / "alerts.db").write_bytes(b"garbage" * 999)
    (settings.activation_dir / "ledger.db").write_bytes(b"garbage" * 999)
    (settings.data_dir / "erasures.json").write_text("{")
    told = found(stores.ledgers(settings))
    assert "alerts.db is damaged: file is not a database" in told["ledger of alerts"].found
    assert "nothing is sent twice" in told["ledger of what was sent"].fix
    assert told["ledger of erasures"].status == "wrong"

    send_alerts(settings, RunEnd("nightly_refresh", "r2", failures=["y"]))
    told = found(stores.ledgers(settings))
    assert "ledger of alerts" not in told
    [aside] = [subject for subject in told if subject.startswith("alerts.db.broken-")]
    assert "is removed automatically after 30 days" in told[aside].fix


# ---- readers of the marts ------------------------------------------------------------------------


def test_the_database_of_the_marts_is_asked_for_its_rights(
    make_settings: Callable[..., Settings], postgres_url: str
) -> None:
    def said(url: str) -> Finding:
        return found(outbound.readers(make_settings(marts_url=url)))["marts in PostgreSQL"]

    assert found(outbound.readers(make_settings()))["marts in PostgreSQL"].status == "off"
    assert said(postgres_url).status == "ok"
    plain = sa.make_url(postgres_url).set(drivername="postgresql")
    role = f"bi_{time.time_ns()}"
    with psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True) as owner:
        owner.execute(f"create role {role} login password 'canary'")  # type: ignore[arg-type]
    other = plain.set(username=role, password="canary").render_as_string(hide_password=False)
    assert "may not create the schema marts" in said(other).found
    with psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True) as owner:
        owner.execute("create schema marts")
        assert "grant usage, create on schema marts" in said(other).fix
        owner.execute(f"grant usage, create on schema marts to {role}")  # type: ignore[arg-type]
        assert said(other).status == "ok"
        owner.execute("create table marts.fct_leads (lead_id text)")
        assert "1 tables in schema marts belong to a user other than" in said(other).found


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bi:canary@127.0.0.1:9/marts",
        "postgresql://bi:canary@no-such-host.invalid/marts",
    ],
)
def test_a_database_that_is_not_there_is_told_without_the_password(
    make_settings: Callable[..., Settings], url: str
) -> None:
    said = found(outbound.readers(make_settings(marts_url=url)))["marts in PostgreSQL"]
    assert said.status == "wrong"
    assert "/marts cannot be reached" in said.found
    assert "canary" not in str(said)


def test_a_group_of_readers_that_is_none_is_named(make_settings: Callable[..., Settings]) -> None:
    told = found(outbound.readers(make_settings(marts_group="no-such-group")))
    assert "groupadd no-such-group" in told["readers of the marts"].fix


# ---- tokens --------------------------------------------------------------------------------------


def test_a_token_that_could_not_be_checked_is_not_called_good(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(
        meta_graph_url="http://127.0.0.1:9",
        meta_access_token="EAAcanary",
        meta_ad_account_ids="1",
        meta_dataset_ids="1:2",
        meta_conversions_mode="live",
    )
    for findings in (meta.examine(settings), outbound.conversions(settings)):
        token = next(f for f in findings if f.subject.lower().endswith("token"))
        assert token.status == "wrong"
        assert token.found.startswith("could not be checked")
        assert "works" not in token.found


def test_a_whole_examination_has_these_lines_and_never_raises(settings: Settings) -> None:
    told = found(examine(settings, receiver_url="http://127.0.0.1:9"))
    assert {".env", "nightly refresh", "run history", "marts in PostgreSQL"} <= set(told)
