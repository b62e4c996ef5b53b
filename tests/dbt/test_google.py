"""Google Ads beside Meta: spend with and without ads, clicks that lead to ads, ids of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from tests.support.meta import BR, Meta, ad_row
from tests.support.people import Inbox, click, coded, form, message
from tests.support.warehouse import DbtWorld

CUSTOMER, US_CUSTOMER = "4402211001", "4402211002"
SHARED = "120226305854800726"
"""An id that a campaign of Meta's, one of Google's and an ad of each have (E39)."""
EVERYTHING = ("+path:dbt_project/models/marts",)


@dataclass
class Google:
    """The landing of Google's API for one world: each call is one read."""

    world: DbtWorld
    read_no: int = field(default=0)

    def objects(self, at: str, **tables: list[dict[str, Any]]) -> None:
        """One read of metadata: `campaigns=[...]`, `ads=[...]`."""
        self.read_no += 1
        for table, rows in tables.items():
            read = [self._read(at) | row for row in rows]
            # Google has one status, which is the effective one as well.
            statuses = [{"effective_status": r["status"]} if "status" in r else {} for r in read]
            landed = [row | status for row, status in zip(read, statuses, strict=True)]
            self.world.write(f"google_ads.{table}", landed)

    def costs(
        self,
        at: str,
        days: Mapping[str, tuple[str, Iterable[dict[str, Any]]]],
        *,
        customer: str = CUSTOMER,
        currency: str = "BRL",
    ) -> None:
        """One complete read of a customer's days: day -> (own total, rows of `row`)."""
        self.read_no += 1
        for day, (total, found) in days.items():
            place = {"account_id": customer, "spend_date": day, "currency": currency}
            rows = [self._read(at) | place | r for r in found]
            self.world.write("google_ads.spend_rows", rows)
            control = {
                "account_spend": total,
                "ad_rows": sum(r["spend_level"] == "ad" for r in rows),
                "content_hash": f"{self.read_no}/{day}",
            }
            self.world.write("google_ads.spend_days", [self._read(at) | place | control])
        ranges = [{"account_id": customer, "since_date": d, "until_date": d} for d in days]
        self.world.write("google_ads.spend_reads", [self._read(at) | r for r in ranges])

    def clicks(self, at: str, day: str, *found: dict[str, Any], customer: str = CUSTOMER) -> None:
        """One complete read of a day's clicks."""
        self.read_no += 1
        place = {"account_id": customer, "click_date": day}
        self.world.write("google_ads.click_views", [self._read(at) | place | c for c in found])
        self.world.write("google_ads.click_reads", [self._read(at) | place])

    def _read(self, at: str) -> dict[str, Any]:
        return {"read_no": self.read_no, "read_at": at}


def row(campaign: str, spend: str, *, group: str = "", ad: str = "") -> dict[str, Any]:
    """Spend of one level: of an ad, else of an ad group, else of a campaign."""
    level = "ad" if ad else "ad_group" if group else "campaign"
    ids = {"campaign_id": campaign, "adset_id": group or None, "ad_id": ad or None}
    return {"spend_level": level, "spend": spend, "impressions": 10, "clicks": 1, **ids}


