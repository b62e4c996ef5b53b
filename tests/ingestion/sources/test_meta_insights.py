"""Insights into the lake: whole account days, restated, withdrawn, half-read, killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from ctwa.settings import Settings
from ingestion.ads.meta.errors import GraphTokenError
from ingestion.source import SourceError, SourceIncompleteError
from simulator.ads_faults import Fault, FaultScript
from simulator.ads_insights import JobScript
from tests.support.ads import ADS, BRAZIL, TOKEN, ZEALAND, Advertiser, advertiser

D = Decimal
MAY = {n: date(2026, 5, n) for n in range(1, 16)}
AD1, AD2, AD3 = ADS[BRAZIL]


def _spend_some(shop: Advertiser) -> None:
    for number, day in enumerate((MAY[7], MAY[8], MAY[9])):
        for ad_id in ADS[BRAZIL]:
            shop.state.spent(ad_id, day, f"{number + 1}.25", impressions=10, conversations=2)


def _truth(shop: Advertiser) -> dict[tuple[str, date, str], Decimal]:
    deleted = {i for i, ad in shop.state.ads.items() if ad.effective_status == "DELETED"}
    return {k: s.spend for k, s in shop.state.spend.items() if k[2] not in deleted}


def test_a_second_read_of_the_same_figures_writes_no_row(shop: Advertiser) -> None:
    _spend_some(shop)
    first = shop.insights()
    before = shop.counts()
    second = shop.insights()
    assert first.days_changed == 5
    assert (second.days_read, second.days_changed) == (3, 0)
    assert shop.counts() == before
    assert shop.spend() == _truth(shop)
    assert [r["read_no"] for r in shop.rows("spend_reads")] == [1, 2]


def test_days_without_delivery_are_read_zeros_not_holes(shop: Advertiser) -> None:
    shop.insights()
    assert shop.totals() == {(BRAZIL, MAY[n]): D(0) for n in (5, 6, 7, 8, 9)}
    assert shop.rows("spend_rows") == []


def test_e40_restated_spend_is_a_new_read_of_that_day_only(shop: Advertiser) -> None:
    _spend_some(shop)
    shop.insights()
    shop.state.spent(AD1, MAY[8], "0.75", impressions=9)
    assert shop.insights().days_changed == 1
    assert shop.spend() == _truth(shop)
    versions = [r["spend"] for r in shop.rows("spend_rows") if r["spend_date"] == MAY[8]]
    assert sorted(versions) == [D("0.75"), D("2.25"), D("2.25"), D("2.25"), D("2.25"), D("2.25")]


def test_e41_a_withdrawn_row_is_gone_and_the_others_of_its_day_stay(shop: Advertiser) -> None:
    _spend_some(shop)
    shop.insights()
    shop.state.withdraw(AD2, MAY[8])
    shop.insights()
    assert (BRAZIL, MAY[8], AD2) not in shop.spend()
    assert shop.spend() == _truth(shop)


def test_e41_a_day_that_became_empty_is_a_day_of_zero_rows(shop: Advertiser) -> None:
    _spend_some(shop)
    shop.insights()
    for ad_id in ADS[BRAZIL]:
        shop.state.withdraw(ad_id, MAY[8])
    assert shop.insights().days_changed == 1
    newest = shop.rows("spend_days")[-1]
    assert (newest["spend_date"], newest["ad_rows"]) == (MAY[8], 0)
    assert shop.totals()[BRAZIL, MAY[8]] == 0
    assert shop.spend() == _truth(shop)


def test_e42_each_account_is_read_to_its_own_today(both: Advertiser) -> None:
    both.state.spent(ADS[ZEALAND][0], MAY[10], "5", impressions=1)
    both.insights()
    last = {a: max(d for b, d in both.totals() if b == a) for a in (BRAZIL, ZEALAND)}
    assert last == {BRAZIL: MAY[9], ZEALAND: MAY[10]}
    assert both.spend() == _truth(both)


def test_e42_an_unknown_zone_falls_back_to_the_offset(
    shop: Advertiser, caplog: pytest.LogCaptureFixture
) -> None:
    body = {
        "id": f"act_{BRAZIL}",
        "currency": "BRL",
        "timezone_name": "Mars/Olympus",
        "timezone_offset_hours_utc": -3,
    }
    shop.api.faults.faults.append(Fault(rf"act_{BRAZIL}\?", kind="body", status=200, body=body))
    shop.insights()
    assert max(d for _, d in shop.totals()) == MAY[9]
    assert "Mars/Olympus" in caplog.text


def test_e44_every_account_keeps_its_currency(both: Advertiser) -> None:
    both.state.spent(AD1, MAY[9], "1.10", impressions=1)
    both.state.spent(ADS[ZEALAND][0], MAY[9], "2.20", impressions=1)
    both.insights()
    found = {(r["ad_id"], r["currency"], r["spend"]) for r in both.rows("spend_rows")}
    assert found == {(AD1, "BRL", D("1.10")), (ADS[ZEALAND][0], "NZD", D("2.20"))}


def test_e45_the_account_total_holds_what_no_ad_row_shows(shop: Advertiser) -> None:
    _spend_some(shop)
    shop.state.extra_spend[BRAZIL, MAY[9]] = D("0.01")
    shop.state.delete(AD3)
    shop.insights()
    ads = sum(s for (_, day, _), s in shop.spend().items() if day == MAY[9])
    assert ads == D("6.50")
    assert shop.totals()[BRAZIL, MAY[9]] == D("9.76")


def test_e50_spend_of_archived_ads_is_asked_for(shop: Advertiser) -> None:
    _spend_some(shop)
    shop.state.archive(AD2)
    shop.insights()
    assert (BRAZIL, MAY[9], AD2) in shop.spend()
    assert shop.spend() == _truth(shop)


def test_e38_ids_beyond_two_to_the_53_stay_apart(shop: Advertiser) -> None:
    shop.state.spent(AD1, MAY[9], "1", impressions=1)
    shop.state.spent(AD2, MAY[9], "2", impressions=1)
    assert float(AD1) == float(AD2)
    shop.insights()
    assert {r["ad_id"]: r["spend"] for r in shop.rows("spend_rows")} == {AD1: 1, AD2: 2}


def test_e53_e55_absent_numbers_and_look_alike_actions(shop: Advertiser) -> None:
    shop.state.spent(AD1, MAY[9], "1.234567890123", conversations=4, link_clicks=3)
    shop.state.spent(AD2, MAY[9], "0.5", reach=17, impressions=20, clicks=2)
    shop.insights()
    first, second = sorted(shop.rows("spend_rows"), key=lambda r: r["ad_id"])
    assert first["spend"] == D("1.234568")
    assert (first["impressions"], first["clicks"], first["reach"]) == (0, 0, None)
    assert (first["platform_conversations"], first["inline_link_clicks"]) == (4, 3)
    assert "total_messaging_connection" in first["actions"]
    assert (second["reach"], second["platform_conversations"], second["actions"]) == (17, 0, None)


# ---- ranges ----------------------------------------------------------------------------------


def test_a_given_range_is_read_exactly(shop: Advertiser) -> None:
    _spend_some(shop)
    shop.insights(MAY[1], MAY[7])
    assert sorted(day for _, day in shop.totals()) == [MAY[n] for n in range(1, 8)]
    with pytest.raises(SourceError, match="is after"):
        shop.insights(MAY[7], MAY[1])


def test_after_a_standstill_missing_and_unsettled_days_are_read_again(shop: Advertiser) -> None:
    _spend_some(shop)
    shop.insights()
    shop.now += timedelta(days=6)  # look-back is 3 days: 8 and 9 May were last read while fresh
    shop.state.spent(AD1, MAY[9], "77", impressions=1)
    shop.state.spent(AD1, MAY[11], "5", impressions=1)
    shop.insights()
    assert shop.spend() == _truth(shop)
    assert len(shop.totals()) == 11


def test_e54_days_beyond_retention_are_left_out_never_zero(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    with advertiser(make_settings) as shop:
        counts = shop.insights(date(2023, 4, 1), date(2023, 4, 12))
        assert sorted(d for _, d in shop.totals()) == [date(2023, 4, n) for n in (9, 10, 11, 12)]
        assert counts.days_read == 4
        assert "Meta keeps 37 months" in caplog.text


def test_e54_error_3018_clamps_where_our_calendar_was_too_generous(
    shop: Advertiser, caplog: pytest.LogCaptureFixture
) -> None:
    shop.state.now = lambda: shop.now + timedelta(days=3)  # Meta is three days stricter
    shop.insights(date(2023, 4, 9), date(2023, 4, 15))
    assert min(d for _, d in shop.totals()) == date(2023, 4, 12)
    assert len(shop.totals()) == 4
    assert "no longer keeps" in caplog.text


# ---- report runs -----------------------------------------------------------------------------


@pytest.mark.parametrize("as_numbers", [True, False])
def test_e51_too_much_at_once_is_asked_for_as_a_report(shop: Advertiser, as_numbers: bool) -> None:
    _spend_some(shop)
    shop.api.sync_max_days = 2
    shop.api.run_ids_as_numbers = as_numbers
    shop.api.jobs_to_come = [JobScript(not_ready=2)]
    shop.insights()
    assert shop.spend() == _truth(shop)
    assert len(shop.api.jobs) == 1


@pytest.mark.parametrize(
    "script",
    [
        JobScript(["Job Failed"], percent=40),
        JobScript(["Job Skipped"], percent=0),
        JobScript(["Job Failed"], percent=40, code=2, subcode=1504044),
        JobScript(["Job Failed"], percent=40, code=-2, subcode=2490547),
        JobScript(["Job Completed"], not_ready=99),
    ],
    ids=["failed", "skipped", "code-2", "code-minus-2", "never-ready"],
)
def test_e51_a_failed_report_is_started_again(shop: Advertiser, script: JobScript) -> None:
    _spend_some(shop)
    shop.api.sync_max_days = 2
    shop.api.jobs_to_come = [script]
    shop.insights()
    assert shop.spend() == _truth(shop)
    assert len(shop.api.jobs) == 2


def test_e51_completed_below_100_percent_is_not_completed(shop: Advertiser) -> None:
    _spend_some(shop)
    shop.api.sync_max_days = 2
    shop.api.jobs_to_come = [JobScript(["Job Completed"], percent=90)]
    shop.insights()
    assert shop.spend() == _truth(shop)
    assert sum(shop.slept) > 1000  # stalled until its patience was over, then started again


def test_e51_reports_that_are_too_large_are_halved_down_to_a_day(shop: Advertiser) -> None:
    _spend_some(shop)
    shop.api.sync_max_days = 1
    shop.api.report_max_days = 1
    shop.insights()
    assert shop.spend() == _truth(shop)
    assert len(shop.api.jobs) > 5


def test_e51_a_day_that_cannot_be_had_is_named_with_its_account(shop: Advertiser) -> None:
    _spend_some(shop)
    shop.api.sync_max_days = -1
    shop.api.report_max_days = 0
    with pytest.raises(SourceIncompleteError, match=rf"{BRAZIL}, 2026-05-05: Meta does not give"):
        shop.insights()
    assert shop.totals() == {}


def test_a_large_back_fill_runs_several_reports_at_once(
    make_settings: Callable[..., Settings],
) -> None:
    with advertiser(make_settings, meta_backfill_days=150) as shop:
        shop.state.spent(AD1, date(2026, 1, 2), "3", impressions=1)
        _spend_some(shop)
        shop.insights()
        assert shop.spend() == _truth(shop)
        calls = [c.split("?")[0].rsplit("/", 1)[0] for c in shop.api.calls]
        assert calls[1:5] == [f"POST /act_{BRAZIL}"] * 4
        assert len(shop.api.jobs) == 5


# ---- faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["ad", "account"])
def test_e52_a_half_read_window_replaces_nothing(shop: Advertiser, level: str) -> None:
    _spend_some(shop)
    shop.insights()
    before = shop.spend()
    for day in (MAY[7], MAY[8], MAY[9]):
        shop.state.spent(AD1, day, "99", impressions=1)
    shop.api.faults.faults.append(
        Fault(rf"insights\?level={level}.*after=", times=99, code=2, subcode=1504044)
    )
    with pytest.raises(SourceIncompleteError, match="no usable answer after several tries"):
        shop.insights()
    assert shop.spend() == before
    shop.api.faults.faults.clear()
    shop.insights()
    assert shop.spend() == _truth(shop)


def test_e52_rows_lost_without_any_error_are_missing_from_no_total(shop: Advertiser) -> None:
    """A first page that does not tell of the others looks whole; the account's total is not."""
    _spend_some(shop)
    row = {"ad_id": AD1, "date_start": "2026-05-09", "spend": "3.25", "impressions": "10"}
    shop.api.faults.faults.append(Fault("level=ad", kind="body", status=200, body={"data": [row]}))
    shop.insights()
    assert shop.totals()[BRAZIL, MAY[9]] - sum(shop.spend().values()) == D("6.50")
    shop.insights()
    assert shop.spend() == _truth(shop)


