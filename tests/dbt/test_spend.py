"""Spend, ads and their names: what Meta said in, `fct_ad_spend` and the dimensions out.

One world for the module. It is built after the first reads, then again after Meta restated,
withdrew and renamed; the second build is incremental, and is compared with a full one.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ctwa.settings import PROJECT_DIR
from tests.support.lake import utc
from tests.support.meta import BR, CL, US, Meta, ad_row
from tests.support.warehouse import DbtWorld, warned

# Neighbours above 2^53: equal as floats.
CHAT, TWIN, SITE = "120226305854810726", "120226305854810727", "120226305854810728"
DELETED, DOLLAR, PESO = "120226305854810729", "120226305854810736", "120226305854810746"
CAMPAIGN, LOST_CAMPAIGN, BOOSTED = "120226305854810701", "120226305854810702", "1202263058548107"
CHATS, SITES = "120226305854810711", "120226305854810712"
SPEND_MODELS = (
    "+path:dbt_project/models/marts/ads",
    "path:dbt_project/tests/spend_adds_up_to_account_totals.sql",
)


@dataclass
class Story:
    """The world after all reads, and what it looked like before the second night."""

    world: DbtWorld
    first_night: dict[str, list[dict[str, Any]]]
    incremental: dict[str, list[tuple[Any, ...]]]
    warnings: dict[str, int]


def first_reads(meta: Meta) -> None:
    in_chats = {"campaign_id": CAMPAIGN, "adset_id": CHATS, "account_id": BR}
    meta.objects(
        "2026-05-12 03:00",
        accounts=[
            _account(BR, "Loja", "BRL", "America/Sao_Paulo"),
            _account(US, "Shop", "USD", "America/Los_Angeles"),
            _account(CL, "Tienda", "CLP", "America/Nowhere"),
        ],
        campaigns=[
            _campaign(CAMPAIGN, "Outono"),
            _campaign(BOOSTED, "Post impulsionado", objective="POST_ENGAGEMENT"),
        ],
        adsets=[
            _adset(CHATS, "Conversas", "WHATSAPP"),
            _adset(SITES, "Site", "WEBSITE"),
            # The same id as an ad's: an id means something only with its kind (E39).
            _adset(CHAT, "Outro", "WEBSITE", campaign_id=BOOSTED),
        ],
        ads=[
            {"ad_id": CHAT, "ad_name": "Video 1", "creative_id": "c1", **in_chats}
            | {"created_at": "2026-05-01 12:00"},
            {"ad_id": TWIN, "ad_name": "Video 1", "creative_id": "c2", **in_chats},
            {"ad_id": SITE, "ad_name": "Site", **in_chats, "adset_id": SITES},
        ],
        creatives=[
            {"creative_id": "c1", "headline": "Oferta", "media_type": "video"},
            {"creative_id": "c2", "headline": "Oferta", "media_type": "image"},
        ],
    )
    meta.spend(
        "2026-05-12 03:30",  # 00:30 in São Paulo: 11 May is over, 12 May has just begun
        {
            (BR, "2026-05-10"): (
                "40.00",
                [
                    _ad(CHAT, "10.10", platform_conversations=4, reach=60),
                    _ad(TWIN, "20.20", reach=60),
                    _ad(SITE, "5.05", adset_id=SITES),
                ],
            ),
            (BR, "2026-05-11"): ("3.00", [_ad(CHAT, "1.00"), _ad(TWIN, "2.00")]),
            (BR, "2026-05-12"): ("7.77", [_ad(CHAT, "7.77")]),
            (BR, "2026-05-09"): (
                "8.10",
                [
                    _ad(DELETED, "6.00", campaign_id=LOST_CAMPAIGN, adset_id="lost")
                    | {"ad_name": "Antigo", "campaign_name": "Verão", "adset_name": "Tudo"},
                    ad_row(BOOSTED, "2.10", campaign_id=BOOSTED),
                ],
            ),
        },
    )
    meta.spend(
        "2026-05-12 03:31",  # 20:31 of 11 May in Los Angeles
        {
            (US, "2026-05-10"): ("3.33", [ad_row(DOLLAR, "3.33")]),
            (US, "2026-05-11"): ("0.01", [ad_row(DOLLAR, "0.01")]),
        },
        currency="USD",
    )
    meta.spend(
        "2026-05-12 03:32", {(CL, "2026-05-10"): ("900", [ad_row(PESO, "900")])}, currency="CLP"
    )


def second_reads(meta: Meta) -> None:
    in_chats = {"campaign_id": CAMPAIGN, "adset_id": CHATS, "account_id": BR}
    meta.objects(
        "2026-05-13 03:00",
        campaigns=[_campaign(CAMPAIGN, "Inverno")],
        ads=[
            {"ad_id": CHAT, "ad_name": "Video 1 novo", "creative_id": "c3", **in_chats}
            | {"created_at": "2026-05-01 12:00"}
        ],
        creatives=[{"creative_id": "c3", "headline": "Oferta nova", "media_type": "image"}],
    )
    meta.spend(
        "2026-05-13 03:30",
        {
            # Restated, and the twin withdrawn; then a day emptied altogether.
            (BR, "2026-05-10"): ("15.05", [_ad(CHAT, "10.00"), _ad(SITE, "5.05", adset_id=SITES)]),
            (BR, "2026-05-11"): ("0", []),
            # A credit: the account paid less than its ads.
            (BR, "2026-05-12"): ("8.00", [_ad(CHAT, "9.50")]),
        },
    )


def _account(account: str, name: str, currency: str, zone: str) -> dict[str, Any]:
    named = {"account_id": account, "account_name": name}
    return named | {"currency": currency, "timezone": zone}


def _campaign(campaign: str, name: str, **columns: Any) -> dict[str, Any]:
    row = {"campaign_id": campaign, "campaign_name": name, "account_id": BR}
    return row | {"effective_status": "ACTIVE", "objective": "OUTCOME_SALES"} | columns


def _adset(adset: str, name: str, destination: str, **columns: Any) -> dict[str, Any]:
    row = {"adset_id": adset, "adset_name": name, "account_id": BR, "campaign_id": CAMPAIGN}
    return row | {"destination_type": destination} | columns


def _ad(ad_id: str, spend: str, **columns: Any) -> dict[str, Any]:
    return ad_row(ad_id, spend, **({"campaign_id": CAMPAIGN, "adset_id": CHATS} | columns))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Both nights, built one after the other."""
    world = DbtWorld(tmp_path_factory.mktemp("spend"), as_of=date(2026, 5, 13))
    meta = Meta(world)
    first_reads(meta)
    world.build(*SPEND_MODELS, tests=False)
    first_night = {"spend": world.rows("marts.fct_ad_spend")}
    second_reads(meta)
    warnings = warned(world.build(*SPEND_MODELS))
    return Story(world, first_night, world.snapshot(), warnings)


