"""`refresh` on a small project: what it publishes, what stops it, what it recovers from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from ctwa.settings import Settings
from ingestion.errors import SourceError
from orchestration.instance import open_instance
from orchestration.refresh import RefreshResult, refresh

AS_OF = date(2026, 6, 30)
Append = Callable[[int], None]


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
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    append(2)
    assert run(settings, project).ok
    append(2)
    monkeypatch.setenv("CTWA_TEST_LIMIT", "3")

    result = run(settings, project)

    assert not result.ok
    assert not result.published
    assert any("assert_few_leads" in failure for failure in result.failures)
    assert [seq for seq, _ in published(settings)] == [1, 2]

    # A warehouse that a power cut has torn is set aside and built again.
    monkeypatch.delenv("CTWA_TEST_LIMIT")
    settings.warehouse_path.write_bytes(b"torn" * 4096)
    with caplog.at_level("WARNING"):
        assert run(settings, project).failures == []
    assert [seq for seq, _ in published(settings)] == [1, 2, 3, 4]
    assert "unreadable" in caplog.text
    assert len(list(settings.data_dir.glob("warehouse.duckdb.broken-*"))) == 1


def _freshness(instance: dg.DagsterInstance, mart: str) -> tuple[bool, str | None]:
    """Whether the mart's sources were all read in the latest run, and what the check says."""
    key = dg.AssetCheckKey(dg.AssetKey(["marts", mart]), "sources_are_fresh")
    record = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
    assert record.event is not None
    found = record.event.get_dagster_event().asset_check_evaluation_data
    return found.passed, found.description


def test_a_check_that_warns_names_what_it_found(
    settings: Settings, project: Path, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(3)
    monkeypatch.setenv("CTWA_TEST_STAGES", "1")

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
    import ingestion.sources.ecb
    import ingestion.sources.meta_ads
    import ingestion.sources.meta_insights

    def refused(*_: object, **__: object) -> None:
        raise SourceError("META_ACCESS_TOKEN is no longer valid: make a new one")

    monkeypatch.setattr(ingestion.sources.meta_ads, "land_meta_ads", refused)
    monkeypatch.setattr(ingestion.sources.meta_insights, "land_insights", refused)

    def unquoted(*_: object, **__: object) -> None:
        raise SourceError("the ECB refused the request: check CTWA_ECB_URL")

    monkeypatch.setattr(ingestion.sources.ecb, "land_ecb_rates", unquoted)
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
        event = instance.get_latest_materialization_event(dg.AssetKey(["meta_ads", "insights"]))
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
settings = load_settings(_env_file=None, data_dir=sys.argv[1], pii_key="0011" * 16)
started = time.monotonic()
try:
    result = refresh(settings, as_of=date(2026, 6, 30), project_dir=Path(sys.argv[2]))
except RefreshBusyError as error:
    print(f"{time.monotonic() - started:.2f}", error)
    sys.exit(75)
sys.exit(0 if result.ok else 1)
"""


def start(settings: Settings, project: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _REFRESH, str(settings.data_dir), str(project)],
        env={**os.environ, **variables},
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


def test_e73_dbt_ends_with_a_killed_refresh_and_the_next_one_converges(
    settings: Settings, project: Path, append: Append
) -> None:
    append(2)
    child = start(settings, project, CTWA_TEST_WORK=str(10**13))
    dbt = _wait_for_dbt(child.pid, settings)
    child.kill()
    child.communicate()

    deadline = time.monotonic() + 5
    while _is_alive(dbt) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_alive(dbt), "an orphan dbt goes on writing"

    result = run(settings, project)
    assert result.failures == []
    assert len(published(settings)) == 2
    with open_instance(settings) as instance:
        left = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    assert left == [], "the killed run is still shown as running"


def _wait_for_dbt(parent: int, settings: Settings) -> int:
    """The dbt that a refresh started, once it is at work on the slow model."""
    log = settings.dbt_target_dir / "run" / "dbt.log"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if log.exists() and "START sql table model marts.fct_touches" in log.read_text():
            for pid in _children(parent):
                if b"build" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        time.sleep(0.1)
    raise AssertionError("dbt did not come to the slow model")


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(p) for p in text.split()]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


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