def test_an_outage_is_worth_another_try_a_refusal_is_not(both: Advertiser) -> None:
    both.api.faults.faults.append(Fault(rf"act_{BRAZIL}\?", kind="html", status=502, times=5))
    with pytest.raises(SourceIncompleteError) as outage:
        both.insights()
    both.api.faults.faults.append(Fault(rf"act_{BRAZIL}\?", code=200))
    with pytest.raises(SourceIncompleteError) as refusal:
        both.insights()
    assert (outage.value.is_transient, refusal.value.is_transient) == (True, False)


def test_a_dead_token_stops_at_once_and_leaves_all_data_alone(both: Advertiser) -> None:
    _spend_some(both)
    both.insights()
    before = both.counts()
    both.state.spent(AD1, MAY[9], "99", impressions=1)
    both.api.calls.clear()
    both.api.faults.faults.append(Fault("insights.*after=", code=190, subcode=463, status=400))
    with pytest.raises(GraphTokenError, match="META_ACCESS_TOKEN is no longer valid"):
        both.insights()
    assert "after=" in both.api.calls[-1]
    assert sum("after=" in call for call in both.api.calls) == 1
    assert both.counts() == before


def test_e52_one_failing_account_does_not_stop_the_other(both: Advertiser) -> None:
    both.state.accounts[BRAZIL].visible = False
    both.state.spent(ADS[ZEALAND][0], MAY[9], "2.20", impressions=1)
    with pytest.raises(SourceIncompleteError, match=BRAZIL) as caught:
        both.insights()
    assert caught.value.counts.accounts == 1
    assert list(caught.value.failures) == [BRAZIL]
    assert {a for a, _ in both.totals()} == {ZEALAND}
    assert {r["account_id"] for r in both.rows("spend_reads")} == {ZEALAND}


