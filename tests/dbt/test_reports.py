"""The reports: what Meta and WhatsApp said in, cost per lead and per qualified lead out.

One world for the module, with two accounts in two zones and currencies, built twice: the second
night only brings one late qualification (E57).
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from publishing.marts import parquet_folder, publish_marts
from tests.support.meta import BR, CL, US, Meta, ad_row
from tests.support.metrics import Metrics
from tests.support.people import Inbox, exclusion, message, outcome, quarantined, referral
from tests.support.warehouse import DbtWorld

CHAT, TWIN, SITE = "120226305854810726", "120226305854810727", "120226305854810728"
DOLLAR, PESO, THEIRS, FRESH = "120226305854810736", "120226305854810746", "990", "991"
CAMPAIGN, DOLLARS = "120226305854810701", "120226305854810702"
CHATS, SITES = "120226305854810711", "120226305854810712"
AS_OF = date(2026, 6, 15)
# The contract's columns (§6); more are welcome.
CONTRACT = {
    "dim_accounts": "platform account_id account_name currency timezone",
    "dim_campaigns": "platform campaign_id campaign_name account_id objective effective_status"
    " is_click_to_whatsapp is_deleted",
    "dim_ads": "platform ad_id ad_name adset_id adset_name campaign_id campaign_name account_id"
    " creative_id headline body media_type thumbnail_url effective_status name_source",
    "dim_ad_names": "platform ad_id valid_from ad_name adset_name campaign_name valid_to",
    "fct_ad_spend": "platform account_id ad_id spend_date row_kind campaign_id adset_id currency"
    " spend spend_reporting impressions clicks platform_conversations",
    "campaign_performance": "report_date platform campaign_id campaign_name account_id channel_mix"
    " currency spend spend_reporting impressions clicks leads qualified_leads qualified_leads_7d"
    " qualified_leads_14d qualified_leads_30d qualified_leads_90d is_mature_30d cost_per_lead"
    " cost_per_qualified_lead won_value_reporting",
    "ad_performance": "report_date platform ad_id ad_name headline thumbnail_url account_id"
    " channel_mix currency spend spend_reporting impressions clicks leads qualified_leads"
    " qualified_leads_7d qualified_leads_14d qualified_leads_30d qualified_leads_90d is_mature_30d"
    " cost_per_lead cost_per_qualified_lead won_value_reporting",
    "channel_performance": "report_date channel spend_reporting leads qualified_leads"
    " cost_per_lead cost_per_qualified_lead",
    "spend_reconciliation": "platform account_id spend_date account_spend ads_spend unallocated"
    " currency",
    "attribution_health": "report_date conversations with_referral resolved pending foreign"
    " ad_suspected direct platform_conversations unmatched_outcomes quarantined_envelopes",
    "conversion_events": "conversion_event_id lead_id event_name occurred_at status reason sent_at",
}


@dataclass
class Story:
    """The world after both nights, and its campaign rows after the first."""

    world: DbtWorld
    first_night: list[dict[str, Any]]

    def campaign(self, day: str, campaign: str = CAMPAIGN) -> dict[str, Any]:
        """A row of `campaign_performance`."""
        where = f"report_date = '{day}' and campaign_id = '{campaign}'"
        return self.world.one("marts.campaign_performance", where)

    def ad(self, day: str, ad_id: str) -> dict[str, Any]:
        """A row of `ad_performance`."""
        return self.world.one(
            "marts.ad_performance", f"report_date = '{day}' and ad_id = '{ad_id}'"
        )

    def channel(self, day: str, channel: str) -> dict[str, Any]:
        """A row of `channel_performance`."""
        where = f"report_date = '{day}' and channel = '{channel}'"
        return self.world.one("marts.channel_performance", where)


def advertise(meta: Meta) -> None:
    in_chats = {"campaign_id": CAMPAIGN, "adset_id": CHATS, "account_id": BR, "ad_name": "Video"}
    meta.objects(
        "2026-06-15 12:00",
        accounts=[
            _account(BR, "BRL", "America/Sao_Paulo"),
            _account(US, "USD", "America/Los_Angeles"),
            _account(CL, "CLP", "America/Santiago"),
        ],
        campaigns=[
            {"campaign_id": CAMPAIGN, "campaign_name": "Outono", "account_id": BR},
            {"campaign_id": DOLLARS, "campaign_name": "Fall", "account_id": US},
        ],
        adsets=[
            {"adset_id": CHATS, "campaign_id": CAMPAIGN, "destination_type": "WHATSAPP"},
            {"adset_id": SITES, "campaign_id": CAMPAIGN, "destination_type": "WEBSITE"},
        ],
        ads=[
            {"ad_id": CHAT, "creative_id": "c1", **in_chats},
            {"ad_id": TWIN, "creative_id": "c1", **in_chats},
            {"ad_id": SITE, **in_chats, "adset_id": SITES},
            {"ad_id": DOLLAR, "campaign_id": DOLLARS, "account_id": US, "adset_id": "us"},
        ],
        creatives=[{"creative_id": "c1", "headline": "Headline", "thumbnail_url": "https://t"}],
        ad_lookups=[{"ad_id": THEIRS, "lookup_status": "foreign", "attempts": 1}],
    )
    own = {"campaign_id": CAMPAIGN, "adset_id": CHATS}
    meta.spend(
        "2026-06-15 12:00",
        {
            (BR, "2026-05-10"): (
                "56.00",
                [
                    ad_row(CHAT, "30.00", platform_conversations=5, **own),
                    ad_row(TWIN, "20.00", **own),
                    ad_row(SITE, "5.00", campaign_id=CAMPAIGN, adset_id=SITES),
                ],
            ),
            (BR, "2026-05-11"): ("12.00", [ad_row(CHAT, "12.00", **own)]),
            (BR, "2026-06-14"): ("1.00", [ad_row(CHAT, "1.00", **own)]),
            (BR, "2026-06-15"): ("2.00", [ad_row(CHAT, "2.00", **own)]),
        },
    )
    dollars = [ad_row(DOLLAR, "3.33", campaign_id=DOLLARS)]
    days = {(US, "2026-05-10"): ("3.33", dollars)}
    meta.spend("2026-06-15 12:01", days, currency="USD", until="2026-06-15")
    pesos = [ad_row(PESO, "900", campaign_id="cl")]
    days = {(CL, "2026-05-09"): ("900", pesos)}
    meta.spend("2026-06-15 12:02", days, currency="CLP", until="2026-06-14")


def first_messages() -> Iterator[Any]:
    yield message("2026-05-10 15:00", phone="ana", id="a", **referral(CHAT))
    yield message("2026-05-10 15:00", phone="ana", id="a", **referral(CHAT))  # delivered twice
    yield message("2026-05-10 16:00", phone="bia", **referral(TWIN))
    # 22:30 of 10 May in São Paulo.
    yield message("2026-05-11 01:30", phone="caio", **referral(CHAT))
    yield message("2026-05-13 15:00", phone="duda", **referral(CHAT))
    yield message("2026-05-10 15:00", phone="edu")
    yield message("2026-05-10 15:00", phone="fabi", **referral(THEIRS))
    yield message("2026-05-10 15:00", phone="gil", **referral(None))
    yield message("2026-05-10 15:00", phone="hugo", **referral(CHAT, source_type="post", clid=None))
    yield message("2026-05-10 15:00", phone="ines", **referral(FRESH))
    # 20:00 of 10 May in Los Angeles, 00:00 of 11 May in São Paulo.
    yield message("2026-05-11 03:00", phone="joe", **referral(DOLLAR))
    yield outcome("2026-05-12 12:00", "qualified", "o1", phone="bia")
    yield outcome("2026-05-20 12:00", "qualified", "o2", phone="edu")
    yield outcome("2026-05-20 12:00", "qualified", "o3", phone="nobody")
    yield quarantined(2)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Both nights, built one after the other."""
    world = DbtWorld(tmp_path_factory.mktemp("reports"), as_of=AS_OF)
    advertise(Meta(world))
    inbox = Inbox(world)
    inbox.deliver(*first_messages())
    world.build("+campaign_performance", tests=False)
    first_night = world.rows("marts.campaign_performance")
    inbox.deliver(outcome("2026-06-10 15:01", "qualified", "late", phone="ana"))
    world.build()  # with every test: totals that must agree do
    return Story(world, first_night)