def told(world: DbtWorld, where: str = "platform = 'google'") -> dict[str, Decimal]:
    """Spend by ad id of one day or more."""
    rows = world.query(f"select ad_id, spend from marts.fct_ad_spend where {where}")
    return {r["ad_id"]: r["spend"] for r in rows}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> DbtWorld:
    """Two nights: what the first told is restated, withdrawn and emptied by the second."""
    made = DbtWorld(tmp_path_factory.mktemp("google"))
    google, meta = Google(made), Meta(made)
    zones = (
        (CUSTOMER, "BRL", "America/Sao_Paulo"),
        (US_CUSTOMER, "USD", "America/Los_Angeles"),
    )
    google.objects(
        "2026-05-03",
        accounts=[
            {"account_id": c, "account_name": f"C {c}", "currency": m, "timezone": z}
            for c, m, z in zones
        ],
        campaigns=[
            {"campaign_id": SHARED, "account_id": CUSTOMER, "campaign_name": "Search",
             "objective": "SEARCH", "status": "ENABLED"},
            {"campaign_id": "p", "account_id": CUSTOMER, "campaign_name": "PMax",
             "objective": "PERFORMANCE_MAX", "status": "ENABLED"},
            {"campaign_id": "r", "account_id": CUSTOMER, "campaign_name": "Removed",
             "objective": "SEARCH", "status": "REMOVED"},
            {"campaign_id": "u", "account_id": US_CUSTOMER, "campaign_name": "US",
             "objective": "SEARCH", "status": "ENABLED"},
        ],
        adsets=[{"adset_id": "g1", "campaign_id": SHARED, "account_id": CUSTOMER,
                    "adset_name": "Group"}],
        ads=[{"ad_id": SHARED, "adset_id": "g1", "campaign_id": SHARED,
              "account_id": CUSTOMER, "ad_name": "Google's ad", "headline": "Aurora"}],
    )  # fmt: skip
    meta.objects(
        "2026-05-03",
        accounts=[{"account_id": BR, "currency": "BRL", "timezone": "America/Sao_Paulo"}],
        campaigns=[{"campaign_id": SHARED, "account_id": BR, "campaign_name": "Meta's"}],
        ads=[{"ad_id": SHARED, "account_id": BR, "campaign_id": SHARED, "ad_name": "Meta's ad"}],
    )
    meta.spend("2026-05-03", {(BR, "2026-05-01"): ("7", [ad_row(SHARED, "7")])}, until="2026-05-09")
    search = [row(SHARED, "10", group="g1", ad=SHARED), row(SHARED, "10.30", group="g1"),
              row(SHARED, "10.30")]  # fmt: skip
    google.costs(
        "2026-05-03",
        {
            "2026-05-01": ("25.31", [*search, row("p", "15"), row("r", "0.01")]),
            # A row that goes, and a day that becomes empty.
            "2026-05-02": ("9", [row(SHARED, "9", group="g1", ad="gone"), row(SHARED, "9"),
                                 row(SHARED, "9", group="g1")]),
        },
    )  # fmt: skip
    google.costs("2026-05-03", {"2026-05-01": ("3", [row("u", "3")])}, customer=US_CUSTOMER,
                 currency="USD")  # fmt: skip
    inbox = Inbox(made)
    google_page = {"ad_platform": "google"}
    inbox.deliver(
        # 23:30 of the day before in Los Angeles.
        form("2026-05-02 06:30", "us", gclid="us-click", **google_page),
        form("2026-05-01 12:00", "ad", gclid="ad-click", **google_page),
        form("2026-05-01 12:00", "pmax", gbraid="b", campaign_id="p", **google_page),
        form("2026-05-01 12:00", "lost", gclid="nobodys", **google_page),
        form("2026-05-09 12:00", "waits", gclid="tomorrows", **google_page),
        click("2026-05-01 09:00", "c", gclid="ad-click-2", **google_page),
        message("2026-05-01 09:02", phone="chat", **coded("c")),
    )
    google.clicks(
        "2026-05-03",
        "2026-05-01",
        {"gclid": "ad-click", "campaign_id": SHARED, "adset_id": "g1", "ad_id": SHARED},
        {"gclid": "ad-click-2", "campaign_id": SHARED, "adset_id": "g1", "ad_id": SHARED},
    )
    google.clicks("2026-05-03", "2026-05-02", {"gclid": "us-click", "campaign_id": "u"},
                  customer=US_CUSTOMER)  # fmt: skip
    google.clicks("2026-05-05", "2026-05-04")
    made.build(*EVERYTHING, tests=False)
    google.costs("2026-05-04", {"2026-05-02": ("0", [])})
    google.costs(
        "2026-05-04",
        {"2026-05-01": ("25.29", [*search, row("p", "15"), row("r", "0.01")])},
    )
    inbox.deliver(message("2026-05-03 10:00", phone="bia"))
    made.build(*EVERYTHING)
    return made


