"""HubSpot that refuses, stumbles or lies: what had landed stays, and the error says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ctwa.settings import Settings
from ingestion.crm.hubspot.client import (
    HubspotQuotaError,
    HubspotTokenError,
    problem_from,
)
from ingestion.source import SourceError, SourceIncompleteError
from simulator.ads_faults import Fault
from simulator.hubspot_api import SCOPES, hubspot_error
from tests.support.hubspot import TOKEN, Crm, crm

SEARCH = "POST /crm/objects/2026-09/contacts/search"
READ = "POST /crm/objects/2026-09/contacts/batch/read"
FOR_EVER = 10_000


@pytest.fixture
def company(make_settings: Callable[..., Settings]) -> Iterator[Crm]:
    """An account of which a first night has been read, and which has news since."""
    with crm(make_settings) as found:
        ana = found.state.contact(phone="+55 11 98765-4321", lifecyclestage="lead")
        found.state.deal("qualifiedtobuy", ana)
        found.night()
        found.wait()
        found.state.update("contacts", ana, lifecyclestage="customer")
        yield found


def limit(policy: str, **more: Any) -> dict[str, Any]:
    text = f"You have reached your {policy.lower()} limit."
    return hubspot_error(text, "RATE_LIMITS", policyName=policy, errorType="RATE_LIMIT", **more)


def refused(company: Crm, *faults: Fault) -> SourceError:
    """The error of a landing under these faults; nothing of before is lost, nothing is leaked."""
    reads, outcomes = company.reads(), company.outcomes()
    company.api.faults.faults = list(faults)
    with pytest.raises(SourceError) as caught:
        company.night()
    text = str(caught.value)
    assert TOKEN not in text
    assert "98765" not in text
    kept = company.reads()
    assert kept[: len(reads)] == reads
    assert all(r["object_type"] == "deals" for r in kept[len(reads) :])
    assert company.outcomes() == outcomes
    company.api.faults.faults = []
    assert company.night().changed == 1
    assert len(company.outcomes()) == len(outcomes) + 1
    return caught.value


def test_a_revoked_token_stops_everything_and_says_where_to_get_another(company: Crm) -> None:
    company.api.token = "another"
    company.wait()
    with pytest.raises(HubspotTokenError, match=r"HUBSPOT_TOKEN is not valid.*Private apps.*"):
        company.land()
    assert len(company.reads()) == 4
    assert company.clock.slept[-1] < 1  # not tried again


@pytest.mark.parametrize("scope", ["crm.objects.contacts.read", "crm.objects.deals.read"])
def test_a_missing_scope_is_named_and_the_others_land(company: Crm, scope: str) -> None:
    company.api.scopes = SCOPES - {scope}
    company.wait()
    with pytest.raises(SourceIncompleteError, match=f"add the scope {scope} ") as caught:
        company.land()
    failed = "contacts" if "contacts" in scope else "deals"
    assert set(caught.value.failures) == {failed}
    assert not caught.value.is_transient
    new = {r["object_type"] for r in company.reads()[4:]}
    assert new == {"contacts", "deals"} - {failed}


def test_amounts_have_no_currency_where_the_account_does_not_tell_it(company: Crm) -> None:
    company.state.deal("closedwon", amount="10")
    details = Fault("GET /account-info/2026-09/details", times=FOR_EVER, kind="body", status=403)
    company.api.faults.faults = [details]
    company.night()
    (row,) = [r for r in company.outcomes().values() if r["value"] is not None]
    assert row["currency"] is None


@pytest.mark.parametrize(
    ("fault", "shortest", "longest"),
    [
        (Fault("", kind="body", status=429, body=limit("TEN_SECONDLY_ROLLING")), 10, 13),
        (Fault("", kind="body", status=429, body=limit("SECONDLY")), 1, 2),
        (Fault("", kind="body", status=429, body=limit("SECONDLY", retry_after=7)), 7, 8),
        (Fault("", kind="body", status=429, headers={"Retry-After": "3"}), 3, 4),
        (Fault("", kind="html", status=429), 10, 13),
    ],
    ids=["ten seconds", "a second", "body", "header", "neither"],
)
def test_a_rate_limit_is_waited_for_as_long_as_it_says(
    company: Crm, fault: Fault, shortest: float, longest: float
) -> None:
    company.clock.slept.clear()
    fault.match = SEARCH
    company.api.faults.faults = [fault]
    assert company.night().changed == 1
    waits = [s for s in company.clock.slept if s > 0.9]
    assert len(waits) == 1
    assert shortest <= waits[0] <= longest


def test_a_rate_limit_without_end_is_an_outage(company: Crm) -> None:
    error = refused(company, Fault(SEARCH, times=FOR_EVER, kind="html", status=429))
    assert "waiting time is used up" in str(error)
    assert error.is_transient


def test_the_daily_limit_stops_at_once_and_says_when_it_ends(company: Crm) -> None:
    company.clock.slept.clear()
    error = refused(company, Fault(SEARCH, kind="body", status=429, body=limit("DAILY")))
    assert isinstance(error, HubspotQuotaError)
    assert "midnight in the account's time zone" in str(error)
    assert max(company.clock.slept) < 10


@pytest.mark.parametrize("kind", ["html", "truncated", "cut", "empty"])
@pytest.mark.parametrize("call", [SEARCH, READ])
def test_a_stumble_is_tried_again(company: Crm, kind: Any, call: str) -> None:
    company.api.faults.faults = [Fault(call, times=4, kind=kind, status=502)]
    assert company.night().changed == 1
    assert len(company.api.faults.struck) == 4


@pytest.mark.parametrize(
    "fault",
    [
        Fault(READ, times=FOR_EVER, kind="html", status=502),
        Fault(READ, times=FOR_EVER, kind="truncated"),
        Fault(READ, times=FOR_EVER, kind="cut"),
        Fault(SEARCH, times=FOR_EVER, kind="empty", status=503),
        Fault(SEARCH, times=FOR_EVER, kind="body", status=423),
        Fault(SEARCH, times=FOR_EVER, kind="body", status=477),
        Fault("GET /crm/properties/2026-09", times=FOR_EVER, kind="empty", status=500),
    ],
    ids=["html", "truncated", "cut", "503", "locked", "migrating", "500"],
)
def test_an_outage_is_told_as_one_and_the_next_run_goes_on(company: Crm, fault: Fault) -> None:
    error = refused(company, fault)
    assert "the next run reads it again" in str(error)
    assert error.is_transient


def test_an_outage_of_deals_leaves_contacts_landed(company: Crm) -> None:
    company.api.faults.faults = [Fault("deals", times=FOR_EVER, kind="html", status=502)]
    with pytest.raises(SourceIncompleteError) as caught:
        company.night()
    assert set(caught.value.failures) == {"deals"}
    assert caught.value.counts.changed == 1


def test_a_hubspot_that_cannot_be_reached_is_an_outage(company: Crm) -> None:
    company.api.url = "http://127.0.0.1:9"
    with pytest.raises(SourceError) as caught:
        company.land()
    assert caught.value.is_transient


def test_a_refused_request_is_not_repeated(company: Crm) -> None:
    body = hubspot_error("Property values were not valid: ana@example.com", "VALIDATION_ERROR")
    error = refused(company, Fault(READ, times=FOR_EVER, kind="body", status=400, body=body))
    assert "VALIDATION_ERROR" in str(error)
    assert "ana@example.com" not in str(error)
    assert not error.is_transient


@pytest.mark.parametrize(
    ("call", "body"),
    [
        (SEARCH, {"results": [{"id": "abc"}]}),
        (READ, {"status": "COMPLETE", "results": [{"id": None}]}),
        (READ, {"results": [], "errors": [{"category": "VALIDATION_ERROR"}]}),
    ],
)
def test_an_answer_of_another_shape_lands_nothing(company: Crm, call: str, body: Any) -> None:
    error = refused(company, Fault(call, times=FOR_EVER, kind="body", status=200, body=body))
    assert isinstance(error, SourceIncompleteError)
    assert "not as documented" in str(error)
    assert not error.is_transient


def test_searches_in_a_loop_end(company: Crm) -> None:
    page = {"results": [{"id": "1"}], "paging": {"next": {"after": "1"}}}
    company.api.faults.faults = [Fault(SEARCH, times=FOR_EVER, kind="body", status=200, body=page)]
    with pytest.raises(SourceIncompleteError, match="form a loop"):
        company.land()


def test_the_bin_in_a_loop_ends(company: Crm) -> None:
    page = {"results": [{"id": "1"}], "paging": {"next": {"after": "1"}}}
    bin_of = Fault("archived=true", times=FOR_EVER, kind="body", status=200, body=page)
    company.api.faults.faults = [bin_of]
    company.wait(hours=24)
    with pytest.raises(SourceIncompleteError, match="form a loop"):
        company.land()


def test_what_vanishes_between_search_and_read_is_left_out(company: Crm) -> None:
    """A record deleted in that moment is an error in the batch (207), not of the batch."""
    gone = hubspot_error("Could not get some CONTACT objects", "OBJECT_NOT_FOUND")
    body = {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [gone]}
    company.api.faults.faults = [Fault(READ, kind="body", status=207, body=body)]
    counts = company.night()
    assert counts.changed == 0


def test_no_error_of_hubspots_is_taken_for_granted() -> None:
    for body in (None, [], "x", {}, {"errors": 5}, {"errors": [None, {"context": []}]}):
        assert problem_from("GET /x", 403, body).scopes == ()
    hostile = {
        "category": "x" * 10_000,
        "policyName": ["DAILY"],
        "correlationId": "<script>",
        "errors": [{"context": {"requiredGranularScopes": ["a b", 5, "crm.objects.x.read"]}}],
    }
    problem = problem_from("GET /x", 403, hostile)
    assert (problem.category, problem.policy, problem.correlation_id) == ("", "", "")
    assert problem.scopes == ("crm.objects.x.read",)