@pytest.mark.parametrize("seed", range(3))
def test_e51_thirty_percent_faults_give_the_same_rows(both: Advertiser, seed: int) -> None:
    _spend_some(both)
    both.state.spent(ADS[ZEALAND][1], MAY[9], "4", impressions=1)
    both.api.faults = FaultScript(share=0.3, seed=seed)
    both.insights()
    assert both.api.faults.struck
    assert both.spend() == _truth(both)
    assert len(both.rows("spend_days")) == 10


@pytest.mark.parametrize("kind", ["repeat", "endless"])
def test_pages_in_a_loop_are_read_again(shop: Advertiser, kind: str) -> None:
    _spend_some(shop)
    shop.api.faults.faults.append(Fault("level=ad.*after=", nth=2, kind=kind, times=1))  # type: ignore[arg-type]
    shop.insights()
    assert shop.spend() == _truth(shop)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"data": [{"ad_id": "1", "date_start": "2026-05-09"}]}, "none of 1 ad rows has `spend`"),
        ({"data": [{"spend": "1", "date_start": "2026-05-09"}]}, "no `ad_id`"),
        ({"data": [{"spend": "1", "ad_id": "1"}]}, "no `date_start`"),
        ({"data": [{"spend": "x", "ad_id": "1", "date_start": "2026-05-09"}]}, "not a number"),
        ({"data": [{"spend": "1", "ad_id": "1", "date_start": "2020-01-01"}]}, "not asked for"),
        ({"rows": []}, "without `data`"),
    ],
)
def test_a_changed_shape_fails_the_account_and_keeps_its_data(
    shop: Advertiser, body: dict[str, object], reason: str
) -> None:
    _spend_some(shop)
    shop.insights()
    before = shop.counts()
    shop.api.faults.faults.append(Fault("level=ad", kind="body", status=200, body=body, times=9))
    with pytest.raises(SourceIncompleteError, match=reason):
        shop.insights()
    assert shop.counts() == before


