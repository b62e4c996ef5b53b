"""Google Ads at its worst: what landed stays, messages say what to do, no secret is told."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal

import pytest

from ctwa.settings import Settings
from ingestion.ads.google import days as google_days
from ingestion.ads.google import errors as google_errors
from ingestion.ads.google.errors import GoogleProblem, GoogleStopError
from ingestion.apis.client import RetryPolicy
from ingestion.source import SourceError, SourceIncompleteError, refused
from simulator.ads_faults import Fault, FaultScript
from simulator.google_faults import GOOGLE_FAULTS, GoogleFault, expired, oauth_error, quota
from simulator.google_state import Stats
from tests.support.google import (
    AD1,
    AD2,
    BRAZIL,
    CLIENT_SECRET,
    DEVELOPER_TOKEN,
    MANAGER,
    NESTED,
    PMAX,
    REFRESH_TOKEN,
    SHOP_AD,
    ZEALAND,
    Googler,
    googler,
)

D = Decimal
DAY = date(2026, 5, 9)
INTERNAL = {"internalError": "INTERNAL_ERROR"}
PASSING = {
    "expired": expired(),
    "quota with a delay": quota(),
    "quota without": quota(delay=None),
    "quota on the token": quota("^token"),
    "internal": GoogleFault("FROM campaign", status=500, error_code=INTERNAL),
    "unavailable": GoogleFault("FROM ad_group_ad WHERE", status=503),
    "behind good batches": GoogleFault(
        "FROM ad_group_ad WHERE", error_code=INTERNAL, after_batches=True
    ),
    "html": Fault("FROM customer", kind="html", status=502),
    "html as if good": Fault("FROM campaign WHERE", kind="html", status=200),
    "truncated": Fault("FROM ad_group_ad WHERE", kind="truncated"),
    "cut": Fault("FROM campaign WHERE", kind="cut"),
    "empty": Fault("FROM campaign WHERE", kind="empty", status=200),
    "empty clicks": Fault("click_view", kind="empty", status=503),
    "token cut": Fault("^token", kind="cut"),
    "token empty": Fault("^token", kind="empty", status=200),
    "token of a proxy": Fault("^token", kind="html", status=502),
}


_COUNTERS = ("seen", "struck")


@pytest.fixture(autouse=True)
def few_days_of_clicks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_days, "KEPT_DAYS", 3)


@pytest.fixture
def shop(make_settings: Callable[..., Settings]) -> Iterator[Googler]:
    with googler(make_settings) as found:
        yield found


@pytest.fixture
def both(make_settings: Callable[..., Settings]) -> Iterator[Googler]:
    with googler(make_settings, customers=(BRAZIL, ZEALAND)) as found:
        yield found


@pytest.fixture(autouse=True)
def no_secret_is_told(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Neither in a log, at whatever level, nor in an error with all that led to it."""
    caplog.set_level(logging.DEBUG)
    yield
    told = caplog.text + "".join(
        "".join(traceback.format_exception(*record.exc_info))
        for record in caplog.records
        if record.exc_info
    )
    _assert_no_secret(told)


def _assert_no_secret(text: str) -> None:
    for secret in (CLIENT_SECRET, REFRESH_TOKEN, DEVELOPER_TOKEN, "ya29"):
        assert secret not in text


def _failure(shop: Googler) -> SourceError:
    """The error of a landing that must fail."""
    with pytest.raises(SourceError) as caught:
        shop.land()
    _assert_no_secret("".join(traceback.format_exception(caught.value)))
    return caught.value


def _spend_some(shop: Googler) -> None:
    for ad_id in (AD1, AD2):
        shop.state.spent(ad_id, DAY, "1.25", impressions=10, clicks=2)
    shop.state.campaign_spend[BRAZIL, DAY, PMAX] = Stats(D("5.5"), 100)


def _truth(shop: Googler) -> dict[tuple[str, date, str], Decimal]:
    return {key: stats.spend for key, stats in shop.state.spend.items()}


