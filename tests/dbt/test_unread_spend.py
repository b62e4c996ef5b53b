"""E87: what has not been read of spend is null with its reason, in every total that holds it.

The token of one account died on Friday at noon, a day of Google failed, another account goes on; it
is Monday. Then all is read. And a company of which nothing was ever read.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ctwa.settings import Settings
from ingestion.ads.meta.spend import land_insights
from ingestion.event_log.source import land_event_log
from ingestion.source import SourceError
from ingestion.webhook.endpoints import sign
from ingestion.webhook.server import running
from publishing.marts import publish_marts
from publishing.report.page import write_report
from tests.conftest import PII_KEY
from tests.dbt.test_google import CUSTOMER, Google, row
from tests.ingestion.parser.payloads import PHONE, SENT, encode, envelope
from tests.ingestion.parser.payloads import message as body_of
from tests.ingestion.parser.payloads import referral as referral_of
from tests.ingestion.webhook.clients import APP_SECRET, request
from tests.support.meta import BR, US, Meta, ad_row
from tests.support.metrics import Metrics
from tests.support.people import Inbox, message, outcome, referral
from tests.support.report_page import facts, payload_of, unpacked
from tests.support.warehouse import DbtWorld

MONDAY = date(2026, 6, 29)
DEAD, ALIVE, SEARCH = "120226305854810701", "120226305854810702", "170001"
AD, QUIET, OTHER, NEW = "120226305854810726", "120226305854810727", "120226305854810736", "991"
COSTS = ("cost_per_lead", "cost_per_qualified_lead")
COUNTED = ("impressions", "clicks", "platform_conversations")


def advertise(meta: Meta, google: Google) -> None:
    meta.objects(
        "2026-06-20 12:00",
        accounts=[
            {"account_id": a, "account_name": f"Account {a}", "currency": "BRL",
             "timezone": "America/Sao_Paulo"}
            for a in (BR, US)
        ],
        campaigns=[{"campaign_id": DEAD, "account_id": BR, "campaign_name": "Dead"},
                   {"campaign_id": ALIVE, "account_id": US, "campaign_name": "Alive"}],
        adsets=[{"adset_id": "s", "campaign_id": DEAD, "destination_type": "WHATSAPP"},
                {"adset_id": "t", "campaign_id": ALIVE, "destination_type": "WHATSAPP"}],
        ads=[{"ad_id": AD, "campaign_id": DEAD, "adset_id": "s", "account_id": BR},
             {"ad_id": QUIET, "campaign_id": DEAD, "adset_id": "s", "account_id": BR},
             {"ad_id": OTHER, "campaign_id": ALIVE, "adset_id": "t", "account_id": US}],
    )  # fmt: skip
    own = {"campaign_id": DEAD, "adset_id": "s"}
    meta.spend(
        "2026-06-26 15:00",
        {
            (BR, "2026-06-24"): ("30", [ad_row(AD, "20", **own), ad_row(QUIET, "10", **own)]),
            (BR, "2026-06-25"): ("40", [ad_row(AD, "40", **own)]),
            (BR, "2026-06-26"): ("15", [ad_row(AD, "15", **own)]),
        },
    )
    other = {"campaign_id": ALIVE, "adset_id": "t"}
    meta.spend(
        "2026-06-29 08:00",
        {
            (US, "2026-06-24"): ("7", [ad_row(OTHER, "7", **other)]),
            (US, "2026-06-27"): ("0", []),
            (US, "2026-06-28"): ("9", [ad_row(OTHER, "9", **other)]),
        },
        until="2026-06-29",
    )
    read = [f"2026-06-{day}" for day in range(20, 30) if day != 23]
    google.costs("2026-06-29 08:00", {day: ("5", [row(SEARCH, "5")]) for day in read})


def chats() -> Iterator[Any]:
    for day in range(25, 29):
        yield message(f"2026-06-{day} 15:00", phone=f"dead{day}", **referral(AD))
    yield outcome("2026-06-27 18:00", "qualified", "o", phone="dead27")
    yield outcome("2026-06-28 18:00", "qualified", "p", phone="dead25")
    yield message("2026-06-27 15:00", phone="alive", **referral(OTHER))
    yield message("2026-06-28 15:00", phone="new", **referral(NEW))
    yield message("2026-06-28 15:00", phone="walk-in")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> DbtWorld:
    made = DbtWorld(tmp_path_factory.mktemp("friday"), as_of=MONDAY)
    advertise(Meta(made), Google(made))
    Inbox(made).deliver(*chats())
    made.build()
    return made


def on(world: DbtWorld, day: int, campaign: str, mart: str = "campaign") -> dict[str, Any]:
    where = f"report_date = '2026-06-{day}' and campaign_id = '{campaign}'"
    return world.one(f"marts.{mart}_performance", where)


def channel(world: DbtWorld, day: int, name: str) -> dict[str, Any]:
    where = f"report_date = '2026-06-{day}' and channel = '{name}'"
    return world.one("marts.channel_performance", where)


def status(found: dict[str, Any]) -> tuple[Any, ...]:
    return found["spend_status"], found["spend_unread_reason"], found["is_partial_day"]


def test_e87_a_token_that_died_on_friday_makes_no_cheap_weekend(world: DbtWorld) -> None:
    for day in (27, 28):
        found = on(world, day, DEAD)
        assert found["leads"] == 1
        assert {found[c] for c in ("spend", "spend_reporting", *COSTS, *COUNTED)} == {None}
        assert status(found) == ("unread", "after_last_read", True)
        ad = world.one("marts.ad_performance", f"ad_id = '{AD}' and report_date = '2026-06-{day}'")
        assert (ad["spend"], ad["cost_per_lead"], ad["leads"]) == (None, None, 1)
    assert on(world, 27, DEAD)["qualified_leads"] == 1
    # What nobody was brought by may have spent as well.
    quiet = world.one("marts.ad_performance", f"ad_id = '{QUIET}' and report_date = '2026-06-27'")
    assert (quiet["leads"], quiet["spend"]) == (0, None)
    rest = on(world, 27, f"unallocated:{BR}")
    assert (rest["spend"], status(rest)[0]) == (None, "unread")
    facts_of_day = f"account_id = '{BR}' and spend_date = '2026-06-27'"
    assert world.query(f"select * from marts.fct_ad_spend where {facts_of_day}") == []


def test_e87_friday_is_known_so_far_and_no_more(world: DbtWorld) -> None:
    friday = on(world, 26, DEAD)
    assert (friday["spend"], friday["leads"]) == (15, 1)
    assert status(friday) == ("partial", "day_not_over", True)
    assert status(on(world, 25, DEAD)) == ("read", None, False)


def test_e87_a_zero_is_what_the_platform_said(world: DbtWorld) -> None:
    alive = on(world, 27, ALIVE)
    assert (alive["spend"], alive["leads"], alive["cost_per_lead"]) == (0, 1, 0)
    assert status(alive) == ("read", None, False)


def test_e87_every_total_that_holds_the_day_is_null(world: DbtWorld) -> None:
    both = channel(world, 27, "click_to_whatsapp")
    assert (both["leads"], both["qualified_leads"]) == (2, 1)
    assert {both[c] for c in ("spend_reporting", "clicks", *COSTS)} == {None}
    assert channel(world, 27, "meta_unallocated")["spend_reporting"] is None
    # Google's own days are whole, but for one that failed, which has no lead.
    assert channel(world, 28, "paid_search")["spend_reporting"] == 5
    assert channel(world, 23, "paid_search")["spend_reporting"] is None
    assert status(on(world, 23, SEARCH)) == ("unread", "not_read", True)
    # An ad that nobody has looked up yet may be of the account that is not read.
    assert on(world, 28, "unresolved")["spend"] is None
    health = world.one("marts.attribution_health", "report_date = '2026-06-27'")
    assert (health["account_spend_reporting"], health["platform_conversations"]) == (None, None)
    assert (health["is_spend_complete"], health["spend_status"]) == (False, "unread")


def test_e87_what_no_platform_bills_costs_nothing_and_has_no_price(world: DbtWorld) -> None:
    direct = channel(world, 28, "direct")
    assert (direct["spend_reporting"], direct["leads"], direct["cost_per_lead"]) == (0, 1, None)


def test_e87_the_cash_view_knows_no_more(world: DbtWorld) -> None:
    for day, reason in ((27, "after_last_read"), (28, "after_last_read")):
        found = on(world, day, DEAD, "campaign_cash")
        assert (found["qualifications"], found["spend"]) == (1, None)
        assert found["cost_per_qualification"] is None
        assert status(found) == ("unread", reason, True)
    assert on(world, 25, DEAD, "campaign_cash")["spend"] == 40


def test_e87_a_day_that_nobody_waits_for_is_no_free_one_in_the_cash_view(tmp_path: Path) -> None:
    """Leads of an account that left in February, and of an agency's that nobody reads, qualify."""
    world = DbtWorld(tmp_path, as_of=MONDAY)
    meta, agency = Meta(world), "550001"
    meta.objects(
        "2026-02-01 12:00",
        accounts=[{"account_id": a, "currency": "BRL", "timezone": "America/Sao_Paulo"}
                  for a in (BR, US)],
        campaigns=[{"campaign_id": DEAD, "account_id": BR},
                   {"campaign_id": "c", "account_id": agency}],
        ads=[{"ad_id": AD, "campaign_id": DEAD, "account_id": BR},
             {"ad_id": NEW, "campaign_id": "c", "account_id": agency}],
    )  # fmt: skip
    meta.spend("2026-03-01 08:00", {(BR, "2026-02-27"): ("30", [ad_row(AD, "30")])})
    meta.spend("2026-06-29 08:00", {(US, f"2026-06-{d}"): ("7", []) for d in range(10, 29)})
    Inbox(world).deliver(
        message("2026-02-27 15:00", phone="left", **referral(AD)),
        message("2026-06-11 15:00", phone="agency", **referral(NEW)),
        outcome("2026-06-20 15:00", "qualified", "o", phone="left"),
        outcome("2026-06-21 15:00", "qualified", "p", phone="agency"),
    )
    world.build("+campaign_cash_performance", "+channel_performance", tests=False)

    for day, campaign, reason in ((20, DEAD, "after_last_read"), (21, "c", "never_read")):
        found = on(world, day, campaign, "campaign_cash")
        assert (found["qualifications"], found["spend"]) == (1, None)
        assert found["cost_per_qualification"] is None
        assert status(found) == ("unread", reason, True)
    # An account that left long ago spoils nothing else.
    assert channel(world, 20, "meta_unallocated")["spend_reporting"] == 7