def spend_of(rows: list[dict[str, Any]], day: str) -> dict[str, Decimal]:
    """Ad id (or `unallocated`) -> spend of BR's day."""
    chosen = [r for r in rows if (r["account_id"], str(r["spend_date"])) == (BR, day)]
    return {r["ad_id"]: r["spend"] for r in chosen}


def test_e38_ids_that_are_equal_as_floats_stay_two_ads(story: Story) -> None:
    assert float(CHAT) == float(TWIN)
    assert spend_of(story.first_night["spend"], "2026-05-10") == {
        CHAT: Decimal("10.10"),
        TWIN: Decimal("20.20"),
        SITE: Decimal("5.05"),
        "unallocated": Decimal("4.65"),
    }


def test_e40_restated_spend_replaces_the_day(story: Story) -> None:
    rows = spend_of(story.world.rows("marts.fct_ad_spend"), "2026-05-10")
    assert rows == {CHAT: Decimal("10.00"), SITE: Decimal("5.05")}


def test_e41_a_withdrawn_ad_and_an_emptied_day_leave_no_spend(story: Story) -> None:
    assert len(spend_of(story.first_night["spend"], "2026-05-11")) == 2
    assert spend_of(story.world.rows("marts.fct_ad_spend"), "2026-05-11") == {}
    emptied = story.world.one("marts.spend_reconciliation", "spend_date = '2026-05-11'" + _of(BR))
    assert (emptied["account_spend"], emptied["ads_spend"], emptied["unallocated"]) == (0, 0, 0)


