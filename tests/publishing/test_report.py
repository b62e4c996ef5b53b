"""The report: figures of the marts and no others, in a file that nothing in it can turn against."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from commands.cli import app
from ctwa.settings import Settings
from publishing.carried import Carried, Table
from publishing.report.columns import amounts, counts, millionths
from publishing.report.data import NEEDED, Limits, read_payload
from publishing.report.facts import MEASURES, ReportError
from publishing.report.page import (
    LANGUAGES,
    SCRIPTS,
    VENDORED,
    embed,
    report_path,
    write_report,
)
from publishing.report.room import REPORT_BYTES, Room
from publishing.report.zones import WINDOWS, Budget
from tests.support.report import AS_OF, VERSION, write_many, write_marts
from tests.support.report_page import (
    Blocks,
    facts,
    links_of,
    numbers,
    payload_of,
    unpacked,
    words,
    zones,
)

PACKAGE = Path(__file__).resolve().parents[2] / "publishing" / "report"
DAY = date(2026, 6, 1)
NEXT = date(2026, 6, 2)
HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> & \u2028 \u2029 'x'"
META = {"platform": "meta", "account_id": "1"}


def spend(day: date, amount: str | None, ad: str = "ad1", **more: Any) -> dict[str, Any]:
    return {
        **META, "ad_id": ad, "campaign_id": "c1", "spend_date": day, "spend_reporting": amount,
        "channel": "click_to_whatsapp", "impressions": 100, "clicks": 7, **more,
    }  # fmt: skip


def lead(name: str, day: date, ad: str | None = "ad1", **more: Any) -> dict[str, Any]:
    paid = {**META, "campaign_id": "c1", "channel": "click_to_whatsapp"} if ad else {}
    return {"lead_id": name, "first_touch_date": day, "ad_id": ad, "channel": "direct",
            **paid, **more}  # fmt: skip


def aged(day: date, days: int) -> dict[str, Any]:
    """First touched at noon of a day, and qualified within so many days, to the second."""
    touched = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return {"first_touch_at": touched, "qualified_at": touched + timedelta(days=days)}


def company() -> dict[str, list[dict[str, Any]]]:
    """Two ads, an unallocated amount, leads with and without an ad, one that does not count."""
    return {
        "fct_ad_spend": [
            spend(DAY, "10.10"),
            spend(DAY, "20.205"),
            spend(DAY, "0.333333", ad="ad2"),
            spend(DAY + timedelta(1), "5"),
            spend(DAY, "3.5", ad="x", campaign_id=None, row_kind="unallocated",
                  channel="meta_unallocated"),
        ],
        "fct_leads": [
            lead("a", DAY, is_qualified=True, won_value_reporting="900.55", **aged(DAY, 25)),
            lead("b", DAY, ad="ad2"),
            lead("c", NEXT, ad=None, is_qualified=True, **aged(NEXT, 60)),
            lead("d", DAY, is_excluded=True, is_qualified=True, **aged(DAY, 1)),
            lead("e", DAY, ad="gone", account_id=None, campaign_id=None),
        ],
        "dim_accounts": [{**META, "account_name": "Clínica & Co", "currency": "BRL"}],
        "dim_campaigns": [{"platform": "meta", "campaign_id": "c1", "campaign_name": HOSTILE}],
        "dim_ads": [{"platform": "meta", "ad_id": "ad1", "ad_name": "Ad", "headline": HOSTILE,
                     "campaign_id": "c1", "media_type": "video"}],
    }  # fmt: skip


def written(settings: Settings, **tables: list[dict[str, Any]]) -> dict[str, Any]:
    write_marts(settings.marts_path, **(tables or company()))
    return payload_of(write_report(settings).path)


def total(payload: Mapping[str, Any], name: str, **where: Any) -> Decimal | None:
    rows = [f for f in facts(payload) if all(f[k] == v for k, v in where.items())]
    values = [row[name] for row in rows]
    return None if None in values else sum(values, start=Decimal(0))


def test_the_figures_of_the_report_are_those_of_the_marts(settings: Settings) -> None:
    payload = written(settings)

    assert total(payload, "spend") == Decimal("39.138333")
    assert total(payload, "leads") == 4  # the excluded one is in no count
    assert total(payload, "qualified") == 2
    assert sorted(age for f in facts(payload) for age in f["ages"]) == [25, 60]
    assert total(payload, "clicks") == 35
    assert total(payload, "won_value") == Decimal("900.55")
    assert total(payload, "spend", campaign="c1", ad="ad1") == Decimal("35.305")
    assert total(payload, "leads", channel="direct", platform=None, campaign=None, ad=None) == 1
    assert total(payload, "leads", campaign="unresolved", ad="gone", account=-1) == 1
    assert total(payload, "spend", campaign="unallocated:1", channel="meta_unallocated") == 3.5
    assert [f["day"] for f in facts(payload)] == sorted(f["day"] for f in facts(payload))


def test_many_rows_add_up_by_channel_campaign_and_ad(settings: Settings) -> None:
    write_many(settings.marts_path, days=20, ads=30)
    payload = payload_of(write_report(settings).path)
    with duckdb.connect(str(settings.marts_path), read_only=True) as marts:
        for key, column in (("channel", "channel"), ("campaign", "campaign_id"), ("ad", "ad_id")):
            expected = marts.execute(
                f"select {column}, sum(spend), sum(leads), sum(good) from ("
                f"select {column}, spend_reporting as spend, 0 as leads, 0 as good "
                "from marts.fct_ad_spend union all "
                f"select {column}, 0, 1, cast(is_qualified_30d as int) from marts.fct_leads"
                ") group by all"
            ).fetchall()
            assert len(expected) > 1
            for value, *sums in expected:
                rows = [f for f in facts(payload) if f[key] == value]
                ripe = sum(age <= 30 for f in rows for age in f["ages"])
                told = [total(payload, n, **{key: value}) for n in ("spend", "leads")]
                assert [*told, ripe] == sums


def test_an_amount_without_a_rate_stays_unknown(settings: Settings) -> None:
    payload = written(settings, fct_ad_spend=[spend(DAY, "10"), spend(DAY, None, ad="ad2")])
    assert total(payload, "spend", ad="ad1") == 10
    assert total(payload, "spend", ad="ad2") is None
    told = company()
    told["fct_leads"][0]["message_cost_reporting"] = "0.0625"
    told["fct_leads"][1]["message_cost_reporting"] = None
    payload = written(settings, **told)
    assert total(payload, "message_cost", ad="ad1") == Decimal("0.0625")
    assert total(payload, "message_cost", ad="ad2") is None


def test_e165_what_metas_agent_cost_is_part_of_loaded_costs_once_it_is_told(
    settings: Settings,
) -> None:
    costs = company()
    costs["fct_leads"][0] |= {"message_cost_reporting": "0.0625", "agent_cost_reporting": "0.5"}
    costs["fct_leads"][1] |= {"agent_cost_reporting": None}
    untold = written(settings, **costs, fct_message_costs=[{"category": "service"}])
    assert total(untold, "message_cost", ad="ad1") == Decimal("0.0625")
    assert total(untold, "message_cost", ad="ad2") == 0
    told = written(settings, **costs, fct_message_costs=[{"category": "agent"}])
    assert total(told, "message_cost", ad="ad1") == Decimal("0.5625")
    assert total(told, "message_cost", ad="ad2") is None


def test_a_report_that_does_not_add_up_is_not_written(settings: Settings) -> None:
    write_marts(settings.marts_path, **company())
    with duckdb.connect(str(settings.marts_path)) as marts:
        marts.execute("update marts.channel_performance set leads = leads + 1 where leads > 0")
    with pytest.raises(ReportError, match="channel_performance"):
        write_report(settings)
    assert not settings.marts_path.with_name("report.html").exists()


def test_the_same_marts_give_the_same_bytes(settings: Settings, tmp_path: Path) -> None:
    write_marts(settings.marts_path, **company())
    first = write_report(settings, tmp_path / "one.html")
    backwards = {table: rows[::-1] for table, rows in company().items()}
    write_marts(settings.marts_path, **backwards)
    second = write_report(settings, tmp_path / "elsewhere" / "two.html")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert (first.rows, first.as_of) == (6, AS_OF)
    assert first.bytes == first.path.stat().st_size


def test_beside_the_marts_it_is_written_only_if_it_would_be_another_one(
    settings: Settings, tmp_path: Path
) -> None:
    """Whatever does not say from what content the marts were published is read anew."""

    def is_written(of: Settings = settings, stamp: str = "", version: str = VERSION) -> bool:
        if stamp:
            Carried(version, {}, {"fct_leads": Table(stamp, 5)}).save(settings.marts_path)
        if report_path(of).exists():
            os.utime(report_path(of), (1, 1))
        made = write_report(of)
        assert (made.rows, made.as_of) == (6, AS_OF)
        assert made.bytes == made.path.stat().st_size
        return made.path.stat().st_mtime > 1

    write_marts(settings.marts_path, **company())
    assert is_written()
    assert is_written()
    assert is_written(stamp="of some leads")
    assert not is_written()
    assert is_written(stamp="of other leads")
    assert is_written(settings.model_copy(update={"reporting_currency": "MXN"}))
    assert is_written()
    page = report_path(settings).read_bytes()
    report_path(settings).write_bytes(page[: len(page) // 2])
    assert is_written()
    assert report_path(settings).read_bytes() == page
    assert is_written(stamp="of other leads", version="another publication")
    elsewhere = write_report(settings, tmp_path / "one.html")
    assert [p.name for p in elsewhere.path.parent.glob("one*")] == ["one.html"]


def test_what_stood_there_is_replaced_whole_and_nothing_is_left_beside(
    settings: Settings, tmp_path: Path
) -> None:
    target = tmp_path / "web" / "index.html"
    target.parent.mkdir()
    target.write_text("yesterday's")
    with pytest.raises(ReportError, match="no published marts"):
        write_report(settings, target)
    assert target.read_text() == "yesterday's"
    with pytest.raises(ReportError, match="web is a folder: give a file in it"):
        write_report(settings, target.parent)
    write_marts(settings.marts_path)
    write_report(settings, target)
    assert [p.name for p in target.parent.iterdir()] == ["index.html"]
    assert target.read_bytes().startswith(b"<!doctype html>")


def test_hostile_names_are_data(settings: Settings) -> None:
    payload = written(settings)
    page = settings.marts_path.with_name("report.html").read_bytes()
    assert words(payload["campaigns"]["name"]) == [HOSTILE]
    assert words(payload["ads"]["headline"]) == [HOSTILE]
    blocks = Blocks(page)
    assert [a.get("id") for a, _ in blocks.of("script")] == ["data", "texts", None, None, None]
    assert not blocks.of("img")
    assert b"alert(1)</script>" not in page


def test_the_page_lets_run_what_it_holds_and_asks_for_nothing(settings: Settings) -> None:
    write_marts(settings.marts_path, **company())
    page = write_report(settings).path.read_bytes()
    blocks = Blocks(page)
    policies = [a["content"] for a, _ in blocks.of("meta")
                if a.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    rules = dict(rule.split(" ", 1) for rule in str(policies[0]).split("; "))
    run = [text for attributes, text in blocks.of("script") if "type" not in attributes]
    style = [text for _, text in blocks.of("style")]

    def hashes(contents: list[str]) -> list[str]:
        made = (hashlib.sha256(text.encode()).digest() for text in contents)
        return [f"'sha256-{base64.b64encode(one).decode()}'" for one in made]

    assert rules["script-src"].split() == hashes(run)
    # In a script these would change how a browser finds its end.
    assert not re.search(r"<!--|<script", "".join(run), flags=re.IGNORECASE)
    assert rules["style-src"].split() == hashes(style)
    assert (rules["default-src"], rules["img-src"]) == ("'none'", "data:")
    assert (rules["base-uri"], rules["form-action"]) == ("'none'", "'none'")
    assert all(link.startswith("data:") for link in links_of(page))
    assert not any("style" in attributes for _, attributes in blocks.tags)
    named = set(re.findall(rb"https?://[\w.-]+", page))
    assert named <= {b"http://www.w3.org"}  # the name of SVG, no address


def test_leads_are_in_the_report_by_pseudonym_only(settings: Settings) -> None:
    write_marts(settings.marts_path, **company(), conversion_events=[
        {"conversion_event_id": "7" * 32, "event_name": "Purchase", "status": "sent",
         "occurred_at": "2026-06-02 10:00:00+00"},
    ])  # fmt: skip
    with duckdb.connect(str(settings.marts_path)) as marts:
        marts.execute("update marts.fct_leads set lead_id = 'pseudonym-' || lead_id || '-whole'")
        marts.execute("update marts.fct_leads set utm_source = 'news'")
    page = write_report(settings).path.read_bytes()
    assert b"-whole" not in page
    assert b"7777777" not in page
    told = payload_of(settings.marts_path.with_name("report.html"))["leads"]
    # The newest first; the one that does not count is not among them.
    assert told["id"] == ["pseudonym-c-", "pseudonym-a-", "pseudonym-b-", "pseudonym-e-"]
    assert told["age"] == [60, 25, -1, -1]
    assert words(told["utm"]) == ["news"] * 4


def test_only_the_newest_leads_are_listed(settings: Settings, monkeypatch: Any) -> None:
    monkeypatch.setattr("publishing.report.facts.SHOWN_LEADS", 2)
    payload = written(settings)
    assert len(payload["leads"]["id"]) == 2
    assert total(payload, "leads") == 4


SMALL = Budget(whole=900, ad=(200, 150, 150), campaign=(300, 100, 100))


def test_e160_a_long_history_is_kept_coarser_and_adds_up_all_the_same(settings: Settings) -> None:
    write_many(settings.marts_path, days=800, ads=12)
    payload = read_payload(settings.marts_path, "BRL", Limits(budget=SMALL)).content
    whole = read_payload(settings.marts_path, "BRL").content
    raw = payload["facts"]
    assert [zone["grain"] for zone in raw["ad"]] == ["year", "month", "week", "day"]
    assert raw["campaign"]
    assert raw["rows"] < 6_000 < 9_600 == whole["facts"]["rows"]
    days = [day for (day,) in _days(settings)]
    for level in ("ad", "campaign", "total"):
        rows = list(facts(payload, level))
        every = list(facts(whole, level))
        for name in MEASURES:
            assert sum(r[name] for r in rows) == sum(r[name] for r in every), (level, name)
        # Each zone begins where the one before it ends, and a year of it is that year's.
        found = zones(raw, level)
        assert [zone["from"] for zone in found[1:]] == [zone["to"] for zone in found[:-1]]
        assert (found[0]["from"], found[-1]["to"]) == (min(days), max(days) + 1)
        for zone in found:
            kept = [f for f in every if zone["from"] <= f["day"] < zone["to"]]
            told = [f for f in rows if zone["from"] <= f["day"] < zone["to"]]
            for name in ("spend", "leads", "qualified"):
                assert sum(f[name] for f in told) == sum(f[name] for f in kept)
            ages = sorted(age for f in kept for age in f["ages"])
            if zone["grain"] == "day":
                assert sorted(age for f in told for age in f["ages"]) == ages
            else:
                for window in WINDOWS:
                    assert sum(f["within"][window] for f in told) == sum(a <= window for a in ages)
    assert {f["grain"] for f in facts(payload, "total")} == {"day"}


def test_e160_what_has_no_place_of_its_own_is_in_the_sums(settings: Settings) -> None:
    """Of many campaigns and ads those with the most spend of late are told apart."""
    write_many(settings.marts_path, days=30, ads=200, campaigns=50, everything=True)
    room = Room(campaigns=9_000, ads=25_000)
    payload = read_payload(settings.marts_path, "BRL", Limits(room=room)).content
    whole = read_payload(settings.marts_path, "BRL").content
    assert whole["others"] == {"campaigns": 0, "ads": 0}
    small = payload["others"]
    assert 0 < small["campaigns"] < 50
    assert 4 * small["campaigns"] < small["ads"] < 200
    for level in ("ad", "campaign", "total"):
        rows, every = list(facts(payload, level)), list(facts(whole, level))
        for name in MEASURES:
            assert sum(r[name] for r in rows) == sum(r[name] for r in every), (level, name)
    told: dict[str, Decimal] = {}
    for row in facts(payload):
        told[row["campaign"]] = told.get(row["campaign"], Decimal(0)) + row["spend"]
    with duckdb.connect(str(settings.marts_path), read_only=True) as marts:
        spent = dict(
            marts.execute(
                "select campaign_id, sum(spend_reporting) from marts.fct_ad_spend group by all"
            ).fetchall()
        )
    listed = words(payload["campaigns"]["id"])
    assert {c: told[c] for c in listed} == {c: spent[c] for c in listed}
    assert min(spent[c] for c in listed) > max(spent[c] for c in spent if c not in listed)
    assert {c for c in told if c not in listed} == {"others:a0", "others:a1", "others:a2"}
    ads = set(words(payload["ads"]["id"]))
    assert len(ads) == 200 - small["ads"]
    assert {f["ad"] for f in facts(payload)} == {*ads, "others"}
    assert set(words(payload["boards"]["ad"]["id"])) == ads
    # A lead of an ad that is not listed is in the list all the same.
    entities = words(payload["facts"]["entities"]["ad"])
    assert "others" in {entities[at] for at in payload["leads"]["entity"]}


LONG_NAME = "ग्रीष्मकालीन विज्ञापन अभियान – 💬 " * 8


@pytest.mark.deep
@pytest.mark.parametrize(
    "company",
    [
        {"days": 730, "ads": 1_650, "campaigns": 200, "leads": 0},
        {"days": 400, "ads": 2_000, "campaigns": 150, "leads": 3},
        {"days": 120, "ads": 4_000, "campaigns": 1_500, "leads": 1, "name": LONG_NAME},
        {"days": 400, "ads": 2_000, "campaigns": 2_000, "leads": 1, "accounts": 1_000},
        {"days": 20, "ads": 60_000, "campaigns": 6_000, "leads": 1, "accounts": 20},
        {"days": 3_650, "ads": 300, "campaigns": 60, "leads": 2},
    ],
    ids=["spend", "leads", "names", "accounts", "ads", "years"],
)
def test_e160_the_report_is_small_whatever_the_company_is_like(
    settings: Settings, company: dict[str, Any]
) -> None:
    write_many(settings.marts_path, everything=True, **company)
    before = time.process_time()
    made = write_report(settings)
    assert made.bytes <= REPORT_BYTES
    # Two to five seconds on free cores; on shared ones the same work takes twice as long.
    assert time.process_time() - before < 9
    told = list(facts(payload_of(made.path), "total"))
    with duckdb.connect(str(settings.marts_path), read_only=True) as marts:
        expected = marts.execute(
            "select sum(spend_reporting), sum(leads), sum(qualified_leads) "
            "from marts.channel_performance"
        ).fetchone()
    names = ("spend", "leads", "qualified")
    assert tuple(sum(row[name] for row in told) for name in names) == expected


def _days(settings: Settings) -> list[tuple[int]]:
    with duckdb.connect(str(settings.marts_path), read_only=True) as marts:
        return marts.execute(
            "select distinct spend_date - date '1970-01-01' from marts.fct_ad_spend"
        ).fetchall()


def test_numbers_and_brands_are_told_apart_where_there_are_several(settings: Settings) -> None:
    made = company()
    made["fct_leads"] = [{**one, "business_number_id": "55", "brand": f"b{i % 2}"}
                         for i, one in enumerate(made["fct_leads"])]  # fmt: skip
    payload = written(settings, **made)
    assert {f["number"] for f in facts(payload)} == {None}
    assert total(payload, "leads", brand="b0") == 3
    assert total(payload, "spend", brand=None) == total(payload, "spend")


def test_e161_alarms_and_restatements_are_told_as_the_marts_have_them(settings: Settings) -> None:
    assert written(settings)["alarms"] is None
    later = {"restated_on": AS_OF, "leads_delta": 0, "qualified_leads_delta": 1,
             "cause": "late_outcome"}  # fmt: skip
    payload = written(
        settings,
        **company(),
        health_alarms=[
            {"alarm": "unallocated_spend", "status": "warn", "since": DAY, "measured": "0.3",
             "expected_high": "0.118", "subject": "meta 1", "message": "as found", "place": 5},
            {"alarm": "quarantine", "status": "off", "place": 2},
        ],
        restatements=[
            {**later, "report_date": DAY}, {**later, "report_date": DAY + timedelta(3)},
            {"restated_on": AS_OF, "report_date": DAY, "cause": "restated_spend",
             "spend_reporting_delta": "-1.25"},
            {"restated_on": AS_OF - timedelta(91), "report_date": DAY, "cause": "other"},
        ],
    )  # fmt: skip
    assert [(a["alarm"], a["status"]) for a in payload["alarms"]] == [
        ("quarantine", "off"), ("unallocated_spend", "warn"),
    ]  # fmt: skip
    assert (payload["alarms"][1]["measured"], payload["alarms"][1]["high"]) == (0.3, 0.118)
    told = payload["restatements"]
    at = (DAY - date(1970, 1, 1)).days
    assert words(told["cause"]) == ["late_outcome", "restated_spend"]
    assert (told["from"], told["to"]) == ([at, at], [at + 3, at])
    assert (told["qualified"], numbers(told["spend"])) == ([2, 0], [0, Decimal("-1.25")])


def test_verdicts_shifts_and_events_are_shown_where_the_marts_have_them(
    settings: Settings,
) -> None:
    bare = written(settings)
    names = ("budget_shift", "conversions", "monday", "forecast", "targets")
    assert {bare[n] for n in names} == {None}
    assert bare["boards"] == {}
    board = [{"platform": "meta", "ad_id": ad, "window_days": 90, "leads": 30,
              "qualified_leads": 12, "shrunk_qualified_rate": "0.38", "qualified_rate_low": "0.25",
              "qualified_rate_high": "0.52", "verdict": verdict, "unread_days": 0}
             for ad, verdict in (("ad1", "scale"), ("unseen", "not_enough_data"))]  # fmt: skip
    shift = [{"platform": "meta", "account_id": "1", "currency": "BRL", "from_ad_id": "a",
              "to_ad_id": "b", "window_days": 90, "pair_number": 1,
              "suggested_daily_amount": "42.50", "expected_weekly_gain": "2.4",
              "expected_weekly_gain_low": "0.4", "expected_weekly_gain_high": "4.1"}]  # fmt: skip
    event = {"event_name": "Purchase", "occurred_at": "2026-06-02 23:59:59+00", "status": "sent"}
    payload = written(
        settings,
        **company(),
        creative_board=board,
        budget_shift=shift,
        conversion_events=[event, event, {**event, "status": "skipped", "reason": "no_value"}],
        target_pacing=[{"platform": "meta", "campaign_id": "c1", "monthly_budget": "500"}],
    )
    told = payload["boards"]["ad"]
    assert words(told["verdict"]) == ["scale", "not_enough_data"]
    assert (told["rate"], told["low"], told["high"]) == ([0.38] * 2, [0.25] * 2, [0.52] * 2)
    assert numbers(payload["budget_shift"]["amount"]) == [Decimal("42.5")]
    assert payload["budget_shift"]["gain"] == [2.4]
    (target,) = unpacked(payload["targets"])
    assert (target["monthly_budget"], target["spend_so_far"]) == (500.0, None)
    assert target["month_start"] == "2026-06-01"
    (events,) = payload["conversions"]
    assert events["events"] == [2, 1]
    assert events["day"] == [(date(2026, 6, 2) - date(1970, 1, 1)).days] * 2
    assert words(events["reason"]) == [None, "no_value"]
    assert words(events["stage"]) == ["won", "won"]


def test_empty_marts_make_an_empty_report(settings: Settings) -> None:
    write_marts(settings.marts_path)
    made = write_report(settings)
    payload = payload_of(made.path)
    assert (made.rows, payload["as_of"], payload["currency"]) == (0, "2026-06-30", "BRL")
    assert list(facts(payload)) == []


@pytest.mark.parametrize("mart", NEEDED)
def test_a_missing_mart_is_named(settings: Settings, mart: str) -> None:
    write_marts(settings.marts_path)
    with duckdb.connect(str(settings.marts_path)) as marts:
        marts.execute(f"drop table marts.{mart}")
    with pytest.raises(ReportError, match=f"lack {mart}.*ctwa refresh --full"):
        write_report(settings)


def test_marts_of_an_older_version_are_an_error_for_people(settings: Settings) -> None:
    write_marts(settings.marts_path)
    with duckdb.connect(str(settings.marts_path)) as marts:
        marts.execute("alter table marts.fct_leads drop column qualified_at")
    with pytest.raises(ReportError, match=r"qualified_at.*ctwa refresh --full"):
        write_report(settings)


def test_the_command_says_where_the_report_is_and_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CTWA_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    missing = CliRunner().invoke(app, ["report"])
    assert missing.exit_code == 1
    assert "run `ctwa refresh` first" in missing.output
    write_marts(tmp_path / "marts.duckdb", **company())
    made = CliRunner().invoke(app, ["report", "--output", "mine.html"])
    assert made.exit_code == 0, made.output
    assert f"{tmp_path / 'mine.html'}: 6 rows" in made.output
    assert (tmp_path / "mine.html").exists()


def test_columns_come_back_as_they_were() -> None:
    assert numbers(millionths([1_500_000, None, 0])) == [Decimal("1.5"), None, Decimal(0)]
    for values in ([], [0, 0, 0], [5, 0, 0, 0, 0, 0, 7], [1, 2, 3], [0, 4, 0, 4]):
        assert numbers(counts(values)) == values
    exact = [Decimal("0.000001"), None, Decimal("12345678.9"), Decimal(0), Decimal("-3")]
    assert numbers(amounts(exact)) == exact
    assert json.loads(embed({HOSTILE: HOSTILE})) == {HOSTILE: HOSTILE}
    assert not set(embed(HOSTILE).decode()) & set("<>&\u2028\u2029")


def test_every_language_has_every_text_and_every_text_is_used() -> None:
    texts = {
        name: json.loads((PACKAGE / "web" / "texts" / f"{name}.json").read_text())
        for name in LANGUAGES
    }
    keys = set(texts["en"])
    for name, known in texts.items():
        assert set(known) == keys, name
        assert all(known.values()), name
        for key, text in known.items():
            places = set(re.findall(r"\{(\w+)\}", text))
            assert places == set(re.findall(r"\{(\w+)\}", texts["en"][key])), (name, key)
    code = "".join((PACKAGE / "web" / script).read_text() for script in SCRIPTS)
    code += (PACKAGE.parent / "digest.py").read_text()
    groups = tuple(re.findall(r"word\(\"(\w+)\"", code)) + tuple(
        group.rstrip(".") for group in re.findall(r"t\(`([\w.]+)\$\{", code)
    )
    unused = [k for k in keys if f'"{k}"' not in code and not k.startswith(groups)]
    assert unused == []
    asked = set(re.findall(r"\bt\(\"([\w.]+)\"", code))
    assert asked <= keys


def test_the_vendored_files_are_what_their_papers_say() -> None:
    vendor = PACKAGE / "vendor"
    sums = dict(line.split()[::-1] for line in (vendor / "SHA256SUMS").read_text().splitlines())
    assert sums.keys() == set(VENDORED)
    for name, expected in sums.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == expected
    banners = [(vendor / name).read_text().partition("\n")[0] for name in VENDORED]
    package = json.loads((vendor / "package.json").read_text())
    readme = (vendor / "README.md").read_text()
    about = (PACKAGE / "web" / "definitions.js").read_text()
    for name, version in package["dependencies"].items():
        assert version in readme, name
        assert any(version in banner for banner in banners), name
    for name in ("echarts", "@tanstack/table-core"):
        assert package["dependencies"][name].rpartition(".")[0] in about, name
    for licence in re.findall(r"`((?:LICENSE|NOTICE)\.\S+?)`", readme):
        assert (vendor / licence).stat().st_size > 100
