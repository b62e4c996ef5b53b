"""The creative board and the budget shift: a company's ads in, verdicts and proposals out.

One world, built once, with every case in it. It is 30 June: of May 1 to 30 every lead has had its
30 days. What the formulae are worth is the matter of test_board_maths.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from publishing import report
from tests.support.board import beta_quantile
from tests.support.meta import BR, CL, US, Meta, ad_row
from tests.support.people import Inbox, exclusion, message, outcome, referral
from tests.support.warehouse import DbtWorld

TEXTS = Path(report.__file__).parent / "web" / "texts"

AS_OF = date(2026, 6, 30)
FIRST, SECOND, DOLLARS, EURO, ALONE = "c1", "c2", "c3", "c4", "c5"
LONE = "4040035716096012"
CHATS, SITES = "chats", "sites"
# ad -> account, campaign, day, leads, of them qualified, spend of the day
ADS = {
    "good": (BR, FIRST, "2026-05-10", 40, 20, "400"),
    "plain": (BR, FIRST, "2026-05-30", 40, 10, "1000"),
    "bad": (BR, SECOND, "2026-05-10", 40, 4, "2000"),
    "none": (BR, SECOND, "2026-05-10", 0, 0, "900"),
    "one": (BR, SECOND, "2026-05-10", 1, 1, "10"),
    "free": (BR, SECOND, "2026-05-10", 12, 3, None),
    "deleted": (BR, FIRST, "2026-04-10", 15, 6, "450"),
    "young": (BR, FIRST, "2026-05-31", 20, 20, "100"),
    "early": (BR, FIRST, "2026-03-15", 0, 0, "700"),
    "site": (BR, FIRST, "2026-05-10", 0, 0, "300"),
    "us_a": (US, DOLLARS, "2026-05-10", 10, 5, "200"),
    "us_b": (US, EURO, "2026-05-10", 20, 5, "800"),
    "lone": (LONE, ALONE, "2026-05-10", 40, 1, "4000"),
    "peso": (CL, "cl", "2026-05-10", 1, 1, "900"),
    "theirs": (None, None, "2026-05-10", 2, 1, None),
}
LAST_WEEK = {
    (BR, "none"): "140", (BR, "bad"): "70", (BR, "good"): "35", (US, "us_b"): "14",
    (LONE, "lone"): "280",
}  # fmt: skip
TARGETS = f"""\
platform,account_id,campaign_id,cost_per_qualified_lead,monthly_budget,currency,valid_from
meta,{BR},,30,200,BRL,2026-06-01
meta,{BR},,999,999,BRL,2026-01-01
meta,{BR},,1,1,BRL,2026-07-01
meta,,{EURO},,200,BRL,
meta,{LONE},,,1000,BRL,2026-06-20
meta,,nope,10,,BRL,
meta,999,,10,,BRL,
meta,{CL},,10,,EUR,
meta,{US},,,,USD,
meta,,c5,oitenta,,BRL,
google,1,,10,,BRL,amanhã
meta,{BR},{DOLLARS},10,,USD,
meta,,{SECOND},0,,BRL,
meta,,{FIRST},10,,BRL,
meta,,{FIRST},20,,BRL,
"""


def advertise(meta: Meta) -> None:
    listed = [name for name in ADS if name not in ("deleted", "theirs")]
    zones = {BR: "America/Sao_Paulo", US: "America/Los_Angeles", CL: "America/Santiago"}
    zones[LONE] = zones[BR]
    money = {BR: "BRL", US: "USD", CL: "CLP", LONE: "BRL"}
    meta.objects(
        "2026-06-30 12:00",
        accounts=[
            {"account_id": a, "account_name": a, "currency": money[a], "timezone": zone}
            for a, zone in zones.items()
        ],
        campaigns=[
            {"campaign_id": c, "campaign_name": f"Campaign {c}", "account_id": a}
            for a, c in (
                *((BR, FIRST), (BR, SECOND), (US, DOLLARS), (US, EURO)),
                *((CL, "cl"), (LONE, ALONE)),
            )
        ],
        adsets=[
            {"adset_id": CHATS, "campaign_id": FIRST, "destination_type": "WHATSAPP"},
            {"adset_id": SITES, "campaign_id": FIRST, "destination_type": "WEBSITE"},
        ],
        ads=[
            {"ad_id": name, "ad_name": f"Ad {name}", "account_id": ADS[name][0],
             "campaign_id": ADS[name][1], "creative_id": "cr",
             "adset_id": SITES if name == "site" else CHATS}
            for name in listed
        ],
        creatives=[{"creative_id": "cr", "headline": "Headline", "thumbnail_url": "https://t"}],
        ad_lookups=[{"ad_id": "theirs", "lookup_status": "foreign", "attempts": 1}],
    )  # fmt: skip
    spent: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, (account, campaign, day, _, _, spend) in ADS.items():
        if account and spend:
            adset = SITES if name == "site" else CHATS
            row = ad_row(name, spend, campaign_id=campaign, adset_id=adset, ad_name=f"Ad {name}")
            spent.setdefault((account, day), []).append(row)
    for (account, name), spend in LAST_WEEK.items():
        row = ad_row(name, spend, campaign_id=ADS[name][1], adset_id=CHATS)
        spent.setdefault((account, "2026-06-25"), []).append(row)
    for number, (account, currency) in enumerate(money.items()):
        days = {
            (a, day): (str(sum(Decimal(row["spend"]) for row in rows)), rows)
            for (a, day), rows in spent.items()
            if a == account
        }
        at = f"2026-06-30 12:0{number}"
        meta.spend(at, days, currency=currency, until="2026-06-30")


def happenings() -> Iterator[Any]:
    for name, (_, _, day, leads, qualified, _) in ADS.items():
        for n in range(leads):
            person = f"{name}-{n}"
            yield message(f"{day} 15:00", phone=person, **referral(name))
            if n < qualified:
                yield outcome(f"{day} 18:00", "qualified", person, phone=person)
    # Two days too late to count within 30 days.
    yield outcome("2026-06-11 15:00", "qualified", "late", phone="good-30")
    yield message("2026-05-10 15:00", phone="staff", **referral("good"))
    yield outcome("2026-05-11 15:00", "qualified", "staff", phone="staff")
    yield exclusion("2026-05-01 12:00", phone="staff")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> DbtWorld:
    made = DbtWorld(tmp_path_factory.mktemp("board"), as_of=AS_OF)
    advertise(Meta(made))
    Inbox(made).deliver(*happenings())
    made.seeds["targets"] = TARGETS
    made.build("+creative_board", "+budget_shift", "+monday")
    return made


@pytest.fixture(scope="module")
def month(world: DbtWorld) -> dict[str, dict[str, Any]]:
    """Ad -> its row of the 30 days."""
    rows = world.query("select * from marts.creative_board where window_days = 30")
    return {row["ad_id"]: row for row in rows}


def test_an_ad_is_counted_over_mature_days_and_measured_by_the_others(
    month: dict[str, dict[str, Any]],
) -> None:
    good = month["good"]
    assert (good["window_start"], good["window_end"]) == (date(2026, 5, 1), date(2026, 5, 30))
    assert (good["ad_name"], good["campaign_name"], good["account_name"]) == (
        *("Ad good", "Campaign c1", BR),
    )
    assert (good["headline"], good["thumbnail_url"]) == ("Headline", "https://t")
    # Neither who does not count (E20) nor who qualified on the 32nd day.
    assert (good["leads"], good["qualified_leads"]) == (40, 20)
    assert (good["spend"], good["spend_reporting"], good["currency"]) == (400, 400, "BRL")
    assert (good["cost_per_lead"], good["cost_per_qualified_lead"]) == (10, 20)
    assert (good["qualified_rate"], good["campaign_qualified_rate"]) == (
        *(Decimal("0.5"), Decimal("0.375")),
    )
    # 38 of 133 leads and R$ 4,310 in all; without the ad 18 and R$ 3,910.
    assert good["account_qualified_rate"] == Decimal("0.285714")
    assert good["account_cost_per_qualified_lead"] == Decimal("113.421053")
    assert good["peer_qualified_leads"] == 18
    assert good["peer_cost_per_qualified_lead"] == Decimal("217.222222")
    assert good["campaign_cost_per_qualified_lead"] == Decimal("46.666667")  # 1,400 / 30


def test_verdicts_and_their_reasons(month: dict[str, dict[str, Any]]) -> None:
    assert {name: row["verdict"] for name, row in month.items()} == {
        "good": "scale",
        "us_a": "scale",
        "plain": "hold",
        "bad": "cut",
        "none": "cut",
        "us_b": "cut",
        **dict.fromkeys(("one", "free", "site", "lone", "peso", "theirs"), "not_enough_data"),
    }
    assert month["good"]["reason"].startswith(
        "20 of 40 leads qualified (likely 34 % to 58 %) for BRL 400.00: a qualified lead is"
    )
    assert month["good"]["reason"].endswith(
        "better than the BRL 217.22 of the account's other ads even at worst."
    )
    assert month["bad"]["reason"].endswith(
        "worse than the BRL 67.94 of the account's other ads even at best."
    )
    assert month["site"]["reason"] == (
        "The account's other ads have 0 qualified leads in these days; "
        "a comparison takes at least 5."
    )
    assert month["free"]["reason"].startswith("Spent BRL 0.00; a verdict takes at least BRL 123.14")


def test_figures_of_an_estimate_by_hand(month: dict[str, dict[str, Any]]) -> None:
    """Dollars: 5 of 10 for 200 beside 5 of 20 for 800.

    The guess is (5 + 0.5) / (20 + 1) with the weight of 10 * 1/2 leads: Beta(6.3095, 8.6905). A
    lead costs (200 + 4 * 40) / (10 + 4). The yield has shape 1 / (15/14 * (1 + 0.086086) - 1).
    """
    row = month["us_a"]
    assert (row["currency"], row["peer_cost_per_qualified_lead"]) == ("USD", 160)
    assert (row["prior_qualified_rate"], row["prior_leads"]) == (Decimal("0.261905"), 5)
    assert row["shrunk_qualified_rate"] == Decimal("0.420635")
    ends = [beta_quantile(6.309524, 8.690476, share) for share in (0.05, 0.95)]
    assert float(row["qualified_rate_low"]) == pytest.approx(ends[0], abs=0.003)
    assert float(row["qualified_rate_high"]) == pytest.approx(ends[1], abs=0.003)
    assert float(row["expected_cost_per_qualified_lead"]) == pytest.approx(61.132075, rel=1e-6)
    assert float(row["expected_cost_per_qualified_lead_high"]) == pytest.approx(139.26, rel=1e-3)


def test_e46_spend_without_leads_is_the_worst_known_and_not_dropped(
    month: dict[str, dict[str, Any]],
) -> None:
    row = month["none"]
    assert (row["spend"], row["leads"], row["qualified_rate"]) == (900, 0, None)
    assert (row["cost_per_lead"], row["cost_per_qualified_lead"]) == (None, None)
    assert row["expected_cost_per_qualified_lead"] > row["account_cost_per_qualified_lead"]
    assert row["reason"].startswith("BRL 900.00 brought no lead, where the other ads pay BRL 25.64")
    ranks = {k: r["cost_rank"] for k, r in month.items() if r["account_id"] == BR}
    assert ranks == {
        **{"good": 1, "plain": 2, "bad": 3, "none": 4},
        **dict.fromkeys(("one", "free", "site")),
    }


def test_e47_leads_without_spend_cost_nothing_and_win_nothing(
    month: dict[str, dict[str, Any]],
) -> None:
    row = month["free"]
    assert (row["spend"], row["leads"], row["cost_per_lead"]) == (0, 12, 0)
    assert (row["verdict"], row["cost_rank"]) == ("not_enough_data", None)


def test_e65_one_lead_is_no_ranking(month: dict[str, dict[str, Any]]) -> None:
    row = month["one"]
    assert (row["qualified_rate"], row["verdict"], row["cost_rank"]) == (1, "not_enough_data", None)
    # 1 of 1, and nobody would bet on more than two of three.
    assert row["shrunk_qualified_rate"] < Decimal("0.4")
    assert row["reason"].startswith("1 lead for BRL 10.00: a verdict takes 10 leads, or the BRL ")


def test_e57_young_cohorts_wait_and_old_ones_are_in_the_long_windows(
    world: DbtWorld, month: dict[str, dict[str, Any]]
) -> None:
    assert "young" not in month
    windows = world.query("select * from marts.creative_board where ad_id = 'deleted' order by all")
    assert [row["window_days"] for row in windows] == [90, 180]
    assert (windows[0]["window_start"], windows[0]["leads"]) == (date(2026, 3, 2), 15)
    assert windows[0]["is_deleted"]  # E32: and its row stays
    # Nobody listened in March: what was spent then is held against no ad.
    assert world.query("select * from marts.creative_board where ad_id = 'early'") == []


def test_e34_e44_unknown_cost_and_no_rate_are_empty_never_zero(
    month: dict[str, dict[str, Any]],
) -> None:
    theirs, peso = month["theirs"], month["peso"]
    assert (theirs["leads"], theirs["spend"], theirs["cost_per_lead"]) == (2, None, None)
    assert theirs["reason"].startswith("The ad is in no account that we can see")
    assert (peso["spend"], peso["spend_reporting"], peso["currency"]) == (900, None, "CLP")
    assert peso["peer_cost_per_qualified_lead"] is None  # never measured by other currencies


def test_a_shift_is_within_one_account_between_ads_that_run(world: DbtWorld) -> None:
    [row] = world.rows("marts.budget_shift")
    # The dollars' cheap ad does not run; the worst of the ads to cut gives to the best.
    assert (row["account_id"], row["currency"], row["window_days"]) == (BR, "BRL", 90)
    assert (row["from_ad_id"], row["to_ad_id"], row["pair_number"]) == ("none", "good", 1)
    assert (row["from_daily_spend"], row["to_daily_spend"]) == (20, 5)
    assert row["suggested_daily_amount"] == 1  # a fifth of the lesser
    costs = [float(row[f"{side}_expected_cost_per_qualified_lead"]) for side in ("to", "from")]
    gain = 7 * (1 / costs[0] - 1 / costs[1])
    assert float(row["expected_weekly_gain"]) == pytest.approx(gain, abs=0.0006)
    assert 0 < row["expected_weekly_gain_low"] < row["expected_weekly_gain"]
    assert row["expected_weekly_gain"] < row["expected_weekly_gain_high"]
    assert row["reason"].startswith("Move BRL 1.00 a day from “Ad none” (about BRL ")
    assert row["reason"].endswith("a suggestion, applied by nobody but you.")


def test_e128_monday_says_each_thing_once_and_the_largest_first(world: DbtWorld) -> None:
    lines = world.query("select * from marts.monday order by rank")
    assert [line["rank"] for line in lines] == list(range(1, len(lines) + 1))
    assert 2 <= len(lines) <= 7
    known = [m for line in lines if (m := line["money_at_stake_reporting"]) is not None]
    assert known == sorted(known, reverse=True)
    assert [line["money_at_stake_reporting"] for line in lines][: len(known)] == known
    campaigns = {(x["campaign_id"], x["kind"]) for x in lines if x["what"] == "campaign"}
    for line in lines:
        values, evidence = json.loads(line["reason_values"]), json.loads(line["evidence"])
        assert {k: evidence[k] for k in ("campaign_id", "ad_id", "alarm")} == {
            k: line[k] for k in ("campaign_id", "ad_id", "alarm")
        }
        if line["what"] in ("adset", "ad"):
            assert (line["campaign_id"], line["kind"]) not in campaigns
            assert (line["campaign_id"], "stop") not in campaigns
        if line["kind"] == "stop":
            assert values["cost_low"] > values["peer_cost"]
            assert (
                line["money_at_stake_low_reporting"]
                <= line["money_at_stake_reporting"]
                <= line["money_at_stake_high_reporting"]
                <= Decimal(str(values["monthly_spend"]))
            )
    assert {line["kind"] for line in lines} >= {"stop", "scale"}


def test_e170_a_campaign_without_peers_is_measured_by_the_whole_company(world: DbtWorld) -> None:
    board = world.one("marts.campaign_board", f"campaign_id = '{ALONE}' and window_days = 90")
    assert (board["verdict"], board["reason_code"]) == ("not_enough_data", "no_peers")
    line = world.one("marts.monday", "reason_code = 'dearer_than_company'")
    values = json.loads(line["reason_values"])
    assert (line["rank"], line["kind"], line["campaign_id"]) == (1, "look_into", ALONE)
    assert (values["leads"], values["qualified_leads"], values["currency"]) == (40, 1, "BRL")
    # Dollars at the rate of their day; the pesos, which have none, are left out of the yardstick.
    others = world.query(
        "select sum(spend_reporting) / sum(qualified_leads) as cost from marts.campaign_board"
        f" where window_days = 90 and campaign_id <> '{ALONE}' and spend_reporting is not null"
    )[0]["cost"]
    assert float(values["peer_cost"]) == pytest.approx(float(others), rel=1e-6)
    assert values["cost_low"] > values["peer_cost"]
    stake = 30 * 280 / 28 * (1 - float(values["peer_cost"]) / float(values["cost"]))
    assert float(line["money_at_stake_reporting"]) == pytest.approx(stake, abs=0.01)


def test_e171_a_target_that_fits_nothing_says_so_and_the_others_hold(world: DbtWorld) -> None:
    rows = {row["entity_key"]: row for row in world.rows("marts.target_pacing")}
    assert {key: row["problem_code"] for key, row in rows.items() if row["problem_code"]} == {
        "meta:nope": "unknown_campaign",
        "meta:999": "unknown_account",
        f"meta:{CL}": "currency",
        f"meta:{US}": "no_amount",
        f"meta:{ALONE}": "not_a_number",
        "google:1": "not_a_day",
        f"meta:{DOLLARS}": "other_account",
        f"meta:{SECOND}": "not_positive",
        f"meta:{FIRST}": "given_twice",
    }
    named = {row["problem_code"] for row in world.query("select * from checks.targets_are_usable")}
    assert named == {row["problem_code"] for row in rows.values()} - {None}
    assert {rows[f"meta:{SECOND}"][name] for name in ("spend_so_far", "cost_status")} == {None}


def test_e172_a_month_is_paced_by_its_last_week_against_the_latest_target(world: DbtWorld) -> None:
    rows = {row["entity_key"]: row for row in world.rows("marts.target_pacing")}
    # 245 on the 25th; one day, the 30th, is still to come at a seventh of it.
    account = rows[f"meta:{BR}"]
    assert (account["level"], account["account_name"]) == ("account", BR)
    assert (account["month_start"], account["spend_through"]) == (
        *(date(2026, 6, 1), date(2026, 6, 29)),
    )
    assert (account["spend_so_far"], account["daily_spend"]) == (245, 35)
    assert (account["expected_spend"], account["monthly_budget"]) == (280, 200)
    assert (account["budget_status"], account["cost_status"]) == ("over", None)
    assert account["cost_reason_code"] == "history_short"
    # A budget in reais of a campaign in dollars.
    campaign = rows[f"meta:{EURO}"]
    in_reais = world.query(
        f"select sum(spend_reporting) as spend from marts.campaign_performance"
        f" where campaign_id = '{EURO}' and report_date >= date '2026-06-01'"
    )[0]["spend"]
    assert (campaign["account_id"], campaign["spend_so_far"]) == (US, in_reais)
    assert (campaign["budget_status"], campaign["cost_status"]) == ("under", None)
    assert rows[f"meta:{LONE}"]["budget_status"] == "under"  # 320 of 1,000
    over = world.one("marts.monday", "reason_code = 'over_budget'")
    assert (over["account_id"], over["money_at_stake_reporting"]) == (BR, 80)


def test_mondays_sentences_find_their_values_in_the_mart(world: DbtWorld) -> None:
    """Else the report falls back to a sentence without figures, in silence."""
    lines = world.query("select reason_code, reason_values from marts.monday")
    languages = list(TEXTS.glob("*.json"))
    assert len(languages) == 3
    for path in languages:
        texts = json.loads(path.read_text())
        for line in lines:
            sentence = texts[f"monday_reason.{line['reason_code']}"]
            assert set(re.findall(r"{(\w+)}", sentence)) <= json.loads(line["reason_values"]).keys()


def test_e173_the_rules_of_board_shift_and_monday_hold_in_their_unit_tests(world: DbtWorld) -> None:
    folders = ("marts/board",)
    chosen = [f"test_type:unit,path:dbt_project/models/{folder}" for folder in folders]
    result = world.dbt("test", "--select", *chosen).result
    assert len(result) == 9
    assert {r.status for r in result} == {"pass"}


def test_the_marts_are_exact_and_described(world: DbtWorld) -> None:
    contract = (
        "platform ad_id window_days leads qualified_leads qualified_rate qualified_rate_low"
        " qualified_rate_high cost_per_qualified_lead verdict reason"
    )
    for table, columns in (("creative_board", contract), ("budget_shift", "reason")):
        found = world.query(
            "select column_name, data_type from information_schema.columns"
            f" where table_schema = 'marts' and table_name = '{table}'"
        )
        types = {row["column_name"]: row["data_type"] for row in found}
        assert set(columns.split()) <= types.keys()
        assert not {t for t in types.values() if t in {"DOUBLE", "FLOAT", "HUGEINT"}}
