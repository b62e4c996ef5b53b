"""The rules of leads that settings and statements shape: who counts, once or how often, and why.

Two worlds for the module. `plain` has the default settings and two nights, so that what comes late
comes to people already built; `narrow` counts a lead per brand and cycle, sources by the first
paid touch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pytest

from tests.support.meta import BR, Meta
from tests.support.people import (
    NUMBER,
    Envelope,
    Inbox,
    echo,
    exclusion,
    message,
    outcome,
    referral,
    status,
    withheld,
)
from tests.support.warehouse import DbtWorld

AD, OTHER_AD = "120226305854810726", "120226305854810727"
POST, MEDIA = "900100", "17841400000000001"
TEST_LINE, SECOND_BRAND = "5511499999999", "5511400000002"
BILLED = {"status": "delivered", "pricing_type": "free_entry_point"}


@dataclass
class Nights:
    """A world after two nights, and its leads after the first."""

    world: DbtWorld
    first_night: dict[str, dict[str, Any]]

    def lead(self, lead_id: str) -> dict[str, Any]:
        """A lead after the second night."""
        return self.world.one("marts.fct_leads", f"lead_id = '{lead_id}'")

    def chat(self, lead_id: str) -> dict[str, Any]:
        """The only conversation of a lead."""
        return self.world.one("marts.fct_conversations", f"lead_id = '{lead_id}'")


def first_night() -> Iterator[Envelope]:
    """Everything that is there before the second night."""
    # E6: the ad's own message is withheld, billed, or only our answer shows that there was one.
    yield message("2026-05-01 09:00", phone="withheld", id="w1", **withheld())
    yield message("2026-05-01 09:00", phone="billed", id="b1")
    yield status("2026-05-01 09:05", id="b2", phone="billed", **BILLED)
    yield echo("2026-05-01 09:00", phone="echoed", id="e1")
    yield status("2026-05-01 09:00", id="e1", phone="echoed", **BILLED)
    yield message("2026-05-01 09:30", phone="echoed", id="e2")
    yield echo("2026-05-01 09:00", phone="unseen", id="u1")
    yield status("2026-05-01 09:00", id="u1", phone="unseen", **BILLED)
    yield message("2026-05-01 09:00", phone="nameless", **withheld())
    yield message("2026-05-01 10:00", phone="nameless", **referral(None, clid=None))
    # The other bases, for `why`.
    yield message("2026-05-01 09:00", phone="clicked", **referral(AD))
    yield message("2026-05-01 09:00", phone="tapped", **referral(OTHER_AD, clid=None))
    yield message("2026-05-01 09:00", phone="clid", **referral(None))
    yield message("2026-05-01 09:00", phone="novel", **referral(AD, source_type="hologram"))
    yield message("2026-05-01 09:00", phone="bare", **referral(None, clid=None))
    yield message("2026-05-01 09:00", phone="organic")
    yield status("2026-05-01 09:00", id="t1", phone="invited")
    yield message("2026-05-01 10:00", phone="invited")
    for name, post in (
        ("poster", "1"),
        ("booster", POST),
        ("reels", MEDIA),
        ("story", f"77_{POST}"),
    ):
        post_tap = referral(post, source_type="post", clid=None)
        yield message("2026-05-01 09:00", phone=name, **post_tap)
    # E19: a lone tap; a question after our answer, in another chat; our greeting only.
    yield message("2026-05-01 09:00", phone="silent", id="s1", **referral(AD))
    yield message("2026-05-01 09:01", phone="silent", id="s2")
    yield echo("2026-05-01 09:05", phone="silent", id="s3")
    yield message("2026-05-01 09:00", phone="keen", id="k1", **referral(AD))
    yield echo("2026-05-01 09:00", phone="keen", id="k2")
    yield message("2026-06-20 09:00", phone="keen", id="k3")
    # E20.
    yield message("2026-05-01 09:00", phone="staff", bsuid="staff", **referral(AD))
    yield outcome("2026-05-02 09:00", "won", "x1", phone="staff", value="10", currency="BRL")
    yield exclusion("2026-05-03 09:00", phone="staff")
    yield message("2026-05-01 09:00", phone="agency", **referral(AD))
    yield exclusion("2026-05-03 09:00", "agency", phone="agency")
    yield message("2026-05-01 09:00", phone="tester", number=TEST_LINE, **referral(AD))
    yield exclusion("2026-05-03 09:00", "test line", number=TEST_LINE)
    # E28: a number that changed hands.
    yield message("2026-01-01 09:00", phone="shared", bsuid="old", **referral(AD))
    yield message("2026-05-01 09:00", phone="shared", bsuid="young", **referral(OTHER_AD))
    yield outcome("2026-01-05 09:00", "qualified", "r1", phone="shared")
    yield outcome("2026-05-05 09:00", "won", "r2", phone="shared", value="5", currency="BRL")
    # E58: stages of one instant; E59.
    yield message("2026-05-01 09:00", phone="instant")
    for place, stage in enumerate(["won", "lead", "qualified", "opportunity"]):
        yield outcome("2026-05-02 09:00", stage, f"i{place}", phone="instant")
    yield message("2026-05-01 09:00", phone="ended")
    for place, stage in enumerate(["lost", "won"]):
        yield outcome("2026-05-02 09:00", stage, f"n{place}", phone="ended")
    for name, at in (("before", "2026-05-10 09:00"), ("after", "2026-05-20 09:00")):
        yield message("2026-05-01 09:00", phone=name)
        yield outcome(at, "mql", f"m-{name}", phone=name)


def second_night() -> Iterator[Envelope]:
    """What comes late."""
    yield message("2026-05-03 09:00", phone="withheld", **referral(AD))
    yield message("2026-05-01 09:10", phone="billed", **referral(AD))
    yield message("2026-05-01 09:40", phone="echoed", **referral(AD, clid=None))
    yield message("2026-05-01 08:59", phone="organic", **referral(AD))
    yield exclusion("2026-05-04 09:00", "agency", off=True, phone="agency")
    # An older word that arrives later changes nothing.
    yield exclusion("2026-05-02 09:00", off=True, phone="staff")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    world = DbtWorld(tmp_path_factory.mktemp("plain"))
    story = {"account_id": BR, "adset_id": "s", "campaign_id": "c"}
    Meta(world).objects(
        "2026-06-15 12:00",
        accounts=[{"account_id": BR, "currency": "BRL", "timezone": "America/Sao_Paulo"}],
        campaigns=[{"campaign_id": "c", "campaign_name": "Outono", "account_id": BR}],
        ads=[
            {"ad_id": AD, "ad_name": "Sol", "creative_id": "c1", **story},
            {"ad_id": "120", "ad_name": "Praia", "creative_id": "c2", **story},
        ],
        creatives=[
            {
                "creative_id": "c1",
                "effective_object_story_id": f"77_{POST}",
                "effective_instagram_media_id": MEDIA,
            },
            {"creative_id": "c2", "effective_object_story_id": f"77_{POST}"},
        ],
        ad_lookups=[{"ad_id": OTHER_AD, "lookup_status": "foreign", "attempts": 1}],
    )
    inbox = Inbox(world)
    inbox.deliver(*first_night())
    world.build(tests=False)
    before = {row["lead_id"]: row for row in world.rows("marts.fct_leads")}
    inbox.deliver(*second_night())
    world.build()  # with every data test
    return Nights(world, before)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    world = DbtWorld(
        tmp_path_factory.mktemp("narrow"),
        CTWA_LEAD_SCOPE="brand",
        CTWA_LEAD_CYCLE_DAYS="60",
        CTWA_FIRST_TOUCH="paid",
    )
    inbox = Inbox(world)
    inbox.deliver(
        message("2026-01-01 01:00", phone="ana", id="a1"),
        message("2026-01-05 09:00", phone="ana", **referral(AD)),
        message("2026-01-09 09:00", phone="ana", **referral(OTHER_AD)),
        # Exactly 60 days of silence are not more than 60.
        message("2026-03-10 09:00", phone="ana", id="a2"),
        outcome("2026-03-11 09:00", "qualified", "o1", phone="ana"),
        outcome("2025-12-01 09:00", "qualified", "o2", phone="ana"),
        # To another brand; then, 61 days after the last word with the first, a new cycle there.
        message("2026-04-01 09:00", phone="ana", id="b1", number=SECOND_BRAND),
        message("2026-05-10 09:00", phone="ana", id="a3", **referral(OTHER_AD)),
        outcome("2026-05-11 09:00", "won", "o3", phone="ana", value="7", currency="BRL"),
        outcome("2026-05-11 09:00", "qualified", "o4", message_id="a1"),
        outcome("2026-05-11 09:00", "qualified", "o5", message_id="b1"),
        # We wrote after the silence: the answer opens no new cycle.
        message("2026-01-01 09:00", phone="bia", id="c1", **referral(AD)),
        echo("2026-05-01 09:00", phone="bia", id="c2"),
        message("2026-05-02 09:00", phone="bia", id="c3"),
        # Only we wrote, to her other brand.
        echo("2026-05-01 09:00", phone="bia", id="c4", number=SECOND_BRAND),
    )
    world.build("+int_leads__sourced", tests=False)
    before = {row["lead_id"]: row for row in world.rows("intermediate.int_leads__sourced")}
    # Late: what links her phone to an id, in a message older than most.
    inbox.deliver(message("2026-01-02 08:00", bsuid="bia", phone="bia", id="c0", origin="history"))
    world.build()
    return Nights(world, before)


def test_e06_a_late_referral_upgrades_whoever_was_suspected(plain: Nights) -> None:
    for name, basis in (
        ("withheld", "ctwa_click"),
        ("billed", "ctwa_click"),
        ("echoed", "ctwa_ad"),
    ):
        assert plain.first_night[f"phone:{name}"]["basis"] == "ad_suspected", name
        found = plain.lead(f"phone:{name}")
        assert (found["basis"], found["ad_id"], found["touches"]) == (basis, AD, 2), name
        assert found["first_touch_at"].date() == date(2026, 5, 1)


def test_e06_a_chat_seen_only_through_our_answer_is_suspected_and_no_lead(plain: Nights) -> None:
    where = "conversation_id = '5511400000001/u1'"
    shell = plain.world.one("marts.fct_conversations", where)
    assert (shell["lead_id"], shell["basis"], shell["channel"]) == (
        None,
        "ad_suspected",
        "unknown_ad",
    )


def test_e12_an_earlier_message_that_comes_late_changes_the_source(plain: Nights) -> None:
    assert plain.first_night["phone:organic"]["basis"] == "direct"
    assert plain.lead("phone:organic")["ad_id"] == AD


def test_e10_a_post_that_ads_are_made_of_is_a_candidate_and_stays_organic(plain: Nights) -> None:
    found = {
        name: (row["is_boosted_post_candidate"], row["boosted_post_ads"], row["channel"])
        for name in ("poster", "booster", "reels", "story", "clicked")
        if (row := plain.lead(f"phone:{name}"))
    }
    assert found == {
        "poster": (False, 0, "organic_social"),
        "booster": (True, 2, "organic_social"),
        "reels": (True, 1, "organic_social"),
        "story": (True, 2, "organic_social"),
        "clicked": (False, 0, "click_to_whatsapp"),
    }
    day = plain.world.one("marts.attribution_health", "report_date = '2026-05-01'")
    assert day["boosted_post_candidates"] == 3


def test_e11_a_new_kind_of_referral_is_named_by_a_check(plain: Nights) -> None:
    named = plain.world.one("checks.referral_types_are_known")
    assert (named["referral_source_type"], named["touches"]) == ("hologram", 1)
    novel = plain.lead("phone:novel")
    assert (novel["channel"], novel["basis"], novel["ad_id"]) == ("unknown_ad", "ctwa_click", AD)


def test_e19_who_wrote_again_after_our_answer_has_replied(plain: Nights) -> None:
    said = {
        name: (row["has_replied"], row["inbound_messages"])
        for name in ("silent", "keen", "clicked")
        if (row := plain.lead(f"phone:{name}"))
    }
    assert said == {"silent": (False, 2), "keen": (True, 2), "clicked": (False, 1)}
    campaign = plain.world.one(
        "marts.campaign_performance", "campaign_id = 'c' and report_date = '2026-05-01'"
    )
    # Those whose chat began with our greeting or with a bill wrote again as well.
    replied = plain.world.query(
        "select count(*) as n from marts.fct_leads where has_replied and campaign_id = 'c'"
        " and first_touch_date = '2026-05-01' and not is_excluded"
    )
    assert campaign["replied_leads"] == replied[0]["n"] >= 1


def test_e20_who_is_excluded_stays_visible_and_counts_nowhere(plain: Nights) -> None:
    staff, tester = plain.lead("bsuid:staff"), plain.lead("phone:tester")
    assert (staff["is_excluded"], staff["exclusion_reason"]) == (True, "staff")
    assert (tester["is_excluded"], tester["exclusion_reason"]) == (True, "test line")
    assert staff["is_won"]
    assert plain.world.one("marts.fct_outcomes", "event_id = 'x1'")["lead_id"] == "bsuid:staff"
    agency = plain.lead("phone:agency")
    assert plain.first_night["phone:agency"]["is_excluded"]
    assert (agency["is_excluded"], agency["exclusion_reason"]) == (False, None)

    where = "report_date = '2026-05-01' and channel = 'click_to_whatsapp'"
    channel = plain.world.one("marts.channel_performance", where)
    counted = plain.world.query(
        "select count(*) as leads, sum(won_value_reporting) as won from marts.fct_leads"
        " where first_touch_date = '2026-05-01' and channel = 'click_to_whatsapp'"
        " and lead_id not in ('bsuid:staff', 'phone:tester')"
    )[0]
    assert (channel["leads"], channel["excluded_leads"]) == (counted["leads"], 2)
    assert channel["won_value_reporting"] == counted["won"] == 5  # the young one's, not staff's
    for report, key in (("campaign_performance", "campaign_id = 'c'"),
                        ("ad_performance", f"ad_id = '{AD}'")):  # fmt: skip
        row = plain.world.one(f"marts.{report}", f"report_date = '2026-05-01' and {key}")
        assert row["excluded_leads"] == 2, report
    day = plain.world.one("marts.attribution_health", "report_date = '2026-05-01'")
    assert day["excluded_leads"] == 2


def test_e28_an_outcome_by_phone_is_its_holders_of_the_time(plain: Nights) -> None:
    old, young = plain.lead("bsuid:old"), plain.lead("bsuid:young")
    assert (old["current_stage"], young["current_stage"]) == ("qualified", "won")
    assert "before, until 2026-01-01 09:00 UTC, is another person" in young["why"]
    assert "another person" not in old["why"]
    day = plain.world.one("marts.attribution_health", "report_date = '2026-05-01'")
    assert day["refused_links"] == 1


def test_e58_of_stages_of_one_instant_the_latest_in_the_funnel_is_current(plain: Nights) -> None:
    won, lost = plain.lead("phone:instant"), plain.lead("phone:ended")
    assert (won["current_stage"], won["is_currently_qualified"]) == ("won", True)
    assert (lost["current_stage"], lost["is_currently_qualified"], lost["is_won"]) == (
        "lost",
        False,
        True,
    )


def test_e59_a_changed_rule_holds_from_its_date_and_an_edited_one_for_all_history(
    plain: Nights,
) -> None:
    def qualified() -> tuple[bool, bool]:
        plain.world.build("int_outcomes__staged", "fct_outcomes", "fct_leads", tests=False)
        before, after = plain.lead("phone:before"), plain.lead("phone:after")
        return before["is_qualified"], after["is_qualified"]

    def change(sql: str) -> None:
        with duckdb.connect(str(plain.world.settings.warehouse_path)) as connection:
            connection.execute(sql)

    assert not plain.first_night["phone:before"]["is_qualified"]
    assert not plain.first_night["phone:after"]["is_qualified"]
    # Freeze: the old row ends, a new one begins.
    change("update seeds.lead_stages set valid_to = '2026-05-15' where stage = 'mql'")
    change(
        "insert into seeds.lead_stages values ('*', 'mql', 'qualified', date '2026-05-15', null)"
    )
    assert qualified() == (False, True)
    # Recompute: the row itself is edited.
    change("update seeds.lead_stages set funnel_stage = 'qualified' where stage = 'mql'")
    assert qualified() == (True, True)


def test_e16_with_paid_first_the_source_moves_and_the_birth_stays(narrow: Nights) -> None:
    ana = narrow.lead(f"phone:ana:{NUMBER}")
    assert (ana["basis"], ana["ad_id"], ana["latest_ad_id"]) == ("ctwa_click", AD, OTHER_AD)
    assert ana["first_touch_at"] == datetime(2026, 1, 1, 1, tzinfo=UTC)
    assert ana["first_touch_date"] == date(2025, 12, 31)  # in São Paulo
    assert ana["source_touch_at"] == datetime(2026, 1, 5, 9, tzinfo=UTC)
    marks = narrow.world.query(
        "select is_first_touch, is_source_touch from marts.fct_touches"
        f" where lead_id = '{ana['lead_id']}' order by occurred_at"
    )
    assert [tuple(row.values()) for row in marks] == [
        (True, False),
        (False, True),
        (False, False),
        (False, False),
    ]


def test_e18_a_new_cycle_begins_after_more_than_the_days_of_silence(narrow: Nights) -> None:
    cycles = narrow.world.query(
        "select lead_id, lead_cycle, touches, inbound_messages from marts.fct_leads"
        " order by lead_id"
    )
    assert [tuple(row.values()) for row in cycles] == [
        (f"phone:ana:{NUMBER}", 1, 4, 4),
        (f"phone:ana:{NUMBER}#2", 2, 1, 1),
        (f"phone:ana:{SECOND_BRAND}", 1, 1, 1),
        (f"phone:bia:{NUMBER}", 1, 2, 3),
    ]


def test_e31_e64_brands_add_up_to_more_than_people(narrow: Nights) -> None:
    total = narrow.world.query(
        "select count(*) as leads, count(distinct person_id) as people,"
        " count(distinct brand) as brands from marts.fct_leads"
    )
    assert total == [{"leads": 4, "people": 2, "brands": 2}]
    shell = narrow.world.one("marts.fct_conversations", f"conversation_id = '{SECOND_BRAND}/c4'")
    assert shell["lead_id"] is None


def test_e61_outcomes_go_to_the_lead_of_their_message_or_of_their_time(narrow: Nights) -> None:
    matched = narrow.world.query("select event_id, lead_id from marts.fct_outcomes order by 1")
    assert {row["event_id"]: row["lead_id"] for row in matched} == {
        "o1": f"phone:ana:{NUMBER}",
        "o2": f"phone:ana:{NUMBER}",  # before her first message: her first lead
        "o3": f"phone:ana:{NUMBER}#2",
        "o4": f"phone:ana:{NUMBER}",
        "o5": f"phone:ana:{SECOND_BRAND}",
    }


def test_r4_a_lead_per_brand_keeps_the_id_of_its_birth(narrow: Nights) -> None:
    assert narrow.lead(f"phone:bia:{NUMBER}")["first_touch_at"] == datetime(
        2026, 1, 1, 9, tzinfo=UTC
    )
    assert narrow.first_night.keys() == {
        row["lead_id"] for row in narrow.world.rows("marts.fct_leads")
    }


THE_AD = f'the ad "Headline" (ad {AD})'
FOREIGN = f'the ad "Headline" (ad {OTHER_AD})'
PENDING = "; the ad has not been looked up yet"
HERE = f"; counted once per brand, here for {NUMBER}"
TAP = f"Wrote on 2026-05-01 09:00 UTC after tapping {THE_AD}"
FOLLOWED = f"; the referral that followed within 72 hours leads to {THE_AD}"
AT = "Wrote on 2026-05-01 09:00 UTC"
POST_TAP = f"{AT} after tapping a post, which Meta does not call an ad"
PLAIN_WHY = {
    "phone:clicked": f"{TAP}, with Meta's click id",
    "phone:tapped": f"{AT} after tapping {FOREIGN}, without a click id"
    "; the ad is in an account that we cannot see",
    "phone:clid": f"{AT} after tapping an ad that Meta did not name, with Meta's click id",
    "phone:novel": f'{TAP}, of a new kind that Meta calls "hologram", with Meta\'s click id',
    "phone:bare": f"{AT} with a referral that names no ad",
    "phone:withheld": f"{AT} in a message that Meta withheld{FOLLOWED}, with Meta's click id",
    "phone:billed": f"{AT}; Meta billed the chat as opened by an ad{FOLLOWED}"
    ", with Meta's click id",
    "phone:nameless": f"{AT} in a message that Meta withheld"
    "; the referral that followed within 72 hours names no ad",
    "phone:poster": POST_TAP,
    "phone:reels": f"{POST_TAP}; an ad of ours shows the same post, so it may have been paid for",
    "phone:story": f"{POST_TAP}; 2 ads of ours show the same post, so it may have been paid for",
    "phone:invited": "Answered on 2026-05-01 10:00 UTC a message that we had sent first",
    "phone:instant": f"{AT} with no sign of an ad",
    "bsuid:staff": f"{TAP}, with Meta's click id; left out of the counts: staff",
    "bsuid:young": f"{AT} after tapping {FOREIGN}, with Meta's click id; the ad is in an account"
    " that we cannot see; the owner of this phone number before, until 2026-01-01 09:00 UTC,"
    " is another person",
}
FIRST_NIGHT_WHY = {
    "phone:withheld": f"{AT} in a message that Meta withheld, as it does with first messages from"
    " ads, and no referral followed within 72 hours",
    "phone:billed": f"{AT}; Meta billed the chat as opened by an ad, but no referral says which",
}
NARROW_WHY = {
    f"phone:ana:{NUMBER}": f"Wrote on 2026-01-05 09:00 UTC after tapping {THE_AD}"
    f", with Meta's click id{PENDING}; had first written on 2026-01-01 01:00 UTC with no sign of"
    f" an ad, but the first paid touch gives the source{HERE}",
    f"phone:ana:{NUMBER}#2": f"Wrote on 2026-05-10 09:00 UTC after tapping {FOREIGN}"
    f", with Meta's click id{PENDING}{HERE}"
    "; counted as a new lead (no. 2 of this person) after more than 60 days of silence",
}


def test_why_is_a_sentence_for_every_source(plain: Nights, narrow: Nights) -> None:
    told = [
        (PLAIN_WHY, "first touch", plain.lead),
        (FIRST_NIGHT_WHY, "first touch", plain.first_night.__getitem__),
        (NARROW_WHY, "first paid touch", narrow.lead),
    ]
    for sentences, rule, find in told:
        for lead_id, sentence in sentences.items():
            found = find(lead_id)
            rules = f"{rule} R5, basis R6 {found['basis']}, rules v4"
            assert found["why"] == f"{sentence} ({rules}).", lead_id
    bases = {plain.lead(name)["basis"] for name in PLAIN_WHY}
    assert bases == {"ctwa_click", "ctwa_ad", "post", "ad_suspected", "outbound", "direct"}