def test_e45_ads_and_unallocated_add_up_to_the_account_to_the_cent(story: Story) -> None:
    credit = story.world.one("marts.spend_reconciliation", "spend_date = '2026-05-12'" + _of(BR))
    assert credit["account_spend"] == Decimal("8.00")
    assert credit["ads_spend"] == Decimal("9.50")
    assert credit["unallocated"] == Decimal("-1.50")
    unallocated = story.world.one("marts.fct_ad_spend", "row_kind = 'unallocated'")
    assert unallocated["spend"] == Decimal("-1.50")
    assert unallocated["channel"] == "meta_unallocated"
    assert unallocated["campaign_id"] is None


def test_e32_spend_of_an_ad_that_no_list_shows_keeps_its_names(story: Story) -> None:
    spend = story.world.one("marts.fct_ad_spend", f"ad_id = '{DELETED}'")
    ad = story.world.one("marts.dim_ads", f"ad_id = '{DELETED}'")
    campaign = story.world.one("marts.dim_campaigns", f"campaign_id = '{LOST_CAMPAIGN}'")
    assert (spend["campaign_id"], spend["spend"]) == (LOST_CAMPAIGN, Decimal("6.00"))
    assert (ad["ad_name"], ad["adset_name"], ad["campaign_name"]) == ("Antigo", "Tudo", "Verão")
    assert (ad["name_source"], ad["resolution"], ad["is_deleted"]) == ("insights", "resolved", True)
    assert campaign["is_deleted"]


def test_e36_a_renamed_ad_has_its_name_of_today_and_its_names_of_then(story: Story) -> None:
    ad = story.world.one("marts.dim_ads", f"ad_id = '{CHAT}'")
    assert (ad["ad_name"], ad["campaign_name"]) == ("Video 1 novo", "Inverno")
    names = story.world.query(
        "select ad_name, campaign_name, valid_from, valid_to from marts.dim_ad_names"
        f" where ad_id = '{CHAT}' order by valid_from"
    )
    renamed = utc("2026-05-13 03:00")
    assert [tuple(n.values()) for n in names] == [
        ("Video 1", "Outono", utc("2026-05-01 12:00"), renamed),
        ("Video 1 novo", "Inverno", renamed, None),
    ]


def test_e36_a_renamed_campaign_renames_its_other_ads_from_then_on(story: Story) -> None:
    names = story.world.query(
        "select ad_name, campaign_name, valid_from from marts.dim_ad_names"
        f" where ad_id = '{TWIN}' order by valid_from"
    )
    assert [(n["ad_name"], n["campaign_name"]) for n in names] == [
        ("Video 1", "Outono"),
        ("Video 1", "Inverno"),
    ]
    assert names[0]["valid_from"] < utc("2000-01-01")  # its beginning is unknown: before all


def test_e37_ads_with_one_name_and_headline_are_told_apart_by_id(story: Story) -> None:
    assert spend_of(story.first_night["spend"], "2026-05-11") == {
        CHAT: Decimal("1.00"),
        TWIN: Decimal("2.00"),
    }
    twin = story.world.one("marts.dim_ads", f"ad_id = '{TWIN}'")
    assert (twin["creative_id"], twin["headline"]) == ("c2", "Oferta")


def test_e35_an_edited_creative_leaves_the_ad_one_row(story: Story) -> None:
    ad = story.world.one("marts.dim_ads", f"ad_id = '{CHAT}'")
    assert (ad["creative_id"], ad["headline"], ad["media_type"]) == ("c3", "Oferta nova", "image")


def test_e39_an_id_that_two_kinds_of_object_share_mixes_nothing(story: Story) -> None:
    ad = story.world.one("marts.dim_ads", f"ad_id = '{CHAT}'")
    assert (ad["adset_id"], ad["adset_name"]) == (CHATS, "Conversas")


