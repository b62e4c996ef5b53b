"""Sources in a night: what fails leaves the rows of before, says what to do, and shows at marts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ctwa.settings import Settings
from ingestion.ads.schema import GOOGLE_ADS, META_ADS
from ingestion.crm.hubspot.tables import HUBSPOT
from ingestion.lake.lake import Lake
from orchestration.instance import open_instance
from orchestration.refresh import RefreshResult, refresh
from orchestration.sources import _Patience
from simulator.ads_api import AdsApi, serve_ads_api
from simulator.ads_faults import Fault, FaultScript
from simulator.ads_state import Account, AdsState
from simulator.google_api import GoogleApi, serve_google_api
from simulator.google_state import Campaign, Customer, GoogleState, Stats
from simulator.hubspot_api import HubspotApi, serve_hubspot_api
from simulator.hubspot_state import HubspotState
from simulator.installation import google_settings

AS_OF = date(2026, 6, 30)
CUSTOMER = "4402211001"


@dataclass
class Apis:
    """All three stand-ins, and settings that read them."""

    meta: AdsApi
    google: GoogleApi
    hubspot: HubspotApi

    def settings(self) -> dict[str, Any]:
        """Settings by field name."""
        return {
            "meta_graph_url": self.meta.url,
            "meta_api_version": self.meta.version,
            "meta_access_token": self.meta.token,
            "meta_ad_account_ids": "101",
            **google_settings(self.google),
            "google_ads_login_customer_id": "",
            "google_ads_customer_ids": CUSTOMER,
            "hubspot_url": self.hubspot.url,
            "hubspot_token": self.hubspot.token,
        }


@pytest.fixture
def apis() -> Iterator[Apis]:
    """A company with a little of everything, yesterday."""
    now = datetime.now(UTC)
    yesterday = (now - timedelta(days=1)).date()
    meta = AdsState(now=lambda: now)
    meta.add(Account("101", "Ours", "BRL", "America/Sao_Paulo", True))
    google = GoogleState(now=lambda: now)
    google.add(Customer(CUSTOMER, "Ours", "BRL", "America/Sao_Paulo"))
    google.add(Campaign("p", CUSTOMER, "PMax", "PERFORMANCE_MAX"))
    google.campaign_spend[CUSTOMER, yesterday, "p"] = Stats(Decimal(12), 5, 1)
    hubspot = HubspotState(now - timedelta(days=1))
    hubspot.contact(phone="+55 11 98765-4321", lifecyclestage="lead")
    hubspot.now = now
    with ExitStack() as stack:
        yield Apis(
            stack.enter_context(serve_ads_api(meta, token="EAAmeta0token0of0the0test")),
            stack.enter_context(serve_google_api(google)),
            stack.enter_context(serve_hubspot_api(hubspot)),
        )


def night(settings: Settings, project: Path) -> RefreshResult:
    return refresh(settings, as_of=AS_OF, project_dir=project)


def rows(settings: Settings) -> dict[str, int]:
    """Rows by table of everything that sources have landed."""
    lake = Lake.from_settings(settings)
    datasets = {"meta_ads": META_ADS, "google_ads": GOOGLE_ADS, "hubspot": HUBSPOT}
    paths = [f"{name}/{table}" for name, tables in datasets.items() for table in tables]
    paths += ["event_log/outcomes", "event_log/identity_links"]
    return {p: lake.query("select count(*) as n from {t}", t=p)["n"][0].as_py() for p in paths}


def test_e52_every_source_fails_for_itself_and_yesterdays_rows_stay(
    apis: Apis, make_settings: Callable[..., Settings], project: Path
) -> None:
    settings = make_settings(**apis.settings())
    first = night(settings, project)
    assert first.failures == []
    before = rows(settings)
    for table in (
        "meta_ads/accounts",
        "google_ads/spend_rows",
        "hubspot/reads",
        "event_log/outcomes",
    ):
        assert before[table] > 0, table

    apis.meta.token = "EAAanother"
    apis.google.refresh_token = "1//another"
    apis.google.expire()
    apis.hubspot.token = "pat-another"
    second = night(settings, project)

    assert not second.ok
    assert second.published, "the marts are built from what is there"
    assert rows(settings) == before
    said = {line.partition(":")[0]: line for line in second.failures}
    assert sorted(said) == ["google_ads", "hubspot", "meta_ads"]
    mends = {
        "meta_ads": "META_ACCESS_TOKEN",
        "google_ads": "GOOGLE_ADS_REFRESH_TOKEN",
        "hubspot": "HUBSPOT_TOKEN",
    }
    for source, mend in mends.items():
        assert mend in said[source]
        assert "never loaded" not in said[source], "it says since when the rows are old"
    for secret in settings.model_dump().values():
        if hasattr(secret, "get_secret_value") and len(secret.get_secret_value()) > 8:
            assert secret.get_secret_value() not in "".join(second.failures)
    with open_instance(settings) as instance:
        key = dg.AssetCheckKey(dg.AssetKey(["marts", "fct_touches"]), "sources_are_fresh")
        record = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
    assert record.event is not None
    mark = record.event.get_dagster_event().asset_check_evaluation_data
    assert not mark.passed
    assert mark.metadata["stale_sources"].value == "google_ads, meta_ads"


@pytest.mark.parametrize("kind", ["truncated", pytest.param("html", marks=pytest.mark.deep)])
def test_an_outage_is_tried_again_and_fails_its_own_source_only(
    apis: Apis,
    make_settings: Callable[..., Settings],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """Half an answer, and a proxy's page, from all three for as long as anybody tries."""
    # As patient as ever, and without the waiting.
    monkeypatch.setattr("orchestration.sources._RETRIES", 0)
    monkeypatch.setattr("ingestion.apis.client.ApiSession.pause", lambda *_: None)
    for api in (apis.meta, apis.google, apis.hubspot):
        api.faults = FaultScript([Fault("", times=10_000, kind=kind, status=502)])  # type: ignore[arg-type]
    settings = make_settings(**apis.settings())

    result = night(settings, project)

    said = {line.partition(":")[0] for line in result.failures}
    assert said == {"google_ads", "hubspot", "meta_ads"}
    assert result.published
    assert set(rows(settings).values()) == {0}