def test_every_rule_of_spend_and_reports_holds_in_its_unit_test(story: Story) -> None:
    folders = ("intermediate/ads", "intermediate/spend", "marts/ads", "marts/reports")
    chosen = [f"test_type:unit,path:dbt_project/models/{folder}" for folder in folders]
    result = story.world.dbt("test", "--select", *chosen)
    assert len(result.result) >= 28
    assert {r.status for r in result.result} == {"pass"}


def test_the_marts_have_the_columns_of_the_contract_exact_and_described(story: Story) -> None:
    for table, columns in CONTRACT.items():
        found = story.world.query(
            "select column_name, data_type from information_schema.columns"
            f" where table_schema = 'marts' and table_name = '{table}'"
        )
        types = {row["column_name"]: row["data_type"] for row in found}
        assert set(columns.split()) <= types.keys(), table
        assert not {t for t in types.values() if t in {"DOUBLE", "FLOAT", "HUGEINT"}}, table


def test_cost_is_the_days_spend_over_the_leads_born_that_day(story: Story) -> None:
    row = story.campaign("2026-05-10")
    assert (row["campaign_name"], row["account_id"], row["currency"]) == ("Outono", BR, "BRL")
    assert (row["spend"], row["click_to_whatsapp_spend"]) == (Decimal(55), Decimal(50))
    assert (row["leads"], row["qualified_leads"]) == (3, 2)
    assert row["cost_per_lead"] == Decimal("18.333333")
    assert row["cost_per_qualified_lead"] == Decimal("27.5")
    assert row["channel_mix"] == "click_to_whatsapp, meta_web"