@pytest.mark.parametrize("name", PASSING)
def test_e51_what_passes_by_itself_is_waited_for(shop: Googler, name: str) -> None:
    _spend_some(shop)
    template = PASSING[name]
    fault = type(template)(**{k: v for k, v in vars(template).items() if k not in _COUNTERS})
    shop.api.faults.faults.append(fault)
    shop.land()
    assert fault.struck == 1
    assert shop.costs() == _truth(shop)
    assert (
        len(shop.rows("spend_rows")) == 5
    )  # two ads, their ad group, two campaigns: nothing twice
    assert shop.totals()[BRAZIL, DAY] == D("8")


def test_the_quota_is_waited_for_as_long_as_google_says(shop: Googler) -> None:
    shop.api.faults.faults.append(quota("FROM campaign$", delay="45s"))
    shop.land()
    (slept,) = shop.slept
    assert 45 <= slept <= 46


def test_patience_with_a_quota_ends(shop: Googler) -> None:
    _spend_some(shop)
    shop.land()
    before = shop.counts()
    shop.state.spent(AD1, DAY, "99", impressions=1)
    shop.policy = RetryPolicy(max_total_wait=600)
    shop.api.faults.faults.append(quota("FROM ad_group_ad WHERE", delay="90s", times=99))
    error = _failure(shop)
    assert isinstance(error, SourceIncompleteError)
    assert "quota is used up at ad_group_ad of customer 1010035716" in str(error)
    assert "apply for a higher access level" in str(error)
    assert sum(shop.slept) <= 600
    assert error.is_transient
    assert shop.counts() == before


def test_the_quota_of_all_accounts_is_waited_for_once(both: Googler) -> None:
    both.policy = RetryPolicy(max_total_wait=600)
    both.api.faults.faults.append(quota("FROM campaign$", delay="90s", times=99))
    error = _failure(both)
    assert isinstance(error, SourceIncompleteError)
    assert list(error.failures) == [BRAZIL, ZEALAND]
    assert sum(both.slept) <= 600


def test_a_quota_that_is_used_up_for_hours_is_not_waited_for(shop: Googler) -> None:
    shop.api.faults.faults.append(quota(delay="41400s", times=99))
    assert _failure(shop).is_transient
    assert shop.slept == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (GoogleFault("WHERE seg", status=503, times=99), r"could not be reached.*next run reads"),
        (Fault("WHERE seg", kind="html", status=502, times=99), r"HTTP 502"),
        (Fault("WHERE seg", kind="truncated", times=99), r"the answer is.*next run reads"),
        (Fault("WHERE seg", kind="cut", times=99), r"connection failed.*next run reads it again"),
        (Fault("WHERE seg", kind="empty", status=200, times=99), r"the answer is"),
        (
            GoogleFault("WHERE seg", error_code=INTERNAL, after_batches=True, times=99),
            r"INTERNAL_ERROR.*next run reads it again",
        ),
    ],
    ids=["503", "html", "truncated", "cut", "empty", "behind good batches"],
)
def test_e52_an_outage_leaves_yesterdays_rows_as_they_are(
    shop: Googler, fault: Fault, says: str
) -> None:
    _spend_some(shop)
    shop.land()
    before = shop.counts()
    shop.state.spent(AD1, DAY, "99", impressions=1)
    shop.api.faults.faults.append(fault)
    error = _failure(shop)
    assert isinstance(error, SourceIncompleteError)
    assert error.is_transient
    _matches(says, error)
    assert shop.counts() == before
    shop.api.faults.faults.clear()
    shop.land()
    assert shop.costs() == _truth(shop)


