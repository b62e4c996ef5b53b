"""Money and names: rates of a central bank, the cash view, accounts and ads as they once were.

One world for the module, built once: three accounts in three currencies and zones, one of which
changed its currency; ads that were renamed, moved, archived and deleted; leads that qualify late.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest

from tests.support.lake import utc
from tests.support.meta import BR, CL, US, Meta, ad_row
from tests.support.people import Envelope, Inbox, exclusion, message, outcome, referral
from tests.support.warehouse import DbtWorld, warned

D = Decimal
VIDEO, IMAGE, MOVED, DELETED = "120226305854810726", "120226305854810727", "801", "802"
DOLLAR, PESO = "120226305854810736", "120226305854810746"
CHATS, BOTH, SITES = "120226305854810711", "712", "713"
AUTUMN, MIXED, WEBSITE = "120226305854810701", "702", "703"
FALL, CHILE = "120226305854810705", "706"
MODELS = (
    "+campaign_cash_performance",
    "+campaign_performance",
    "+path:dbt_project/models/marts/ads",
    "path:dbt_project/tests/cash_and_cohort_views_agree.sql",
    "path:dbt_project/tests/spend_adds_up_to_account_totals.sql",
)
# One euro, as the European Central Bank says; 9 and 10 May 2026 are a weekend.
EUR = {
    ("2026-05-08", "USD"): "1.1265",
    ("2026-05-08", "BRL"): "6.3412",
    ("2026-05-11", "USD"): "1.1106",
    ("2026-05-11", "BRL"): "6.2938",
    ("2026-10-30", "USD"): "1.2000",
    ("2026-10-30", "BRL"): "6.0000",
}


def reads(meta: Meta) -> None:
    """Three nights of metadata, and the spend."""
    chats = {"campaign_id": AUTUMN, "adset_id": CHATS, "account_id": BR}
    meta.objects(
        "2026-05-02 03:00",
        accounts=[
            _account(BR, "Loja", "BRL", "America/Sao_Paulo"),
            _account(US, "Shop", "BRL", "US/Pacific"),
            _account(CL, "Tienda", "CLP", "America/New_York"),
        ],
        campaigns=[
            _named("campaign", AUTUMN, "Outono"),
            _named("campaign", MIXED, "Misto"),
            _named("campaign", WEBSITE, "Site"),
            _named("campaign", FALL, "Fall", account_id=US),
            _named("campaign", CHILE, "Otoño", account_id=CL),
        ],
        adsets=[
            _named("adset", CHATS, "Conversas", campaign_id=AUTUMN, destination_type="WHATSAPP"),
            _named("adset", BOTH, "Tudo", campaign_id=MIXED)
            | {"destination_type": "MESSAGING_INSTAGRAM_DIRECT_MESSENGER_WHATSAPP"},
            _named("adset", SITES, "Site", campaign_id=WEBSITE, destination_type="WEBSITE"),
        ],
        ads=[
            _named("ad", VIDEO, "Video", **chats) | {"created_at": "2026-05-01 12:00"},
            _named("ad", IMAGE, "Imagem", **chats),
            _named("ad", MOVED, "Vai", account_id=BR, adset_id=BOTH, campaign_id=MIXED),
            _named("ad", DELETED, "Antigo", **chats),
            _named("ad", DOLLAR, "Dollar", account_id=US, campaign_id=FALL),
            _named("ad", PESO, "Peso", account_id=CL, campaign_id=CHILE),
        ],
    )
    meta.objects(
        "2026-05-06 03:00",
        accounts=[_account(US, "Shop", "USD", "US/Pacific")],
        campaigns=[_named("campaign", AUTUMN, "Outono 2")],
        adsets=[_named("adset", CHATS, "Chats", campaign_id=AUTUMN, destination_type="WHATSAPP")],
        ads=[
            _named("ad", VIDEO, "Video 2", **chats) | {"created_at": "2026-05-01 12:00"},
            _named("ad", MOVED, "Vai", **chats),
            _named("ad", DELETED, "Antigo", **chats, effective_status="ARCHIVED"),
        ],
    )
    # The clock of the machine was set back: the number of the read says which is newer.
    meta.objects(
        "2026-05-05 03:00",
        accounts=[_account(US, "Shop LLC", "USD", "US/Pacific")],
        ads=[
            _named("ad", VIDEO, "Video 3", **chats) | {"created_at": "2026-05-01 12:00"},
            _named("ad", DELETED, "Antigo", **chats, effective_status="DELETED"),
        ],
    )
    own = {"campaign_id": AUTUMN, "adset_id": CHATS}
    meta.spend(
        "2026-05-25 12:00",
        {
            (BR, "2026-05-04"): ("30.00", [ad_row(VIDEO, "20.00", **own)]),
            (BR, "2026-05-08"): ("7.00", [ad_row(VIDEO, "7.00", **own)]),
            # As Meta said while the ad was in the other campaign: history is not moved.
            (BR, "2026-05-05"): ("4.00", [ad_row(MOVED, "4.00", campaign_id=MIXED)]),
        },
    )
    meta.spend("2026-05-25 12:01", {(US, "2026-05-05"): ("9.00", [ad_row(DOLLAR, "9.00")])})
    dollars = {
        (US, day): (amount, [ad_row(DOLLAR, amount, campaign_id=FALL)])
        for day, amount in (("2026-05-10", "3.33"), ("2026-05-11", "100.01"), ("2026-05-24", "5"))
    }
    meta.spend("2026-05-25 12:02", dollars, currency="USD")
    pesos = {(CL, "2026-05-11"): ("900", [ad_row(PESO, "900", campaign_id=CHILE)])}
    meta.spend("2026-05-25 12:03", pesos, currency="CLP")


def chats() -> Iterator[Envelope]:
    """Leads, each person with a story of their own."""
    for name, at in (
        ("ana", "2026-05-04 15:00"),
        ("bea", "2026-05-08 15:00"),
        ("caio", "2026-05-08 16:00"),
        ("staff", "2026-05-04 16:00"),
    ):
        yield message(at, phone=name, **referral(VIDEO))
    yield outcome("2026-05-21 12:00", "qualified", "a1", phone="ana")
    # 02:30 UTC is still the day before in São Paulo.
    yield outcome("2026-05-22 02:30", "won", "b1", phone="bea", value=D("100.10"), currency="BRL")
    yield outcome("2026-05-24 12:00", "won", "b2", phone="bea", value=D("11"), currency="USD")
    yield outcome("2026-05-11 12:00", "won", "b3", phone="bea", value=D("11"), currency="USD")
    yield outcome("2026-05-21 12:00", "qualified", "s1", phone="staff")
    yield exclusion("2026-05-03 09:00", phone="staff")
    # A value in a currency that nobody quotes.
    yield outcome("2026-05-11 12:00", "won", "c1", phone="caio", value=D("5000"), currency="CLP")
    # Days of the zones: 25 hours of 1 November in New York, an old name of Los Angeles' zone.
    for name, at, ad in (
        ("summer", "2026-11-01 05:59", PESO),
        ("winter", "2026-11-02 04:59", PESO),
        ("monday", "2026-11-02 05:00", PESO),
        ("pacific", "2026-05-11 06:59", DOLLAR),
        ("later", "2026-05-11 07:00", DOLLAR),
    ):
        yield message(at, phone=name, **referral(ad))
    # Names at the touch.
    for name, at, ad in (
        ("before-sync", "2026-05-01 13:00", VIDEO),
        ("renamed", "2026-05-06 03:00", VIDEO),
        ("of-deleted", "2026-05-20 12:00", DELETED),
        ("long-ago", "2026-01-01 12:00", IMAGE),
    ):
        yield message(at, phone=name, **referral(ad))


@dataclass
class Story:
    """The world after its one build, and the checks that failed softly."""

    world: DbtWorld
    warnings: dict[str, int]

    def cash(self, day: str, campaign: str = AUTUMN) -> dict[str, Any]:
        """A row of `campaign_cash_performance`."""
        where = f"report_date = '{day}' and campaign_id = '{campaign}'"
        return self.world.one("marts.campaign_cash_performance", where)

    def lead(self, phone: str) -> dict[str, Any]:
        """The lead of a person."""
        return self.world.one("marts.fct_leads", f"lead_id = 'phone:{phone}'")

    def spend(self, account: str, day: str) -> dict[str, Any]:
        """The one row of an account day."""
        where = f"account_id = '{account}' and spend_date = '{day}'"
        return self.world.one("marts.fct_ad_spend", where)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Everything landed, built once with all its tests."""
    world = DbtWorld(
        tmp_path_factory.mktemp("money"), as_of=date(2026, 11, 20), CTWA_EXCHANGE_RATES="ecb"
    )
    reads(Meta(world))
    quotes = [
        {"rate_date": day, "currency": currency, "rate_per_eur": rate}
        for (day, currency), rate in EUR.items()
    ]
    # A rate that the bank corrected on the next day.
    wrong = {"rate_date": "2026-05-08", "currency": "USD", "rate_per_eur": "9", "read_no": 1}
    world.write("exchange_rates.ecb_rates", [wrong])
    world.write("exchange_rates.ecb_rates", [quote | {"read_no": 2} for quote in quotes])
    Inbox(world).deliver(*chats())
    warnings = warned(world.build(*MODELS))
    return Story(world, warnings)