def test_unknown_fields_are_ignored(shop: Advertiser) -> None:
    shop.state.spent(AD1, MAY[9], "1.5")
    row = {"ad_id": AD1, "date_start": "2026-05-09", "spend": "1.5", "new_field": {"a": [1]}}
    shop.api.faults.faults.append(Fault("level=ad", kind="body", status=200, body={"data": [row]}))
    shop.insights()
    assert shop.spend() == {(BRAZIL, MAY[9], AD1): D("1.5")}


@pytest.mark.parametrize("value", ["NaN", "1e999"])
def test_a_row_whose_amount_is_no_number_is_unallocated_alone(shop: Advertiser, value: str) -> None:
    """The account's total holds what it spent (rule R12)."""
    _spend_some(shop)
    truth = _truth(shop)
    row = {"ad_id": AD1, "date_start": "2026-05-09", "spend": "SPOILT"}
    good = row | {"ad_id": AD2, "spend": "3.25"}
    page = json.dumps({"data": [row, good]}).replace('"SPOILT"', value).encode()
    shop.api.faults.faults.append(Fault("level=ad", kind="raw", status=200, body=page))
    counts = shop.insights()
    assert counts.rows_refused == 1
    assert shop.spend() == {(BRAZIL, MAY[9], AD2): D("3.25")}
    day = sum((v for (_, d, _), v in truth.items() if d == MAY[9]), D(0))
    assert shop.totals()[BRAZIL, MAY[9]] == day