def _matches(pattern: str, error: SourceError) -> None:
    with pytest.raises(SourceError, match=pattern):
        raise error


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (
            oauth_error("invalid_grant", "Token has been expired or revoked."),
            r"no longer valid .*GOOGLE_ADS_REFRESH_TOKEN; .* after 7 days, so publish",
        ),
        (oauth_error("invalid_client", "The OAuth client was not found.", 401), r"_CLIENT_SECRET"),
        (oauth_error("unauthorized_client", "Unauthorized", 401), r"of GOOGLE_ADS_CLIENT_ID"),
        (expired(times=99), r"make a new GOOGLE_ADS_REFRESH_TOKEN"),
        (
            GoogleFault(
                "searchStream",
                status=403,
                error_code={"authorizationError": "CLOUD_PROJECT_NOT_APPROVED_FOR_PRODUCTION"},
                times=99,
            ),
            r"only read test accounts .*Explorer or Basic access",
        ),
        (
            GoogleFault(
                "searchStream",
                kind="body",
                status=403,
                body=[
                    {
                        "error": {
                            "code": 403,
                            "message": "Google Ads API has not been used in project 1 before.",
                            "status": "PERMISSION_DENIED",
                            "details": [
                                {
                                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                                    "reason": "SERVICE_DISABLED",
                                    "domain": "googleapis.com",
                                }
                            ],
                        }
                    }
                ],
                times=99,
            ),
            r"not turned on .*turn it on there",
        ),
        (
            GoogleFault(
                "searchStream",
                status=401,
                error_code={"authenticationError": "TWO_STEP_VERIFICATION_NOT_ENROLLED"},
                times=99,
            ),
            r"no two-step verification .*turn it on",
        ),
    ],
    ids=["grant", "client", "other client", "401", "test accounts", "api off", "two steps"],
)
def test_what_no_customer_can_be_read_with_stops_at_once(
    both: Googler, fault: Fault, says: str
) -> None:
    _spend_some(both)
    both.land()
    before = both.counts()
    both.state.spent(AD1, DAY, "99", impressions=1)
    both.api.calls.clear()
    both.slept.clear()
    both.api.faults.faults.append(fault)
    error = _failure(both)
    assert isinstance(error, GoogleStopError)
    assert not error.is_transient
    _matches(says, error)
    assert both.slept == []
    assert len(both.api.calls) <= 4
    assert both.counts() == before


def test_every_fix_is_told_whole_by_the_doctor() -> None:
    """`ctwa doctor` takes what stands behind the last colon for the fix."""
    words = [*google_errors._STOPS, *google_errors._DENIALS]
    assert len(words) > 12
    problems = [GoogleProblem("campaign of customer 1", 403, word) for word in words]
    problems += [
        GoogleProblem("campaign of customer 1", status) for status in (400, 401, 403, 404, 429)
    ]
    for error in map(google_errors.classify, problems):
        fix = refused("Google Ads", error).fix
        assert str(error).endswith(f"): {fix}"), fix


def test_a_version_that_is_no_longer_served_names_its_setting(
    make_settings: Callable[..., Settings],
) -> None:
    with googler(make_settings, google_ads_api_version="v19") as shop:
        _matches("set GOOGLE_ADS_API_VERSION=v26 and run again", _failure(shop))


def test_an_api_that_wants_a_developer_token_gets_ours(
    make_settings: Callable[..., Settings],
) -> None:
    with googler(make_settings) as shop:
        shop.api.wants_developer_token = True
        shop.land()
        assert shop.api.wrong == []
    with googler(make_settings, google_ads_developer_token=None) as shop:
        shop.land()
        shop.api.wants_developer_token = True
        _matches("set GOOGLE_ADS_DEVELOPER_TOKEN", _failure(shop))


def test_e52_one_failing_customer_does_not_stop_the_other(both: Googler) -> None:
    both.state.customers[BRAZIL].visible = False
    both.state.spent(SHOP_AD, DAY, "2.20", impressions=1)
    error = _failure(both)
    assert isinstance(error, SourceIncompleteError)
    assert list(error.failures) == [BRAZIL]
    assert not error.is_transient
    _matches("GOOGLE_ADS_LOGIN_CUSTOMER_ID to the manager account above it", error)
    assert error.counts.customers == 1
    assert {r["account_id"] for r in both.rows("spend_reads")} == {ZEALAND}
    assert both.costs() == {(ZEALAND, DAY, SHOP_AD): D("2.20")}


