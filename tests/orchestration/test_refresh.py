"""`refresh` on a small project: what it publishes, what stops it, what it recovers from."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from ctwa.settings import Settings
from ingestion.lake.lake import Lake
from ingestion.source import SourceError
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from keeping.backup import complete_backups, verify
from orchestration.definitions import build_definitions
from orchestration.instance import open_instance
from orchestration.rebuild import BuildState
from orchestration.refresh import RefreshResult, refresh
from tests.conftest import PII_KEY

AS_OF = date(2026, 6, 30)
Append = Callable[[int], None]
Turn = Callable[[str, object], None]


def run(settings: Settings, project: Path, **options: object) -> RefreshResult:
    return refresh(settings, as_of=AS_OF, project_dir=project, **options)  # type: ignore[arg-type]


def published(settings: Settings) -> list[tuple[object, ...]]:
    with duckdb.connect(str(settings.marts_path), read_only=True) as connection:
        return connection.execute("select seq, as_of from marts.fct_leads order by seq").fetchall()


def test_refresh_lands_builds_and_publishes_and_the_ui_sees_it(
    settings: Settings, project: Path, append: Append, caplog: pytest.LogCaptureFixture
) -> None:
    append(3)

    with caplog.at_level("INFO"):
        result = run(settings, project)

    assert result.failures == []
    assert result.ok
    assert result.published
    assert published(settings) == [(seq, AS_OF) for seq in (1, 2, 3)]
    with open_instance(settings) as instance:
        seen = instance.get_run_by_id(result.run_id)
        assert seen is not None
        assert seen.status is dg.DagsterRunStatus.SUCCESS
        event = instance.get_latest_materialization_event(dg.AssetKey(["event_log", "envelopes"]))
        off = instance.get_latest_materialization_event(dg.AssetKey(["meta_ads", "ads"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["rows_loaded"].value == 3
    assert off is not None
    assert off.asset_materialization is not None
    assert off.asset_materialization.metadata["status"].value == "off"
    assert "there is no warehouse yet" in caplog.text

    # Again, with nothing new: same rows, and nothing is built from the beginning.
    caplog.clear()
    with caplog.at_level("INFO"):
        again = run(settings, project)
    assert again.ok
    assert published(settings) == [(seq, AS_OF) for seq in (1, 2, 3)]
    assert "from the event log" not in caplog.text


def test_a_failed_blocking_check_publishes_nothing_and_is_named(
    settings: Settings,
    project: Path,
    append: Append,
    turn: Turn,
    caplog: pytest.LogCaptureFixture,
) -> None:
    append(2)
    assert run(settings, project).ok
    append(2)
    turn("limit", 3)

    result = run(settings, project)

    assert not result.ok
    assert not result.published
    assert any("assert_few_leads" in failure for failure in result.failures)
    first, data = result.summary()
    assert first.startswith(f"nothing was published: the marts as of {AS_OF}, published 2")
    assert data == "data: event_log read in this run, alarms read in this run"
    assert [seq for seq, _ in published(settings)] == [1, 2]

    # A warehouse that a power cut has torn is set aside and built again.
    turn("limit", None)
    settings.warehouse_path.write_bytes(b"torn" * 4096)
    with caplog.at_level("WARNING"):
        assert run(settings, project).failures == []
    assert [seq for seq, _ in published(settings)] == [1, 2, 3, 4]
    assert "unreadable" in caplog.text
    assert len(list(settings.data_dir.glob("warehouse.duckdb.broken-*"))) == 1


def test_the_night_ends_with_a_backup_whatever_failed_before_and_goes_on_without_one(
    make_settings: Callable[..., Settings],
    project: Path,
    append: Append,
    turn: Turn,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "other disk"
    settings = make_settings(backup_dir=folder)
    append(2)

    result = run(settings, project)

    assert (result.failures, result.warnings) == ([], [])
    [first] = complete_backups(folder)
    assert "vault.db" in verify(first)
    assert any(name.startswith("lake/event_log/envelopes/") for name in verify(first))
    with open_instance(settings) as instance:
        steps = [
            event.step_key
            for record in instance.all_logs(result.run_id)
            if (event := record.dagster_event) and event.is_step_start
        ]
    assert steps[-1] == "installation__backup"
    assert run(settings, project, sources=False).ok
    assert complete_backups(folder) == [first], "only the nightly job makes one"

    append(2)
    turn("limit", 3)
    assert not run(settings, project).ok
    assert len(complete_backups(folder)) == 2

    turn("limit", None)
    shutil.rmtree(folder)
    folder.write_text("no disk is mounted here")
    result = run(settings, project)
    assert (result.failures, result.published) == ([], True)
    [warning] = result.warnings
    assert warning.startswith("installation/backup: made: no backup was made: ")
    assert str(folder) in warning


def test_what_is_here_is_built_without_asking_any_api_and_nothing_of_a_damaged_lake(
    make_settings: Callable[..., Settings], project: Path, append: Append
) -> None:
    """As after an erasure: an outage of an API must not keep the person in the marts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = make_settings(
            meta_graph_url=url, meta_access_token="t", meta_ad_account_ids="1",
            hubspot_url=url, hubspot_token="t", hubspot_write_back="live",
            google_oauth_url=url, google_ads_url=url, google_ads_client_id="c",
            google_ads_client_secret="s", google_ads_refresh_token="r",
            google_ads_customer_ids="1234567890",
        )  # fmt: skip
        append(2)
        result = run(settings, project, sources=False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert result.failures == []
    assert [seq for seq, _ in published(settings)] == [1, 2]
    lake = Lake.from_settings(settings)
    assert BuildState.current(settings, lake, project).reasons_to_rebuild(settings) == []

    # E99: one bit of one file.
    append(1)
    path = Path(lake.root) / "event_log" / "envelopes" / lake.files("event_log", "envelopes")[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = run(settings, project, sources=False)
    assert not result.ok
    assert any(path.name in text and "--reparse" in text for text in result.failures)
    assert [seq for seq, _ in published(settings)] == [1, 2]


def _as_rsync_following_links(data: Path, there: Path) -> None:
    """`rsync -rL`, `cp -rL`, `docker cp`: links followed, modes and times dropped; and from a disk
    that had no room for names in small letters, nor for hidden files and empty folders."""
    shutil.copytree(data, there, copy_function=shutil.copyfile)
    for path in sorted(there.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif path.is_file():
            os.utime(path, (1, 1))
        if path.exists():
            path.chmod(0o755 if path.is_dir() else 0o644)


def _as_an_archive_without_links(data: Path, there: Path) -> None:
    """zip, object stores: a link is a small file with the path it led to; a Mac adds its own."""
    shutil.copytree(data, there, symlinks=True)
    for path in list(there.rglob("*")):
        if path.is_symlink():
            text = str(path.readlink())
            path.unlink()
            path.write_text(text)
        elif path.suffix in (".parquet", ".json", ".db"):
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
    (there / "lake" / ".DS_Store").write_bytes(b"\0")
    (there / "dagster" / "history" / "runs.db").write_bytes(b"cut")


@pytest.mark.parametrize("copied", [_as_rsync_following_links, _as_an_archive_without_links])
def test_e95_a_copied_installation_goes_on(
    make_settings: Callable[..., Settings],
    settings: Settings,
    project: Path,
    append: Append,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    copied: Callable[[Path, Path], None],
) -> None:
    """In another place, reached through a link or by a relative path."""
    append(2)
    assert run(settings, project).failures == []
    copied(settings.data_dir, tmp_path / "disk" / "data")
    shutil.rmtree(settings.data_dir)
    (tmp_path / "here").symlink_to(tmp_path / "disk")
    monkeypatch.chdir(tmp_path)
    there = make_settings(data_dir=Path("here/data"))
    vault = open_vault(there.vault_url)
    vault.append([NewEnvelope(time.time_ns() // 1000, "whatsapp", b"{}")])
    vault.close()

    for _ in range(2):
        assert run(there, project).failures == []

    assert [seq for seq, _ in published(there)] == [1, 2, 3]
    current = tmp_path / "disk" / "data" / "marts_parquet" / "current"
    assert current.is_symlink()
    found = duckdb.sql(f"select count(*) from '{current}/fct_leads.parquet'").fetchall()
    assert found == [(3,)]
    open_to_others = [p for p in there.data_dir.rglob("*") if p.stat().st_mode & 0o077]
    assert open_to_others == []


def test_a_refresh_on_a_folder_that_is_not_whole_is_one_line(
    settings: Settings, project: Path
) -> None:
    shutil.rmtree(settings.data_dir)
    settings.data_dir.write_text("/mnt/disk/data")
    result = run(settings, project)
    [failure] = result.failures
    assert not result.ok
    assert "a copy has turned a link into a file" in failure
    assert result.summary() == ["nothing was published, and nothing was before"]


def _freshness(instance: dg.DagsterInstance, mart: str) -> tuple[bool, str | None]:
    """Whether the mart's sources were all read in the latest run, and what the check says."""
    key = dg.AssetCheckKey(dg.AssetKey(["marts", mart]), "sources_are_fresh")
    record = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
    assert record.event is not None
    found = record.event.get_dagster_event().asset_check_evaluation_data
    return found.passed, found.description


@pytest.mark.parametrize(
    ("broken", "failure"),
    [
        ({"channels": 3}, "dbt model fct_leads: channel is null"),
        (
            {"channels": 3, "channel": "of a person"},
            "dbt model fct_leads: channel has a value outside its list ('direct', 'outbound')",
        ),
        (
            {"keys": 3},
            "dbt test sound_rows_fct_leads: fct_leads: row_key is not unique, keys: 1",
        ),
    ],
)
def test_a_broken_guard_names_model_column_and_fault_and_readers_keep_their_marts(
    settings: Settings,
    project: Path,
    append: Append,
    turn: Turn,
    broken: dict[str, object],
    failure: str,
) -> None:
    append(2)
    assert run(settings, project).ok
    append(2)
    for name, value in broken.items():
        turn(name, value)

    result = run(settings, project)

    assert result.failures == [failure]
    assert [seq for seq, _ in published(settings)] == [1, 2]
    if "model" in failure:
        with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
            seqs = warehouse.sql("select seq from marts.fct_leads order by seq").fetchall()
        assert seqs == [(1,), (2,)], "an incremental model keeps its rows"
    else:
        with open_instance(settings) as instance:
            checks = [
                event.asset_check_evaluation_data
                for record in instance.all_logs(result.run_id)
                if (event := record.dagster_event)
                and event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
            ]
        [check] = [c for c in checks if c.check_name == "sound_rows_fct_leads"]
        assert check.description == failure.partition(": ")[2]


def test_models_chosen_by_hand_are_built_alone_with_their_checks(
    settings: Settings, project: Path, append: Append
) -> None:
    append(2)
    assert run(settings, project).ok
    key = dg.AssetKey(["marts", "fct_leads"])
    job = build_definitions(settings, project_dir=project).resolve_implicit_global_asset_job_def()
    with open_instance(settings) as instance:
        result = job.execute_in_process(instance=instance, asset_selection=[key])

    assert result.success
    built = [m.asset_key for m in result.asset_materializations_for_node("dbt_build")]
    assert built == [key]
    checked = {c.check_name for c in result.get_asset_check_evaluations()}
    assert checked >= {"sound_rows_fct_leads", "assert_few_leads", "seqs_are_mapped"}
    assert all(c.passed for c in result.get_asset_check_evaluations())


def test_a_check_that_warns_names_what_it_found(
    settings: Settings, project: Path, append: Append, turn: Turn
) -> None:
    append(3)
    turn("stages", 1)

    result = run(settings, project)

    assert (result.ok, result.published) == (True, True)
    assert result.warnings == [
        "marts/fct_leads: seqs_are_mapped: seq 2, stage a|b; seq 3, stage a|b"
    ]


def test_e52_a_failed_source_does_not_stop_the_others_and_the_run_is_red(
    make_settings: Callable[..., Settings],
    project: Path,
    append: Append,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ingestion.ads.meta.source
    import ingestion.ads.meta.spend
    import ingestion.rates.source

    def refused(*_: object, **__: object) -> None:
        raise SourceError("META_ACCESS_TOKEN is no longer valid: make a new one")

    monkeypatch.setattr(ingestion.ads.meta.source, "land_meta_ads", refused)
    monkeypatch.setattr(ingestion.ads.meta.spend, "land_insights", refused)

    def unquoted(*_: object, **__: object) -> None:
        raise SourceError("the ECB refused the request: check CTWA_ECB_URL")

    monkeypatch.setattr(ingestion.rates.source, "land_ecb_rates", unquoted)
    settings = make_settings(meta_access_token="t", meta_ad_account_ids="1", exchange_rates="ecb")
    append(2)

    result = run(settings, project)

    assert not result.ok
    assert result.published, "the marts are built from what is there"
    assert len(published(settings)) == 2
    assert sorted(result.failures) == [
        "exchange_rates: the ECB refused the request: check CTWA_ECB_URL (data as of never loaded)",
        "meta_ads: META_ACCESS_TOKEN is no longer valid: make a new one (data as of never loaded)",
    ]
    with open_instance(settings) as instance:
        seen = instance.get_run_by_id(result.run_id)
        event = instance.get_latest_materialization_event(dg.AssetKey(["meta_ads", "spend_rows"]))
        marks = {mart: _freshness(instance, mart) for mart in ("fct_leads", "fct_touches")}
    # What rests on the stale source is marked, what does not is not.
    assert marks["fct_leads"] == (True, "every source was read")
    assert marks["fct_touches"] == (
        False,
        "meta_ads as of never loaded: META_ACCESS_TOKEN is no longer valid: make a new one",
    )
    assert seen is not None
    assert seen.status is dg.DagsterRunStatus.FAILURE
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["stale_since"].value == "never loaded"


_REFRESH = """
import sys, time
from datetime import date
from pathlib import Path
from ctwa.settings import load_settings
from orchestration.refresh import refresh, RefreshBusyError
settings = load_settings(_env_file=None, data_dir=sys.argv[1], pii_key=sys.argv[3])
started = time.monotonic()
try:
    result = refresh(settings, as_of=date(2026, 6, 30), project_dir=Path(sys.argv[2]))
except RefreshBusyError as error:
    print(f"{time.monotonic() - started:.2f}", error)
    sys.exit(75)
sys.exit(0 if result.ok else 1)
"""


def start(settings: Settings, project: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-W", "ignore", "-c", _REFRESH),
            *(str(settings.data_dir), str(project), PII_KEY),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.deep
def test_e73_of_two_refreshes_one_works_and_the_other_says_busy(
    settings: Settings, project: Path, append: Append
) -> None:
    append(1)
    both = [start(settings, project), start(settings, project)]
    texts = [child.communicate(timeout=120)[0] for child in both]

    codes = [child.returncode for child in both]
    assert sorted(codes) == [0, 75]
    said = texts[codes.index(75)]
    assert "another refresh is running" in said
    assert float(said.split()[0]) < 1.0
    assert len(published(settings)) == 1


@pytest.mark.timeout(600)
def test_e73_a_refresh_killed_while_it_builds_leaves_the_warehouse_as_it_was(
    settings: Settings, project: Path, append: Append, turn: Turn
) -> None:
    append(2)
    assert run(settings, project).failures == []
    append(1)
    turn("work", 10**13)
    child = start(settings, project)
    try:
        _wait_for_build(child.pid, settings)
    finally:
        child.kill()
        child.communicate()
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
        seqs = warehouse.sql("select seq from marts.fct_leads order by seq").fetchall()
    assert seqs == [(1,), (2,)]

    turn("work", None)
    result = run(settings, project)
    assert result.failures == []
    assert len(published(settings)) == 3
    with open_instance(settings) as instance:
        left = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    assert left == [], "the killed run is still shown as running"


def _wait_for_build(pid: int, settings: Settings) -> None:
    """Until the refresh is at work on the slow model: it keeps the warehouse open."""
    deadline = time.monotonic() + 200
    seen = 0
    while time.monotonic() < deadline:
        files = _open_files(pid)
        seen = seen + 1 if settings.warehouse_path in files else 0
        if seen > 10:
            return
        time.sleep(0.1)
    raise AssertionError("the refresh did not come to the slow model")


def _open_files(pid: int) -> list[Path]:
    with suppress(FileNotFoundError):
        return [fd.readlink() for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return []


def test_a_warehouse_open_elsewhere_is_said_plainly(
    settings: Settings, project: Path, append: Append
) -> None:
    append(1)
    code = (
        "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print(1, flush=True); "
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(settings.warehouse_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        result = run(settings, project)

        holder.send_signal(signal.SIGKILL)
    assert not result.ok
    assert any(f"PID {holder.pid}" in failure for failure in result.failures), result.failures
    assert list(settings.data_dir.glob("*.broken-*")) == []


@pytest.mark.deep
def test_columns_show_where_they_come_from_where_that_is_wanted(
    make_settings: Callable[..., Settings], settings: Settings, project: Path, append: Append
) -> None:
    """And the steps after dbt can open the warehouse: dagster-dbt leaves it open otherwise."""
    append(2)
    result = run(make_settings(column_lineage=True), project)

    assert result.failures == []
    assert result.published
    with open_instance(settings) as instance:
        key = dg.AssetKey(["marts", "fct_leads"])
        event = instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/row_count"].value == 2
    (source,) = metadata["dagster/column_lineage"].value.deps_by_column["seq"]
    assert source.asset_key == dg.AssetKey(["staging", "stg_event_log__envelopes"])
