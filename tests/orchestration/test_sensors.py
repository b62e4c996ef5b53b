"""`envelopes_waiting`: asks for a run when there is something to do, once."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from pydantic import SecretStr

from ctwa.process import worker_id
from ctwa.settings import Settings
from ingestion.crm.hubspot.source import new_contacts
from ingestion.event_log.source import land_event_log
from orchestration import sensors
from orchestration.definitions import build_jobs
from orchestration.instance import open_instance
from orchestration.resources import WORKER_TAG
from tests.support.hubspot import crm

Append = Callable[[int], None]


def tick(
    settings: Settings, instance: dg.DagsterInstance, cursor: str | None = None
) -> dg.SensorResult | dg.SkipReason:
    sensor = sensors.build_sensors(settings, build_jobs(settings))[0]
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        return sensor(context)  # type: ignore[return-value]


def test_new_envelopes_start_one_run(settings: Settings, append: Append) -> None:
    with open_instance(settings) as instance:
        assert isinstance(tick(settings, instance), dg.SkipReason), "no vault yet"
        append(3)
        asked = tick(settings, instance)
        assert isinstance(asked, dg.SensorResult)
        assert len(asked.run_requests or []) == 1
        assert isinstance(tick(settings, instance, asked.cursor), dg.SkipReason), "asked already"

        append(1)
        more = tick(settings, instance, asked.cursor)
        assert isinstance(more, dg.SensorResult)

        land_event_log(settings)
        assert isinstance(tick(settings, instance, more.cursor), dg.SkipReason), "all landed"


def test_envelopes_that_no_run_took_are_asked_for_again_later(
    settings: Settings, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(1)
    with open_instance(settings) as instance:
        first = tick(settings, instance)
        assert isinstance(first, dg.SensorResult)
        monkeypatch.setattr(sensors, "RETRY_SECONDS", -1)
        second = tick(settings, instance, first.cursor)
    assert isinstance(second, dg.SensorResult)
    keys = {r.run_key for result in (first, second) for r in result.run_requests or []}
    assert len(keys) == 2, "with the same key Dagster would start nothing"


def test_no_run_is_asked_for_while_one_is_at_work(settings: Settings, append: Append) -> None:
    append(1)
    with open_instance(settings) as instance:
        run = create_run_for_test(
            instance,
            job_name="nightly_refresh",
            status=dg.DagsterRunStatus.STARTED,
            tags={WORKER_TAG: worker_id()},
        )
        skipped = tick(settings, instance)
        assert isinstance(skipped, dg.SkipReason)
        assert "nightly_refresh" in (skipped.skip_message or "")

        # A run whose process is gone holds nothing up.
        tag = worker_id().rsplit(":", 1)[0] + ":1"
        instance.add_run_tags(run.run_id, {WORKER_TAG: tag})
        assert isinstance(tick(settings, instance), dg.SensorResult)


def test_a_backfill_of_days_is_followed_by_one_run(settings: Settings) -> None:
    sensor = sensors.build_sensors(settings, build_jobs(settings))[1]
    key = dg.AssetKey(["meta_ads", "insights_backfill"])
    repository = dg.Definitions(
        assets=[dg.AssetSpec(key), _asset],
        jobs=[dg.define_asset_job("fresh_leads", selection=[_asset])],
    )
    with open_instance(settings) as instance:
        for day in ("2026-01-01", "2026-01-02"):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(asset_key=key, partition=day)
            )
        with dg.build_sensor_context(
            instance=instance, repository_def=repository.get_repository_def()
        ) as context:
            data = sensor.evaluate_tick(context)
    assert len(data.run_requests or []) == 1


@dg.asset
def _asset() -> None: ...


def test_new_contacts_of_the_crm_start_a_run_once(make_settings: Callable[..., Settings]) -> None:
    with crm(make_settings) as company:
        settings = company.settings.model_copy(update={"hubspot_write_back": "live"})

        def look(
            instance: dg.DagsterInstance, cursor: str | None
        ) -> tuple[dg.SensorResult | dg.SkipReason, str | None]:
            sensor = sensors.build_sensors(settings, build_jobs(settings))[-1]
            with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
                found = sensor(context)
                return found, getattr(found, "cursor", None) or context.cursor  # type: ignore[return-value]

        with open_instance(settings) as instance:
            assert "never read" in str(look(instance, None)[0].skip_message)  # type: ignore[union-attr]
            company.state.contact(phone="+55 11 98765-4321")
            company.night(minutes=1)
            first, cursor = look(instance, None)
            assert isinstance(first, dg.SkipReason), "read already"

            company.state.contact(phone="+55 11 91234-5678")
            asked, cursor = look(instance, cursor)
            assert isinstance(asked, dg.SensorResult)
            assert len(asked.run_requests or []) == 1
            again, cursor = look(instance, cursor)
            assert isinstance(again, dg.SkipReason), "asked already"

            company.night(minutes=1)
            after, cursor = look(instance, cursor)
            assert isinstance(after, dg.SkipReason), "read since"

            company.night(minutes=1)
            company.state.contact(phone="+55 11 93456-7890")  # before anybody looks again
            missed, cursor = look(instance, cursor)
            assert isinstance(missed, dg.SensorResult)
            assert missed.run_requests[0].run_key not in {asked.run_requests[0].run_key}  # type: ignore[index]


def test_a_crm_that_cannot_be_asked_starts_nothing(make_settings: Callable[..., Settings]) -> None:
    with crm(make_settings) as company:
        company.night(minutes=1)
        wrong = {"hubspot_write_back": "live", "hubspot_token": SecretStr("revoked")}
        settings = company.settings.model_copy(update=wrong)
        said = new_contacts(settings)
    assert isinstance(said, str)
    assert "HUBSPOT_TOKEN" in said
    assert "revoked" not in said
