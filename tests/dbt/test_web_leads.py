"""One identity over channels: web forms, coded links and chats of one person are one lead."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.people import (
    Envelope,
    Inbox,
    click,
    coded,
    exclusion,
    form,
    link,
    message,
    outcome,
    people_models,
    referral,
    shuffled,
)
from tests.support.warehouse import DbtWorld

AD = "120226305854810726"
CAMPAIGN = "120226305854800726"
GOOGLE = {"gclid": "Cj0KCQ-abc_DEF", "ad_platform": "google", "utm_source": "google"}
META = {"ad_platform": "meta", "ad_id": AD, "campaign_id": CAMPAIGN, "fbclid": "IwAR0abcdefgh"}

STORY = (
    # Google first, a Meta ad later: one lead of Google, the ad the latest (E62).
    form("2026-05-01 09:00", "f1", phone="ana", email="ana@", **GOOGLE),
    message("2026-05-03 10:00", phone="ana", bsuid="BR.1", **referral(AD)),
    outcome("2026-05-05 09:00", "qualified", "e1", email="ana@"),
    # The other way round: the source stays the chat's.
    message("2026-05-01 10:00", phone="bia", **referral(AD)),
    form("2026-05-02 09:00", "f2", phone="bia", utm_source="newsletter", utm_medium="email"),
    # A form alone, known by nothing but its id; the CRM knows that, too.
    form("2026-05-01 09:00", "f3", **META),
    outcome("2026-05-04 09:00", "won", "e3", web_lead="f3", value="100", currency="BRL"),
    # What the address tells, and what it does not.
    form("2026-05-01 09:00", "fbclid", email="c@", ad_platform="meta", fbclid="IwAR0abcdefgh"),
    form("2026-05-01 09:00", "wbraid", email="d@", ad_platform="google", wbraid="Clk-1"),
    form("2026-05-01 09:00", "bing", email="e@", ad_platform="microsoft", msclkid="abcdefgh1"),
    form("2026-05-01 09:00", "social", email="f@", utm_source="instagram", utm_medium="social"),
    form("2026-05-01 09:00", "cpc", email="g@", utm_medium="CPC", ad_platform="google"),
    form("2026-05-01 09:00", "name", email="h@", ad_platform="meta", utm_medium="paid",
         utm_campaign="Botox | SP | CTWA"),
    form("2026-05-01 09:00", "unpaid", email="k@", ad_platform="meta", utm_source="facebook"),
    form("2026-05-01 09:00", "bare", email="i@"),
    form("2026-05-01 09:00", "macro", email="j@", ad_platform="meta", utm_medium="paid",
         has_unexpanded_macro=True),
    # Sent twice, the second time with another phone: one touch, the earlier.
    form("2026-05-01 09:00", "twice", phone="kim", utm_source="a"),
    form("2026-05-01 09:05", "twice", phone="kim", utm_source="b"),
    # Nobody's form: excluded by address.
    form("2026-05-01 09:00", "staff", email="staff@", utm_source="a"),
    exclusion("2026-05-02 09:00", email="staff@"),
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> DbtWorld:
    """`STORY`, built once."""
    made = DbtWorld(tmp_path_factory.mktemp("web"))
    Inbox(made).deliver(*STORY)
    campaign = {"campaign_id": CAMPAIGN, "campaign_name": "Botox | SP | CTWA", "account_id": "1"}
    ad = {"ad_id": AD, "ad_name": "carrossel", "account_id": "1", "adset_id": "7"}
    made.write("meta_ads.campaigns", [campaign])
    made.write("meta_ads.ads", [ad | {"campaign_id": CAMPAIGN}])
    made.build(*people_models())
    return made


def lead(world: DbtWorld, lead_id: str) -> dict[str, Any]:
    return world.one("marts.fct_leads", f"lead_id = '{lead_id}'")


def test_e62_a_google_form_then_a_meta_ad_is_one_lead_of_google(world: DbtWorld) -> None:
    found = lead(world, "web_lead:f1")
    assert (found["channel"], found["basis"], found["platform"]) == (
        "paid_search", "web_click_id", "google",
    )  # fmt: skip
    assert (found["latest_channel"], found["latest_ad_id"]) == ("click_to_whatsapp", AD)
    assert (found["touches"], found["is_qualified"]) == (2, True)
    assert found["resolution"] == "pending"
    people = world.query("select count(*) as n from marts.fct_leads where lead_id like '%ana%'")
    assert people == [{"n": 0}]


def test_e62_a_meta_ad_then_a_form_is_one_lead_of_meta(world: DbtWorld) -> None:
    found = lead(world, "phone:bia")
    assert (found["channel"], found["latest_channel"]) == ("click_to_whatsapp", "web_other")
    assert (found["ad_id"], found["latest_ad_id"], found["touches"]) == (AD, AD, 2)


def test_an_expanded_macro_leads_to_the_ad_by_id(world: DbtWorld) -> None:
    found = lead(world, "web_lead:f3")
    assert (found["basis"], found["channel"], found["resolution"]) == (
        "web_ad_id", "meta_web", "resolved",
    )  # fmt: skip
    assert (found["ad_id"], found["campaign_id"], found["is_won"]) == (AD, CAMPAIGN, True)
    assert 'the ad "Headline"' in found["why"]
    assert "Sent a form on 2026-05-01 09:00 UTC" in found["why"]


@pytest.mark.parametrize(
    ("form_id", "basis", "channel", "platform", "resolution"),
    [
        ("fbclid", "web_click_id", "meta_web", "meta", None),
        ("wbraid", "web_click_id", "paid_search", "google", None),
        ("bing", "web_click_id", "paid_search", "microsoft", None),
        ("social", "web_utm", "organic_social", None, None),
        ("cpc", "web_utm", "paid_search", "google", None),
        ("name", "web_utm", "meta_web", "meta", None),
        ("unpaid", "web_utm", "web_other", None, None),
        ("bare", "direct", "web_other", None, None),
        ("macro", "web_utm", "meta_web", "meta", None),
    ],
)
def test_what_the_address_tells(
    world: DbtWorld,
    form_id: str,
    basis: str,
    channel: str,
    platform: str | None,
    resolution: str | None,
) -> None:
    found = lead(world, f"web_lead:{form_id}")
    assert (found["basis"], found["channel"], found["platform"]) == (basis, channel, platform)
    # A campaign's name in the address is no campaign (R8).
    assert (found["campaign_id"], found["resolution"]) == (None, resolution)


def test_e1_a_form_sent_twice_is_one_touch_the_earlier(world: DbtWorld) -> None:
    found = lead(world, "web_lead:twice")
    assert (found["touches"], found["utm_source"]) == (1, "a")


def test_e20_an_excluded_address_leaves_out_its_form(world: DbtWorld) -> None:
    assert lead(world, "web_lead:staff")["is_excluded"]


def test_a_form_is_no_conversation_and_no_message(world: DbtWorld) -> None:
    assert world.query("select count(*) as n from marts.fct_conversations") == [{"n": 2}]
    assert lead(world, "web_lead:f3")["inbound_messages"] == 0


# ---- coded links ---------------------------------------------------------------------------------

CODED = (
    click("2026-05-01 09:00", "good", **GOOGLE),
    message("2026-05-01 09:02", phone="good", **coded("good")),
    # Told later than the message, and known by nothing else.
    message("2026-05-01 09:02", phone="late", **coded("late")),
    click("2026-05-01 09:00", "late", **META),
    # Meta's referral beats the code.
    click("2026-05-01 09:00", "beaten", **GOOGLE),
    message("2026-05-01 09:02", phone="beaten", **coded("beaten"), **referral(AD)),
    # Not the first message of the talk.
    message("2026-05-01 08:00", phone="talks"),
    click("2026-05-01 09:00", "talks", **GOOGLE),
    message("2026-05-01 09:02", phone="talks", **coded("talks")),
    # A day too late; a minute too early.
    click("2026-05-01 09:00", "old", **GOOGLE),
    message("2026-05-08 09:00:01", phone="old", **coded("old")),
    click("2026-05-01 09:00", "early", **GOOGLE),
    message("2026-05-01 08:49:59", phone="early", **coded("early")),
    # Handed on: to whoever wrote first it belongs.
    click("2026-05-01 09:00", "shared", **GOOGLE),
    message("2026-05-01 10:00", phone="friend", **coded("shared")),
    message("2026-05-01 09:10", phone="first", **coded("shared")),
    click("2026-05-01 09:00", "fwd", **GOOGLE),
    message("2026-05-01 09:10", phone="fwd", **coded("fwd"), is_forwarded=True),
    # Nobody's, another company's, two at once.
    message("2026-05-01 09:10", phone="unknown", **coded("never")),
    message("2026-05-01 09:10", phone="foreign", **coded("x", "unfit")),
    message("2026-05-01 09:10", phone="two", **coded("x", "several")),
    # A button on a page without any parameter.
    click("2026-05-01 09:00", "plain", page_host="www.example.com"),
    message("2026-05-01 09:10", phone="plain", **coded("plain")),
)


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> DbtWorld:
    """`CODED`, built once."""
    made = DbtWorld(tmp_path_factory.mktemp("coded"))
    Inbox(made).deliver(*CODED)
    made.build(*people_models())
    return made


@pytest.mark.parametrize(
    ("phone", "state", "basis", "channel"),
    [
        ("good", "matched", "web_click_id", "paid_search"),
        ("late", "matched", "web_ad_id", "meta_web"),
        ("beaten", "outranked", "ctwa_click", "click_to_whatsapp"),
        ("old", "expired", "direct", "direct"),
        ("early", "expired", "direct", "direct"),
        ("first", "matched", "web_click_id", "paid_search"),
        ("friend", "used", "direct", "direct"),
        ("fwd", "forwarded", "direct", "direct"),
        ("unknown", "unknown", "direct", "direct"),
        ("foreign", "unfit", "direct", "direct"),
        ("two", "several", "direct", "direct"),
        ("plain", "matched", "direct", "web_other"),
    ],
)
def test_e21_what_becomes_of_a_code(
    chats: DbtWorld, phone: str, state: str, basis: str, channel: str
) -> None:
    found = lead(chats, f"phone:{phone}")
    touch = chats.one("marts.fct_touches", f"touch_id = '{found['first_touch_id']}'")
    assert (touch["link_code_state"], found["basis"], found["channel"]) == (state, basis, channel)


def test_e21_a_code_in_a_later_message_counts_for_nothing(chats: DbtWorld) -> None:
    found = lead(chats, "phone:talks")
    assert (found["basis"], found["touches"]) == ("direct", 1)


# ---- ids that the platforms' tables know (E93) ---------------------------------------------------

SEARCH, SEARCH_GROUP, SEARCH_AD = "21987654321", "150000000001", "700000000001"
TWIN = "21987650000"
BOTH = "120226305854899999"  # stands on both platforms
DAY = "2026-05-01 09:00"
BY_ID = (
    # What came in, and what it is: basis, channel, platform, ad, campaign.
    (form(DAY, "utm_id", utm_source="google", utm_id=SEARCH),
     ("web_ad_id", "paid_search", "google", None, SEARCH)),
    (form(DAY, "campaign", utm_source="lp", utm_medium="cpc", utm_campaign=SEARCH),
     ("web_ad_id", "paid_search", "google", None, SEARCH)),
    (form(DAY, "own name", campaign_id=SEARCH),
     ("web_ad_id", "paid_search", "google", None, SEARCH)),
    (form(DAY, "creative", utm_id=SEARCH, utm_content=SEARCH_AD, utm_term=SEARCH_GROUP),
     ("web_ad_id", "paid_search", "google", SEARCH_AD, SEARCH)),
    # Shared at Facebook, but the ad was Google's.
    (form(DAY, "shared", utm_id=SEARCH, ad_platform="meta", fbclid="IwAR0abcdefgh"),
     ("web_ad_id", "paid_search", "google", None, SEARCH)),
    # Meta's macros in other places than the parser looks for them.
    (form(DAY, "meta ad", ad_platform="meta", utm_id=AD, campaign_id=AD),
     ("web_ad_id", "meta_web", "meta", AD, CAMPAIGN)),
    (form(DAY, "meta campaign", utm_source="lp-2", utm_content=CAMPAIGN),
     ("web_ad_id", "meta_web", "meta", None, CAMPAIGN)),
    # A click id of another platform refutes it.
    (form(DAY, "refuted", utm_id=CAMPAIGN, **GOOGLE),
     ("web_click_id", "paid_search", "google", None, None)),
    (form(DAY, "bing", utm_id=SEARCH, ad_platform="microsoft", msclkid="abcdefgh1"),
     ("web_click_id", "paid_search", "microsoft", None, None)),
    # On both platforms: what the page says of its source, else neither.
    (form(DAY, "both, google", utm_id=BOTH, **GOOGLE),
     ("web_ad_id", "paid_search", "google", None, BOTH)),
    (form(DAY, "both, meta", utm_id=BOTH, ad_platform="meta", utm_source="fb"),
     ("web_ad_id", "meta_web", "meta", None, BOTH)),
    (form(DAY, "both", utm_source="newsletter", utm_id=BOTH),
     ("web_utm", "web_other", None, None, None)),
    # One number is a campaign's and an ad's: it is what usually stands in its place (E39).
    (form(DAY, "twin campaign", utm_id=TWIN), ("web_ad_id", "paid_search", "google", None, TWIN)),
    (form(DAY, "twin ad", utm_content=TWIN), ("web_ad_id", "paid_search", "google", TWIN, SEARCH)),
    # Names are never compared, nor is what no table knows an id.
    (form(DAY, "name", utm_id="Botox | SP | CTWA", utm_campaign="Search"),
     ("web_utm", "web_other", None, None, None)),
    (form(DAY, "unknown", utm_source="google", utm_id="21987654322"),
     ("web_utm", "web_other", None, None, None)),
    (form(DAY, "stamp", ad_platform="meta", utm_medium="paid", utm_campaign="1717171717171",
          campaign_id="1717171717171"),
     ("web_utm", "meta_web", "meta", None, None)),
    # By its own name, and pending as ever.
    (form(DAY, "pending", ad_platform="google", campaign_id="21987654399"),
     ("web_ad_id", "paid_search", "google", None, None)),
)  # fmt: skip


def _know_campaigns(world: DbtWorld) -> None:
    world.write("google_ads.campaigns", [
        {"campaign_id": i, "account_id": "1", "campaign_name": "Search", "read_no": 7}
        for i in (SEARCH, BOTH, TWIN)
    ])  # fmt: skip
    world.write("google_ads.adsets", [{"adset_id": SEARCH_GROUP, "campaign_id": SEARCH}])
    world.write("google_ads.ads", [
        {"ad_id": i, "adset_id": SEARCH_GROUP, "campaign_id": SEARCH, "read_no": 7}
        for i in (SEARCH_AD, TWIN)
    ])  # fmt: skip
    world.write("meta_ads.campaigns", [
        {"campaign_id": i, "campaign_name": "Botox | SP | CTWA", "account_id": "1", "read_no": 9}
        for i in (CAMPAIGN, BOTH)
    ])  # fmt: skip
    world.write("meta_ads.ads", [{"ad_id": AD, "campaign_id": CAMPAIGN, "account_id": "1"}])


def gclids(world: DbtWorld) -> set[str | None]:
    return {row["gclid"] for row in world.rows("intermediate.int_touches__classified")}


def test_e93_an_id_that_a_platform_knows_is_read_as_one_whenever_it_becomes_known(
    make_world: Callable[..., DbtWorld],
) -> None:
    """Also by a run that no envelope came with (E33): incremental is full."""
    late, whole = make_world("late"), make_world("known")
    forms = [envelope for envelope, _ in BY_ID]
    chat = [click(DAY, "A", utm_id=SEARCH), message("2026-05-01 09:02", phone="c", **coded("A"))]
    # Two clicks with one code: the touch is that of the earlier one, which comes to be known later.
    chat += [
        click("2026-05-01 09:01", "B", gclid="second", ad_platform="google"),
        message("2026-05-01 09:02", phone="d", **coded("B")),
    ]
    missed = click(DAY, "B", gclid="first", ad_platform="google")
    inbox = Inbox(late)
    inbox.deliver(*forms, *chat)
    late.build(*people_models(), tests=False)
    assert lead(late, "web_lead:utm_id")["basis"] == "web_utm"
    assert "second" in gclids(late)
    inbox.deliver(missed)
    _know_campaigns(late)
    late.build(*people_models())
    _know_campaigns(whole)
    Inbox(whole).deliver(*forms, *chat, missed)
    whole.build(*people_models(), tests=False)
    found = {}
    for envelope, expected in BY_ID:
        key = envelope.rows["web_leads"][0]["web_lead_key"]
        row = lead(late, key)
        columns = ("basis", "channel", "platform", "ad_id", "campaign_id")
        found[key] = (tuple(row[c] for c in columns), expected)
    assert {k: v for k, (v, _) in found.items()} == {k: v for k, (_, v) in found.items()}
    assert lead(late, "web_lead:utm_id")["resolution"] == "resolved"
    assert lead(late, "web_lead:pending")["resolution"] == "pending"
    assert lead(late, "phone:c")["campaign_id"] == SEARCH
    assert gclids(late) == gclids(whole) >= {"first"}
    assert late.snapshot() == whole.snapshot()


# ---- order, and runs -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.deep)])
def test_e12_any_order_in_any_runs_gives_the_same_marts(
    make_world: Callable[..., DbtWorld], seed: int
) -> None:
    rng = random.Random(seed)
    more: tuple[Envelope, ...] = (
        # Learned at last: the nameless form and a chat are one person; two codes move.
        link("2026-05-09 09:00", "web_lead:f3", "phone:late", "outcome"),
        message("2026-05-01 09:05", phone="sooner", **coded("shared")),
        click("2026-04-30 23:00", "unknown-before"),
    )
    told = shuffled([*STORY, *CODED, *more], rng)
    whole, split = make_world("whole"), make_world("split")
    Inbox(whole).deliver(*STORY, *CODED, *more)
    whole.build(*people_models(), tests=False)
    inbox = Inbox(split)
    cuts = sorted(rng.sample(range(1, len(told)), 2))
    for start, end in zip([0, *cuts], [*cuts, len(told)], strict=True):
        inbox.deliver(*told[start:end])
        split.build(*people_models(), tests=end == len(told))
    assert split.snapshot() == whole.snapshot()
    assert lead(split, "phone:sooner")["basis"] == "web_click_id"
    assert lead(split, "phone:first")["basis"] == "direct"