def test_e87_accounts_say_since_when(world: DbtWorld) -> None:
    accounts = {r["account_id"]: r for r in world.rows("marts.dim_accounts")}
    dead = accounts[BR]
    assert str(dead["spend_read_through"]) == "2026-06-25"
    assert (str(dead["spend_unread_since"]), dead["spend_unread_days"]) == ("2026-06-26", 3)
    assert (accounts[US]["spend_unread_since"], accounts[US]["spend_unread_days"]) == (None, 0)
    failed = accounts[CUSTOMER]
    assert (failed["spend_unread_since"], failed["spend_unread_days"]) == (None, 1)
    days = world.query(
        "select account_id, cast(spend_date as varchar) as day, account_spend, unallocated"
        " from marts.spend_reconciliation"
        " where spend_status = 'unread' and spend_date < '2026-06-29' order by day"
    )
    assert [(r["account_id"], r["day"][-2:]) for r in days] == [
        *((CUSTOMER, "23"), (BR, "27"), (BR, "28"))
    ]
    assert {r["account_spend"] for r in days} | {r["unallocated"] for r in days} == {None}
    stale = world.query("select * from checks.spend_is_stale")
    assert [(r["account_id"], str(r["spend_read_through"])) for r in stale] == [(BR, "2026-06-25")]


