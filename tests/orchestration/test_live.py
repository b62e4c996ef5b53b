"""`ctwa live` on a small project: real vault, lake, warehouse and marts, real kills."""

from __future__ import annotations

import dataclasses
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from ctwa.live_state import FILE, LiveState
from ctwa.lock import refresh_lock
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.lake.lake import Lake
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from orchestration import live, live_asset, live_cycle, sensors
from orchestration.definitions import build_jobs
from orchestration.instance import open_instance
from orchestration.live import RESTART, LiveBusyError, Worker
from orchestration.plan import Check, Plan, load_plan, plan_key, plan_path, save_plan
from orchestration.rebuild import unchecked_build
from simulator.ads_faults import Fault, FaultScript
from simulator.lead_forms_api import Form, FormsState, Lead, serve_lead_forms_api
from simulator.lead_forms_api import Page as FormsPage
from tests.support import live as support
from tests.support.live import (
    at_work,
    built_whole,
    code_of,
    end,
    environment_of,
    kill,
    published_seq,
    rows,
    until,
)
from tests.support.live_process import STEPS

Append = Callable[[int], None]
SEQS = "select seq from fct_leads order by seq"


@pytest.fixture
def plan(project: Path, settings: Settings) -> Plan:
    found = load_plan(plan_path(settings), plan_key(settings, project))
    assert found is not None
    return found