def test_e37_a_lead_belongs_to_the_ad_it_names_not_to_its_twin(story: Story) -> None:
    assert (story.ad("2026-05-10", CHAT)["leads"], story.ad("2026-05-10", TWIN)["leads"]) == (2, 1)
    assert story.ad("2026-05-10", TWIN)["cost_per_qualified_lead"] == Decimal(20)
    assert story.ad("2026-05-10", TWIN)["thumbnail_url"] == "https://t"


def _in_full(world: DbtWorld, folder: Path, as_of: date) -> list[dict[str, Any]]:
    """`ad_performance` if it is made whole from what stands below it."""
    shutil.copy(world.settings.warehouse_path, folder / "warehouse.duckdb")
    settings = world.settings.model_copy(update={"warehouse_path": folder / "warehouse.duckdb"})
    other = DbtWorld(folder, settings=settings, as_of=as_of)
    other.build("ad_performance", full_refresh=True, tests=False)
    return other.rows("marts.ad_performance")


def test_ads_that_are_continued_by_day_are_those_of_a_full_build(
    dbt_world: DbtWorld, tmp_path: Path
) -> None:
    """Whatever happens between two nights, and however many days pass."""
    rng, meta, inbox = random.Random(11), Meta(dbt_world), Inbox(dbt_world)
    advertise(meta)
    inbox.deliver(*first_messages())
    as_of = date(2026, 5, 20)
    own = {"campaign_id": CAMPAIGN, "adset_id": CHATS, "account_id": BR}
    happens = {
        "restated": lambda: meta.spend(
            f"{as_of} 03:00", {(BR, "2026-05-11"): ("9.00", [ad_row(CHAT, "8.00", **own)])}
        ),
        "emptied": lambda: meta.spend(f"{as_of} 03:00", {(CL, "2026-05-09"): ("0", [])}),
        "of a day before all": lambda: meta.spend(
            f"{as_of} 03:00", {(BR, "2026-04-01"): ("1.00", [ad_row(TWIN, "1.00", **own)])}
        ),
        "renamed": lambda: meta.objects(
            f"{as_of} 03:00",
            campaigns=[{"campaign_id": CAMPAIGN, "campaign_name": f"{as_of}", "account_id": BR}],
            ads=[{"ad_id": TWIN, "creative_id": "c1", **own, "ad_name": f"Twin {as_of}"}],
            adsets=[{"adset_id": SITES, "campaign_id": CAMPAIGN, "adset_name": f"Site {as_of}"}],
        ),
        "another account": lambda: meta.objects(
            f"{as_of} 03:00",
            accounts=[_account(US, "USD", "America/Los_Angeles") | {"account_name": f"{as_of}"}],
        ),
        "a lead": lambda: inbox.deliver(
            message(f"{as_of} 12:00", phone=f"on {as_of}", **referral(rng.choice([CHAT, DOLLAR])))
        ),
        "qualified": lambda: inbox.deliver(
            outcome(f"{as_of} 12:00", "qualified", f"{as_of}", phone=rng.choice(["ana", "gil"]))
        ),
        "does not count": lambda: inbox.deliver(exclusion(f"{as_of} 12:00", phone="caio")),
        "nothing": lambda: None,
    }
    names = [*happens, *rng.sample([*happens], len(happens))]
    for name in ["nothing", *names]:
        happens[name]()
        dbt_world.build("+ad_performance", tests=False, as_of=as_of)
        rows = dbt_world.rows("marts.ad_performance")
        assert rows == _in_full(dbt_world, tmp_path, as_of), f"{name} on {as_of}"
        dbt_world.as_of = as_of
        assert dbt_world.query(dbt_world.continued_by("ad_performance")) == []
        as_of += timedelta(days=rng.choice([0, 0, 1, 8, 31]))
    inbox.deliver(outcome(f"{as_of} 12:00", "won", "last", phone="duda"))
    dbt_world.build("+fct_leads", "dim_ads", tests=False)
    again = dbt_world.query(dbt_world.continued_by("ad_performance"))
    assert {row["report_date"] for row in again} == {date(2026, 5, 13)}, "no other day is built"