def test_e87_a_metric_over_an_unread_day_is_no_number(world: DbtWorld) -> None:
    metrics = Metrics(world)
    money = ("spend", "spend_native", "clicks", "cost_per_lead", "all_spend", "spend_cash")

    def asked(*names: str, where: str) -> dict[str, Any]:
        [found] = metrics.query(*names, by=["metric_time__year"], where=where)
        return found

    after = "{{ TimeDimension('metric_time', 'day') }} >= '2026-06-24'"
    whole = asked(*money, "leads", where=after)
    assert {whole[name] for name in money} == {None}
    assert whole["leads"] == 6
    till = f"{after} and {{{{ TimeDimension('metric_time', 'day') }}}} <= '2026-06-25'"
    read = asked(*money, "leads", where=till)
    assert (read["spend"], read["all_spend"], read["spend_cash"]) == (87, 87, 87)
    # By campaign: also one whose only ad brought nobody on that day; another account's is known.
    rows = metrics.query(
        "spend",
        by=["campaign__campaign_id"],
        where="{{ TimeDimension('metric_time', 'day') }} between '2026-06-24' and '2026-06-28'",
    )
    by_campaign = {r["campaign__campaign_id"]: r["spend"] for r in rows}
    assert (by_campaign[DEAD], by_campaign[ALIVE]) == (None, 16)