def test_a_day_whose_total_is_no_number_stays_as_it_was_and_the_others_land(
    shop: Advertiser,
) -> None:
    _spend_some(shop)
    shop.insights()
    shop.state.spent(AD1, MAY[8], "50")
    page = (
        json.dumps(
            {
                "data": [
                    {"spend": str(spend), "date_start": f"2026-05-0{day}"}
                    for day, spend in ((7, "3.75"), (8, "55.5"), (9, "SPOILT"))
                ]
            }
        )
        .replace('"SPOILT"', "NaN")
        .encode()
    )
    shop.api.faults.faults.append(Fault("level=account", kind="raw", status=200, body=page))
    with pytest.raises(SourceIncompleteError, match=r"2026-05-09, is not a number"):
        shop.insights()
    assert shop.totals()[BRAZIL, MAY[8]] == D("55.5")
    assert shop.totals()[BRAZIL, MAY[9]] == D("9.75")


# ---- what leaves the settings, or is refused (E91) -------------------------------------------


@pytest.mark.parametrize("code", [200, 100])
def test_e91_an_account_that_is_refused_is_named_with_the_day_it_was_read_through(
    both: Advertiser, code: int
) -> None:
    both.objects()
    both.insights()
    both.now += timedelta(days=1)
    subcode = 33 if code == 100 else None
    both.api.faults.faults.append(Fault(rf"act_{BRAZIL}\?", code=code, subcode=subcode, times=99))
    with pytest.raises(SourceIncompleteError) as caught:
        both.insights()
    assert list(caught.value.failures) == [BRAZIL]
    assert "(Loja) was read through 2026-05-09 and can no longer be read" in str(caught.value)
    assert "take its id out of META_AD_ACCOUNT_IDS" in str(caught.value)
    with pytest.raises(SourceIncompleteError, match="was read through 2026-05-09"):
        both.objects()
    assert max(d for a, d in both.totals() if a == ZEALAND) == MAY[11]


