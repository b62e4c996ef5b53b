"""The stand-in of the Marketing API: documented shapes, strict about wrong requests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import requests

from simulator.ads_api import AdsApi, serve_ads_api
from simulator.ads_faults import FaultScript
from simulator.ads_insights import JobScript
from simulator.ads_state import AdsState
from tests.support.ads import ADS, BRAZIL, CAMPAIGN, make_state

AD1, AD2, AD3 = ADS[BRAZIL]
ACT = f"act_{BRAZIL}"
DAY = date(2026, 5, 9)
INSIGHTS: dict[str, Any] = {
    "level": "ad",
    "time_increment": "1",
    "time_range": '{"since": "2026-05-08", "until": "2026-05-09"}',
    "fields": "ad_id,spend,impressions,actions",
}


@pytest.fixture
def state() -> AdsState:
    return make_state()


@pytest.fixture
def api(state: AdsState) -> Iterator[AdsApi]:
    with serve_ads_api(state, token="t") as found:
        yield found


def _call(api: AdsApi, path: str, *, method: str = "GET", token: str = "t", **params: str) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    answer = requests.request(
        method, f"{api.url}/v25.0/{path}", params=params, headers=headers, timeout=10
    )
    return answer.json()


def _code(answer: Any) -> tuple[int, int | None]:
    return answer["error"]["code"], answer["error"].get("error_subcode")


def test_next_carries_the_token_and_leads_to_the_end(api: AdsApi) -> None:
    api.page_size = 2
    first = _call(api, f"{ACT}/ads", fields="id,name", limit="100")
    assert [row["id"] for row in first["data"]] == [AD1, AD2]
    assert "access_token=t" in first["paging"]["next"]
    after = first["paging"]["cursors"]["after"]
    second = _call(api, f"{ACT}/ads", fields="id,name", limit="100", after=after)
    assert [row["id"] for row in second["data"]] == [AD3]
    assert "next" not in second["paging"]


def test_archived_only_if_asked_for_deleted_by_id_only(api: AdsApi, state: AdsState) -> None:
    state.archive(AD1)
    state.delete(AD2)
    assert [r["id"] for r in _call(api, f"{ACT}/ads", fields="id")["data"]] == [AD3]
    asked = _call(api, f"{ACT}/ads", fields="id", effective_status='["ACTIVE","ARCHIVED"]')
    assert [r["id"] for r in asked["data"]] == [AD1, AD3]
    assert _call(api, AD2, fields="name,effective_status")["effective_status"] == "DELETED"
    assert _code(_call(api, f"{ACT}/ads", fields="id", effective_status='["DELETED"]')) == (
        100,
        None,
    )


def test_objects_have_offset_times_and_no_empty_fields(api: AdsApi) -> None:
    ad = _call(api, AD1, fields="created_time,campaign{name,objective},creative{title,url_tags}")
    assert ad == {
        "id": AD1,
        "created_time": "2026-01-05T09:00:00-0300",
        "campaign": {
            "id": CAMPAIGN[BRAZIL],
            "name": "Campanha",
            "objective": "OUTCOME_ENGAGEMENT",
        },
        "creative": {"id": f"{AD1}9", "title": "Oferta 0"},
    }


def test_many_ids_are_refused_at_the_root_and_taken_as_a_filter_of_an_edge(
    api: AdsApi, state: AdsState
) -> None:
    assert _code(_call(api, "", ids=f"{AD1},{AD2}", fields="name")) == (100, None)
    assert api.wrong == ["ids at the root"]
    state.delete(AD1)
    state.archive(AD2)

    def found(*statuses: str) -> Any:
        clauses = [("ad.id", [AD1, AD2, "404"]), ("ad.effective_status", list(statuses))]
        filters = [{"field": f, "operator": "IN", "value": v} for f, v in clauses if v]
        return _call(api, f"{ACT}/ads", fields="id", filtering=json.dumps(filters))

    assert found()["data"] == []
    assert [r["id"] for r in found("ACTIVE", "ARCHIVED")["data"]] == [AD2]
    assert [r["id"] for r in found("ARCHIVED", "DELETED")["data"]] == [AD1, AD2]
    api.edges_tell_deleted = False
    assert _code(found("ARCHIVED", "DELETED")) == (100, 1815001)


def test_hidden_objects_and_ended_versions_have_their_own_codes(
    api: AdsApi, state: AdsState
) -> None:
    state.accounts[BRAZIL].visible = False
    assert _code(_call(api, AD1, fields="name")) == (100, 33)
    assert _code(_call(api, f"{ACT}/ads", fields="name")) == (200, None)
    api.ended_versions = frozenset({"v25.0"})
    assert _code(_call(api, AD1, fields="name")) == (2635, None)


@pytest.mark.parametrize(
    ("path", "params"),
    [
        (f"{ACT}/ads", {"fields": "id", "since": "x"}),
        (f"{ACT}/ads", {"fields": "id,nonsense"}),
        (f"{ACT}/ads", {"fields": "creative{nonsense}"}),
        (f"{ACT}/ads", {"fields": "id", "access_token": "t"}),
        ("", {"ids": "1", "fields": "id"}),
        (f"{ACT}/insights", INSIGHTS | {"fields": "nonsense"}),
        (f"{ACT}/insights", INSIGHTS | {"time_increment": "2"}),
        (f"{ACT}/insights", INSIGHTS | {"time_range": '{"since": "2026-05-08"}'}),
        (f"{ACT}/insights", INSIGHTS | {"level": "account", "fields": "ad_id"}),
        (
            f"{ACT}/insights",
            INSIGHTS
            | {
                "filtering": json.dumps(
                    [{"field": "ad.effective_status", "operator": "IN", "value": ["DELETED"]}]
                )
            },
        ),
    ],
)
def test_wrong_requests_are_refused_and_noted(
    api: AdsApi, path: str, params: dict[str, str]
) -> None:
    assert _code(_call(api, path, **params))[0] == 100
    assert len(api.wrong) == 1


def test_a_wrong_token_and_an_unknown_edge(api: AdsApi) -> None:
    assert _code(_call(api, ACT, token="other", fields="name")) == (190, 463)
    assert _code(_call(api, f"{ACT}/nonsense", fields="name"))[0] == 2500


def test_insights_are_text_and_days_without_delivery_are_absent(
    api: AdsApi, state: AdsState
) -> None:
    state.spent(AD1, DAY, "12.34", impressions=185)
    state.archive(AD1)
    assert _call(api, f"{ACT}/insights", **INSIGHTS)["data"] == []
    statuses = [{"field": "ad.effective_status", "operator": "IN", "value": ["ARCHIVED"]}]
    rows = _call(api, f"{ACT}/insights", **INSIGHTS, filtering=json.dumps(statuses))["data"]
    assert rows == [
        {
            "ad_id": AD1,
            "spend": "12.34",
            "impressions": "185",
            "date_start": "2026-05-09",
            "date_stop": "2026-05-09",
        }
    ]


def test_account_totals_hold_deleted_ads_and_extra_spend(api: AdsApi, state: AdsState) -> None:
    for number, ad_id in enumerate(ADS[BRAZIL]):
        state.spent(ad_id, DAY, f"{number}.10", impressions=5)
    state.extra_spend[BRAZIL, DAY] = Decimal("0.03")
    state.delete(AD3)
    total = INSIGHTS | {"level": "account", "fields": "spend,impressions"}
    (account,) = _call(api, f"{ACT}/insights", **total)["data"]
    ads = _call(api, f"{ACT}/insights", **INSIGHTS)["data"]
    assert account["spend"] == "3.33"
    assert account["impressions"] == "15"
    assert sum(Decimal(r["spend"]) for r in ads) == Decimal("1.20")


def test_ranges_beyond_37_months_are_refused(api: AdsApi) -> None:
    old = INSIGHTS | {"time_range": '{"since": "2023-04-08", "until": "2023-04-10"}'}
    assert _code(_call(api, f"{ACT}/insights", **old)) == (3018, None)
    kept = INSIGHTS | {"time_range": '{"since": "2023-04-09", "until": "2023-04-10"}'}
    assert _call(api, f"{ACT}/insights", **kept) == {"data": []}


def test_report_runs_go_through_their_states(api: AdsApi, state: AdsState) -> None:
    state.spent(AD1, DAY, "1", impressions=1)
    api.jobs_to_come = [JobScript(not_ready=1)]
    run = _call(api, f"{ACT}/insights", method="POST", **INSIGHTS)["report_run_id"]
    assert isinstance(run, int)
    assert _code(_call(api, f"{run}/insights"))[0] == 2601
    states = [_call(api, str(run))["async_status"] for _ in range(3)]
    assert states == ["Job Not Started", "Job Running", "Job Completed"]
    assert _code(_call(api, f"{run}/insights")) == (2637, 1815107)
    assert [r["ad_id"] for r in _call(api, f"{run}/insights")["data"]] == [AD1]


def test_random_faults_follow_their_seed_and_never_strike_too_often_in_a_row() -> None:
    calls = [f"GET /{n % 7}" for n in range(2000)]
    first = FaultScript(share=0.3, seed=4)
    struck = [first.next(call) is not None for call in calls]
    second = FaultScript(share=0.3, seed=4)
    assert struck == [second.next(call) is not None for call in calls]
    assert 0.2 < sum(struck) / len(struck) < 0.35
    for path in range(7):
        own = "".join("x" if struck[n] else "." for n in range(2000) if n % 7 == path)
        assert "xxxx" not in own