def _account(account: str, name: str, currency: str, zone: str) -> dict[str, Any]:
    named = {"account_id": account, "account_name": name}
    return named | {"currency": currency, "timezone": zone}


def _named(kind: str, object_id: str, name: str, **columns: Any) -> dict[str, Any]:
    row = {f"{kind}_id": object_id, f"{kind}_name": name, "account_id": BR}
    return row | {"effective_status": "ACTIVE"} | columns


def _rate(day: str) -> Decimal:
    quotient = D(EUR[day, "BRL"]) / D(EUR[day, "USD"])
    return quotient.quantize(D("0.00000001"), ROUND_HALF_UP)


# ---- rates -----------------------------------------------------------------------------------


def test_e44_dollars_are_converted_through_the_euro_rounded_once(story: Story) -> None:
    row = story.spend(US, "2026-05-11")
    assert row["exchange_rate"] == _rate("2026-05-11") == D("5.66702683")
    assert row["spend_reporting"] == (D("100.01") * _rate("2026-05-11")).quantize(
        D("0.000001"), ROUND_HALF_UP
    )


def test_e44_a_weekend_takes_fridays_rate_as_it_was_corrected(story: Story) -> None:
    row = story.spend(US, "2026-05-10")
    assert row["exchange_rate"] == _rate("2026-05-08")


