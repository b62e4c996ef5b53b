"""E91: customers that leave their manager's list are read on or named, never silently fewer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal

import pytest

from ctwa.settings import Settings
from ingestion.ads.google import days as google_days
from ingestion.lake.lake import Lake
from ingestion.source import SourceIncompleteError
from simulator.google_state import Customer, Stats
from tests.support.google import BELOW, BRAZIL, FAR_AD, MANAGER, NESTED, ZEALAND, Googler, googler

D = Decimal
MAY_9 = date(2026, 5, 9)
SPENT = (NESTED, MAY_9, FAR_AD)


@pytest.fixture(autouse=True)
def few_days_of_clicks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ninety queries for each landing are for the tests of clicks."""
    monkeypatch.setattr(google_days, "KEPT_DAYS", 1)


@pytest.fixture
def agency(make_settings: Callable[..., Settings]) -> Iterator[Googler]:
    """A manager is configured; below it an account that spent 10 until the morning, 85 by night."""
    with googler(make_settings, customers=(MANAGER,)) as found:
        found.state.spend[SPENT] = Stats(D("10"), 100, 5)
        found.land()
        found.state.spend[SPENT] = Stats(D("85"), 900, 40)
        found.now += timedelta(days=1)
        yield found


def _refused(agency: Googler) -> SourceIncompleteError:
    with pytest.raises(SourceIncompleteError) as caught:
        agency.land()
    return caught.value


def _statuses(agency: Googler) -> list[str]:
    return [r["account_status"] for r in agency.rows("accounts") if r["account_id"] == NESTED]


@pytest.mark.parametrize("status", ["SUSPENDED", "CANCELED", "CLOSED", "SOMETHING_NEW"])
def test_e91_an_account_that_is_not_active_any_more_is_read_on(
    agency: Googler, status: str
) -> None:
    agency.api.reads_inactive = True
    agency.state.customers[NESTED].status = status
    assert agency.land().customers == 1
    assert agency.totals()[NESTED, MAY_9] == D("85")
    assert _statuses(agency) == ["ENABLED", status]
    assert agency.api.wrong == []


@pytest.mark.parametrize("status", ["SUSPENDED", "CANCELED", "CLOSED"])
def test_e91_where_google_refuses_it_it_is_named_with_the_day_and_what_to_do(
    agency: Googler, status: str
) -> None:
    agency.state.customers[NESTED].status = status
    agency.state.add(Customer("42", "Near", "USD", "UTC", manager_id=MANAGER))
    error = _refused(agency)
    assert list(error.failures) == [NESTED]
    assert f"(Far), was read through 2026-05-10, is {status} now" in str(error)
    assert "what it spent from 2026-05-10 on is not known" in str(error)
    assert not error.is_transient
    assert agency.totals()[NESTED, MAY_9] == D("10")
    assert ("42", MAY_9) in agency.totals()  # the others have landed
    assert _statuses(agency) == ["ENABLED", status]
    assert NESTED in _refused(agency).failures  # every night


@pytest.mark.parametrize("login", ["", MANAGER])
def test_e91_an_unlinked_account_is_read_by_itself_where_the_user_may(
    agency: Googler, login: str
) -> None:
    """Also where a manager is set for all."""
    agency.settings = agency.settings.model_copy(update={"google_ads_login_customer_id": login})
    agency.state.customers[NESTED].manager_id = None
    assert agency.land().customers == 1
    assert agency.totals()[NESTED, MAY_9] == D("85")


def test_e91_an_unlinked_account_that_is_refused_is_named(agency: Googler) -> None:
    agency.state.customers[NESTED].manager_id = None
    agency.state.customers[NESTED].visible = False
    error = _refused(agency)
    assert f"is no longer below manager {MANAGER} and cannot be read" in error.failures[NESTED]
    assert "USER_PERMISSION_DENIED" in error.failures[NESTED]
    assert _statuses(agency) == ["ENABLED", "NOT_LISTED"]


def test_e91_an_account_that_moved_below_another_manager_of_ours_is_read_there(
    make_settings: Callable[..., Settings],
) -> None:
    with googler(make_settings, customers=(MANAGER, "9000000003")) as agency:
        agency.state.add(Customer("9000000003", "Other", "EUR", "UTC", is_manager=True))
        agency.land()
        agency.state.customers[NESTED].manager_id = "9000000003"
        agency.state.spend[SPENT] = Stats(D("85"), 900, 40)
        agency.land()
        assert agency.totals()[NESTED, MAY_9] == D("85")
        rows = [r for r in agency.rows("accounts") if r["account_id"] == NESTED]
        assert [r["configured_id"] for r in rows] == [MANAGER, "9000000003"]


