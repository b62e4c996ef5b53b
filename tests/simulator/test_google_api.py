"""The stand-in of the Google Ads API: documented shapes, strict about wrong requests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import requests

from simulator.ads_faults import Fault, FaultScript
from simulator.google_api import GoogleApi, serve_google_api
from simulator.google_faults import GOOGLE_FAULTS, GoogleFault, oauth_error, quota
from simulator.google_state import ClickView, GoogleState, Stats
from tests.support.google import (
    AD1,
    AD2,
    BELOW,
    BRAZIL,
    GROUP,
    MANAGER,
    NESTED,
    PMAX,
    SEARCH,
    ZEALAND,
    make_state,
)

DAY = date(2026, 5, 9)
METRICS = "segments.date, metrics.cost_micros, metrics.impressions, metrics.clicks"
RANGE = "WHERE segments.date BETWEEN '2026-05-08' AND '2026-05-09'"
CLICKS = "SELECT click_view.gclid, click_view.ad_group_ad, campaign.id FROM click_view"


@pytest.fixture
def state() -> GoogleState:
    return make_state()


@pytest.fixture
def api(state: GoogleState) -> Iterator[GoogleApi]:
    with serve_google_api(state) as found:
        yield found


def _token(api: GoogleApi, **changes: str) -> requests.Response:
    form = {
        "grant_type": "refresh_token",
        "client_id": api.client_id,
        "client_secret": api.client_secret,
        "refresh_token": api.refresh_token,
    }
    return requests.post(f"{api.url}/token", data=form | changes, timeout=10)


def _post(
    api: GoogleApi, customer: str, query: str, *, version: str = "v23", **headers: str | None
) -> requests.Response:
    if not api.access_tokens:
        _token(api)
    sent: dict[str, str | None] = {
        "Authorization": f"Bearer {api.access_tokens[-1]}",
        "developer-token": api.developer_token,
    }
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(
        f"{api.url}/{version}/customers/{customer}/googleAds:searchStream",
        json={"query": query},
        headers={name: value for name, value in sent.items() if value is not None},
        timeout=10,
    )


def _rows(api: GoogleApi, query: str, customer: str = BRAZIL, **headers: str) -> list[Any]:
    answer = _post(api, customer, query, **headers)
    assert answer.status_code == 200, answer.text
    return [row for batch in answer.json() for row in batch["results"]]


def _refusal(answer: requests.Response) -> tuple[int, str, str]:
    """HTTP status, Google's kind of error and its word."""
    (item,) = answer.json()
    error = item["error"]
    assert error["code"] == answer.status_code
    (failure,) = error["details"][0]["errors"]
    ((kind, word),) = failure["errorCode"].items()
    return answer.status_code, kind, word


# ---- shapes ----------------------------------------------------------------------------------


def test_rows_come_in_batches_with_numbers_as_text(api: GoogleApi, state: GoogleState) -> None:
    api.batch_size = 1
    state.spent(AD1, DAY, "1.23", impressions=10, clicks=1)
    state.campaign_spend[BRAZIL, DAY, PMAX] = Stats(Decimal("2.5"), 7)
    query = f"SELECT campaign.id, campaign.name, {METRICS} FROM campaign {RANGE}"
    first, second = _post(api, BRAZIL, query).json()
    assert first["fieldMask"].startswith("campaign.id,campaign.name,segments.date,metrics.costMic")
    assert first["requestId"]
    assert first["results"] == [
        {
            "campaign": {
                "resourceName": f"customers/{BRAZIL}/campaigns/{SEARCH}",
                "id": SEARCH,
                "name": "Pesquisa",
            },
            "segments": {"date": "2026-05-09"},
            "metrics": {"costMicros": "1230000", "impressions": "10", "clicks": "1"},
        }
    ]
    assert second["results"][0]["metrics"] == {"costMicros": "2500000", "impressions": "7"}
    api.omits_zeros = False
    assert _post(api, BRAZIL, query).json()[1]["results"][0]["metrics"]["clicks"] == "0"
    assert api.calls[-1] == f"searchStream {BRAZIL} FROM campaign {RANGE}"