@pytest.fixture
def built(project: Path, settings: Settings, plan: Plan, append: Append) -> Settings:
    """One envelope in the marts."""
    append(1)
    built_whole(settings, plan, project)
    return settings


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(live, "_FIRST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(live, "_RESTART_SECONDS", 0.0)


def worker_of(settings: Settings, project: Path, **more: object) -> tuple[Worker, threading.Event]:
    stop = threading.Event()

    def never() -> list[str]:
        raise AssertionError("a whole refresh was not needed")

    options = {"rebuild": never, **more}
    return Worker(settings, stop=stop, project_dir=project, **options), stop  # type: ignore[arg-type]


def state_of(settings: Settings) -> LiveState:
    state = LiveState.read(settings.data_dir)
    assert state is not None
    return state


# ---- a cycle -------------------------------------------------------------------------------------


def test_an_envelope_is_in_the_marts_after_a_moment(
    built: Settings, project: Path, append: Append
) -> None:
    worker, stop = worker_of(built, project)
    with at_work(worker, stop) as codes:
        append(2)
        until(lambda: published_seq(built) == 3)
        assert rows(built, SEQS) == [(1,), (2,), (3,)]
        append(1)
        until(lambda: published_seq(built) == 4)
    assert codes == [0]
    state = state_of(built)
    assert (state.doing, state.envelopes, state.error) == ("stopped", 3, "")
    assert not state.is_fresh
    assert unchecked_build(built) == ""


def test_the_report_follows_where_messages_never_stop(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    worker, _ = worker_of(settings, tmp_path)
    memory, written = worker._memory, []
    monkeypatch.setattr(worker, "_has_work", lambda: True)
    monkeypatch.setattr(worker, "_work", lambda: None)
    monkeypatch.setattr(
        "publishing.report.page.write_report", lambda *_, **__: written.append(memory.news.version)
    )
    for version, later in (("one", 0), ("two", 0), ("three", 301)):
        memory.news = live.Done(version=version)
        memory.shown_at -= later
        worker._turn()

    assert written == ["one", "three"]


def test_what_is_published_already_makes_no_cycle(built: Settings, project: Path) -> None:
    before = rows(built, "select version from publication")
    worker, stop = worker_of(built, project)
    with at_work(worker, stop):
        time.sleep(0.5)
    assert rows(built, "select version from publication") == before


def test_e185_the_lead_of_a_form_comes_with_its_notice_and_metas_trouble_stops_nothing(
    built: Settings, project: Path, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_cycle, "_FIRST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(live_cycle, "_LONGEST_PAUSE_SECONDS", 0.2)
    now = datetime.now(UTC)
    lead = Lead("11223344556677889", "900", now - timedelta(minutes=1), {"email": "a@example.com"})
    forms = FormsState(now=now)
    forms.add(FormsPage("516", "EAApage"), Form("900", "516", "Visita"), lead)
    with serve_lead_forms_api(forms, token="EAAsystem") as api:
        on = {"meta_graph_url": api.url, "meta_page_ids": ("516",)}
        settings = built.model_copy(update=on | {"meta_page_token": SecretStr("EAAsystem")})
        api.faults = FaultScript([Fault("", times=10_000, status=500, code=2)])
        worker, stop = worker_of(settings, project)
        with at_work(worker, stop):
            with closing(open_vault(settings.vault_url)) as vault:
                notice = json.dumps(lead.notice("516")).encode()
                vault.append([NewEnvelope(time.time_ns() // 1000, "messenger", notice)])
            until(lambda: "meta_lead_forms" in state_of(settings).error, "the trouble")
            append(1)
            until(lambda: rows(settings, SEQS) == [(1,), (2,), (3,)], "what is no form's")
            assert not any("leadgen_forms" in call for call in api.calls)
            api.faults = FaultScript()
            until(lambda: rows(settings, SEQS) == [(1,), (2,), (3,), (4,)], "the lead")
            until(lambda: state_of(settings).error == "", "the end of the trouble")
    assert api.wrong == []
    landed = Lake.from_settings(settings).query("select * from {t}", t="event_log/web_leads")
    assert landed["leadgen_id"].to_pylist() == [lead.lead_id]


def test_judgements_follow_a_while_later_if_need_be_by_the_next_worker(
    built: Settings,
    project: Path,
    plan: Plan,
    append: Append,
    turn: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turn("work", 100)  # of which about half comes of each envelope
    judgement = "dbt_project/models/marts/forecast/fct_touches.sql"
    nodes = (
        dataclasses.replace(n, path=judgement) if n.table == "fct_touches" else n
        for n in plan.nodes
    )
    save_plan(dataclasses.replace(plan, nodes=tuple(nodes)), plan_path(built))
    monkeypatch.setattr(live_cycle, "REST_SECONDS", 3600.0)
    seen = "select work from fct_touches"
    worker, stop = worker_of(built, project)
    with at_work(worker, stop):
        append(1)
        until(lambda: published_seq(built) == 2)
        first = rows(built, seen)
        assert not state_of(built).is_behind, "the first cycle builds all"
        append(1)
        until(lambda: published_seq(built) == 3)
        assert rows(built, SEQS) == [(1,), (2,), (3,)]
        assert rows(built, seen) == first
    assert state_of(built).is_behind
    worker, stop = worker_of(built, project)
    with at_work(worker, stop):
        until(lambda: not state_of(built).is_behind)
    assert rows(built, seen) != first


def test_a_second_worker_is_refused(built: Settings, project: Path) -> None:
    worker, stop = worker_of(built, project)
    with at_work(worker, stop):
        assert code_of(support.start(built, project)) == 1, "an error that ends the process"
    with refresh_lock(built.data_dir / "live.lock"):
        pass


def test_the_refusal_exits_as_a_busy_refresh_does() -> None:
    assert LiveBusyError.exit_code == 75


def test_neither_dagster_nor_dbt_nor_dlt_is_loaded(
    built: Settings, project: Path, append: Append
) -> None:
    append(1)
    code = """
import sys, threading
from pathlib import Path
from ctwa.settings import load_settings
from orchestration.live import Worker
settings, stop = load_settings(_env_file=None), threading.Event()
worker = Worker(settings, stop=stop, project_dir=Path(sys.argv[1]))
worker._turn()
assert worker._memory.state.cycles == 1, worker._memory.state
print(sorted({name.split(".")[0] for name in sys.modules} & {"dagster", "dbt", "dlt"}))
"""
    with environment_of(built):
        done = subprocess.run(
            [sys.executable, "-c", code, str(project)],
            capture_output=True, text=True, check=False, cwd=PROJECT_DIR,
        )  # fmt: skip
    assert done.stdout == "[]\n", done.stderr
    assert rows(built, SEQS) == [(1,), (2,)]


def test_exported_settings_make_no_other_plan(settings: Settings) -> None:
    """`ctwa dev` exports them: its processes would compile what `ctwa refresh` had compiled."""
    key = plan_key(settings)
    with environment_of(settings):
        assert plan_key(settings) == key


# ---- what goes wrong -----------------------------------------------------------------------------


def test_a_failing_check_keeps_the_marts_and_alerts_once(
    built: Settings, project: Path, plan: Plan, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(
        "orchestration.alerts.send_message",
        lambda _, subject, text: sent.append(f"{subject}\n{text}") or _Sent(),
    )
    leads = next(n.unique_id for n in plan.nodes if n.table == "fct_leads")
    refused = 'select seq from "@{database}"."marts"."fct_leads" where seq = 2'
    check = Check("test.ctwa.no_second.1", (leads,), refused, "error")
    save_plan(dataclasses.replace(plan, checks=(*plan.checks, check)), plan_path(built))
    settings = built.model_copy(update={"alert_webhook_url": SecretStr("https://a.example/x")})
    append(1)
    worker, stop = worker_of(settings, project)
    with at_work(worker, stop):
        until(lambda: worker._memory.pause > 0.5)
        assert rows(built, SEQS) == [(1,)], "readers keep what they had"
        assert "no_second" in state_of(built).error
        assert unchecked_build(built) != ""
        save_plan(plan, plan_path(built))  # what was wrong is put right
        worker._cycles._plan = None
        until(lambda: published_seq(built) == 2)
    assert len([text for text in sent if "live failed" in text]) == 1
    assert rows(built, SEQS) == [(1,), (2,)]
    assert state_of(built).error == ""


@dataclasses.dataclass
class _Sent:
    by: list[str] = dataclasses.field(default_factory=lambda: ["webhook"])
    problems: dict[str, str] = dataclasses.field(default_factory=dict)


def test_without_a_warehouse_a_whole_refresh_puts_it_right(
    built: Settings, project: Path, plan: Plan, append: Append
) -> None:
    built.warehouse_path.unlink()
    append(1)
    asked: list[int] = []

    def rebuild() -> list[str]:
        asked.append(1)
        built_whole(built, plan, project)
        return []

    worker, stop = worker_of(built, project, rebuild=rebuild)
    with at_work(worker, stop):
        until(lambda: asked != [])
        append(1)
        until(lambda: published_seq(built) == 3)
    assert asked == [1]
    assert rows(built, SEQS) == [(1,), (2,), (3,)]


def test_a_plan_of_other_settings_is_not_run_and_the_worker_starts_again(
    built: Settings, project: Path, append: Append
) -> None:
    """As after an upgrade, which a refresh of the new code cannot put right for old code."""
    append(1)
    other = built.model_copy(update={"conversation_gap_days": 9})
    asked: list[int] = []
    worker, stop = worker_of(other, project, rebuild=lambda: asked.append(1) or [])
    with at_work(worker, stop) as codes:
        until(lambda: codes != [])
    assert (codes, asked) == ([RESTART], [1])
    assert rows(built, SEQS) == [(1,)]


def test_a_worker_waits_for_a_refresh_and_lets_it_go_first(
    built: Settings, project: Path, append: Append
) -> None:
    worker, stop = worker_of(built, project)
    with at_work(worker, stop):
        with held(built):
            append(1)
            until(lambda: state_of(built).doing == "waiting for the lock")
            assert rows(built, SEQS) == [(1,)]
        until(lambda: published_seq(built) == 2)


def test_the_more_waits_the_more_one_cycle_takes(
    built: Settings, project: Path, append: Append
) -> None:
    """So posts that come faster than cycles end wait for one more cycle, and not for one each."""
    worker, stop = worker_of(built, project)
    with at_work(worker, stop):
        append(1)
        until(lambda: published_seq(built) == 2)
        with held(built):  # as by a cycle that takes long
            for _ in range(25):
                append(2)
            cycles = state_of(built).cycles
        until(lambda: published_seq(built) == 52)
        state = state_of(built)
    assert (state.cycles, state.last_cycle_envelopes) == (cycles + 1, 50)
    exactly(built, 52)


@contextmanager
def held(settings: Settings) -> Iterator[None]:
    """Another process has the lock, until it is killed at the end of the block."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(settings.lock_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


_HOLD = """
import sys, time
from pathlib import Path
from ctwa.lock import refresh_lock
with refresh_lock(Path(sys.argv[1]), wait_seconds=60):
    print("held", flush=True)
    time.sleep(60)
"""


# ---- killed --------------------------------------------------------------------------------------


def exactly(settings: Settings, count: int) -> None:
    """Every envelope of the vault is in lake, warehouse and marts, once."""
    vault = open_vault(settings.vault_url)
    assert vault.last_seq() == count
    vault.close()
    lake = Lake.from_settings(settings)
    landed = lake.query("select seq from {e} order by seq", e="event_log/envelopes")
    wanted = list(range(1, count + 1))
    assert landed["seq"].to_pylist() == wanted
    assert [seq for (seq,) in rows(settings, SEQS)] == wanted


def healed(settings: Settings, project: Path, last: int, bad: str = "") -> None:
    """The next worker catches up, though nothing new arrives."""
    following = support.start(settings, project, bad=bad)
    until(lambda: published_seq(settings) == last, "the envelopes of the killed worker")
    assert end(following) == 0


@pytest.mark.parametrize("step", STEPS)
def test_killed_after_any_step_the_next_worker_converges(
    built: Settings, project: Path, append: Append, step: str
) -> None:
    append(3)
    assert code_of(support.start(built, project, dies=step)) == -9
    (built.data_dir / FILE).unlink()  # what it said about itself is not needed
    healed(built, project, 4)
    exactly(built, 4)


def test_a_worker_that_trusts_what_has_landed_is_found_out(
    built: Settings, project: Path, append: Append
) -> None:
    """The known-bad: such a worker would never build what a killed one had landed."""
    append(3)
    assert code_of(support.start(built, project, dies="land")) == -9
    (built.data_dir / FILE).unlink()
    healed(built, project, 4, bad="trusts what has landed")
    with pytest.raises(AssertionError):
        exactly(built, 4)


def pid_of(settings: Settings) -> int:
    state = LiveState.read(settings.data_dir)
    return state.pid if state else 0


def killed_often(settings: Settings, project: Path, append: Append, kills: int) -> None:
    luck, count = random.SystemRandom(), 1
    for _ in range(kills):
        pid = pid_of(settings)
        process = support.start(settings, project)
        until(lambda known=pid: pid_of(settings) != known)  # type: ignore[misc]
        deadline = time.monotonic() + luck.uniform(0.0, 1.5)
        while time.monotonic() < deadline:
            append(2)
            count += 2
            time.sleep(luck.uniform(0.01, 0.2))
        kill(process)
    healed(settings, project, count)
    exactly(settings, count)


def test_killed_at_any_moment_under_posts_nothing_is_lost_or_twice(
    built: Settings, project: Path, append: Append
) -> None:
    killed_often(built, project, append, 3)


@pytest.mark.deep
@pytest.mark.timeout(900)
def test_killed_thirty_times_under_posts_nothing_is_lost_or_twice(
    built: Settings, project: Path, append: Append
) -> None:
    killed_often(built, project, append, 30)


# ---- seen in Dagster -----------------------------------------------------------------------------


def said(settings: Settings, **changes: object) -> LiveState:
    now = time.time()
    state = LiveState(1, now, now, **changes)  # type: ignore[arg-type]
    state.save(settings.data_dir)
    return state


def test_while_it_runs_the_sensor_leaves_envelopes_to_it(
    settings: Settings, append: Append
) -> None:
    append(1)
    sensor = sensors.build_sensors(settings, build_jobs(settings))[0]
    with open_instance(settings) as instance:
        said(settings)
        with dg.build_sensor_context(instance=instance) as context:
            found = sensor(context)
        assert isinstance(found, dg.SkipReason)
        assert "ctwa live" in (found.skip_message or "")
        said(settings, doing="stopped")
        with dg.build_sensor_context(instance=instance) as context:
            assert isinstance(sensor(context), dg.SensorResult)


def test_its_state_becomes_events_when_something_has_changed(settings: Settings) -> None:
    sensor = live_asset.live_sensor(settings)
    with open_instance(settings) as instance:

        def tick(cursor: str | None) -> str | None:
            with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
                sensor(context)
                return context.cursor

        def events() -> int:
            return len(instance.fetch_materializations(live_asset.LIVE_KEY, limit=10).records)

        cursor = tick(None)
        assert events() == 0, "it never ran"
        said(settings, cycles=3, last_lag_seconds=2.5)
        cursor = tick(cursor)
        cursor = tick(cursor)
        assert events() == 1
        said(settings, cycles=4)
        tick(cursor)
        assert events() == 2
        latest = instance.get_latest_materialization_event(live_asset.LIVE_KEY)
        assert latest is not None
        assert latest.asset_materialization is not None
        assert latest.asset_materialization.metadata["cycles"].value == 4


def test_envelopes_that_wait_for_long_are_an_alarm(settings: Settings) -> None:
    fresh = LiveState(1, 0, time.time(), error="the disk is full")
    assert live_asset.problem_of(fresh, 30) == ""
    assert "the disk is full" in live_asset.problem_of(fresh, 300)
    gone = dataclasses.replace(fresh, heartbeat_at=time.time() - 500)
    assert "has not been heard of since" in live_asset.problem_of(gone, 300)
    assert live_asset.problem_of(gone, 0) == "", "nothing waits"
    assert "was stopped" in live_asset.problem_of(dataclasses.replace(gone, doing="stopped"), 300)
    assert live_asset.problem_of(None, 300) == "", "it is not used here"