def test_e42_a_day_is_complete_once_it_ended_in_its_own_zone(story: Story) -> None:
    complete = {
        (r["account_id"], str(r["spend_date"])): r["is_day_complete"]
        for r in story.first_night["spend"]
    }
    assert complete[BR, "2026-05-11"]
    assert not complete[BR, "2026-05-12"]
    assert complete[US, "2026-05-10"]
    assert not complete[US, "2026-05-11"]


def test_e42_an_unknown_zone_is_named_and_breaks_nothing(story: Story) -> None:
    account = story.world.one("marts.dim_accounts", f"account_id = '{CL}'")
    assert (account["timezone"], account["is_timezone_known"]) == ("America/Nowhere", False)
    assert story.warnings["spend_accounts_with_unknown_timezone"] == 1


def test_e44_dollars_are_converted_by_the_last_rate_and_reais_not_at_all(story: Story) -> None:
    dollars = story.world.one(
        "marts.fct_ad_spend", f"ad_id = '{DOLLAR}' and spend_date = '2026-05-10'"
    )
    assert dollars["spend"] == Decimal("3.33")
    assert dollars["exchange_rate"] == _rate("USD", "2026-05-04")  # six days old
    assert dollars["spend_reporting"] == Decimal("3.33") * _rate("USD", "2026-05-04")
    reais = story.world.query(f"select * from marts.fct_ad_spend where account_id = '{BR}'")
    assert all(r["spend_reporting"] == r["spend"] for r in reais)
    assert all(r["exchange_rate"] is None for r in reais)


def test_e44_without_a_rate_nothing_is_converted_and_a_check_names_it(story: Story) -> None:
    pesos = story.world.one("marts.fct_ad_spend", f"ad_id = '{PESO}'")
    assert (pesos["spend"], pesos["spend_reporting"]) == (Decimal("900"), None)
    assert story.warnings["spend_without_exchange_rate"] == 1


def test_e49_in_a_mixed_campaign_only_the_chats_ad_set_is_whatsapp(story: Story) -> None:
    channels = {r["ad_id"]: r["channel"] for r in story.world.rows("marts.fct_ad_spend")}
    assert channels[CHAT] == "click_to_whatsapp"
    assert channels[SITE] == "meta_web"
    assert story.world.one("marts.dim_campaigns", f"campaign_id = '{CAMPAIGN}'")[
        "is_click_to_whatsapp"
    ]


def test_e53_reach_is_in_no_mart(story: Story) -> None:
    columns = story.world.query(
        "select column_name from information_schema.columns"
        " where table_schema = 'marts' and column_name in ('reach', 'frequency')"
    )
    assert columns == []


def test_e55_metas_own_conversations_stand_beside_and_count_no_lead(story: Story) -> None:
    row = next(r for r in story.first_night["spend"] if r["ad_id"] == CHAT)
    assert {"platform_conversations", "impressions", "clicks"} < row.keys()
    assert sum(r["platform_conversations"] for r in story.first_night["spend"]) == 4
    assert "leads" not in row


def test_e56_spend_of_a_boosted_post_stays_under_its_campaign(story: Story) -> None:
    boosted = story.world.one("marts.fct_ad_spend", f"ad_id = '{BOOSTED}'")
    assert (boosted["campaign_id"], boosted["spend"]) == (BOOSTED, Decimal("2.10"))
    assert boosted["channel"] == "meta_web"


def test_accounts_that_were_not_read_lately_are_named(story: Story) -> None:
    # as_of is 13 May. CL was read to the 10th only; US to the 11th, but the 11th before it was over
    # there: two days before the last one are not known (E87).
    assert story.warnings["spend_is_stale"] == 2


def test_example_rates_are_called_what_they_are(story: Story) -> None:
    assert story.warnings["spend_converted_at_example_rates"] == 1