def test_e91_the_accounts_below_a_manager_that_cannot_be_read_are_read_on(agency: Googler) -> None:
    agency.state.spend[NESTED, date(2026, 5, 11), FAR_AD] = Stats(D("1"), 1)
    agency.api.direct = {NESTED}
    error = _refused(agency)
    assert list(error.failures) == [MANAGER]
    assert agency.totals()[NESTED, MAY_9] == D("85")
    agency.api.direct = set()
    error = _refused(agency)
    assert list(error.failures) == [MANAGER, NESTED]
    assert f"is below manager {MANAGER}, which cannot be read" in error.failures[NESTED]


def test_e91_what_is_taken_out_of_the_settings_is_no_fault_and_keeps_its_history(
    agency: Googler,
) -> None:
    agency.settings = agency.settings.model_copy(update={"google_ads_customer_ids": (BRAZIL,)})
    counts = agency.land()
    assert (counts.customers, counts.accounts_taken_out) == (1, NESTED)
    assert agency.totals()[NESTED, MAY_9] == D("10")
    assert not any(NESTED in call for call in agency.api.calls[-10:])


def test_e91_an_account_of_a_lake_of_before_is_read_on_as_if_it_had_left(agency: Googler) -> None:
    """Rows of before do not say by which id an account was read."""
    lake = Lake.from_settings(agency.settings)
    names = lake.files("google_ads", "accounts")
    old = [t.drop_columns(["configured_id"]) for t in lake.read("google_ads", "accounts", names)]
    lake.replace("google_ads", "accounts", old, names)
    agency.state.spend[NESTED, date(2026, 5, 11), FAR_AD] = Stats(D("1"), 1)
    agency.state.customers[NESTED].manager_id = None
    agency.land()
    assert agency.totals()[NESTED, MAY_9] == D("85")
    agency.state.customers[NESTED].visible = False
    assert NESTED in _refused(agency).failures


def test_e91_an_account_whose_last_spend_had_settled_is_over_and_never_told_of(
    agency: Googler,
) -> None:
    agency.land()
    agency.now += timedelta(days=5)  # the look-back is three days: nothing is corrected any more
    agency.land()
    agency.state.customers[NESTED].status = "CLOSED"
    counts = agency.land()
    assert counts.accounts_over == f"{NESTED} (CLOSED, read through 2026-05-16)"
    assert counts.customers == 0


def test_e91_a_closed_account_is_told_of_for_as_long_as_the_look_back(agency: Googler) -> None:
    agency.state.customers[NESTED].status = "CLOSED"
    told = []
    for _ in range(6):
        try:
            agency.land()
            told.append("")
        except SourceIncompleteError as error:
            told.append(str(error))
        agency.now += timedelta(days=1)
    assert [bool(text) for text in told] == [True, True, True, False, False, False]
    assert "after 2026-05-13 this is no longer reported" in told[0]


def test_e91_an_unlinked_account_is_told_of_until_somebody_decides(agency: Googler) -> None:
    """It may spend on; nobody knows. Naming the accounts in place of the manager ends it."""
    agency.state.customers[NESTED].manager_id = None
    agency.state.customers[NESTED].visible = False
    agency.now += timedelta(days=400)
    assert NESTED in _refused(agency).failures
    agency.settings = agency.settings.model_copy(update={"google_ads_customer_ids": (ZEALAND,)})
    assert agency.land().accounts_taken_out == NESTED


def test_e91_a_configured_account_that_was_closed_is_named_then_over(
    make_settings: Callable[..., Settings],
) -> None:
    with googler(make_settings, customers=(BRAZIL, ZEALAND)) as both:
        both.state.extra_spend[BRAZIL, MAY_9] = D("3")
        both.land()
        both.state.customers[BRAZIL].status = "CANCELED"
        error = _refused(both)
        assert list(error.failures) == [BRAZIL]
        assert "take its id out of GOOGLE_ADS_CUSTOMER_IDS" in error.failures[BRAZIL]
        both.now += timedelta(days=10)
        assert (both.land().accounts_over or "").startswith(BRAZIL)


def test_an_inactive_account_that_was_never_read_is_not_asked_for(agency: Googler) -> None:
    agency.state.add(Customer("41", "Old", "EUR", "UTC", status="CLOSED", manager_id=BELOW))
    agency.land()
    assert {r["account_id"] for r in agency.rows("accounts")} == {NESTED}
    assert agency.api.wrong == []