def test_e42_a_lead_stands_on_the_day_of_its_ad_account(story: Story) -> None:
    joe = story.campaign("2026-05-10", DOLLARS)
    assert (joe["leads"], joe["currency"], joe["cost_per_lead"]) == (1, "USD", Decimal("3.33"))
    assert joe["cost_per_lead_reporting"] == joe["spend_reporting"] != joe["spend"]


def test_e46_spend_without_leads_has_no_cost_per_lead_and_stays(story: Story) -> None:
    row = story.campaign("2026-05-11")
    assert (row["spend"], row["leads"]) == (Decimal(12), 0)
    assert (row["cost_per_lead"], row["cost_per_qualified_lead"]) == (None, None)


def test_e47_e48_leads_without_spend_cost_nothing_that_day_and_count_in_the_period(
    story: Story,
) -> None:
    row = story.campaign("2026-05-13")
    assert (row["spend"], row["leads"], row["cost_per_lead"]) == (0, 1, 0)
    period = story.world.query(
        "select sum(spend) as spend, sum(leads) as leads from marts.campaign_performance"
        f" where campaign_id = '{CAMPAIGN}' and report_date between '2026-05-10' and '2026-05-13'"
    )
    assert period == [{"spend": Decimal(67), "leads": 4}]


def test_e57_a_late_qualification_moves_the_row_of_the_birth_day_and_no_other(
    story: Story,
) -> None:
    before = {(r["report_date"], r["campaign_id"]): r for r in story.first_night}
    after = {
        (r["report_date"], r["campaign_id"]): r
        for r in story.world.rows("marts.campaign_performance")
    }
    assert before.keys() == after.keys()
    moved = [key for key in after if before[key] != after[key]]
    assert moved == [(date(2026, 5, 10), CAMPAIGN)]
    row = after[moved[0]]
    assert (before[moved[0]]["qualified_leads"], row["qualified_leads"]) == (1, 2)
    # 31 days after her first message: in 90 days, not in 30.
    windows = [row[f"qualified_leads_{days}d"] for days in (7, 14, 30, 90)]
    assert windows == [1, 1, 1, 2]
    mature = [row[f"is_mature_{days}d"] for days in (7, 14, 30, 90)]
    assert mature == [True, True, True, False]


def test_e66_the_last_day_is_marked_partial(story: Story) -> None:
    assert not story.campaign("2026-06-14")["is_partial_day"]
    assert story.campaign("2026-06-15")["is_partial_day"]


def test_e34_leads_of_ads_of_others_stay_visible_and_apart(story: Story) -> None:
    unresolved = story.campaign("2026-05-10", "unresolved")
    assert (unresolved["leads"], unresolved["spend"]) == (3, 0)  # fabi, gil, ines
    assert story.ad("2026-05-10", THEIRS)["resolution"] == "foreign"
    assert story.ad("2026-05-10", FRESH)["resolution"] == "pending"
    assert story.ad("2026-05-10", "unknown")["leads"] == 1


def test_e10_e39_a_post_with_an_ads_id_is_no_ad(story: Story) -> None:
    assert story.channel("2026-05-10", "organic_social")["leads"] == 1
    assert story.ad("2026-05-10", CHAT)["leads"] == 2


def test_e45_unallocated_spend_is_a_row_of_its_own_in_every_report(story: Story) -> None:
    name = f"unallocated:{BR}"
    assert story.campaign("2026-05-10", name)["spend"] == Decimal(1)
    assert story.ad("2026-05-10", name)["spend"] == Decimal(1)
    channel = story.channel("2026-05-10", "meta_unallocated")
    assert (channel["spend_reporting"], channel["leads"]) == (Decimal(1), 0)
    assert channel["cost_per_lead"] is None