def test_e87_the_report_ends_with_the_last_day_read_and_says_why(world: DbtWorld) -> None:
    publish_marts(world.settings, as_of=MONDAY)
    payload = payload_of(write_report(world.settings).path)
    names = [f"{a['platform']}:{a['id']}" for a in unpacked(payload["accounts"])]
    told = {
        (names[r["account"]], r["from"], r["to"], r["reason"], r["trailing"])
        for r in unpacked(payload["unread"])
    }

    def number(day: int) -> int:
        return (date(2026, 6, day) - date(1970, 1, 1)).days

    assert told == {
        (f"google:{CUSTOMER}", number(23), number(23), "not_read", False),
        (f"meta:{BR}", number(26), number(26), "day_not_over", True),
        (f"meta:{BR}", number(27), number(28), "after_last_read", True),
    }
    rest = [f for f in facts(payload) if f["channel"] == "meta_unallocated"]
    assert {f["day"] for f in rest if f["spend"] is None} == {number(27), number(28)}
    assert sum(f["leads"] for f in facts(payload)) == 7


def test_e87_what_is_read_later_fills_the_gap(world: DbtWorld) -> None:
    own = {"campaign_id": DEAD, "adset_id": "s"}
    meta, google = Meta(world, read_no=90), Google(world, read_no=90)
    friday = {(BR, f"2026-06-{d}"): ("50", [ad_row(AD, "50", **own)]) for d in (26, 27, 28)}
    meta.spend("2026-06-29 16:00", friday, until="2026-06-29")
    google.costs("2026-06-29 16:00", {"2026-06-23": ("5", [row(SEARCH, "5")])})
    world.build()

    found = on(world, 27, DEAD)
    assert (found["spend"], found["cost_per_lead"], status(found)[0]) == (50, 50, "read")
    assert channel(world, 27, "click_to_whatsapp")["spend_reporting"] == 50
    assert status(on(world, 26, DEAD)) == ("read", None, False)
    left = world.query(
        "select * from marts.spend_reconciliation"
        " where spend_status <> 'read' and spend_date < '2026-06-29'"
    )
    assert left == []
    assert world.query("select * from checks.spend_is_stale") == []
    before = world.snapshot()
    world.build(full_refresh=True, tests=False)
    assert world.snapshot() == before


def test_e87_nothing_was_ever_read(tmp_path: Path, make_dead: Settings) -> None:
    """The case: an ad's message, its qualified outcome, and nobody at Meta's address."""
    world = DbtWorld(tmp_path, settings=make_dead, as_of=date(2026, 6, 20))
    with running(make_dead) as url:
        chat = encode(envelope(body_of(referral=referral_of())))
        signed = sign(chat, APP_SECRET.encode())
        answers = [request(url, "POST", "/webhooks/whatsapp", chat, x_hub_signature_256=signed)]
        at = datetime.fromtimestamp(SENT + 60, UTC).isoformat()
        event = {"event_id": "1", "stage": "qualified", "occurred_at": at, "phone": f"+{PHONE}"}
        said = encode(event)
        signed = sign(said, b"intake")
        answers += [request(url, "POST", "/webhooks/outcomes", said, x_signature_256=signed)]
    assert [a.status for a in answers] == [200, 200]
    land_event_log(make_dead)
    with pytest.raises(SourceError):
        land_insights(make_dead)
    world.build()

    row = world.one("marts.campaign_performance")
    assert (row["leads"], row["qualified_leads"]) == (1, 1)
    assert {row[c] for c in ("spend", "spend_reporting", *COSTS, *COUNTED)} == {None}
    assert status(row) == ("unread", "never_read", True)
    ad = world.one("marts.ad_performance")
    assert (ad["spend"], ad["cost_per_qualified_lead"]) == (None, None)
    [paid] = world.query("select * from marts.channel_performance where leads > 0")
    assert (paid["spend_reporting"], paid["cost_per_lead"]) == (None, None)
    gap = world.one("marts.spend_reconciliation")
    assert (gap["account_id"], gap["account_spend"]) == ("unknown", None)

    publish_marts(make_dead, as_of=world.as_of)
    payload = payload_of(write_report(make_dead).path)
    [told] = unpacked(payload["unread"])
    assert (told["platform"], told["account"], told["reason"]) == ("meta", -1, "never_read")
    assert {f["spend"] for f in facts(payload)} == {None}
    assert json.dumps(payload["facts"]).count("null") >= 1


@pytest.fixture
def make_dead(make_settings: Any, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Meta configured, at a port where nobody listens; without the waiting."""
    monkeypatch.setattr("ingestion.apis.client.ApiSession.pause", lambda *_: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made: Settings = make_settings(
        meta_graph_url=f"http://127.0.0.1:{port}",
        meta_access_token="EAAdead0token0of0the0test",
        meta_ad_account_ids=BR,
        meta_app_secret=APP_SECRET,
        intake_secret="intake",
        CTWA_PII_KEY=PII_KEY,
    )
    return made