def test_each_level_holds_the_whole_of_its_own(api: GoogleApi, state: GoogleState) -> None:
    state.spent(AD1, DAY, "1", impressions=1)
    state.spent(AD2, DAY, "2", impressions=1)
    state.ad_group_spend[BRAZIL, DAY, GROUP] = Stats(Decimal(4), 1)
    state.campaign_spend[BRAZIL, DAY, SEARCH] = Stats(Decimal(8), 1)
    state.campaign_spend[BRAZIL, DAY, PMAX] = Stats(Decimal(16), 1)
    state.extra_spend[BRAZIL, DAY] = Decimal(32)

    def micros(resource: str) -> list[int]:
        found = _rows(api, f"SELECT {METRICS} FROM {resource} {RANGE}")
        return [int(row["metrics"]["costMicros"]) // 1_000_000 for row in found]

    assert micros("ad_group_ad") == [1, 2]
    assert micros("ad_group") == [7]
    assert micros("campaign") == [15, 16]
    assert micros("customer") == [63]
    assert state.totals(BRAZIL, DAY, DAY) == {DAY: Stats(Decimal(63), 5)}


def test_days_of_zeros_are_absent_and_removed_campaigns_are_not(
    api: GoogleApi, state: GoogleState
) -> None:
    state.spent(AD1, DAY, "0")
    state.spent(AD2, DAY - timedelta(days=1), "3")
    state.campaigns[SEARCH].status = "REMOVED"
    query = f"SELECT campaign.id, campaign.status, {METRICS} FROM campaign {RANGE}"
    (row,) = _rows(api, query)
    assert (row["segments"]["date"], row["campaign"]["status"]) == ("2026-05-08", "REMOVED")


def test_an_empty_answer_has_two_shapes(api: GoogleApi) -> None:
    query = f"SELECT {METRICS} FROM customer {RANGE}"
    answers = [_post(api, BRAZIL, query).json() for _ in range(2)]
    assert [len(a) for a in answers] == [1, 0]
    assert answers[0][0]["results"] == []


def test_objects_bring_what_was_selected_and_their_resource_name(api: GoogleApi) -> None:
    query = (
        "SELECT ad_group_ad.ad.id, ad_group_ad.ad.name, ad_group_ad.ad.type, ad_group_ad.status, "
        "ad_group_ad.ad.responsive_search_ad.headlines, "
        "ad_group_ad.ad.responsive_search_ad.descriptions, ad_group.id, campaign.id "
        "FROM ad_group_ad"
    )
    first, second = _rows(api, query)
    assert first == {
        "adGroupAd": {
            "resourceName": f"customers/{BRAZIL}/adGroupAds/{GROUP}~{AD1}",
            "ad": {
                "resourceName": f"customers/{BRAZIL}/ads/{AD1}",
                "id": AD1,
                "type": "RESPONSIVE_SEARCH_AD",
                "responsiveSearchAd": {
                    "headlines": [{"text": "Oferta"}, {"text": "Já"}],
                    "descriptions": [{"text": "Fale"}],
                },
            },
            "status": "ENABLED",
        },
        "adGroup": {"resourceName": f"customers/{BRAZIL}/adGroups/{GROUP}", "id": GROUP},
        "campaign": {"resourceName": f"customers/{BRAZIL}/campaigns/{SEARCH}", "id": SEARCH},
    }
    assert second["adGroupAd"]["ad"]["name"] == "Imagem"
    assert "responsiveSearchAd" not in second["adGroupAd"]["ad"]
    (customer,) = _rows(api, "SELECT customer.id, customer.manager FROM customer")
    assert customer["customer"]["manager"] is False


def test_a_manager_tells_itself_and_all_below_it(api: GoogleApi, state: GoogleState) -> None:
    fields = "customer_client.id, customer_client.level, customer_client.manager"
    query = f"SELECT {fields} FROM customer_client WHERE customer_client.status = 'ENABLED'"
    found = [row["customerClient"] for row in _rows(api, query, MANAGER)]
    assert [(c["id"], c["level"], c["manager"]) for c in found] == [
        (MANAGER, "0", True),
        (BELOW, "1", True),
        (NESTED, "2", False),
    ]
    state.customers[NESTED].status = "CANCELED"
    assert len(_rows(api, query, MANAGER)) == 2
    assert len(_rows(api, query, BRAZIL)) == 1


def test_clicks_are_told_day_by_day_for_90_days(api: GoogleApi, state: GoogleState) -> None:
    state.add(
        ClickView("Cj0one", BRAZIL, DAY, SEARCH, GROUP, AD1, "mesa"),
        ClickView("Cj0two", BRAZIL, DAY, PMAX),
        ClickView("Cj0old", BRAZIL, DAY - timedelta(days=1), SEARCH, GROUP, AD1),
    )
    first, second = _rows(api, f"{CLICKS} WHERE segments.date = '2026-05-09'")
    assert first["clickView"]["gclid"] == "Cj0one"
    assert first["clickView"]["adGroupAd"] == f"customers/{BRAZIL}/adGroupAds/{GROUP}~{AD1}"
    assert second["campaign"]["id"] == PMAX
    assert "adGroupAd" not in second["clickView"]
    # It is 9 May in São Paulo, 10 May in Auckland: each has its own 90 days.
    assert _rows(api, f"{CLICKS} WHERE segments.date = '2026-02-08'") == []
    old = _post(api, ZEALAND, f"{CLICKS} WHERE segments.date = '2026-02-08'")
    assert _refusal(old) == (400, "clickViewError", "DATE_TOO_OLD")
    for where in ("", " WHERE segments.date BETWEEN '2026-05-08' AND '2026-05-09'"):
        word = "EXPECTED_FILTER_ON_A_SINGLE_DAY"
        assert _refusal(_post(api, BRAZIL, CLICKS + where)) == (400, "clickViewError", word)


# ---- who may ask -----------------------------------------------------------------------------


def test_the_token_exchange_wants_everything_right(api: GoogleApi) -> None:
    good = _token(api).json()
    assert (good["token_type"], good["expires_in"]) == ("Bearer", 3599)
    assert good["scope"] == "https://www.googleapis.com/auth/adwords"
    answers = [
        (_token(api, refresh_token="other"), 400, "invalid_grant"),
        (_token(api, client_secret="other"), 401, "invalid_client"),
        (_token(api, grant_type="password"), 400, "unsupported_grant_type"),
    ]
    for answer, status, word in answers:
        assert (answer.status_code, answer.json()["error"]) == (status, word)
    assert len(api.wrong) == 3


def test_headers_are_checked(api: GoogleApi) -> None:
    query = "SELECT customer.id FROM customer"
    assert _post(api, BRAZIL, query, developer_token=None).status_code == 200
    api.wants_developer_token = True
    kinds = {
        "authenticationError": _post(api, BRAZIL, query, Authorization="Bearer other"),
        "requestError": _post(api, BRAZIL, query, developer_token=None),
        "headerError": _post(api, BRAZIL, query, login_customer_id="900-000-0001"),
    }
    assert [_refusal(a)[1:] for a in kinds.values()] == [
        ("authenticationError", "OAUTH_TOKEN_EXPIRED"),
        ("requestError", "DEVELOPER_TOKEN_PARAMETER_MISSING"),
        ("headerError", "INVALID_LOGIN_CUSTOMER_ID"),
    ]
    api.expire()
    _token(api)
    assert _post(api, BRAZIL, query).status_code == 200
    assert len(api.wrong) == 3


def test_accounts_below_a_manager_are_reached_through_it(
    api: GoogleApi, state: GoogleState
) -> None:
    query = "SELECT customer.id FROM customer"
    denied = (403, "authorizationError", "USER_PERMISSION_DENIED")
    assert _refusal(_post(api, NESTED, query)) == denied
    assert _refusal(_post(api, BRAZIL, query, login_customer_id=MANAGER)) == denied
    assert _refusal(_post(api, "404", query)) == denied
    assert len(_rows(api, query, NESTED, login_customer_id=MANAGER)) == 1
    api.direct = {NESTED}
    assert len(_rows(api, query, NESTED)) == 1
    assert _refusal(_post(api, NESTED, query, login_customer_id=MANAGER)) == denied
    api.direct = None
    state.customers[BRAZIL].status = "SUSPENDED"
    state.customers[ZEALAND].visible = False
    closed = _refusal(_post(api, BRAZIL, query))
    assert closed == (403, "authorizationError", "CUSTOMER_NOT_ENABLED")
    assert _refusal(_post(api, ZEALAND, query)) == denied


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("SELECT campaign.nonsense FROM campaign", "UNRECOGNIZED_FIELD"),
        ("SELECT ad_group.id FROM campaign", "PROHIBITED_RESOURCE_TYPE_IN_SELECT_CLAUSE"),
        ("SELECT campaign.id FROM nonsense", "BAD_RESOURCE_TYPE_IN_FROM_CLAUSE"),
        ("SELECT campaign.id", "UNEXPECTED_INPUT"),
        ("SELECT campaign.id FROM campaign WHERE campaign.id ~ '1'", "UNEXPECTED_INPUT"),
        ("SELECT campaign.id FROM campaign WHERE nonsense = '1'", "UNRECOGNIZED_FIELD"),
        (f"SELECT {METRICS} FROM campaign", "EXPECTED_FILTERS_ON_DATE_RANGE"),
        (f"SELECT {METRICS} FROM campaign WHERE segments.date = '9 May'", "INVALID_DATE_FORMAT"),
        (
            f"SELECT {METRICS} FROM campaign "
            "WHERE segments.date BETWEEN '2026-05-09' AND '2026-05-08'",
            "DATE_RANGE_TOO_NARROW",
        ),
        (
            f"SELECT click_view.gclid, metrics.cost_micros FROM click_view {RANGE}",
            "PROHIBITED_METRIC_IN_SELECT_OR_WHERE_CLAUSE",
        ),
    ],
)
def test_wrong_queries_are_refused_and_noted(api: GoogleApi, query: str, word: str) -> None:
    assert _refusal(_post(api, BRAZIL, query)) == (400, "queryError", word)
    assert len(api.wrong) == 1
    assert api.wrong[0].endswith(word)


