"""Spend of deleted ads: with its ad where Meta still tells it, never beyond the account's total."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest

from ingestion.ads.meta import deleted as meta_deleted
from ingestion.source import SourceError
from simulator.ads_faults import Fault
from tests.support.ads import ADS, BRAZIL, Advertiser

D = Decimal
MAY = {n: date(2026, 5, n) for n in range(1, 16)}
AD1, AD2, AD3 = ADS[BRAZIL]


def spend_some(shop: Advertiser) -> None:
    """1.25, 2.25, 3.25 by each of three ads on 7, 8 and 9 May."""
    for number, day in enumerate((MAY[7], MAY[8], MAY[9])):
        for ad_id in ADS[BRAZIL]:
            shop.state.spent(ad_id, day, f"{number + 1}.25", impressions=10, conversations=2)


def told(shop: Advertiser) -> dict[tuple[str, date, str], Decimal]:
    """All that the ads spent, deleted or not."""
    return {key: stats.spend for key, stats in shop.state.spend.items()}


def asked_by_id(shop: Advertiser) -> list[str]:
    """First pages of insights of single ads."""
    calls = [c for c in shop.api.calls if "/insights?" in c and "act_" not in c]
    return [c for c in calls if "after=" not in c]


def rest(shop: Advertiser, day: date) -> Decimal:
    ads = sum((s for (_, d, _), s in shop.spend().items() if d == day), D(0))
    return shop.totals()[BRAZIL, day] - ads


def test_e32_spend_of_an_ad_deleted_between_two_nights_stays_with_it(shop: Advertiser) -> None:
    spend_some(shop)
    shop.objects()
    shop.insights()
    before = shop.counts()["spend_days"]
    shop.state.delete(AD3)
    shop.objects()
    counts = shop.insights()
    assert shop.spend() == told(shop)
    assert counts.deleted_ads_read == 1
    assert shop.counts()["spend_days"] == before  # the same rows, by another way: no change
    assert shop.api.wrong == []


def test_e45_the_row_of_an_earlier_read_is_asked_for_although_the_lists_do_not_say_deleted(
    shop: Advertiser,
) -> None:
    spend_some(shop)
    shop.insights()  # the lists are never read here
    shop.state.delete(AD3)
    shop.insights()
    assert shop.spend() == told(shop)
    assert {r["campaign_name"] for r in shop.rows("spend_rows")} == {"Campanha"}


def test_e32_an_ad_deleted_before_the_first_sync_is_found_through_its_referral(
    shop: Advertiser,
) -> None:
    spend_some(shop)
    shop.state.delete(AD3)
    shop.objects({AD3})  # a lead's message named it
    shop.insights()
    assert shop.spend() == told(shop)
    assert len(asked_by_id(shop)) == 1


def test_e45_days_long_settled_are_read_again_once_a_deleted_ad_may_explain_their_rest(
    shop: Advertiser,
) -> None:
    spend_some(shop)
    shop.state.delete(AD3)
    shop.objects()
    shop.insights()
    assert rest(shop, MAY[7]) == D("1.25")  # nobody has heard of the ad
    shop.now += timedelta(days=40)
    shop.insights()
    shop.objects({AD3})
    shop.insights()
    assert shop.spend() == told(shop)
    shop.api.calls.clear()
    shop.insights()
    assert not [c for c in shop.api.calls if "2026-05-0" in c]  # once


def test_e45_what_meta_does_not_tell_of_a_deleted_ad_is_in_the_total_only(shop: Advertiser) -> None:
    spend_some(shop)
    shop.objects()
    shop.insights()
    shop.state.delete(AD3)
    shop.api.tells_deleted = False
    shop.objects()
    shop.insights()
    assert AD3 not in {ad for _, _, ad in shop.spend()}
    assert [rest(shop, MAY[n]) for n in (7, 8, 9)] == [D("1.25"), D("2.25"), D("3.25")]


def test_e45_the_account_total_is_never_exceeded(
    shop: Advertiser, caplog: pytest.LogCaptureFixture
) -> None:
    spend_some(shop)
    shop.state.delete(AD2)
    shop.state.delete(AD3)
    # A credit leaves room for one of the two, and not all of the other.
    shop.state.extra_spend[BRAZIL, MAY[8]] = D("-0.50")
    shop.objects({AD2, AD3})
    counts = shop.insights()
    on_day = {ad: s for (_, day, ad), s in shop.spend().items() if day == MAY[8]}
    assert on_day == {AD1: D("2.25"), AD2: D("2.25")}
    assert rest(shop, MAY[8]) == D("1.75")
    assert counts.rows_not_fitting == 1
    assert f"2026-05-08: ad {AD3} spent 2.250000, but only 1.750000 is open" in caplog.text


def test_e41_an_ad_that_the_list_shows_elsewhere_is_never_asked_for_nor_doubled(
    shop: Advertiser,
) -> None:
    spend_some(shop)
    shop.insights()
    shop.state.withdraw(AD1, MAY[8])
    for day in (MAY[7], MAY[8], MAY[9]):
        shop.state.extra_spend[BRAZIL, day] = D("50")
    shop.insights()
    assert shop.spend() == told(shop)
    assert [rest(shop, MAY[n]) for n in (7, 8, 9)] == [D(50)] * 3
    assert asked_by_id(shop) == []


def test_without_a_rest_no_ad_is_asked_for(shop: Advertiser) -> None:
    spend_some(shop)
    shop.state.delete(AD3)
    for day in (MAY[7], MAY[8], MAY[9]):
        shop.state.withdraw(AD3, day)
    shop.state.extra_spend[BRAZIL, MAY[9]] = D("-1")  # a credit is no rest either
    shop.objects({AD3})
    shop.insights()
    assert asked_by_id(shop) == []


def test_e51_calls_for_deleted_ads_are_bounded(
    shop: Advertiser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(meta_deleted, "MAX_ADS", 1)
    spend_some(shop)
    shop.state.delete(AD2)
    shop.state.delete(AD3)
    shop.objects({AD2, AD3})
    counts = shop.insights()
    assert counts.deleted_ads_read == len(asked_by_id(shop)) == 1
    assert rest(shop, MAY[9]) == D("3.25")
    assert "more than 1 deleted ads" in caplog.text


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        (Fault(rf"{AD2}/insights", code=100, subcode=33, times=99), {AD2, AD3}),
        (Fault(rf"{AD2}/insights", code=2, subcode=1504044, times=99), {AD2, AD3}),
        (Fault(rf"{AD2}/insights", code=80004, times=999), {AD2}),
    ],
    ids=["not ours to see", "an outage", "throttled for good"],
)
def test_e51_e52_a_deleted_ad_that_cannot_be_read_costs_no_day(
    shop: Advertiser, fault: Fault, asked: set[str]
) -> None:
    spend_some(shop)
    shop.state.delete(AD2)
    shop.state.delete(AD3)
    shop.objects({AD2, AD3})
    shop.api.faults.faults.append(fault)
    shop.insights()
    assert len(shop.totals()) == 5
    assert {call.split("/")[1] for call in asked_by_id(shop)} == asked
    assert AD2 not in {ad for _, _, ad in shop.spend()}
    shop.api.faults.faults.clear()
    shop.insights()
    assert shop.spend() == told(shop)


def test_e52_ads_that_spent_without_any_total_fail_the_account(shop: Advertiser) -> None:
    spend_some(shop)
    shop.insights()
    before = shop.counts()
    empty: dict[str, object] = {"data": []}
    shop.api.faults.faults.append(
        Fault("level=account", kind="body", status=200, body=empty, times=9)
    )
    with pytest.raises(SourceError, match="the account's own total has no row for that day"):
        shop.insights()
    assert shop.counts() == before


def test_e43_e44_a_day_in_two_currencies_is_not_taken(shop: Advertiser) -> None:
    shop.state.spent(AD1, MAY[9], "1", impressions=1)
    total = {
        "account_id": BRAZIL,
        "account_currency": "USD",
        "spend": "1",
        "date_start": "2026-05-09",
    }
    shop.api.faults.faults.append(
        Fault("level=account", kind="body", status=200, body={"data": [total]}, times=9)
    )
    with pytest.raises(SourceError, match="ads in BRL, the account in USD"):
        shop.insights()
    assert shop.counts()["spend_days"] == 0
