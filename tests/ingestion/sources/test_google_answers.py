"""Odd answers of Google's: which error they are, what of them counts, what they give away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from ctwa.settings import Settings
from ingestion.ads.google import days as google_days
from ingestion.ads.google.errors import GoogleStopError
from ingestion.source import SourceError, SourceIncompleteError
from simulator.ads_faults import Fault
from simulator.google_faults import GoogleFault, oauth_error, quota
from simulator.google_state import ClickView
from tests.support.google import (
    AD1,
    BRAZIL,
    CLIENT_SECRET,
    DEVELOPER_TOKEN,
    GROUP,
    MANAGER,
    NESTED,
    REFRESH_TOKEN,
    SEARCH,
    ZEALAND,
    Googler,
    googler,
)

DAY = date(2026, 5, 9)
FOR_EVER = 100_000


@pytest.fixture(autouse=True)
def few_days_of_clicks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_days, "KEPT_DAYS", 3)


@pytest.fixture
def shop(make_settings: Callable[..., Settings]) -> Iterator[Googler]:
    """One customer in São Paulo, with an ad that spent and one click on it."""
    with googler(make_settings) as found:
        found.state.spent(AD1, DAY, "2", impressions=1)
        found.state.add(ClickView("Cj0one", BRAZIL, DAY - timedelta(days=1), SEARCH, GROUP, AD1))
        yield found


def _failure(shop: Googler, *faults: Fault) -> SourceError:
    shop.api.faults.faults = list(faults)
    with pytest.raises(SourceError) as caught:
        shop.land()
    return caught.value


def _body(call: str, body: Any, status: int = 200) -> Fault:
    return Fault(call, kind="body", status=status, body=body, times=FOR_EVER)


def _refused(kind: str, word: str, status: int, call: str = "searchStream") -> GoogleFault:
    return GoogleFault(call, status=status, error_code={kind: word}, times=FOR_EVER)


# ---- which error ----------------------------------------------------------------------------


def test_a_quota_that_never_ends_is_asked_for_less_and_less_often(shop: Googler) -> None:
    error = _failure(shop, quota(delay="0.05s", times=FOR_EVER))
    assert error.is_transient
    assert len(shop.api.calls) < 40
    assert 600 < sum(shop.slept) <= shop.policy.max_total_wait


def test_an_outage_told_by_its_status_alone_is_an_outage(shop: Googler) -> None:
    """In the stream, behind a good batch, where HTTP has said 200 already."""
    told = [{"results": []}, {"error": {"status": "UNAVAILABLE", "message": "Try again."}}]
    shop.api.faults.faults = [Fault("FROM campaign$", kind="body", status=200, body=told)]
    shop.land()
    assert len(shop.rows("campaigns")) == 2


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (oauth_error("invalid_scope", "Bad scope"), "gives no access token .*_REFRESH_TOKEN"),
        (oauth_error("deleted_client", "Deleted", 401), "gives no access token .*_CLIENT_ID"),
        (Fault("^token", kind="html", status=404, times=FOR_EVER), "check GOOGLE_OAUTH_URL"),
        (
            Fault("search", kind="html", status=302, headers={"Location": "/"}, times=FOR_EVER),
            "check GOOGLE_ADS_URL",
        ),
        (_refused("authenticationError", "NOT_ADS_USER", 401), "as a user who sees the accounts"),
        (
            _refused("headerError", "INVALID_LOGIN_CUSTOMER_ID", 400),
            "check GOOGLE_ADS_LOGIN_CUSTOMER_ID",
        ),
    ],
    ids=["scope", "deleted client", "OAuth address", "redirected", "no user of Ads", "manager"],
)
def test_what_is_wrong_for_all_accounts_is_said_once(
    shop: Googler, fault: Fault, says: str
) -> None:
    error = _failure(shop, fault)
    assert isinstance(error, GoogleStopError)
    with pytest.raises(GoogleStopError, match=says):
        raise error
    assert shop.slept == []


@pytest.mark.parametrize("word", ["CUSTOMER_NOT_FOUND", "CLIENT_CUSTOMER_ID_INVALID"])
def test_an_account_that_is_none_does_not_stop_the_others(
    make_settings: Callable[..., Settings], word: str
) -> None:
    with googler(make_settings, customers=(BRAZIL, ZEALAND)) as both:
        error = _failure(both, _refused("authenticationError", word, 401, f"{BRAZIL} FROM"))
        assert isinstance(error, SourceIncompleteError)
        assert list(error.failures) == [BRAZIL]
        assert "check GOOGLE_ADS_CUSTOMER_IDS" in error.failures[BRAZIL]
        assert {r["account_id"] for r in both.rows("accounts")} == {ZEALAND}


def test_an_account_refused_by_itself_but_reached_through_its_manager_is_no_failure(
    make_settings: Callable[..., Settings],
) -> None:
    with googler(make_settings, customers=(NESTED, MANAGER)) as shop:
        assert shop.land().customers == 1
        assert {r["account_id"] for r in shop.rows("accounts")} == {NESTED}


@pytest.mark.parametrize(
    "body",
    [
        {"error": f"{REFRESH_TOKEN} {CLIENT_SECRET}"},
        {"error": {"code": 400, "status": f"No {DEVELOPER_TOKEN}", "message": REFRESH_TOKEN}},
        [{"error": {"code": 400, "details": [{"requestId": CLIENT_SECRET, "reason": "1//a"}]}}],
        [{"error": {"code": 400, "details": [{"errors": [{"errorCode": {"x": CLIENT_SECRET}}]}]}}],
        {"error": {"code": "400", "details": {"errors": 5}}},
        {"error": {"details": [{"errors": 5, "details": [7]}, 8, {"retryDelay": "..s"}]}},
        {"error": None},
    ],
)
@pytest.mark.parametrize("call", ["^token", "searchStream"])
def test_an_error_that_quotes_us_or_has_no_form_gives_nothing_away(
    shop: Googler, call: str, body: Any
) -> None:
    text = str(_failure(shop, _body(call, body, 400)))
    assert "HTTP 400" in text
    for secret in (REFRESH_TOKEN, CLIENT_SECRET, DEVELOPER_TOKEN, "1//a"):
        assert secret not in text


# ---- what counts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("FROM ad_group WHERE", "costs of one ad, but none of its ad_group"),
        ("FROM campaign WHERE", "costs of one ad_group, but none of its campaign"),
        ("FROM customer WHERE", "costs of campaigns, but no total of the account"),
    ],
)
def test_e52_a_level_that_is_lost_lands_no_day(shop: Googler, call: str, says: str) -> None:
    shop.land()
    before = shop.counts()
    shop.state.spent(AD1, DAY, "99", impressions=1)
    error = _failure(shop, _body(call, []))
    assert f"{DAY} has {says}" in str(error)
    assert shop.counts() == before


def test_e52_a_row_that_comes_twice_lands_no_day(shop: Googler) -> None:
    row = {
        "campaign": {"id": SEARCH},
        "segments": {"date": DAY.isoformat()},
        "metrics": {"costMicros": "2000000"},
    }
    error = _failure(shop, _body("FROM campaign WHERE", [{"results": [row]}, {"results": [row]}]))
    assert "two rows of one campaign" in str(error)
    assert shop.rows("spend_days") == []


def test_costs_that_fail_do_not_keep_clicks_from_being_read(shop: Googler) -> None:
    error = _failure(shop, _body("FROM customer WHERE", []))
    assert isinstance(error, SourceIncompleteError)
    assert list(error.failures) == [BRAZIL]
    assert [r["gclid"] for r in shop.rows("click_views")] == ["Cj0one"]


def test_clicks_without_a_click_id_are_counted_and_passed_over(
    shop: Googler, caplog: pytest.LogCaptureFixture
) -> None:
    """Of app campaigns Google tells none."""
    caplog.set_level("INFO")
    day = DAY - timedelta(days=1)
    app = {"clickView": {"resourceName": "x"}, "campaign": {"id": "1"}}
    shop.api.faults.faults = [
        _body(f"click_view.*{day}", [{"results": [app, {"clickView": {"gclid": "Cj0two"}}]}])
    ]
    shop.land()
    assert [r["gclid"] for r in shop.rows("click_views")] == ["Cj0two"]
    read = next(r for r in shop.rows("click_reads") if r["click_date"] == day)
    assert read["clicks"] == 1
    assert "1 clicks without a click id" in caplog.text


def test_a_short_look_back_is_kept_to(shop: Googler) -> None:
    """Of three days: what was read when they had passed is read no more."""
    shop.land()
    shop.now += timedelta(days=10)
    assert shop.land().days_read == 12  # from the first day: nothing in between was ever read
    shop.now += timedelta(days=1)
    assert shop.land().days_read == 3