def test_e44_after_seven_days_the_made_up_rates_are_all_there_is_and_a_check_says_so(
    story: Story,
) -> None:
    row = story.spend(US, "2026-05-24")
    rate = story.world.one(
        "intermediate.int_exchange_rates__daily", "rate_date = '2026-05-24' and currency = 'USD'"
    )
    assert (rate["rate_source"], rate["rate"]) == ("example", row["exchange_rate"])
    assert story.warnings["spend_converted_at_example_rates"] == 1


def test_r13_spend_without_a_rate_is_null_and_a_check_names_currency_and_account(
    story: Story,
) -> None:
    assert story.spend(CL, "2026-05-11")["spend_reporting"] is None
    assert story.warnings["spend_without_exchange_rate"] == 1
    named = story.world.one("checks.spend_without_exchange_rate")
    assert (named["currency"], named["account_ids"]) == ("CLP", CL)
    assert (named["days_without_rate"], named["spend_not_converted"]) == (1, D(900))


def test_r13_an_outcome_without_a_rate_is_null_and_a_check_names_its_currency(
    story: Story,
) -> None:
    value = story.world.one("marts.fct_outcomes", "event_id = 'c1'")
    assert (value["value"], value["value_reporting"]) == (D(5000), None)
    assert story.warnings["outcome_values_are_converted"] == 1
    assert story.world.one("checks.outcome_values_are_converted")["currency"] == "CLP"


# ---- accounts --------------------------------------------------------------------------------


def test_e43_an_account_keeps_its_history_of_name_currency_and_zone(story: Story) -> None:
    rows = story.world.query(
        "select account_name, currency, timezone, valid_from, valid_to"
        f" from marts.dim_account_history where account_id = '{US}' order by valid_from"
    )
    changed = utc("2026-05-06 03:00")
    # Its last change was read while the clock was wrong: it stands from the same moment on.
    assert [tuple(r.values()) for r in rows] == [
        ("Shop", "BRL", "US/Pacific", utc("1970-01-01"), changed),
        ("Shop LLC", "USD", "US/Pacific", changed, None),
    ]
    now = story.world.one("marts.dim_accounts", f"account_id = '{US}'")
    assert (now["account_name"], now["currency"]) == ("Shop LLC", "USD")


def test_e43_spend_stays_in_the_currency_it_was_billed_in(story: Story) -> None:
    before, after = story.spend(US, "2026-05-05"), story.spend(US, "2026-05-11")
    assert (before["currency"], before["spend_reporting"]) == ("BRL", D(9))
    assert (after["currency"], after["spend"]) == ("USD", D("100.01"))


def test_e42_days_with_summer_time_and_old_zone_names(story: Story) -> None:
    days = {
        name: str(story.lead(name)["first_touch_date"])
        for name in ("summer", "winter", "monday", "pacific", "later")
    }
    assert days == {
        "summer": "2026-11-01",  # 01:59, before the clocks go back
        "winter": "2026-11-01",  # 23:59, 22 hours of clock and 23 of time later
        "monday": "2026-11-02",
        "pacific": "2026-05-10",
        "later": "2026-05-11",
    }
    zones = story.world.rows("marts.dim_accounts")
    assert all(account["is_timezone_known"] for account in zones)


# ---- the cash view ---------------------------------------------------------------------------