def test_a_build_with_nothing_new_touches_no_account_day(story: Story) -> None:
    before = story.world.snapshot()
    story.world.build("int_ad_spend__daily", tests=False)
    assert story.world.query(story.world.continued_by("int_ad_spend__daily")) == []
    assert story.world.snapshot() == before


def test_e40_e41_incremental_builds_end_like_a_full_one(
    story: Story, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = DbtWorld(tmp_path_factory.mktemp("full"), as_of=date(2026, 5, 13))
    meta = Meta(world)
    first_reads(meta)
    second_reads(meta)
    world.build(*SPEND_MODELS, full_refresh=True, tests=False)
    full = world.snapshot()
    assert full.keys() == story.incremental.keys()
    for table, rows in full.items():
        assert rows == story.incremental[table], table


def test_e52_a_read_that_is_not_whole_fails_the_build(dbt_world: DbtWorld) -> None:
    meta = Meta(dbt_world)
    meta.spend("2026-05-12 03:30", {(BR, "2026-05-10"): ("3.00", [ad_row(CHAT, "1.00")])})
    # A control row that speaks of two ads where one has landed.
    control = {"read_no": 9, "account_id": BR, "spend_date": "2026-05-10", "ad_rows": 2}
    dbt_world.write("meta_ads.spend_days", [control | {"account_spend": "3.00"}])
    found = {"read_no": 9, "account_id": BR, "spend_date": "2026-05-10", "ad_id": CHAT}
    dbt_world.write("meta_ads.spend_rows", [found | {"spend": "3.00"}])
    selected = "+spend_adds_up_to_account_totals"
    with pytest.raises(AssertionError, match="spend_adds_up_to_account_totals"):
        dbt_world.dbt("build", "--indirect-selection", "empty", "--select", selected)


def _of(account: str) -> str:
    return f" and account_id = '{account}'"


def _rate(currency: str, day: str) -> Decimal:
    path: Path = PROJECT_DIR / "dbt_project" / "seeds" / "exchange_rates.csv"
    with path.open(newline="") as file:
        found = [
            r for r in csv.DictReader(file) if (r["currency"], r["rate_date"]) == (currency, day)
        ]
    assert len(found) == 1, f"the seed has {len(found)} rates of {currency} on {day}"
    return Decimal(found[0]["rate"])


@pytest.mark.parametrize(
    ("table", "rows"),
    [
        ("google_ads.accounts", [{"account_id": "1"}, {"account_id": "1"}]),
        ("meta_ads.ads", [{"ad_id": "1", "adset_id": s} for s in "ab"]),
        ("meta_ads.spend_days", [{"account_id": "1", "spend_date": "2026-05-01"}] * 2),
        ("google_ads.spend_rows", [{"account_id": "1", "campaign_id": "c"}] * 2),
        ("google_ads.click_views", [{"account_id": "1", "gclid": "g"}] * 2),
        ("meta_ads.spend_rows", [{"account_id": "1", "spend_level": "placement"}]),
        ("meta_ads.ad_lookups", [{"ad_id": "1", "lookup_status": "lost"}]),
    ],
)
def test_rows_of_ads_that_no_model_can_rest_on_fail_the_build(
    dbt_world: DbtWorld, table: str, rows: list[dict[str, Any]]
) -> None:
    dbt_world.write(table, rows)
    with pytest.raises(AssertionError, match="ads_rows_occur_once_in_a_read"):
        dbt_world.dbt("test", "--select", "ads_rows_occur_once_in_a_read")


def test_reads_of_a_platform_that_is_not_listed_are_found_as_well(dbt_world: DbtWorld) -> None:
    """`ads_platforms` of dbt_project.yml saves looking at old reads again, no more."""
    row = {"platform": "other", "account_id": "1", "spend_level": "ad", "ad_id": "a"}
    for read_no, name in ((1, "old"), (2, "new"), (3, "newest")):
        dbt_world.write("google_ads.spend_rows", [row | {"read_no": read_no, "ad_name": name}])
        dbt_world.build("+int_spend_objects__latest", tests=False)
        assert dbt_world.one("intermediate.int_spend_objects__latest")["ad_name"] == name
