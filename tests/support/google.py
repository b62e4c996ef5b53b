"""A small advertiser at Google Ads on the stand-in, and the landing against it.

A customer in São Paulo, one in Auckland, and a manager with a manager below it, which has one more
customer. It is 01:30 UTC of 10 May: still 9 May in São Paulo, afternoon of 10 May in Auckland.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from ctwa.settings import Settings
from ingestion.ads.google.api import GoogleAdsClient
from ingestion.ads.google.source import GoogleAdsCounts, land_google_ads
from ingestion.ads.schema import GOOGLE_ADS
from ingestion.apis.client import RetryPolicy
from ingestion.lake.lake import Lake
from simulator.google_api import GoogleApi, serve_google_api
from simulator.google_state import Ad, AdGroup, Campaign, Customer, GoogleState

BRAZIL, ZEALAND = "1010035716", "2020035716"
MANAGER, BELOW, NESTED = "9000000001", "9000000002", "3030035716"
NOW = datetime(2026, 5, 10, 1, 30, tzinfo=UTC)
SEARCH, PMAX, SHOP, FAR = "17000000001", "17000000002", "17000000003", "17000000004"
GROUP, SHOP_GROUP, FAR_GROUP = "150000000001", "150000000003", "150000000004"
# Neighbours above 2^53: equal as floats.
AD1, AD2 = "9007199254740992", "9007199254740993"
SHOP_AD, FAR_AD = "700000000003", "700000000004"
DEVELOPER_TOKEN, CLIENT_SECRET = "devCANARYtoken00000000", "GOCSPX-CANARYsecret"
REFRESH_TOKEN = "1//CANARYrefresh"


def make_state() -> GoogleState:
    """All customers with their campaigns, ad groups and ads; no spend yet."""
    state = GoogleState(now=lambda: NOW)
    return state.add(
        Customer(BRAZIL, "Loja", "BRL", "America/Sao_Paulo"),
        Customer(ZEALAND, "Shop", "NZD", "Pacific/Auckland"),
        Customer(MANAGER, "Agency", "EUR", "Europe/Lisbon", is_manager=True),
        Customer(BELOW, "Team", "EUR", "Europe/Lisbon", is_manager=True, manager_id=MANAGER),
        Customer(NESTED, "Far", "EUR", "Europe/Lisbon", manager_id=BELOW),
        Campaign(SEARCH, BRAZIL, "Pesquisa"),
        Campaign(PMAX, BRAZIL, "Máximo", channel_type="PERFORMANCE_MAX"),
        AdGroup(GROUP, BRAZIL, SEARCH, "Grupo"),
        Ad(AD1, BRAZIL, SEARCH, GROUP, None, headlines=("Oferta", "Já"), descriptions=("Fale",)),
        Ad(AD2, BRAZIL, SEARCH, GROUP, "Imagem", type="IMAGE_AD"),
        Campaign(SHOP, ZEALAND, "Search"),
        AdGroup(SHOP_GROUP, ZEALAND, SHOP, "Group"),
        Ad(SHOP_AD, ZEALAND, SHOP, SHOP_GROUP, "Text"),
        Campaign(FAR, NESTED, "Pesquisa"),
        AdGroup(FAR_GROUP, NESTED, FAR, "Grupo"),
        Ad(FAR_AD, NESTED, FAR, FAR_GROUP, None),
    )


@dataclass
class Googler:
    """The stand-in, the settings that lead to it, and a clock that tests move."""

    state: GoogleState
    api: GoogleApi
    settings: Settings
    now: datetime = NOW
    slept: list[float] = field(default_factory=list)
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        self.state.now = lambda: self.now

    def client(self) -> GoogleAdsClient:
        """A fresh client that notes its pauses and does not take them."""
        return GoogleAdsClient(self.settings, policy=self.policy, sleep=self.slept.append, seed=1)

    def land(self) -> GoogleAdsCounts:
        """Land everything at this advertiser's time."""
        return land_google_ads(self.settings, now=lambda: self.now, client=self.client())

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table of `google_ads` in the lake, in the order of reads."""
        lake = Lake.from_settings(self.settings)
        return lake.query("select * from {t} order by all", t=f"google_ads/{table}").to_pylist()

    def counts(self) -> dict[str, int]:
        """Number of rows of each table of the lake."""
        return {table: len(self.rows(table)) for table in GOOGLE_ADS}

    def costs(self, level: str = "ad") -> dict[tuple[str, date, str], Decimal]:
        """What counts now of a level: (customer, day, id), of each day's newest complete read."""
        newest, key = self._newest_days(), "adset_id" if level == "ad_group" else f"{level}_id"
        return {
            (r["account_id"], r["spend_date"], r[key]): r["spend"]
            for r in self.rows("spend_rows")
            if r["spend_level"] == level
            and newest[r["account_id"], r["spend_date"]]["read_no"] == r["read_no"]
        }

    def totals(self) -> dict[tuple[str, date], Decimal]:
        """The customer's own total of every day that was ever read whole."""
        return {key: r["account_spend"] for key, r in self._newest_days().items()}

    def _newest_days(self) -> dict[tuple[str, date], dict[str, Any]]:
        return {(r["account_id"], r["spend_date"]): r for r in self.rows("spend_days")}


@contextmanager
def googler(
    make_settings: Callable[..., Settings],
    *,
    customers: tuple[str, ...] = (BRAZIL,),
    **settings: Any,
) -> Iterator[Googler]:
    """Serve a fresh advertiser; a small look-back unless said otherwise."""
    state = make_state()
    with serve_google_api(
        state,
        batch_size=2,
        developer_token=DEVELOPER_TOKEN,
        client_secret=CLIENT_SECRET,
        refresh_token=REFRESH_TOKEN,
    ) as api:
        values: dict[str, Any] = {
            "google_ads_url": api.url,
            "google_oauth_url": api.url,
            "google_ads_developer_token": DEVELOPER_TOKEN,
            "google_ads_client_id": api.client_id,
            "google_ads_client_secret": CLIENT_SECRET,
            "google_ads_refresh_token": REFRESH_TOKEN,
            "google_ads_customer_ids": ",".join(customers),
            "google_ads_lookback_days": 3,
        }
        yield Googler(state, api, make_settings(**(values | settings)))
