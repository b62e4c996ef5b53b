"""Sources as a dlt user expects them: in a pipeline of one's own, to another destination."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.extract import DltSource

from ctwa.settings import Settings
from ingestion.ads.google import days as google_days
from ingestion.ads.google.source import google_ads_source
from ingestion.ads.meta.source import meta_ads_source
from ingestion.ads.schema import GOOGLE_ADS, META_ADS
from ingestion.crm.hubspot.source import hubspot_source
from ingestion.lake.pipeline import configure
from ingestion.rates.source import exchange_rates_source
from simulator.ecb_api import serve_ecb_api
from tests.support import ads as meta
from tests.support import google
from tests.support.hubspot import crm


def rows_elsewhere(source: DltSource, folder: Path, sql: str) -> list[Any]:
    """Load a source into DuckDB by a pipeline that is not the product's, then ask it."""
    configure()
    pipeline = dlt.pipeline(
        "elsewhere",
        destination=dlt.destinations.duckdb(str(folder / "elsewhere.duckdb")),
        pipelines_dir=str(folder / "pipelines"),
        dataset_name="copy",
    )
    pipeline.run(source).raise_on_failed_jobs()
    with pipeline.sql_client() as client:
        return list(client.execute_sql(sql) or [])


def test_hubspot_loads_somewhere_else(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    with crm(make_settings) as company:
        ana = company.state.contact(phone="+55 11 98765-4321", lifecyclestage="lead")
        company.state.deal("closedwon", ana, amount="100")
        company.state.now = datetime.now(UTC) - timedelta(minutes=1)
        source = hubspot_source(company.settings)
        assert source.resources.keys() == {"contacts", "deals", "stages"}
        sql = "select d.contact = c.id, d.amounts from deals d, contacts c"
        [(is_hers, amounts)] = rows_elsewhere(source, tmp_path, sql)
    assert is_hers
    assert '"100"' in amounts
    assert not company.settings.data_dir.exists() or not any(company.settings.data_dir.iterdir())


def test_rates_load_somewhere_else(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    today = datetime.now(UTC).date()
    with serve_ecb_api({(today, "USD"): "1.1265"}) as api:
        source = exchange_rates_source(make_settings(ecb_url=api.url))
        rows = rows_elsewhere(source, tmp_path, "select currency, rate_per_eur from ecb_rates")
    assert [(currency, str(rate)) for currency, rate in rows] == [("USD", "1.12650000")]


def test_meta_ads_load_somewhere_else(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    with meta.advertiser(make_settings) as shop:
        source = meta_ads_source(shop.settings)
        assert source.resources.keys() == META_ADS.keys()
        sql = (
            "select a.platform, ad_id, campaign_name from ads a "
            "join campaigns c on a.campaign_id = c.campaign_id order by ad_id"
        )
        rows = rows_elsewhere(source, tmp_path, sql)
        assert not list(shop.settings.data_dir.glob("lake*"))
    assert [tuple(r) for r in rows] == [("meta", ad, "Campanha") for ad in meta.ADS[meta.BRAZIL]]


def test_google_ads_load_somewhere_else(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google_days, "KEPT_DAYS", 1)
    with google.googler(make_settings) as shop:
        source = google_ads_source(shop.settings)
        assert source.resources.keys() == GOOGLE_ADS.keys()
        sql = "select platform, count(*), sum(account_spend) from spend_days group by all"
        [(platform, days, spend)] = rows_elsewhere(source, tmp_path, sql)
    assert (platform, days, spend) == ("google", 3, 0)
