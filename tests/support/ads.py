"""A small advertiser on the stand-in, and Meta's landing against it, for tests of both.

Two accounts in two zones and currencies. It is 01:30 UTC of 10 May: still 9 May in São Paulo,
afternoon of 10 May in Auckland. Ids have 18 digits and are neighbours above 2^53.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from ctwa.settings import Settings
from ingestion.ads.meta.graph import GraphClient
from ingestion.ads.meta.source import MetaAdsCounts, land_meta_ads
from ingestion.ads.meta.spend import InsightsCounts, land_insights
from ingestion.apis.client import RetryPolicy
from ingestion.lake.lake import Lake
from simulator.ads_api import AdsApi, serve_ads_api
from simulator.ads_state import Account, Ad, AdSet, AdsState, Campaign, Creative

BRAZIL, ZEALAND = "1010035716096012", "2020035716096012"
TOKEN = "EAAcanary0SECRET0canary"
NOW = datetime(2026, 5, 10, 1, 30, tzinfo=UTC)
CAMPAIGN = {BRAZIL: "120226305854810701", ZEALAND: "120226305854810702"}
ADSET = {BRAZIL: "120226305854810711", ZEALAND: "120226305854810712"}
# Equal as floats: 120226305854810726 == 120226305854810727 in float64.
ADS = {
    BRAZIL: ("120226305854810726", "120226305854810727", "120226305854810728"),
    ZEALAND: ("120226305854810736", "120226305854810737"),
}


def make_state() -> AdsState:
    """Both accounts with their ads and a creative each; no spend yet."""
    state = AdsState(now=lambda: NOW)
    state.add(
        Account(BRAZIL, "Loja"),
        Account(ZEALAND, "Shop", currency="NZD", timezone="Pacific/Auckland"),
    )
    for account, ads in ADS.items():
        state.add(
            Campaign(CAMPAIGN[account], account, "Campanha"),
            AdSet(ADSET[account], account, CAMPAIGN[account], "Conjunto"),
        )
        for number, ad_id in enumerate(ads):
            creative = f"{ad_id}9"
            state.add(
                Creative(creative, account, "c", title=f"Oferta {number}", body="Fale connosco"),
                Ad(ad_id, account, CAMPAIGN[account], ADSET[account], f"Ad {number}", creative),
            )
    return state


@dataclass
class Advertiser:
    """The stand-in, the settings that lead to it, and a clock that tests move."""

    state: AdsState
    api: AdsApi
    settings: Settings
    now: datetime = NOW
    slept: list[float] = field(default_factory=list)
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    def client(self) -> GraphClient:
        """A fresh client that notes its pauses and does not take them."""
        token = self.settings.meta_access_token
        assert token is not None
        return GraphClient(
            self.settings.meta_graph_url,
            token.get_secret_value(),
            version=self.settings.meta_api_version,
            policy=self.policy,
            sleep=self.slept.append,
            seed=1,
        )

    def insights(self, since: date | None = None, until: date | None = None) -> InsightsCounts:
        """Land insights at this advertiser's time."""
        return land_insights(
            self.settings, since=since, until=until, now=lambda: self.now, client=self.client()
        )

    def objects(self, referral_ad_ids: set[str] | None = None) -> MetaAdsCounts:
        """Land accounts, campaigns, ad sets, ads, creatives and look-ups."""
        return land_meta_ads(
            self.settings, referral_ad_ids, now=lambda: self.now, client=self.client()
        )

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table of `meta_ads` in the lake, in the order of reads."""
        lake = Lake.from_settings(self.settings)
        found = lake.query("select * from {t} order by all", t=f"meta_ads/{table}")
        return found.to_pylist()

    def spend(self) -> dict[tuple[str, date, str], Decimal]:
        """What counts now: rows of the newest complete read of each account day."""
        newest = self._newest_days()
        return {
            (r["account_id"], r["spend_date"], r["ad_id"]): r["spend"]
            for r in self.rows("spend_rows")
            if newest[r["account_id"], r["spend_date"]]["read_no"] == r["read_no"]
        }

    def totals(self) -> dict[tuple[str, date], Decimal]:
        """The account's own total of every day that was ever read whole."""
        return {key: r["account_spend"] for key, r in self._newest_days().items()}

    def _newest_days(self) -> dict[tuple[str, date], dict[str, Any]]:
        return {(r["account_id"], r["spend_date"]): r for r in self.rows("spend_days")}

    def counts(self) -> dict[str, int]:
        """Number of rows of each table of objects and insights; reads apart, which always grow."""
        tables = ("accounts", "campaigns", "adsets", "ads", "creatives", "ad_lookups")
        return {t: len(self.rows(t)) for t in (*tables, "spend_rows", "spend_days")}


@contextmanager
def advertiser(
    make_settings: Callable[..., Settings],
    *,
    accounts: tuple[str, ...] = (BRAZIL,),
    **settings: Any,
) -> Iterator[Advertiser]:
    """Serve a fresh advertiser; small look-back and back-fill unless said otherwise."""
    state = make_state()
    with serve_ads_api(state, token=TOKEN, page_size=2) as api:
        values: dict[str, Any] = {
            "meta_graph_url": api.url,
            "meta_access_token": TOKEN,
            "meta_ad_account_ids": ",".join(accounts),
            "meta_lookback_days": 3,
            "meta_backfill_days": 5,
        }
        yield Advertiser(state, api, make_settings(**(values | settings)))