def test_r12_spend_without_an_ad_stays_with_its_campaign_or_ad_group(world: DbtWorld) -> None:
    day = "platform = 'google' and spend_date = '2026-05-01' and account_id = "
    assert told(world, f"{day} '{CUSTOMER}'") == {
        SHARED: Decimal("10"),
        "ad_group:g1": Decimal("0.30"),
        "campaign:p": Decimal("15"),
        "campaign:r": Decimal("0.01"),
        "unallocated": Decimal("-0.02"),  # restated: the account's total, not its campaigns'
    }
    kept = world.one("marts.dim_campaigns", "campaign_id = 'r'")
    assert (kept["is_deleted"], kept["platform"]) == (True, "google")


def test_e41_a_day_that_google_emptied_is_empty(world: DbtWorld) -> None:
    assert told(world, "platform = 'google' and spend_date = '2026-05-02'") == {}
    where = f"spend_date = '2026-05-02' and account_id = '{CUSTOMER}'"
    day = world.one("marts.spend_reconciliation", where)
    assert (day["account_spend"], day["ad_rows"], day["spend_status"]) == (0, 0, "read")


def test_e45_the_account_day_is_its_ads_campaigns_and_the_rest(world: DbtWorld) -> None:
    day = world.one(
        "marts.spend_reconciliation", f"spend_date = '2026-05-01' and account_id = '{CUSTOMER}'"
    )
    parts = [day["ads_spend"], day["campaign_level_spend"], day["unallocated"]]
    assert parts == [Decimal("10"), Decimal("15.31"), Decimal("-0.02")]
    assert sum(parts) == day["account_spend"] == Decimal("25.29")


def test_e44_each_customer_has_its_own_currency_and_zone(world: DbtWorld) -> None:
    found = world.one("marts.fct_ad_spend", "campaign_id = 'u'")
    assert (found["currency"], found["spend"], found["row_kind"]) == ("USD", Decimal(3), "campaign")
    assert found["spend_reporting"] == found["spend"] * found["exchange_rate"] > 3
    zones = world.query("select timezone from marts.dim_accounts where platform = 'google'")
    assert {z["timezone"] for z in zones} == {"America/Sao_Paulo", "America/Los_Angeles"}


def test_e39_one_campaign_id_is_a_campaign_of_each_platform(world: DbtWorld) -> None:
    columns = "platform, campaign_name, is_click_to_whatsapp, objective"
    known = world.query(
        f"select {columns} from marts.dim_campaigns where campaign_id = '{SHARED}' order by 1"
    )
    assert [tuple(r.values()) for r in known] == [
        ("google", "Search", False, "SEARCH"),
        ("meta", "Meta's", False, None),
    ]
    told_of = world.query(
        "select platform, campaign_name, spend, leads from marts.campaign_performance"
        f" where campaign_id = '{SHARED}' and report_date = '2026-05-01' order by platform"
    )
    assert [tuple(r.values()) for r in told_of] == [
        ("google", "Search", Decimal("10.30"), 2),
        ("meta", "Meta's", Decimal(7), 0),
    ]


def test_e39_ids_of_two_platforms_never_meet(world: DbtWorld) -> None:
    where = f"ad_id = '{SHARED}' and report_date = '2026-05-01'"
    rows = world.query(
        "select platform, ad_name, campaign_name, spend, leads from marts.ad_performance"
        f" where {where} order by platform"
    )
    assert [tuple(r.values()) for r in rows] == [
        ("google", "Google's ad", "Search", Decimal("10"), 2),
        ("meta", "Meta's ad", "Meta's", Decimal("7"), 0),
    ]


