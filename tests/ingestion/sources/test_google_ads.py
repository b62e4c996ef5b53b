"""Google Ads into the lake: objects, costs by level and day, accounts below managers, clicks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal

import pytest

from ctwa.settings import Settings
from ingestion.ads.google import days as google_days
from ingestion.ads.google.source import land_google_ads
from simulator.ads_faults import Fault
from simulator.google_state import Ad, AdGroup, Campaign, ClickView, Customer, Stats
from tests.support.google import (
    AD1,
    AD2,
    BELOW,
    BRAZIL,
    FAR,
    FAR_AD,
    GROUP,
    MANAGER,
    NESTED,
    PMAX,
    SEARCH,
    SHOP_AD,
    ZEALAND,
    Googler,
    googler,
)

D = Decimal
MAY = {n: date(2026, 5, n) for n in range(1, 32)}


@pytest.fixture(autouse=True)
def few_days_of_clicks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ninety queries for each landing are for the tests of clicks."""
    monkeypatch.setattr(google_days, "KEPT_DAYS", 3)


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


def _spend_some(shop: Googler) -> None:
    for number, day in enumerate((MAY[7], MAY[8], MAY[9])):
        for ad_id in (AD1, AD2):
            shop.state.spent(ad_id, day, f"{number + 1}.25", impressions=10, clicks=2)
        shop.state.campaign_spend[BRAZIL, day, PMAX] = Stats(D("5.5"), 100, 9)


def _truth(shop: Googler, level: str = "ad") -> dict[tuple[str, date, str], Decimal]:
    return {
        (customer, day, key): stats.spend
        for customer in shop.state.customers
        for (day, key), stats in getattr(shop.state, f"{level}_days")(
            customer, date.min, date.max
        ).items()
    }


