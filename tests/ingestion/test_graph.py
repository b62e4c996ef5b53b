"""The Graph client against the stand-in: what each error means, waits, pages, secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from ingestion.ads.meta.errors import (
    GraphBlockedError,
    GraphError,
    GraphNotFoundError,
    GraphNotReadyError,
    GraphPagingError,
    GraphPermissionError,
    GraphRequestError,
    GraphRetentionError,
    GraphRunFailedError,
    GraphThrottledError,
    GraphTokenError,
    GraphTooMuchDataError,
    GraphUnavailableError,
)
from ingestion.ads.meta.graph import (
    GraphClient,
    redact,
    regain_seconds,
    usage_percent,
    without_token,
)
from ingestion.apis.client import RetryPolicy
from simulator.ads_api import AdsApi, serve_ads_api, usage_headers
from simulator.ads_faults import Fault, FaultScript
from tests.support.ads import ADS, BRAZIL, TOKEN, make_state

PATH = f"act_{BRAZIL}"


@pytest.fixture(scope="module")
def served() -> Iterator[AdsApi]:
    with serve_ads_api(make_state(), token=TOKEN, page_size=1) as found:
        yield found


@pytest.fixture
def api(served: AdsApi) -> AdsApi:
    """The one server of this module, without faults and memory."""
    served.faults, served.usage, served.version = FaultScript(), None, "v25.0"
    served.calls.clear()
    served.wrong.clear()
    return served


def _client(
    api: AdsApi, slept: list[float] | None = None, policy: RetryPolicy | None = None
) -> GraphClient:
    pauses = [] if slept is None else slept
    return GraphClient(api.url, TOKEN, version="v25.0", sleep=pauses.append, seed=1, policy=policy)


def _fail(api: AdsApi, **fault: object) -> None:
    api.faults.faults.append(Fault("", **fault))  # type: ignore[arg-type]


ONCE = [
    # code, subcode, class: never tried again
    (190, 458, GraphTokenError),
    (190, 459, GraphTokenError),
    (190, 460, GraphTokenError),
    (190, 463, GraphTokenError),
    (190, 467, GraphTokenError),
    (190, None, GraphTokenError),
    (102, None, GraphTokenError),
    (368, None, GraphBlockedError),
    (10, None, GraphPermissionError),
    (200, None, GraphPermissionError),
    (299, None, GraphPermissionError),
    (100, 3191001, GraphPermissionError),
    (100, None, GraphRequestError),
    (100, 33, GraphNotFoundError),
    (803, None, GraphNotFoundError),
    (100, 1504018, GraphTooMuchDataError),
    (100, 1487534, GraphTooMuchDataError),
    (2, 1504038, GraphTooMuchDataError),
    (-3, 1504045, GraphTooMuchDataError),
    (-2, 2490547, GraphRunFailedError),
    (2, 1504041, GraphRequestError),
    (2, 1504042, GraphRequestError),
    (17, 1885172, GraphRequestError),
    (506, None, GraphRequestError),
    (3018, None, GraphRetentionError),
    (999999, None, GraphRequestError),
]
AGAIN = [
    # code, subcode, class: tried again, with pauses that grow
    (1, None, GraphUnavailableError),
    (2, None, GraphUnavailableError),
    (2, 1504043, GraphUnavailableError),
    (2, 1504044, GraphUnavailableError),
    (2637, None, GraphNotReadyError),
    (100, 1815107, GraphNotReadyError),
    (100, 99, GraphUnavailableError),
]
WAIT = [
    *[(4, None), (4, 1504022), (4, 1504039), (17, 2446079), (32, None), (341, None)],
    *[(613, None), (613, 1487742), (613, 5044001), (80000, None), (80003, None)],
    *[(80004, None), (80014, None)],
]


@pytest.mark.parametrize(("code", "subcode", "expected"), ONCE)
def test_errors_that_asking_again_cannot_mend(
    api: AdsApi, code: int, subcode: int | None, expected: type[GraphError]
) -> None:
    slept: list[float] = []
    _fail(api, code=code, subcode=subcode, times=9)
    with pytest.raises(expected) as caught:
        _client(api, slept).get(PATH, fields="name")
    assert type(caught.value) is expected
    assert (len(api.calls), slept) == (1, [])
    assert str(code) in str(caught.value)


@pytest.mark.parametrize(("code", "subcode", "expected"), AGAIN)
def test_errors_that_pass_are_tried_five_times(
    api: AdsApi, code: int, subcode: int | None, expected: type[GraphError]
) -> None:
    slept: list[float] = []
    _fail(api, code=code, subcode=subcode, times=99)
    with pytest.raises(expected):
        _client(api, slept).get(PATH, fields="name")
    assert len(api.calls) == 5
    assert slept == sorted(slept)
    assert 0.5 <= slept[0] <= 1
    assert 4 <= slept[3] <= 8
    api.faults.faults[0].struck = 96
    assert _client(api).get(PATH, fields="name")["name"] == "Loja"


@pytest.mark.parametrize(("code", "subcode"), WAIT)
def test_limits_are_waited_for_beyond_the_number_of_tries(
    api: AdsApi, code: int, subcode: int | None
) -> None:
    slept: list[float] = []
    _fail(api, code=code, subcode=subcode, times=6)
    assert _client(api, slept).get(PATH, fields="name")["name"] == "Loja"
    assert len(slept) == 6
    assert slept[0] >= 22
    assert sum(slept) < 2700


def test_metas_estimate_is_honoured_and_bounded(api: AdsApi) -> None:
    slept: list[float] = []
    policy = RetryPolicy(max_wait=1000)
    _fail(api, code=80004, headers=usage_headers(100, regain_minutes=7))
    _fail(api, code=80004, headers=usage_headers(100, regain_minutes=600))
    _fail(api, code=4, headers={"retry-after": "33"}, status=429)
    _client(api, slept, policy).get(PATH, fields="name")
    assert [round(s) for s in slept] == pytest.approx([420, 1000, 33], abs=2)


def test_all_waiting_together_has_an_end(api: AdsApi) -> None:
    slept: list[float] = []
    _fail(api, code=17, times=999)
    client = _client(api, slept, RetryPolicy(max_total_wait=600))
    with pytest.raises(GraphThrottledError, match="the waiting time is used up"):
        client.get(PATH, fields="name")
    assert 300 < sum(slept) <= 600
    before = len(slept)
    client.renew_patience()
    with pytest.raises(GraphThrottledError):
        client.get(PATH, fields="name")
    assert len(slept) > before


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("html", 502),
        ("html", 200),
        ("truncated", 200),
        ("cut", 200),
        ("empty", 503),
        ("empty", 200),
    ],
)
def test_e51_broken_answers_are_tried_again(api: AdsApi, kind: str, status: int) -> None:
    _fail(api, kind=kind, status=status, times=3)
    assert _client(api).get(PATH, fields="name")["name"] == "Loja"
    assert len(api.calls) == 4


def test_transient_beats_an_unknown_code_but_not_a_dead_token(api: AdsApi) -> None:
    _fail(api, code=12345, transient=True)
    assert _client(api).get(PATH, fields="name")["name"] == "Loja"
    _fail(api, code=190, transient=True, status=500)
    with pytest.raises(GraphTokenError):
        _client(api).get(PATH, fields="name")


def test_an_html_page_with_4xx_is_refused_and_too_many_requests_waits(api: AdsApi) -> None:
    slept: list[float] = []
    _fail(api, kind="html", status=403)
    with pytest.raises(GraphRequestError, match="HTTP 403"):
        _client(api).get(PATH, fields="name")
    _fail(api, kind="html", status=429)
    _client(api, slept).get(PATH, fields="name")
    assert slept[0] > 20


def test_a_server_that_is_not_there(api: AdsApi) -> None:
    client = GraphClient("http://127.0.0.1:9", TOKEN, version="v25.0", sleep=lambda _: None, seed=1)
    said = "connection failed: connection refused"
    with pytest.raises(GraphUnavailableError, match=said) as caught:
        client.get(PATH, fields="name")
    assert caught.value.__context__ is None  # nothing of requests, whose request has the header


def test_a_redirect_is_not_followed(api: AdsApi) -> None:
    headers = {"location": "http://127.0.0.1:9/elsewhere"}
    _fail(api, status=302, code=999, headers=headers)
    with pytest.raises(GraphRequestError, match="HTTP 302"):
        _client(api).get(PATH, fields="name")


# ---- pages -----------------------------------------------------------------------------------


def test_pages_follow_next_to_the_end_without_the_token(api: AdsApi) -> None:
    client = _client(api)
    pages = list(client.pages(f"{PATH}/ads", fields="id", limit=50))
    assert [[row["id"] for row in page] for page in pages] == [[i] for i in ADS[BRAZIL]]
    assert api.wrong == []  # the stand-in refuses a token in a URL, and puts it into `next`
    assert len(api.calls) == 3


@pytest.mark.parametrize("kind", ["repeat", "endless"])
def test_a_loop_is_found_and_read_again(api: AdsApi, kind: str) -> None:
    fault = Fault("after=", kind=kind, nth=2)  # type: ignore[arg-type]
    api.faults.faults.append(fault)
    with pytest.raises(GraphPagingError, match="loop"):
        list(_client(api).pages(f"{PATH}/ads", fields="id"))
    fault.seen = fault.struck = 0
    pages = _client(api).read_whole(f"{PATH}/ads", len, fields="id")
    assert pages == [1, 1, 1]
    fault.times, fault.nth = 99, 1
    with pytest.raises(GraphPagingError):
        _client(api).read_whole(f"{PATH}/ads", len, fields="id")


def test_next_on_another_host_gets_no_request_and_no_token(api: AdsApi) -> None:
    evil = {"data": [], "paging": {"next": "http://127.0.0.1:9/v25.0/x?access_token=t"}}
    _fail(api, kind="body", status=200, body=evil)
    with pytest.raises(GraphPagingError, match="another host"):
        list(_client(api).pages(f"{PATH}/ads", fields="id"))


@pytest.mark.parametrize("body", [{"data": None}, {"data": {}}, {}, {"data": [], "paging": None}])
def test_pages_without_rows(api: AdsApi, body: dict[str, object]) -> None:
    _fail(api, kind="body", status=200, body=body)
    if body.get("data") == []:
        assert list(_client(api).pages(f"{PATH}/ads", fields="id")) == [[]]
    else:
        with pytest.raises(GraphPagingError, match="without `data`"):
            list(_client(api).pages(f"{PATH}/ads", fields="id"))


# ---- limits, versions, secrets ---------------------------------------------------------------


def test_requests_slow_down_from_75_percent_on(api: AdsApi) -> None:
    slept: list[float] = []
    for usage in (74.0, 75.0, 100.0, None):
        api.usage = usage
        _client(api, slept).get(PATH, fields="name")
    assert slept == [1.0, 21.0]


@pytest.mark.parametrize(
    ("headers", "percent", "regain"),
    [
        ({}, 0, None),
        ({"x-business-use-case-usage": "not json"}, 0, None),
        ({"x-business-use-case-usage": "[]"}, 0, None),
        ({"x-ad-account-usage": '{"acc_id_util_pct": "88.5"}'}, 88.5, None),
        ({"x-ad-account-usage": '{"acc_id_util_pct": null}'}, 0, None),
        (
            {"x-ad-account-usage": '{"acc_id_util_pct": 100, "reset_time_duration": 90}'},
            100,
            90,
        ),
        (
            {"x-fb-ads-insights-throttle": '{"app_id_util_pct": 100, "acc_id_util_pct": 10}'},
            100,
            None,
        ),
        (
            {
                "x-business-use-case-usage": json.dumps(
                    {"1": [{"total_time": 3}, {"call_count": 9}]}
                )
            },
            9,
            None,
        ),
        (
            {"x-business-use-case-usage": '{"1": [{"estimated_time_to_regain_access": 2}]}'},
            0,
            120,
        ),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0, None),
    ],
)
def test_usage_headers_are_read_with_distrust(
    headers: dict[str, str], percent: float, regain: float | None
) -> None:
    assert usage_percent(headers) == percent
    assert regain_seconds(headers) == regain


def test_another_version_in_the_answer_is_said_once(
    api: AdsApi, caplog: pytest.LogCaptureFixture
) -> None:
    api.version = "v26.0"
    client = _client(api)
    for _ in range(3):
        client.get(PATH, fields="name")
    said = [r for r in caplog.records if "v26.0 instead of v25.0" in r.getMessage()]
    assert len(said) == 1


def test_a_token_in_metas_own_words_is_cut_out(
    api: AdsApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    message = f"Malformed access token {TOKEN} in ?access_token={TOKEN}&x=1"
    _fail(api, code=1, message=message)
    _fail(api, code=190, message=message)
    with pytest.raises(GraphTokenError) as caught:
        _client(api).get(PATH, fields="name")
    assert "Malformed access token ***" in str(caught.value)
    assert TOKEN not in str(caught.value) + repr(caught.value.problem) + caplog.text


def test_redaction_and_urls() -> None:
    assert redact("EAAabcdefgh123 and secret", "secret") == "*** and ***"
    url = "https://graph.facebook.com/v25.0/act_1/ads?access_token=t&limit=2&after=a%3D"
    assert without_token(url) == "https://graph.facebook.com/v25.0/act_1/ads?limit=2&after=a%3D"
