"""HubSpot in the night: read before the event log is landed, and never in its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from ctwa.settings import Settings
from orchestration.resources import RefreshLock, RefreshOptions
from orchestration.sources import build_source_assets
from tests.support.hubspot import TOKEN, Crm, crm

READS = dg.AssetKey(["hubspot", "reads"])


@pytest.fixture
def company(make_settings: Callable[..., Settings]) -> Iterator[Crm]:
    with crm(make_settings) as found:
        ana = found.state.contact(phone="+55 11 98765-4321", lifecyclestage="salesqualifiedlead")
        found.state.deal("closedwon", ana, amount="100")
        yield found


def night(settings: Settings, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """HubSpot and the event log, as the nightly job runs them."""
    assets = [
        asset
        for asset in build_source_assets(settings)
        if asset.op.name in ("event_log", "hubspot")
    ]
    resources = {
        "lock": RefreshLock(path=str(settings.lock_path)),
        "options": RefreshOptions(timezone="UTC"),
    }
    result = dg.materialize(assets, resources=resources, instance=instance)
    assert result.success
    return result


def status(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> str:
    (event,) = (m for m in result.get_asset_materialization_events() if m.asset_key == key)
    return str(event.materialization.metadata["status"].value)


def test_outcomes_are_in_the_event_log_the_same_night(company: Crm) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = night(company.settings, instance)
    assert status(result, READS) == "loaded"
    assert {row["source"] for row in company.outcomes().values()} == {"hubspot", "hubspot_deals"}


def test_a_failing_hubspot_leaves_yesterdays_rows_and_the_event_log_lands(company: Crm) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        night(company.settings, instance)
        before = company.outcomes()
        company.api.token = "another"
        result = night(company.settings, instance)
        assert status(result, READS) == "failed"
        assert status(result, dg.AssetKey(["event_log", "outcomes"])) == "loaded"
        (check,) = (c for c in result.get_asset_check_evaluations() if c.asset_key == READS)
    assert not check.passed
    assert "put it into HUBSPOT_TOKEN" in (check.description or "")
    assert TOKEN not in (check.description or "")
    assert company.outcomes() == before


def test_off_reads_nothing_and_says_what_to_set(
    company: Crm, make_settings: Callable[..., Settings]
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = night(make_settings(hubspot_url=company.api.url), instance)
    assert status(result, READS) == "off"
    assert company.api.calls == []