def test_a_closed_account_says_so(shop: Googler) -> None:
    shop.state.customers[BRAZIL].status = "SUSPENDED"
    _matches("not active .*take it out of GOOGLE_ADS_CUSTOMER_IDS", _failure(shop))


def test_an_account_of_a_manager_needs_the_manager_named(
    make_settings: Callable[..., Settings],
) -> None:
    with googler(make_settings, customers=(NESTED,)) as shop:
        _matches("set GOOGLE_ADS_LOGIN_CUSTOMER_ID", _failure(shop))
    with googler(make_settings, customers=(NESTED,), google_ads_login_customer_id=MANAGER) as shop:
        assert shop.land().customers == 1


def test_objects_that_fail_leave_costs_for_the_next_run(shop: Googler) -> None:
    _spend_some(shop)
    shop.land()
    before = shop.counts()
    word = {"queryError": "UNRECOGNIZED_FIELD"}
    shop.api.faults.faults.append(
        GoogleFault("FROM ad_group_ad$", status=400, error_code=word, times=99)
    )
    _matches(r"UNRECOGNIZED_FIELD, HTTP 400.*report it to us", _failure(shop))
    assert shop.counts() == before


@pytest.mark.parametrize("seed", range(3))
def test_e51_thirty_percent_faults_give_the_same_rows(both: Googler, seed: int) -> None:
    _spend_some(both)
    both.state.spent(SHOP_AD, DAY, "4", impressions=1)
    both.api.faults = FaultScript(share=0.3, seed=seed, pool=GOOGLE_FAULTS)
    both.land()
    assert len(both.api.faults.struck) > 5
    assert both.costs() == _truth(both)
    assert len(both.rows("spend_days")) == len(both.totals()) == 6


@pytest.mark.parametrize(
    ("call", "body", "says"),
    [
        ("FROM campaign WHERE", [{"results": [{"metrics": {}}]}], "`segments.date`"),
        ("FROM campaign WHERE", [{"results": {"a": 1}}], "not as documented"),
        ("FROM campaign WHERE", [["a"]], "not as documented"),
        ("FROM campaign WHERE", "text", "not as documented"),
        (
            "FROM campaign WHERE",
            [{"results": [{"campaign": {"id": "1"}, "segments": {"date": "2020-01-01"}}]}],
            "a row for 2020-01-01, which was not asked for",
        ),
        (
            "FROM customer WHERE",
            [{"results": [{"segments": {"date": "2026-05-09"}, "metrics": {"costMicros": "1.5"}}]}],
            "`metrics.costMicros`",
        ),
        ("FROM customer$", [{"results": [{"customer": {"id": BRAZIL}}]}], "currencyCode"),
        ("FROM customer$", [], "`customer.id`"),
        ("click_view", [{"results": [{"clickView": {"gclid": [1]}}]}], "`clickView.gclid`"),
    ],
)
def test_a_changed_shape_fails_the_customer_and_keeps_its_data(
    shop: Googler, call: str, body: object, says: str
) -> None:
    _spend_some(shop)
    shop.land()
    before = shop.counts()
    shop.api.faults.faults.append(Fault(call, kind="body", status=200, body=body, times=99))
    _matches(says, _failure(shop))
    # What stands before the failing part lands: costs are read before clicks.
    grown = {"spend_reads": before["spend_reads"] + 1} if call == "click_view" else {}
    assert shop.counts() == before | grown


def test_a_shape_error_carries_no_value_of_googles(shop: Googler) -> None:
    body = [{"results": [{"clickView": {"gclid": {"secret": "Cj0hidden"}}}]}]
    shop.api.faults.faults.append(Fault("click_view", kind="body", status=200, body=body, times=9))
    assert "Cj0hidden" not in str(_failure(shop))