def test_e49_spend_on_the_website_is_not_held_against_the_chats(story: Story) -> None:
    assert story.channel("2026-05-10", "meta_web")["spend_reporting"] == Decimal(5)
    dollars = story.campaign("2026-05-10", DOLLARS)["spend_reporting"]
    chats = story.channel("2026-05-10", "click_to_whatsapp")
    assert chats["spend_reporting"] == Decimal(50) + dollars


def test_r12_every_lead_is_in_one_channel_row(story: Story) -> None:
    rows = story.world.query(
        "select channel, sum(leads) as leads, sum(qualified_leads) as qualified"
        " from marts.channel_performance group by channel having sum(leads) > 0 order by channel"
    )
    assert {r["channel"]: (r["leads"], r["qualified"]) for r in rows} == {
        "click_to_whatsapp": (7, 2),
        "direct": (1, 1),
        "organic_social": (1, 0),
        "unknown_ad": (1, 0),
    }


def test_e44_a_day_without_a_rate_has_no_converted_sum(story: Story) -> None:
    row = story.campaign("2026-05-09", "cl")
    assert (row["spend"], row["currency"], row["spend_reporting"]) == (Decimal(900), "CLP", None)
    # No lead ever came from that ad, so nothing says that it leads to WhatsApp.
    assert story.channel("2026-05-09", "meta_web")["spend_reporting"] is None


def test_e55_health_shows_metas_own_count_beside_ours(story: Story) -> None:
    day = story.world.one("marts.attribution_health", "report_date = '2026-05-10'")
    # Caio wrote at 22:30 local time; Joe after midnight.
    assert (day["conversations"], day["platform_conversations"]) == (8, 5)
    assert (day["with_referral"], day["direct"], day["outbound"]) == (7, 1, 0)
    assert (day["resolved"], day["foreign"], day["pending"], day["gone"]) == (3, 1, 1, 0)
    assert day["repeats"] == 1


def test_e60_outcomes_of_nobody_and_quarantine_are_counted(story: Story) -> None:
    totals = story.world.query(
        "select sum(unmatched_outcomes) as unmatched, sum(quarantined_envelopes) as envelopes,"
        " sum(quarantined_elements) as elements, min(spend_complete_through) as through"
        " from marts.attribution_health"
    )
    assert totals[0]["unmatched"] == 1
    assert (totals[0]["envelopes"], totals[0]["elements"]) == (1, 2)
    assert totals[0]["through"] == date(2026, 6, 14)  # the account that is furthest behind


RATIO = re.compile(r"(loaded_)?cost_per_|qualified_rate$")


def test_every_published_table_and_column_says_what_it_means(story: Story) -> None:
    path = publish_marts(story.world.settings, as_of=AS_OF).path
    with duckdb.connect(str(path), read_only=True) as marts:
        tables = marts.execute("select table_name, comment from duckdb_tables()").fetchall()
        columns = marts.execute(
            "select table_name, column_name, comment from duckdb_columns() where not internal"
        ).fetchall()
    assert len(tables) > 20
    assert [name for name, said in tables if not said] == []
    assert [(table, name) for table, name, said in columns if not said] == []
    # The published file is read by people who have not read docs/bi.md.
    ratios = {(table, name): said for table, name, said in columns if RATIO.match(name)}
    assert len(ratios) > 10
    assert [name for name, said in ratios.items() if "never average" not in said] == []
    for table, about in tables:
        schema = pq.read_schema(parquet_folder(path) / "current" / f"{table}.parquet")
        assert schema.metadata[b"comment"].decode() == about
        told = {f.name: f.metadata[b"comment"].decode() for f in schema}
        assert told == {name: said for of, name, said in columns if of == table}


@pytest.fixture(scope="module")
def metrics(story: Story) -> Metrics:
    return Metrics(story.world)