def test_managers_have_no_figures(api: GoogleApi) -> None:
    answer = _post(api, MANAGER, f"SELECT {METRICS} FROM customer {RANGE}")
    assert _refusal(answer)[2] == "REQUESTED_METRICS_FOR_MANAGER"
    assert _rows(api, "SELECT campaign.id FROM campaign", MANAGER) == []


def test_conditions_choose_rows(api: GoogleApi) -> None:
    query = "SELECT campaign.id FROM campaign WHERE "
    for condition, found in {
        f"campaign.id IN ('{SEARCH}', '{PMAX}')": [SEARCH, PMAX],
        f"campaign.id = {PMAX} AND campaign.status = 'ENABLED'": [PMAX],
        "campaign.advertising_channel_type != 'SEARCH'": [PMAX],
        "campaign.status = 'REMOVED'": [],
    }.items():
        assert [row["campaign"]["id"] for row in _rows(api, query + condition)] == found


def test_another_version_is_googles_page_of_html(api: GoogleApi) -> None:
    answer = _post(api, BRAZIL, "SELECT customer.id FROM customer", version="v19")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


# ---- faults ----------------------------------------------------------------------------------


def test_faults_strike_by_script_in_googles_words(api: GoogleApi) -> None:
    query = "SELECT campaign.id FROM campaign"
    _token(api)
    api.faults = FaultScript(
        [
            quota(),
            GoogleFault("searchStream", status=503),
            Fault("searchStream", kind="html", status=502),
            Fault("searchStream", kind="empty", status=200),
            Fault("searchStream", kind="truncated"),
            GoogleFault(
                "searchStream", error_code={"internalError": "INTERNAL_ERROR"}, after_batches=True
            ),
        ]
    )
    limited = _post(api, BRAZIL, query)
    assert _refusal(limited) == (429, "quotaError", "RESOURCE_EXHAUSTED")
    failure = limited.json()[0]["error"]["details"][0]["errors"][0]
    assert failure["details"]["quotaErrorDetails"]["retryDelay"] == "5s"
    assert _post(api, BRAZIL, query).json()[0]["error"]["status"] == "UNAVAILABLE"
    assert _post(api, BRAZIL, query).text.startswith("<html>")
    assert _post(api, BRAZIL, query).content == b""
    with pytest.raises(requests.JSONDecodeError):
        _post(api, BRAZIL, query).json()
    late = _post(api, BRAZIL, query)
    good, bad = late.json()
    assert late.status_code == 200
    assert len(good["results"]) == 2
    assert bad["error"]["code"] == 500
    assert len(_rows(api, query)) == 2


def test_connections_are_cut_and_the_token_exchange_fails_too(api: GoogleApi) -> None:
    _token(api)
    revoked = oauth_error("invalid_grant", "Token has been expired or revoked.")
    api.faults = FaultScript([Fault("searchStream", kind="cut"), revoked])
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _post(api, BRAZIL, "SELECT campaign.id FROM campaign")
    assert _token(api).json()["error"] == "invalid_grant"


def test_random_faults_are_googles_and_follow_their_seed(api: GoogleApi) -> None:
    calls = [f"searchStream {n % 7}" for n in range(300)]
    first, second = (FaultScript(share=0.3, seed=4, pool=GOOGLE_FAULTS) for _ in range(2))
    struck = [first.next(call) for call in calls]
    assert [f and f.kind for f in struck] == [f and f.kind for f in map(second.next, calls)]
    assert {f.status for f in struck if f} <= {200, 429, 500, 502, 503}