def test_a_source_that_is_down_is_waited_for_once_and_told_once_with_what_was_seen(
    apis: Apis,
    make_settings: Callable[..., Settings],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orchestration.sources._RETRY_SECONDS", 0.01)
    monkeypatch.setattr("ingestion.apis.client.ApiSession.pause", lambda *_: None)
    nobody = "http://127.0.0.1:9"
    down = {"meta_graph_url": nobody, "hubspot_url": nobody, "google_oauth_url": nobody}
    settings = make_settings(**(apis.settings() | {"meta_ad_account_ids": "101,102,103"} | down))

    result = night(settings, project)

    said = {line.partition(":")[0]: line for line in result.failures}
    assert sorted(said) == ["google_ads", "hubspot", "meta_ads"]
    assert len(result.failures) == 3, "once for each source, not for each asset"
    for line in result.failures:
        assert "connection refused" in line
        assert line.count("connection refused") == 1, "nor for each account"
        assert "passes by itself" not in line
    assert "check META_GRAPH_URL, DNS and the way out" in said["meta_ads"]
    with open_instance(settings) as instance:
        retried = [
            e.dagster_event.step_key
            for e in instance.all_logs(result.run_id)
            if e.dagster_event and e.dagster_event.event_type_value == "STEP_UP_FOR_RETRY"
        ]
    assert {step: retried.count(step) for step in retried} == {
        "meta_ads": 2,
        "google_ads": 2,
        "hubspot": 2,
    }
    # What readers see, and how old it is, are the last words.
    published, data = result.summary()
    assert published.startswith("published nevertheless: ")
    assert all(name in published for name in said)
    assert "meta_ads as of never loaded" in data
    assert "event_log read in this run" in data


@pytest.mark.parametrize(
    ("spent", "waits"), [([], [30, 120, 0]), ([280.0], [0]), ([160.0], [30, 0])]
)
def test_a_run_waits_for_all_its_sources_within_a_budget(
    spent: list[float], waits: list[float]
) -> None:
    run = uuid.uuid4().hex
    for seconds in spent:
        _Patience.of(run, "other").spend(seconds)
    patience, found = _Patience.of(run, "meta_ads"), []
    for tries in range(len(waits)):
        found.append(patience.wait("ads", tries))
        patience.spend(found[-1])
    assert found == waits
    assert _Patience.of(run, "meta_ads").wait("insights", 0) == 0, "not once for each asset"


def test_a_first_night_with_nothing_connected(settings: Settings, project: Path) -> None:
    assert night(settings, project).failures == []
    assert set(rows(settings).values()) == {0}


@pytest.mark.parametrize(
    "off",
    [
        pytest.param("meta", marks=pytest.mark.deep),
        pytest.param("google", marks=pytest.mark.deep),
        "hubspot",
    ],
)
def test_each_source_can_be_off(
    apis: Apis, make_settings: Callable[..., Settings], project: Path, off: str
) -> None:
    given = apis.settings()
    names = {"meta": "meta_access_token", "google": "google_ads_refresh_token"}
    del given[names.get(off, "hubspot_token")]
    settings = make_settings(**given)

    assert night(settings, project).failures == []

    landed = {path.partition("/")[0] for path, count in rows(settings).items() if count}
    expected = {"meta_ads", "google_ads", "hubspot", "event_log"}
    missing = {"meta": {"meta_ads"}, "google": {"google_ads"}, "hubspot": {"hubspot", "event_log"}}
    assert landed == expected - missing[off]