def test_cohort_metrics_equal_the_marts_at_their_grain(story: Story, metrics: Metrics) -> None:
    days = metrics.query(
        *("spend", "spend_native", "leads", "qualified_leads", "qualified_leads_30d"),
        *("cost_per_lead", "cost_per_qualified_lead", "cost_per_lead_native", "won_value"),
        by=["metric_time__day", "campaign__campaign_id"],
    )
    known = [row for row in days if row["campaign__campaign_id"]]
    assert len(known) >= 5
    for row in known:
        day = row["metric_time__day"].strftime("%Y-%m-%d")
        mart = story.campaign(day, row["campaign__campaign_id"])
        assert row["spend"] == mart["spend_reporting"]
        assert (row["spend_native"], row["won_value"]) == (mart["spend"], 0)
        for name in ("leads", "qualified_leads", "qualified_leads_30d"):
            assert row[name] == mart[name]
        for name in ("cost_per_lead", "cost_per_qualified_lead"):
            assert row[name] == _about(mart[f"{name}_reporting"])
        assert row["cost_per_lead_native"] == _about(mart["cost_per_lead"])


def test_r11_r13_metrics_of_a_period_divide_sums_and_never_mix_currencies(
    story: Story, metrics: Metrics
) -> None:
    both = f"""
        select sum(spend_reporting) as spend, sum(leads) as leads,
            sum(case when is_mature_30d then spend_reporting end)
                / sum(case when is_mature_30d then qualified_leads_30d end) as ripe
        from marts.campaign_performance where campaign_id in ('{CAMPAIGN}', '{DOLLARS}')
    """
    truth = story.world.query(both)[0]
    [row] = metrics.query(
        *("spend", "spend_native", "cost_per_lead", "cost_per_qualified_lead_30d"),
        by=["ad_day__platform"],
        where=f"{{{{ Dimension('campaign__campaign_id') }}}} in ('{CAMPAIGN}', '{DOLLARS}')",
    )
    assert (row["spend"], row["spend_native"]) == (truth["spend"], None)
    assert row["cost_per_lead"] == _about(truth["spend"] / truth["leads"])
    assert row["cost_per_qualified_lead_30d"] == _about(truth["ripe"])
    # Pesos have no rate: nothing in reais that holds them, but what Chile spent is known.
    pesos = metrics.query("spend", "spend_native", by=["account__currency"])
    [chile] = [row for row in pesos if row["account__currency"] == "CLP"]
    assert (chile["spend"], chile["spend_native"]) == (None, Decimal(900))


def test_r11_cash_metrics_are_the_cash_view_and_count_the_same_people(
    story: Story, metrics: Metrics
) -> None:
    found = metrics.query(
        *("spend_cash", "qualifications", "cost_per_qualification", "qualified_leads"),
        by=["metric_time__day", "campaign__campaign_id"],
    )
    days = {str(r["metric_time__day"])[:10]: r for r in found if r["qualifications"]}
    # Bia qualified on the 12th, a day without spend; Ana a month after the spend that brought her.
    assert days.keys() == {"2026-05-12", "2026-06-10"}
    for day, row in days.items():
        where = f"report_date = '{day}' and campaign_id = '{row['campaign__campaign_id']}'"
        mart = story.world.one("marts.campaign_cash_performance", where)
        assert row["spend_cash"] == mart["spend_reporting"]
        assert row["cost_per_qualification"] == _about(mart["cost_per_qualification_reporting"])
    total = {name: sum(r[name] or 0 for r in found) for name in found[0] if "qualif" in name}
    assert total["qualifications"] == total["qualified_leads"] == 2


def test_every_metric_answers_and_all_leads_are_in_one_channel(
    story: Story, metrics: Metrics
) -> None:
    for name in metrics.names:
        assert metrics.query(name, by=["metric_time__month"])[0].keys() >= {name}
    rows = metrics.query("all_leads", "all_qualified_leads", by=["channel_day__channel"])
    found = {r["channel_day__channel"]: r["all_leads"] for r in rows if r["all_leads"]}
    assert found == {"click_to_whatsapp": 7, "direct": 1, "organic_social": 1, "unknown_ad": 1}


def _about(exact: Decimal | float | None) -> Any:
    """MetricFlow divides in double precision."""
    return None if exact is None else pytest.approx(float(exact), rel=1e-6)


def _account(account: str, currency: str, zone: str) -> dict[str, Any]:
    return {
        "account_id": account,
        "account_name": f"Account {currency}",
        "currency": currency,
        "timezone": zone,
    }


def test_campaigns_of_one_name_are_two_rows_of_a_metric(story: Story, metrics: Metrics) -> None:
    rows = metrics.query("leads", by=["ad__ad_name"])
    named = {row["ad__ad_name"]: row["leads"] for row in rows}
    assert named[f"Video [meta:{CHAT}]"] > 0
    assert named[f"Video [meta:{TWIN}]"] > 0