def _names(shop: Googler, table: str, key: str, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in shop.rows(table):
        found.setdefault(row[key], []).append(row[name])
    return found


# ---- objects ---------------------------------------------------------------------------------


def test_everything_is_read_with_its_parents_and_texts(shop: Googler) -> None:
    shop.land()
    (customer,) = shop.rows("accounts")
    assert (customer["account_id"], customer["currency"]) == (BRAZIL, "BRL")
    assert (customer["account_name"], customer["timezone"]) == ("Loja", "America/Sao_Paulo")
    assert _names(shop, "campaigns", "campaign_id", "objective") == {
        SEARCH: ["SEARCH"],
        PMAX: ["PERFORMANCE_MAX"],
    }
    (group,) = shop.rows("adsets")
    assert (group["adset_id"], group["campaign_id"]) == (GROUP, SEARCH)
    first, second = shop.rows("ads")
    assert (first["adset_id"], first["campaign_id"]) == (GROUP, SEARCH)
    assert (first["ad_name"], first["headline"], first["body"]) == ("Oferta", "Oferta", "Fale")
    assert (second["ad_name"], second["headline"]) == ("Imagem", None)
    assert shop.api.wrong == []


def test_everything_read_twice_lands_nothing_but_the_read_itself(shop: Googler) -> None:
    _spend_some(shop)
    shop.state.add(ClickView("Cj0one", BRAZIL, MAY[9], SEARCH, GROUP, AD1))
    first = shop.land()
    before = shop.counts()
    second = shop.land()
    assert (first.days_changed, second.days_read, second.days_changed) == (3, 3, 0)
    assert shop.counts() == before | {"spend_reads": before["spend_reads"] + 1}
    assert [r["read_no"] for r in shop.rows("spend_reads")] == [1, 2]


def test_e36_a_rename_is_a_new_row_and_the_old_name_stays(shop: Googler) -> None:
    shop.land()
    shop.state.campaigns[SEARCH].name = "Pesquisa nova"
    shop.state.ads[AD1].status = "PAUSED"
    counts = shop.land()
    assert (counts.rows["campaigns"], counts.rows["ads"], counts.rows["adsets"]) == (1, 1, 0)
    names = _names(shop, "campaigns", "campaign_id", "campaign_name")
    assert names[SEARCH] == ["Pesquisa", "Pesquisa nova"]


@pytest.mark.parametrize("name", ["Oferta \ud83d", "\udc4bOferta", "Ofe\x00rta"])
def test_a_damaged_name_costs_the_account_nothing(shop: Googler, name: str) -> None:
    shop.state.campaigns[SEARCH].name = name
    shop.state.customers[BRAZIL].name = name
    shop.state.ads[AD1].headlines = (name,)
    _spend_some(shop)
    shop.land()
    assert shop.slept == []
    mended = name.translate({0xD83D: 0xFFFD, 0xDC4B: 0xFFFD, 0: 0xFFFD})
    assert _names(shop, "campaigns", "campaign_id", "campaign_name")[SEARCH] == [mended]
    assert shop.costs() == _truth(shop)
    assert shop.land().days_changed == 0


def test_a_damaged_id_is_left_out_alone_and_its_cost_stays_in_the_total(shop: Googler) -> None:
    shop.state.add(Ad("70\ud83d", BRAZIL, SEARCH, GROUP, "Broken"))
    _spend_some(shop)
    shop.state.spent("70\ud83d", MAY[9], "9", impressions=1)
    shop.land()
    assert {r["ad_id"] for r in shop.rows("ads")} == {AD1, AD2}
    assert {key[2] for key in shop.costs()} == {AD1, AD2}
    assert shop.totals()[BRAZIL, MAY[9]] == D("6.50") + D("5.5") + D("9")


def test_e38_ids_beyond_two_to_the_53_stay_apart(shop: Googler) -> None:
    assert float(AD1) == float(AD2)
    shop.state.spent(AD1, MAY[9], "1", impressions=1)
    shop.state.spent(AD2, MAY[9], "2", impressions=1)
    shop.land()
    assert {r["ad_id"] for r in shop.rows("ads")} == {AD1, AD2}
    assert shop.costs() == {(BRAZIL, MAY[9], AD1): D(1), (BRAZIL, MAY[9], AD2): D(2)}


# ---- costs -----------------------------------------------------------------------------------


def test_each_level_holds_the_whole_of_its_own(shop: Googler) -> None:
    """What has no ad stays with its ad group, its campaign, or in the total."""
    _spend_some(shop)
    shop.state.ad_group_spend[BRAZIL, MAY[9], GROUP] = Stats(D("0.10"), 1)
    shop.state.extra_spend[BRAZIL, MAY[9]] = D("0.01")
    shop.land()
    for level in ("ad", "ad_group", "campaign"):
        assert shop.costs(level) == _truth(shop, level)
    assert shop.totals()[BRAZIL, MAY[9]] == D("6.50") + D("0.10") + D("5.5") + D("0.01")
    assert {r["campaign_id"] for r in shop.rows("spend_rows") if r["spend_level"] == "ad"} == {
        SEARCH
    }


def test_a_performance_max_campaign_has_costs_without_ads(shop: Googler) -> None:
    shop.state.campaign_spend[BRAZIL, MAY[9], PMAX] = Stats(D("5.500001"), 100)
    shop.land()
    (row,) = shop.rows("spend_rows")
    assert (row["spend_level"], row["campaign_id"], row["campaign_name"]) == (
        "campaign",
        PMAX,
        "Máximo",
    )
    assert (row["adset_id"], row["ad_id"]) == (None, None)
    assert (row["spend"], row["impressions"], row["clicks"]) == (D("5.500001"), 100, 0)
    newest = {r["spend_date"]: r for r in shop.rows("spend_days")}[MAY[9]]
    assert (newest["account_spend"], newest["ad_rows"]) == (D("5.500001"), 0)


def test_days_without_costs_are_read_zeros_not_holes(shop: Googler) -> None:
    shop.land()
    assert shop.totals() == {(BRAZIL, MAY[n]): D(0) for n in (7, 8, 9)}
    assert shop.rows("spend_rows") == []


def test_e40_restated_costs_are_a_new_read_of_that_day_only(shop: Googler) -> None:
    _spend_some(shop)
    shop.land()
    shop.state.spent(AD1, MAY[8], "0.75", impressions=9)
    counts = shop.land()
    assert (counts.days_read, counts.days_changed) == (3, 1)
    assert shop.costs() == _truth(shop)
    assert shop.totals()[BRAZIL, MAY[8]] == D("0.75") + D("2.25") + D("5.5")
    versions = [
        r["spend"] for r in shop.rows("spend_rows") if r["ad_id"] == AD1 and r["read_no"] == 2
    ]
    assert versions == [D("0.75")]


def test_e41_a_day_that_became_empty_is_a_day_of_zero_rows(shop: Googler) -> None:
    _spend_some(shop)
    shop.land()
    for table in (shop.state.spend, shop.state.campaign_spend):
        for key in [k for k in table if k[1] == MAY[8]]:
            del table[key]
    assert shop.land().days_changed == 1
    newest = shop.rows("spend_days")[-1]
    assert (newest["spend_date"], newest["account_spend"], newest["ad_rows"]) == (MAY[8], 0, 0)
    for level in ("ad", "campaign"):
        assert shop.costs(level) == _truth(shop, level)


def test_e50_costs_of_a_removed_campaign_stay(shop: Googler) -> None:
    _spend_some(shop)
    for thing in (shop.state.campaigns[SEARCH], shop.state.ad_groups[GROUP], shop.state.ads[AD1]):
        thing.status = "REMOVED"
    shop.land()
    assert shop.costs() == _truth(shop)
    assert _names(shop, "campaigns", "campaign_id", "status")[SEARCH] == ["REMOVED"]


def test_e42_e44_each_customer_has_its_own_today_and_currency(both: Googler) -> None:
    both.state.spent(AD1, MAY[9], "1.10", impressions=1)
    both.state.spent(SHOP_AD, MAY[10], "2.20", impressions=1)
    both.land()
    last = {c: max(d for other, d in both.totals() if other == c) for c in (BRAZIL, ZEALAND)}
    assert last == {BRAZIL: MAY[9], ZEALAND: MAY[10]}
    found = {(r["ad_id"], r["currency"], r["spend"]) for r in both.rows("spend_rows")}
    assert {f for f in found if f[0]} == {(AD1, "BRL", D("1.10")), (SHOP_AD, "NZD", D("2.20"))}


def test_e42_an_unknown_zone_is_told_and_taken_as_utc(
    shop: Googler, caplog: pytest.LogCaptureFixture
) -> None:
    customer = {"id": BRAZIL, "currencyCode": "BRL", "timeZone": "Mars/Olympus", "manager": False}
    answer = [{"results": [{"customer": customer}]}]
    shop.api.faults.faults.append(
        Fault("FROM customer$", kind="body", status=200, body=answer, times=9)
    )
    shop.land()
    assert max(d for _, d in shop.totals()) == MAY[10]
    assert "Mars/Olympus" in caplog.text


def test_e43_a_customer_that_changes_currency_gets_new_rows(shop: Googler) -> None:
    shop.state.spent(AD1, MAY[9], "1", impressions=1)
    shop.land()
    shop.state.customers[BRAZIL].currency = "USD"
    shop.land()
    assert [r["currency"] for r in shop.rows("accounts")] == ["BRL", "USD"]
    newest = {r["spend_date"]: r["currency"] for r in shop.rows("spend_days")}
    assert newest[MAY[9]] == "USD"


def test_after_a_standstill_missing_and_unsettled_days_are_read_again(shop: Googler) -> None:
    _spend_some(shop)
    shop.land()
    shop.now += timedelta(days=6)  # look-back is 3 days: 8 and 9 May were last read while fresh
    shop.state.spent(AD1, MAY[9], "77", impressions=1)
    shop.state.spent(AD1, MAY[11], "5", impressions=1)
    shop.land()
    assert shop.costs() == _truth(shop)
    assert len(shop.totals()) == 9


def test_days_that_have_settled_are_read_no_more(shop: Googler) -> None:
    _spend_some(shop)
    shop.land()
    shop.now += timedelta(days=45)
    shop.land()
    shop.now += timedelta(days=1)
    shop.api.calls.clear()
    shop.land()
    asked = [c for c in shop.api.calls if "FROM campaign WHERE" in c]
    assert not any("2026-05-07" in c for c in asked)
    assert shop.costs() == _truth(shop)


def test_e52_a_total_that_is_lost_books_nothing_as_a_credit(shop: Googler) -> None:
    _spend_some(shop)
    shop.api.faults.faults.append(
        Fault("FROM customer WHERE", kind="body", status=200, body=[], times=9)
    )
    with pytest.raises(Exception, match=r"2026-05-07.* next run reads it again"):
        shop.land()
    assert shop.totals() == {}


# ---- managers --------------------------------------------------------------------------------


def test_a_manager_stands_for_all_accounts_below_it(
    make_settings: Callable[..., Settings],
) -> None:
    with googler(make_settings, customers=(MANAGER, BRAZIL)) as shop:
        shop.state.add(
            Customer("41", "Closed", "EUR", "UTC", status="CANCELED", manager_id=MANAGER),
            Customer("42", "Near", "USD", "UTC", manager_id=MANAGER),
        )
        shop.state.spent(FAR_AD, MAY[9], "4", impressions=1)
        counts = shop.land()
        assert counts.customers == 3
        assert {r["account_id"] for r in shop.rows("accounts")} == {NESTED, BRAZIL, "42"}
        assert shop.costs() == {(NESTED, MAY[9], FAR_AD): D(4)}
        # Figures of a manager are never asked for, nor an account that is closed.
        assert shop.api.wrong == []
        assert not any(f" {m} FROM campaign" in c for m in (MANAGER, BELOW) for c in shop.api.calls)


def test_an_account_is_read_once_however_often_it_is_named(
    make_settings: Callable[..., Settings],
) -> None:
    with googler(
        make_settings,
        customers=(NESTED, MANAGER, BELOW),
        google_ads_login_customer_id=f"{MANAGER[:3]}-{MANAGER[3:6]}-{MANAGER[6:]}",
    ) as shop:
        shop.state.spent(FAR_AD, MAY[9], "4", impressions=1)
        assert shop.land().customers == 1
        assert sum(f"{NESTED} FROM campaign WHERE" in c for c in shop.api.calls) == 1
        assert shop.costs("campaign") == {(NESTED, MAY[9], FAR): D(4)}
        assert shop.api.wrong == []


def test_an_ad_may_stand_in_two_ad_groups(shop: Googler) -> None:
    shop.state.add(
        Campaign("18", BRAZIL, "Vídeo", channel_type="DEMAND_GEN"),
        AdGroup("151", BRAZIL, "18", "Grupo"),
        Ad("70", BRAZIL, "18", "151", "Vídeo"),
    )
    shop.land()
    moved = shop.state.ads["70"]
    moved.ad_group_id, moved.campaign_id = GROUP, SEARCH
    shop.land()
    assert [r["adset_id"] for r in shop.rows("ads") if r["ad_id"] == "70"] == ["151", GROUP]


# ---- off ------------------------------------------------------------------------------------


def test_without_its_settings_the_source_does_nothing(
    make_settings: Callable[..., Settings],
) -> None:
    counts = land_google_ads(make_settings(google_ads_customer_ids=BRAZIL))
    assert set(counts.rows.values()) == {0}