def test_e62_a_click_id_leads_to_its_ad_campaign_and_zone(world: DbtWorld) -> None:
    found = world.one("marts.fct_leads", "lead_id = 'web_lead:ad'")
    assert (found["ad_id"], found["adset_id"], found["campaign_id"]) == (SHARED, "g1", SHARED)
    assert (found["resolution"], found["account_id"]) == ("resolved", CUSTOMER)
    assert "Google Ads" in found["why"]
    us = world.one("marts.fct_leads", "lead_id = 'web_lead:us'")
    assert (str(us["first_touch_date"]), us["campaign_name"]) == ("2026-05-01", "US")
    chat = world.one("marts.fct_leads", "lead_id = 'phone:chat'")
    assert (chat["channel"], chat["ad_id"]) == ("paid_search", SHARED)


def test_a_campaign_without_ads_has_its_leads_beside_its_spend(world: DbtWorld) -> None:
    found = world.one("marts.ad_performance", "ad_id = 'campaign:p' and spend_status = 'read'")
    assert (found["spend"], found["leads"], found["campaign_name"]) == (Decimal(15), 1, "PMax")
    lead = world.one("marts.fct_leads", "lead_id = 'web_lead:pmax'")
    assert (lead["basis"], lead["resolution"], lead["ad_id"]) == ("web_ad_id", "resolved", None)


def test_a_click_that_google_does_not_know_is_gone_and_a_new_one_waits(world: DbtWorld) -> None:
    states = {
        r["lead_id"]: (r["resolution"], r["campaign_id"])
        for r in world.query("select * from marts.fct_leads where is_from_form")
    }
    assert states["web_lead:lost"] == ("gone", None)
    assert states["web_lead:waits"] == ("pending", None)
    row_of_lost = world.one(
        "marts.campaign_performance", "campaign_id = 'unresolved' and report_date = '2026-05-01'"
    )
    assert (row_of_lost["platform"], row_of_lost["leads"]) == ("google", 1)
    assert row_of_lost["campaign_name"] == "Google clicks not resolved"


def test_every_channel_and_platform_is_in_the_reports_once(world: DbtWorld) -> None:
    channels = {
        r["channel"]: (r["leads"], r["spend"])
        for r in world.query(
            "select channel, sum(leads) as leads, sum(spend_reporting) as spend"
            " from marts.channel_performance group by all"
        )
    }
    assert channels["paid_search"][0] == 6
    assert channels["google_unallocated"] == (0, Decimal("-0.02"))
    assert channels["meta_web"] == (0, Decimal("7"))
    health = world.one("marts.attribution_health", "report_date = '2026-05-01'")
    assert (health["web_leads"], health["link_codes_matched"]) == (3, 1)
    through = (health["meta_spend_complete_through"], health["google_spend_complete_through"])
    assert [str(day) for day in through] == ["2026-05-09", "2026-05-01"]
    assert (str(health["spend_complete_through"]), health["is_spend_complete"]) == (
        "2026-05-01",
        True,
    )


def test_a_stale_account_is_named_with_its_platform_and_its_mend(world: DbtWorld) -> None:
    stale = world.query("select platform, mend from checks.spend_is_stale")
    assert sorted(r["platform"] for r in stale) == ["google", "google", "meta"]
    for found in stale:
        names_google = "GOOGLE_ADS_REFRESH_TOKEN" in found["mend"]
        assert (names_google, "META_ACCESS_TOKEN" in found["mend"]) == (
            found["platform"] == "google",
            found["platform"] == "meta",
        )


def test_e40_nights_in_a_row_are_one_full_build(world: DbtWorld) -> None:
    before = world.snapshot()
    world.build(*EVERYTHING, full_refresh=True, tests=False)
    assert world.snapshot() == before


