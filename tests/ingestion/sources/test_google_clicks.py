"""Clicks of Google Ads day by day, kept for good; landings that are killed between their loads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, timedelta

import pytest

from ctwa.settings import Settings
from simulator.google_faults import GoogleFault
from simulator.google_state import ClickView
from tests.support.google import (
    AD1,
    AD2,
    BRAZIL,
    GROUP,
    PMAX,
    SEARCH,
    ZEALAND,
    Googler,
    googler,
)

MAY = {n: date(2026, 5, n) for n in range(1, 32)}


@pytest.fixture
def shop(make_settings: Callable[..., Settings]) -> Iterator[Googler]:
    """One customer in São Paulo."""
    with googler(make_settings) as found:
        yield found


@pytest.fixture
def both(make_settings: Callable[..., Settings]) -> Iterator[Googler]:
    """Two customers, in São Paulo and Auckland."""
    with googler(make_settings, customers=(BRAZIL, ZEALAND)) as found:
        yield found


def _clicked(shop: Googler) -> dict[str, tuple[date, str | None]]:
    return {r["gclid"]: (r["click_date"], r["ad_id"]) for r in shop.rows("click_views")}


def _asked_clicks(shop: Googler) -> list[date]:
    """Days of clicks that a landing asks for."""
    shop.api.calls.clear()
    shop.land()
    asked = [c.rpartition("= ")[2] for c in shop.api.calls if "click_view" in c]
    return [date.fromisoformat(day.strip("'")) for day in asked]


def _days_read(shop: Googler, customer: str = BRAZIL) -> list[date]:
    rows = [r for r in shop.rows("click_reads") if r["account_id"] == customer]
    return sorted(r["click_date"] for r in rows)


def test_clicks_lead_to_their_ad_campaign_and_keyword(shop: Googler) -> None:
    shop.state.add(
        ClickView("Cj0one", BRAZIL, MAY[8], SEARCH, GROUP, AD1, "mesa de jantar"),
        ClickView("Cj0max", BRAZIL, MAY[8], PMAX),
    )
    shop.land()
    by_id = {r["gclid"]: r for r in shop.rows("click_views")}
    one, pmax = by_id["Cj0one"], by_id["Cj0max"]
    assert (one["campaign_id"], one["adset_id"], one["ad_id"]) == (SEARCH, GROUP, AD1)
    assert (one["keyword"], one["click_date"]) == ("mesa de jantar", MAY[8])
    assert (pmax["campaign_id"], pmax["adset_id"], pmax["ad_id"]) == (PMAX, None, None)
    read = next(r for r in shop.rows("click_reads") if r["click_date"] == MAY[8])
    assert read["clicks"] == 2


def test_a_day_of_clicks_is_read_until_it_is_whole_then_never_again(shop: Googler) -> None:
    shop.state.add(ClickView("Cj0morning", BRAZIL, MAY[9], SEARCH, GROUP, AD1))
    shop.land()
    # It is 10 May in UTC, still 9 May in São Paulo: that day is not read to the end.
    assert max(_days_read(shop)) == MAY[8]
    assert len(_days_read(shop)) == 89
    # Over since an hour, but Google still adds to it.
    shop.now += timedelta(hours=2, minutes=30)
    assert _asked_clicks(shop) == [MAY[9], MAY[10]]
    assert max(_days_read(shop)) == MAY[8]
    shop.state.add(ClickView("Cj0night", BRAZIL, MAY[9], SEARCH, GROUP, AD2))
    shop.now += timedelta(hours=12)
    assert _asked_clicks(shop) == [MAY[9], MAY[10]]
    assert max(_days_read(shop)) == MAY[9]
    assert _asked_clicks(shop) == [MAY[10]]
    assert _clicked(shop) == {"Cj0morning": (MAY[9], AD1), "Cj0night": (MAY[9], AD2)}
    assert len(shop.rows("click_views")) == 2


def test_clicks_older_than_90_days_are_never_asked_for(both: Googler) -> None:
    both.land()
    assert both.api.wrong == []
    assert min(_days_read(both)) == date(2026, 2, 9)
    assert min(_days_read(both, ZEALAND)) == date(2026, 2, 10)
    # After three months of standstill no day is refused either, and what was read is kept.
    both.state.add(ClickView("Cj0gone", BRAZIL, MAY[12], SEARCH, GROUP, AD1))
    both.now += timedelta(days=100)
    both.land()
    assert both.api.wrong == []
    assert "Cj0gone" not in _clicked(both)
    assert len(_days_read(both)) == len(set(_days_read(both))) == 178


def test_an_account_without_clicks_of_its_own_reads_nothing_twice(shop: Googler) -> None:
    shop.land()
    first = _days_read(shop)
    shop.land()
    assert _days_read(shop) == first
    assert shop.rows("click_views") == []


# ---- killed ----------------------------------------------------------------------------------

_CHILD = """
import os, sys
from datetime import datetime
from ctwa.settings import load_settings
from ingestion.ads.google.api import GoogleAdsClient
from ingestion.ads.google import days as google_days
from ingestion.ads.google.source import land_google_ads
settings = load_settings(_env_file=None)
client = GoogleAdsClient(settings, sleep=lambda seconds: os._exit(9))
land_google_ads(settings, now=lambda: datetime.fromisoformat(sys.argv[1]), client=client)
"""


@pytest.mark.parametrize(
    ("at", "days", "click_days"),
    [("FROM ad_group WHERE .*2026-03-31", 30, 0), ("click_view .*2026-04-20", 40, 60)],
    ids=["costs", "clicks"],
)
def test_e74_a_landing_killed_between_its_loads_goes_on_where_it_stopped(
    make_settings: Callable[..., Settings], at: str, days: int, click_days: int
) -> None:
    with googler(make_settings, google_ads_lookback_days=40) as shop:
        shop.state.spent(AD1, date(2026, 4, 5), "3", impressions=1)
        shop.state.spent(AD2, MAY[8], "4", impressions=1)
        shop.state.add(
            ClickView("Cj0old", BRAZIL, date(2026, 3, 1), SEARCH, GROUP, AD1),
            ClickView("Cj0new", BRAZIL, MAY[8], SEARCH, GROUP, AD1),
        )
        # Meets a fault there: the child dies in its first pause.
        shop.api.faults.faults.append(GoogleFault(at, status=503))
        _run_child(shop)
        assert len(shop.totals()) == days
        assert len(shop.rows("click_reads")) == click_days
        shop.land()
        assert shop.costs() == {k: stats.spend for k, stats in shop.state.spend.items()}
        assert len(shop.rows("spend_days")) == len(shop.totals()) == 40  # nothing twice
        assert len(_days_read(shop)) == len(set(_days_read(shop))) == 89
        assert sorted(r["gclid"] for r in shop.rows("click_views")) == ["Cj0new", "Cj0old"]


def _run_child(shop: Googler) -> None:
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, shop.now.isoformat()],
        env=os.environ | _environment(shop.settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert child.returncode == 9, child.stderr


def _environment(settings: Settings) -> dict[str, str]:
    secret, refresh = settings.google_ads_client_secret, settings.google_ads_refresh_token
    assert secret is not None
    assert refresh is not None
    return {
        "CTWA_DATA_DIR": str(settings.data_dir),
        "GOOGLE_ADS_URL": settings.google_ads_url,
        "GOOGLE_OAUTH_URL": settings.google_oauth_url,
        "GOOGLE_ADS_CLIENT_ID": settings.google_ads_client_id,
        "GOOGLE_ADS_CLIENT_SECRET": secret.get_secret_value(),
        "GOOGLE_ADS_REFRESH_TOKEN": refresh.get_secret_value(),
        "GOOGLE_ADS_CUSTOMER_IDS": ",".join(settings.google_ads_customer_ids),
        "GOOGLE_ADS_LOOKBACK_DAYS": str(settings.google_ads_lookback_days),
    }