def test_r11_a_qualification_stands_on_its_own_day_beside_that_days_spend(story: Story) -> None:
    assert story.cash("2026-05-21")["qualifications"] == 1  # ana, born on the 4th
    born = story.cash("2026-05-04")
    assert (born["spend"], born["qualifications"], born["cost_per_qualification"]) == (20, 0, None)
    # Her cohort has her on the day of her first touch.
    cohort = story.world.one(
        "marts.campaign_performance",
        f"report_date = '2026-05-04' and campaign_id = '{AUTUMN}'",
    )
    assert cohort["qualified_leads"] == 1


def test_r11_a_win_counts_once_its_values_on_their_days(story: Story) -> None:
    first, second, third = (story.cash(d) for d in ("2026-05-11", "2026-05-21", "2026-05-24"))
    assert [r["wins"] for r in (first, second, third)] == [2, 0, 0]  # bea and caio
    assert first["won_value_cash_reporting"] is None  # caio's pesos have no rate
    assert second["won_value_cash_reporting"] == D("100.10")  # 23:30 of the day before, in Brazil
    assert third["qualifications"] == 0


def test_e20_excluded_leads_are_in_neither_view(story: Story) -> None:
    assert story.lead("staff")["is_qualified"]
    rows = story.world.rows("marts.campaign_cash_performance")
    assert sum(r["qualifications"] for r in rows) == 3
    cohorts = story.world.rows("marts.campaign_performance")
    assert sum(r["qualified_leads"] for r in cohorts) == 3


def test_r12_the_cash_view_holds_every_cent_of_spend(story: Story) -> None:
    unallocated = story.cash("2026-05-04", f"unallocated:{BR}")
    assert unallocated["spend"] == D(10)
    in_fact = story.world.query("select sum(spend) as spend from marts.fct_ad_spend")
    in_view = story.world.query("select sum(spend) as spend from marts.campaign_cash_performance")
    assert in_fact == in_view


# ---- destinations and names --------------------------------------------------------------------


def test_e49_ad_sets_with_several_destinations_are_flagged(story: Story) -> None:
    flags = {
        r["campaign_id"]: (r["is_click_to_whatsapp"], r["has_mixed_destinations"])
        for r in story.world.rows("marts.dim_campaigns")
    }
    assert flags[AUTUMN] == (True, False)
    assert flags[MIXED] == (True, True)
    assert flags[WEBSITE] == (False, False)
    assert not story.world.one("marts.dim_ads", f"ad_id = '{VIDEO}'")["is_mixed_destination"]


def test_e36_names_of_ad_ad_set_and_campaign_change_each_at_its_read(story: Story) -> None:
    names = story.world.query(
        "select ad_name, adset_name, campaign_name, valid_from, valid_to"
        f" from marts.dim_ad_names where ad_id = '{VIDEO}' order by valid_from"
    )
    second = utc("2026-05-06 03:00")
    assert [tuple(n.values()) for n in names] == [
        ("Video", "Conversas", "Outono", utc("2026-05-01 12:00"), second),
        # "Video 2" stood for no time: the read after it says it was made at the same moment.
        ("Video 3", "Chats", "Outono 2", second, None),
    ]


def test_e36_an_ad_that_moved_had_the_names_of_its_parents_of_then(story: Story) -> None:
    names = story.world.query(
        "select adset_id, adset_name, campaign_id, campaign_name from marts.dim_ad_names"
        f" where ad_id = '{MOVED}' order by valid_from"
    )
    assert [tuple(n.values()) for n in names] == [
        (BOTH, "Tudo", MIXED, "Misto"),
        (CHATS, "Chats", AUTUMN, "Outono 2"),
    ]
    assert story.spend(BR, "2026-05-05")["campaign_id"] == MIXED


def test_e36_archiving_and_deleting_change_no_name(story: Story) -> None:
    names = story.world.query(
        f"select ad_name, valid_to from marts.dim_ad_names where ad_id = '{DELETED}'"
        " order by valid_from"
    )
    assert {n["ad_name"] for n in names} == {"Antigo"}
    assert story.world.one("marts.dim_ads", f"ad_id = '{DELETED}'")["is_deleted"]
    lead = story.lead("of-deleted")
    assert (lead["ad_name"], lead["ad_name_at_touch"]) == ("Antigo", "Antigo")


def test_e36_each_touch_finds_the_name_of_its_time_also_before_the_first_sync(
    story: Story,
) -> None:
    at_touch = {
        name: (story.lead(name)["ad_name_at_touch"], story.lead(name)["ad_name"])
        for name in ("before-sync", "renamed", "long-ago")
    }
    assert at_touch == {
        "before-sync": ("Video", "Video 3"),
        "renamed": ("Video 3", "Video 3"),
        # Nobody knows when it was made: its first known name stands for all time before.
        "long-ago": ("Imagem", "Imagem"),
    }