@pytest.mark.parametrize("platform", ["google", "meta"])
def test_either_platform_alone_is_enough(
    make_world: Callable[..., DbtWorld], platform: str
) -> None:
    alone = make_world(platform)
    if platform == "google":
        Google(alone).costs("2026-05-03", {"2026-05-01": ("15", [row("p", "15")])})
    else:
        Meta(alone).spend("2026-05-03", {(BR, "2026-05-01"): ("15", [ad_row("1", "15")])})
    Inbox(alone).deliver(message("2026-05-01 10:00", phone="ana"))
    alone.build(*EVERYTHING)
    found = alone.one("marts.campaign_performance", "spend_status = 'read'")
    assert (found["platform"], found["spend"], found["leads"]) == (platform, Decimal(15), 0)


def test_an_ad_of_several_ad_groups_is_one_row(make_world: Callable[..., DbtWorld]) -> None:
    shared = make_world("shared")
    google = Google(shared)
    rows = [
        row("c", "1", group="g2", ad="a"),
        row("c", "2", group="g1", ad="a"),
        row("c", "1", group="g2"),
        row("c", "2", group="g1"),
        row("c", "3"),
    ]
    google.costs("2026-05-03", {"2026-05-01": ("3", rows)})
    shared.build("+path:dbt_project/models/marts/ads")
    found = shared.one("marts.fct_ad_spend", "row_kind = 'ad'")
    assert (found["ad_id"], found["adset_id"], found["spend"]) == ("a", "g1", Decimal(3))


def test_e40_reads_of_the_platforms_are_numbered_apart(
    make_world: Callable[..., DbtWorld],
) -> None:
    """Meta has been on for long, Google begins: its low numbers hide nothing, night by night."""
    nights = make_world("nights")
    meta, google = Meta(nights, read_no=50), Google(nights)
    ads = ("+path:dbt_project/models/marts/ads",)
    meta.spend("2026-05-02", {(BR, "2026-05-01"): ("7", [ad_row("1", "7")])})
    nights.build(*ads, tests=False)
    first = [
        row("c", "9.98") | {"campaign_name": "Search"},
        row("c", "9.99", group="g") | {"campaign_name": "Search", "adset_name": "Group"},
        row("c", "10", group="g", ad="1") | {"ad_name": "Google's", "campaign_name": "Search"},
        row("p", "5") | {"campaign_name": "PMax"},
    ]
    google.costs("2026-05-03", {"2026-05-01": ("14.98", first), "2026-05-02": ("0", [])})
    nights.build(*ads)
    assert told(nights) == {
        "1": Decimal(10),
        "ad_group:g": Decimal("-0.01"),
        "campaign:c": Decimal("-0.01"),
        "campaign:p": Decimal(5),
    }
    assert nights.one("marts.dim_ads", "platform = 'google'")["ad_name"] == "Google's"
    # Restated: the remainders go, an ad comes; Meta's next read is still a far higher number.
    meta.spend("2026-05-04", {(BR, "2026-05-02"): ("1", [ad_row("2", "1")])})
    renamed = {"campaign_name": "Search, renamed"}
    again = [
        row("c", "12") | renamed,
        row("c", "12", group="g") | renamed,
        row("c", "10", group="g", ad="1") | renamed,
        row("c", "2", group="g", ad="3") | renamed | {"impressions": 0, "clicks": 0},
    ]
    google.costs("2026-05-04", {"2026-05-01": ("12", again)})
    nights.build(*ads)
    assert told(nights) == {"1": Decimal(10), "3": Decimal(2)}
    names = nights.query("select campaign_name from marts.dim_campaigns where platform = 'google'")
    assert {r["campaign_name"] for r in names} == {"Search, renamed", "PMax"}
    kept = nights.query("select platform || ad_id as id from marts.dim_ads")
    assert {r["id"] for r in kept} == {"meta1", "meta2", "google1", "google3"}
    before = nights.snapshot()
    nights.build(*ads, full_refresh=True, tests=False)
    assert nights.snapshot() == before
