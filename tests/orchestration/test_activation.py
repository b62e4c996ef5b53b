"""Destinations as assets: told after checked builds only, their failure shown and kept local."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ctwa.settings import Settings
from ingestion.source import SourceError
from orchestration.activation import _asset
from orchestration.definitions import build_definitions, build_jobs, build_schedules
from orchestration.destinations import Alarm, Destination
from orchestration.instance import open_instance
from orchestration.keys import DESTINATION_KEYS
from orchestration.publish import unreached
from orchestration.rebuild import begin_build, end_build, unchecked_build
from orchestration.resources import RefreshLock
from tests.support.kept import with_manifest

KEY = dg.AssetKey(["somewhere", "leads"])


@dataclass
class Counts:
    sent: int = 0
    unknown: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


def told(
    settings: Settings, instance: dg.DagsterInstance, send: Callable[[], Any], **more: Any
) -> dg.ExecuteInProcessResult:
    """One run of a destination whose sender is `send`."""
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    alarm = Alarm("fates_are_known", "unknown", "requests ended without an answer")
    destination = Destination(
        KEY.path,
        frozenset({"http"}),
        "Leads go somewhere.",
        "live",
        [],
        send,
        alarms=[alarm],
        **more,
    )
    return dg.materialize(
        [_asset(settings, destination, [])],
        instance=instance,
        resources={"lock": RefreshLock(path=str(settings.lock_path))},
    )


def checks(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str | None]]:
    return {c.check_name: (c.passed, c.description) for c in result.get_asset_check_evaluations()}


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("__".join(KEY.path))
    return {name: getattr(v, "value", v) for name, v in event.metadata.items()}


def test_what_was_sent_and_skipped_is_shown(settings: Settings) -> None:
    with open_instance(settings) as instance:
        counts = Counts(sent=3, skipped={"no_click_id": 12, "too_old": 1})
        result = told(settings, instance, lambda: counts)
    shown = metadata(result)
    assert (shown["status"], shown["mode"], shown["sent"], shown["unknown"]) == (
        "sent", "live", 3, 0
    )  # fmt: skip
    assert "| no_click_id | 12 |\n| too_old | 1 |" in shown["skipped"]
    assert checks(result) == {
        "sent": (True, "everything due was sent"), "fates_are_known": (True, "none")
    }  # fmt: skip


def test_a_destination_that_fails_is_told_by_its_check_and_by_the_verdict(
    settings: Settings,
) -> None:
    def send() -> Counts:
        error = SourceError("the token is dead: make a new one")
        error.counts = Counts(sent=2, unknown=1)  # type: ignore[attr-defined]
        raise error

    with open_instance(settings) as instance:
        result = told(settings, instance, send)
        assert result.success, "the publication goes on"
        found = checks(result)
        assert found["sent"] == (False, "the token is dead: make a new one")
        passed, text = found["fates_are_known"]
        assert not passed
        assert (text or "").startswith("1 requests ended")
        assert metadata(result)["sent"] == 2, "what was sent before it failed is told"
        problems = unreached(instance, [KEY], {result.run_id})
    assert problems == ["somewhere: the token is dead: make a new one (data as of never sent)"]


def test_an_unexpected_error_does_not_show_what_it_quotes(settings: Settings) -> None:
    def send() -> Counts:
        raise ValueError("+5511987654321 is no number")

    with open_instance(settings) as instance:
        found = checks(told(settings, instance, send))
    assert found["sent"] == (False, "unexpected ValueError; the log of the step says where")


def test_nothing_is_sent_from_a_build_that_did_not_end_well(settings: Settings) -> None:
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    asked: list[int] = []

    def send() -> Counts:
        asked.append(1)
        return Counts()

    begin_build(settings)
    with open_instance(settings) as instance:
        passed, text = checks(told(settings, instance, send))["sent"]
        assert (passed, asked) == (False, [])
        assert "did not pass all blocking checks" in (text or "")
        end_build(settings, was_unchecked=False)
        assert checks(told(settings, instance, send))["sent"][0]
    assert asked == [1]


def test_off_needs_no_build(settings: Settings) -> None:
    """It only notes that nothing is to be sent: what happens meanwhile never will be."""
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    begin_build(settings)
    with open_instance(settings) as instance:
        result = told(settings, instance, Counts, off_because="somewhere is not set.")
    assert metadata(result)["status"] == "off"
    assert checks(result)["sent"][0]


def test_a_part_that_was_built_says_nothing_of_the_rest(settings: Settings) -> None:
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    assert unchecked_build(settings) == ""
    whole = begin_build(settings)  # is killed, or fails
    since = unchecked_build(settings)
    assert since
    part = begin_build(settings)
    end_build(settings, was_unchecked=part)
    assert (whole, part, unchecked_build(settings)) == (False, True, since)
    end_build(settings, was_unchecked=False)
    assert unchecked_build(settings) == ""


@pytest.mark.parametrize(
    ("mode", "found"), [("off", None), ("dry_run", "STOPPED"), ("test", "RUNNING")]
)
def test_the_schedule_is_absent_where_nothing_goes_out(
    make_settings: Callable[..., Settings], mode: str, found: str | None
) -> None:
    settings = make_settings(meta_conversions_mode=mode, meta_test_event_code="TEST1")
    by_name = {s.name: s.default_status.value for s in build_schedules(settings)}
    assert by_name.get("activation") == found


def _nothing():  # type: ignore[no-untyped-def]  # Dagster reads annotations
    """Makes nothing."""


def test_the_small_path_reads_contacts_where_they_are_written_onto(
    make_settings: Callable[..., Settings],
) -> None:
    named = (
        "hubspot/reads", "vault/retention", "history/retention", "comparison/credit_diff",
        "event_log/messages",
    )  # fmt: skip
    specs = [dg.AssetSpec(name.split("/")) for name in named]

    everything = dg.multi_asset(specs=specs)(_nothing)

    graph = dg.Definitions(assets=[everything]).resolve_asset_graph()

    def asks_hubspot(**more: Any) -> bool:
        settings = make_settings(meta_conversions_mode="off", **more)
        (fresh,) = [j for j in build_jobs(settings) if j.name == "fresh_leads"]
        keys = fresh.selection.resolve(graph)
        assert dg.AssetKey(["event_log", "messages"]) in keys
        return dg.AssetKey(["hubspot", "reads"]) in keys

    assert not asks_hubspot()
    assert not asks_hubspot(hubspot_token="pat")
    assert asks_hubspot(hubspot_token="pat", hubspot_write_back="live")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from ctwa.settings import load_settings

    settings = load_settings(_env_file=None, data_dir=tmp_path_factory.mktemp("activation"))
    return build_definitions(with_manifest(settings)).resolve_asset_graph()


def test_destinations_come_after_every_mart_and_before_the_publication(graph: Any) -> None:
    published = graph.get(dg.AssetKey(["publish", "marts"])).parent_keys
    marts = {key for key in published if key.path[0] == "marts"}
    assert marts
    for key in DESTINATION_KEYS:
        assert key in published
        assert marts <= graph.get(key).parent_keys
        assert graph.get(key).group_name == "activation"


def test_a_destination_that_is_off_says_so(graph: Any) -> None:
    texts = [graph.get(key).description for key in DESTINATION_KEYS]
    assert texts[0].startswith("Mode `dry_run`.")
    assert texts[1].startswith("**Off**: set HUBSPOT_TOKEN")
    assert texts[2].startswith("**Off**: CTWA_CRM_WEBHOOK_URL is not set")


def test_the_files_of_a_build_lie_beside_the_warehouse(settings: Settings) -> None:
    settings.warehouse_path.parent.mkdir(parents=True, exist_ok=True)
    begin_build(settings)
    assert Path(f"{settings.warehouse_path}.unchecked").exists(), "removed with it by `forget`"