def test_e91_a_disabled_account_is_read_on(shop: Advertiser) -> None:
    shop.objects()
    shop.insights()
    shop.state.accounts[BRAZIL].account_status = 2
    shop.state.spent(AD1, MAY[9], "85")
    shop.objects()
    shop.insights()
    assert shop.totals()[BRAZIL, MAY[9]] == D("85")
    assert [r["account_status"] for r in shop.rows("accounts")] == ["1", "2"]


def test_e91_a_closed_account_of_which_all_was_read_is_told_of_no_more(shop: Advertiser) -> None:
    _spend_some(shop)
    shop.insights()
    shop.state.accounts[BRAZIL].account_status = 101
    shop.objects()
    shop.state.accounts[BRAZIL].visible = False
    with pytest.raises(SourceIncompleteError, match="it was closed then"):
        shop.insights()
    shop.now += timedelta(days=4)  # longer ago than the look-back of three days
    assert shop.insights().accounts_over == BRAZIL
    assert shop.objects().accounts == 0
    shop.settings = shop.settings.model_copy(update={"meta_ad_account_ids": (ZEALAND,)})
    assert shop.insights().accounts_taken_out == BRAZIL


# ---- kill ------------------------------------------------------------------------------------

_CHILD = """
import os, sys
from datetime import datetime
from ctwa.settings import load_settings
from ingestion.ads.meta.graph import GraphClient
from ingestion.ads.meta.spend import land_insights
settings = load_settings(_env_file=None)
client = GraphClient.from_settings(settings, sleep=lambda seconds: os._exit(9))
land_insights(settings, now=lambda: datetime.fromisoformat(sys.argv[1]), client=client)
"""


def test_a_killed_back_fill_goes_on_where_it_stopped(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    with advertiser(make_settings, meta_backfill_days=80, meta_lookback_days=3) as shop:
        _spend_some(shop)
        shop.state.spent(AD1, date(2026, 3, 1), "3", impressions=1)
        shop.state.spent(AD1, date(2026, 4, 1), "4", impressions=1)
        # The second piece meets a fault: the child dies in its first pause.
        shop.api.faults.faults.append(Fault("2026-04-09.*level=account|level=account.*2026-04-09"))
        _run_child(shop, now=shop.now)
        assert len(shop.totals()) == 30
        assert shop.rows("spend_reads") == []
        shop.api.calls.clear()
        shop.insights()
        assert shop.spend() == _truth(shop)
        assert len(shop.totals()) == 80
        assert len(shop.rows("spend_days")) == 80  # nothing twice
        asked = [c for c in shop.api.calls if "level=ad" in c]
        assert len([c for c in asked if "after=" not in c]) == 3  # 3 fresh days, 2 pieces left


def _run_child(shop: Advertiser, now: datetime) -> None:
    settings = shop.settings
    env = os.environ | {
        "CTWA_DATA_DIR": str(settings.data_dir),
        "META_GRAPH_URL": settings.meta_graph_url,
        "META_ACCESS_TOKEN": TOKEN,
        "META_AD_ACCOUNT_IDS": ",".join(settings.meta_ad_account_ids),
        "META_BACKFILL_DAYS": str(settings.meta_backfill_days),
        "META_LOOKBACK_DAYS": str(settings.meta_lookback_days),
    }
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, now.isoformat()], env=env, timeout=60, check=False
    )
    assert done.returncode == 9


def test_without_settings_the_source_is_off(settings: Settings) -> None:
    from ingestion.ads.meta.spend import land_insights

    assert land_insights(settings).rows == {"spend_rows": 0, "spend_days": 0, "spend_reads": 0}
    assert not settings.data_dir.exists()
