"""Who is told what, once: failed runs and new warnings, by the refresh and by the daemon."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ctwa.settings import Settings
from orchestration import alerts
from orchestration.alerts import ALERTS_COLUMNS, RunEnd, damage_of, redacted, send_alerts
from orchestration.instance import open_instance
from orchestration.refresh import refresh
from orchestration.sensors import build_alert_sensors
from publishing import notify
from tests.support.channels import Hook, hook

Append = Callable[[int], None]
Turn = Callable[[str, object], None]


@pytest.fixture
def chat() -> Iterator[Hook]:
    with hook() as served:
        yield served


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "PAUSES", ())


@pytest.fixture
def told_settings(make_settings: Callable[..., Settings], chat: Hook) -> Settings:
    return make_settings(alert_webhook_url=chat.url)


# ---- what is told --------------------------------------------------------------------------------


def end(run_id: str, **changes: Any) -> RunEnd:
    return RunEnd(**({"job": "nightly_refresh", "run_id": run_id, "published": True} | changes))


def test_a_run_is_told_once_whoever_sees_it_end(told_settings: Settings, chat: Hook) -> None:
    failed = end("r1", failures=["meta_ads: the token is dead"], published=False)
    assert send_alerts(told_settings, failed) == ["webhook"]
    assert send_alerts(told_settings, failed) == []
    [text] = chat.texts
    assert text.splitlines() == [
        "*ctwa: nightly_refresh failed*",
        "✗ meta_ads: the token is dead",
        "The previous marts stay published.",
        "Run r1 of nightly_refresh; more in the Dagster UI (`ctwa dev`).",
    ]


def test_a_warning_is_told_when_it_is_new_and_again_when_it_comes_back(
    told_settings: Settings, chat: Hook
) -> None:
    warned = {"a: silence": "no webhook for 3 hours", "b: share": "few referrals"}
    send_alerts(told_settings, end("r1", warnings={"a: silence": warned["a: silence"]}))
    send_alerts(told_settings, end("r2", warnings={"a: silence": "no webhook for 9 hours"}))
    assert len(chat.texts) == 1, "the same warning, one night later"
    send_alerts(told_settings, end("r3", warnings=warned))
    assert "few referrals" in chat.texts[1]
    assert "3 hours" not in chat.texts[1]
    assert "1 earlier warning still active" in chat.texts[1]
    send_alerts(told_settings, end("r4", warnings=warned, passed=frozenset({"c: other"})))
    send_alerts(told_settings, end("r5", passed=frozenset(warned)))
    assert len(chat.texts) == 2, "that all is well again is no message"
    send_alerts(told_settings, end("r6", warnings={"b: share": "few referrals"}))
    assert len(chat.texts) == 3


def test_a_job_that_fails_at_each_try_is_told_once_a_night(
    told_settings: Settings, chat: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        failures = [f"the warehouse is open in another process (PID {number})"]
        send_alerts(told_settings, end(f"r{number}", failures=failures))
    assert len(chat.texts) == 1
    send_alerts(told_settings, end("r4", failures=["the disk is full"]))
    assert len(chat.texts) == 2, "another failure"
    monkeypatch.setattr(alerts, "AGAIN_SECONDS", -1)
    send_alerts(told_settings, end("r5", failures=["the disk is full"]))
    assert len(chat.texts) == 3, "a day later"
    monkeypatch.undo()
    send_alerts(told_settings, end("r6"))
    send_alerts(told_settings, end("r7", failures=["the disk is full"]))
    assert len(chat.texts) == 4, "after a run that went well"


def test_a_dead_channel_is_a_line_in_the_log_and_the_next_run_tells(
    told_settings: Settings, chat: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    chat.status = 500
    warned = {"a: silence": "no webhook"}
    assert send_alerts(told_settings, end("r1", warnings=warned)) == []
    assert "alerts by webhook: the webhook answers 500" in caplog.text
    assert "hook-secret" not in caplog.text
    chat.status = 200
    assert send_alerts(told_settings, end("r2", warnings=warned)) == ["webhook"]


def _spoil_as_garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 999)


def _spoil_as_a_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    (path / "inside").mkdir(parents=True)


def _spoil_as_a_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _spoil_as_another_database(path: Path) -> None:
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as other:
        other.execute("create table told (event text primary key, at real, by text not null)")


def _spoil_by_cutting(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _spoil_by_a_write_ahead_log_of_another(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + bytes(4080))
    path.with_name(path.name + "-wal").write_bytes(b"stale" * 100)


@pytest.mark.parametrize(
    "spoil",
    [
        _spoil_as_garbage,
        _spoil_as_a_folder,
        _spoil_as_a_pipe,
        _spoil_as_another_database,
        _spoil_by_cutting,
        _spoil_by_a_write_ahead_log_of_another,
    ],
)
def test_e94_a_damaged_ledger_is_set_aside_and_the_alert_goes_out(
    told_settings: Settings, chat: Hook, spoil: Callable[[Path], None]
) -> None:
    send_alerts(told_settings, end("r0", failures=["x"]))
    path = told_settings.data_dir / "alerts.db"
    spoil(path)
    assert damage_of(path, ALERTS_COLUMNS) != ""

    assert send_alerts(told_settings, end("r1", failures=["y"])) == ["webhook"]
    assert send_alerts(told_settings, end("r1", failures=["y"])) == [], "kept in the new file"
    assert "✗ y" in chat.texts[1]
    [kept] = (p for p in told_settings.data_dir.glob("alerts.db.broken-*") if "-wal" not in p.name)
    assert kept.name in chat.texts[1]
    assert path.stat().st_mode & 0o777 == 0o600
    assert damage_of(path, ALERTS_COLUMNS) == ""
    assert send_alerts(told_settings, end("r2", failures=["z"])) == ["webhook"]
    assert "broken" not in chat.texts[2], "said once"


def test_e94_a_locked_ledger_is_told_past_once_and_stays(
    told_settings: Settings, chat: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "_WAIT_SECONDS", 0.05)
    send_alerts(told_settings, end("r0", failures=["x"]))
    path = told_settings.data_dir / "alerts.db"
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("begin exclusive")
        assert send_alerts(told_settings, end("r1", failures=["y"])) == ["webhook"]
        assert send_alerts(told_settings, end("r1", failures=["y"])) == [], "remembered meanwhile"
        other.execute("rollback")
    assert list(told_settings.data_dir.glob("*.broken-*")) == []
    assert send_alerts(told_settings, end("r0", failures=["x"])) == [], "it is the ledger again"


_FULL = """
import resource, sys
from ctwa.settings import load_settings
from orchestration.alerts import RunEnd, send_alerts
settings = load_settings(_env_file=None, data_dir=sys.argv[1], alert_webhook_url=sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
for run in ("r1", "r1", "r2"):
    end = RunEnd("nightly_refresh", run, failures=["no " + "xy"[run > "r1"]])
    print(send_alerts(settings, end))
"""


@pytest.mark.parametrize("is_there", [True, False])
def test_e94_where_nothing_can_be_written_the_alert_goes_out(
    told_settings: Settings, chat: Hook, is_there: bool
) -> None:
    """No file may grow, as on a full disk: the ledger is no longer kept, people are told."""
    if is_there:
        send_alerts(told_settings, end("r0", failures=["x"]))
    told_settings.data_dir.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(told_settings.data_dir), chat.url],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["['webhook']", "[]", "['webhook']"], done.stderr
    assert list(told_settings.data_dir.glob("*.broken-*")) == []


def test_e94_the_ledger_is_its_owners_only_also_one_of_before(
    told_settings: Settings, chat: Hook
) -> None:
    path = told_settings.data_dir / "alerts.db"
    send_alerts(told_settings, end("r0", failures=["x"]))
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    send_alerts(told_settings, end("r1", failures=["y"]))
    assert path.stat().st_mode & 0o777 == 0o600


def test_e94_what_cannot_be_worded_is_told_as_such(
    told_settings: Settings, chat: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> str:
        raise TypeError("secret")

    monkeypatch.setattr(alerts, "redacted", fails)
    assert send_alerts(told_settings, end("r1", failures=["x"])) == ["webhook"]
    [text] = chat.texts
    assert "TypeError" in text
    assert "secret" not in text


def test_nothing_is_remembered_where_nobody_is_told(settings: Settings) -> None:
    assert send_alerts(settings, end("r1", failures=["x"])) == []
    assert not (settings.data_dir / "alerts.db").exists()


def test_e77_neither_secrets_nor_persons_leave_by_an_alert(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(
        meta_access_token="EAAcanary",
        meta_ad_account_ids="1010035716096",
        google_ads_customer_ids="123-456-7890",
        marts_url="postgresql://bi:canary-pw@db/marts",
    )
    said = (
        "EAAcanary postgresql://bi:canary-pw@db/marts smtp://u:pw@mail +55 11 98765-4321 "
        "5511987654321 ana@example.com ad 120226305854810726 account 1010035716096 customer "
        "1234567890 since 2026-06-09 18:00 in 1234567 rows at 0.165289"
    )
    assert redacted(settings, said) == (
        "*** *** smtp://***@mail (number) (number) (e-mail) ad 120226305854810726 account "
        "1010035716096 customer 1234567890 since 2026-06-09 18:00 in 1234567 rows at 0.165289"
    )


# ---- by the refresh ------------------------------------------------------------------------------


def test_a_refresh_tells_of_its_own_failure_and_of_new_warnings(
    told_settings: Settings,
    project: Path,
    append: Append,
    chat: Hook,
    turn: Turn,
) -> None:
    append(3)
    turn("stages", 1)
    first = refresh(told_settings, project_dir=project)
    assert first.warnings
    assert "marts/fct_leads: seqs_are_mapped: seq 2, stage a|b" in chat.texts[0]
    # The daemon sees the same run end.
    with open_instance(told_settings) as instance:
        _sensor_run(told_settings, instance, first.run_id, "run_succeeded")
    assert len(chat.texts) == 1

    append(1)  # of what has not changed nothing is asked again
    turn("limit", 2)
    second = refresh(told_settings, project_dir=project)
    assert not second.ok
    assert len(chat.texts) == 2
    assert chat.texts[1].startswith("*ctwa: nightly_refresh failed*\n✗ ")
    assert "assert_few_leads" in chat.texts[1]
    assert "The previous marts stay published." in chat.texts[1]


# ---- by the daemon -------------------------------------------------------------------------------


def _sensor_run(
    settings: Settings, instance: dg.DagsterInstance, run_id: str, name: str
) -> dg.SkipReason | None:
    sensor: Any = next(s for s in build_alert_sensors(settings) if s.name == name)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    ended = instance.all_logs(run_id)[-1].dagster_event
    assert ended is not None
    context: Any = dg.build_run_status_sensor_context(
        sensor_name=name, dagster_instance=instance, dagster_run=run, dagster_event=ended
    )
    if name == "run_failed":
        context = context.for_run_failure()
    return sensor(context)  # type: ignore[no-any-return]


@dg.asset(check_specs=[dg.AssetCheckSpec("share", asset="sales")], config_schema={"fails": bool})
def sales(context) -> Iterator[Any]:  # type: ignore[no-untyped-def]
    if context.op_execution_context.op_config["fails"]:
        raise dg.Failure("the disk is full: free some")
    yield dg.AssetCheckResult(
        passed=False,
        check_name="share",
        severity=dg.AssetCheckSeverity.WARN,
        description="few referrals. Look at the app",
    )
    yield dg.MaterializeResult()


def _run_sales(instance: dg.DagsterInstance, *, fails: bool) -> str:
    config = {"ops": {"sales": {"config": {"fails": fails}}}}
    return dg.materialize(
        [sales], instance=instance, run_config=config, raise_on_error=False
    ).run_id


def test_the_daemon_tells_of_a_failed_run_but_not_of_one_that_is_tried_again(
    told_settings: Settings, chat: Hook
) -> None:
    with open_instance(told_settings) as instance:
        retried = _run_sales(instance, fails=True)
        # As Dagster marks it where `run_retries` are on.
        instance.add_run_tags(retried, {"dagster/will_retry": "true"})
        skipped = _sensor_run(told_settings, instance, retried, "run_failed")
        assert isinstance(skipped, dg.SkipReason)
        assert chat.texts == []
        final = _run_sales(instance, fails=True)
        _sensor_run(told_settings, instance, final, "run_failed")
        _sensor_run(told_settings, instance, final, "run_failed")
    [text] = chat.texts
    assert "✗ sales: the disk is full: free some" in text
    assert f"Run {final[:8]}" in text


def test_the_daemon_tells_of_a_warning_of_a_run_that_went_well(
    told_settings: Settings, chat: Hook
) -> None:
    with open_instance(told_settings) as instance:
        for _ in range(2):
            run_id = _run_sales(instance, fails=False)
            _sensor_run(told_settings, instance, run_id, "run_succeeded")
    [text] = chat.texts
    assert text.splitlines()[:2] == [
        "*ctwa: 1 new warning*",
        "! sales: share: few referrals. Look at the app",
    ]


def test_without_a_channel_there_are_no_sensors_of_runs(settings: Settings) -> None:
    assert [s.name for s in build_alert_sensors(settings)] == ["envelopes_missing"]


def test_e74_silence_between_two_runs_is_told_by_the_sensor_and_seen_in_the_ui(
    told_settings: Settings, chat: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingestion.watch import Observation
    from orchestration import sensors

    looks = iter(
        [
            Observation("envelopes_missing", "ok", "came", subject="whatsapp"),
            Observation("envelopes_missing", "warn", "none", subject="whatsapp", mend="look"),
            Observation("envelopes_missing", "warn", "none yet", subject="whatsapp", mend="look"),
            Observation("envelopes_missing", "ok", "came", subject="whatsapp"),
        ]
    )
    monkeypatch.setattr(sensors, "look_at_envelopes", lambda *_: [next(looks)])
    sensor = build_alert_sensors(told_settings)[0]
    seen, cursor = [], None
    with open_instance(told_settings) as instance:
        for _ in range(4):
            with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
                result: Any = sensor(context)
            cursor = result.cursor
            history = instance.event_log_storage.get_asset_check_execution_history(
                dg.AssetCheckKey(dg.AssetKey(["event_log", "envelopes"]), "envelopes_missing"),
                limit=9,
            )
            seen.append([r.status.value for r in history])
    assert seen == [[], ["FAILED"], ["FAILED"], ["SUCCEEDED", "FAILED"]]
    assert [t.splitlines()[1] for t in chat.texts] == [
        "! event_log/envelopes: envelopes_missing: none. look"
    ]


def test_the_ledger_forgets_runs_of_long_ago(told_settings: Settings) -> None:
    send_alerts(told_settings, end("old", failures=["x"]))
    path = told_settings.data_dir / "alerts.db"
    before = (datetime.now(UTC) - timedelta(days=100)).timestamp()
    with sqlite3.connect(path) as connection:
        connection.execute("update told set at = ?", (before,))
    send_alerts(told_settings, end("new", failures=["x"]))
    with sqlite3.connect(path) as connection:
        assert connection.execute("select event from told").fetchall() == [("run:new",)]
