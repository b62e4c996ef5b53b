"""From messages to leads: whose touch it was, which one counts, and what it rests on.

One world for all: each test has people of its own, told of right before it, and two builds lie
between what came early and what came late.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import pytest

from tests.support.people import (
    Envelope,
    Inbox,
    echo,
    message,
    outcome,
    people_models,
    quarantined,
    referral,
    status,
    withheld,
)
from tests.support.warehouse import DbtWorld

AD = "120226305854810726"
OTHER_AD = "120226305854810727"
LOOKED_UP_LATER = "120226305854810728"
BILLED = {"status": "delivered", "pricing_type": "free_entry_point"}

EARLY: list[Envelope] = []
LATE: list[Envelope] = []


@dataclass(frozen=True)
class Story:
    """The leads after the first of two builds, and the world after the second."""

    first_leads: dict[str, dict[str, Any]]
    world: DbtWorld

    def before(self, person: str) -> dict[str, Any]:
        """The only lead of a person, as it was after the first build."""
        return self.first_leads[f"phone:{person}"]

    def lead(self, person: str) -> dict[str, Any]:
        """The only lead of a person."""
        return self.world.one("marts.fct_leads", f"lead_id = 'phone:{person}'")

    def touches(self, person: str) -> list[dict[str, Any]]:
        """The touches of a person, in the order of their times."""
        return self.world.query(
            f"select * from marts.fct_touches where lead_id = 'phone:{person}' order by occurred_at"
        )

    def talks(self, person: str) -> list[dict[str, Any]]:
        """The conversations of a person, whether they are a lead or not."""
        of_person = (
            "select conversation_id from intermediate.int_conversations__built"
            f" where person_key = 'phone:{person}'"
        )
        return self.world.query(
            f"select * from marts.fct_conversations where conversation_id in ({of_person})"
        )

    def talk(self, person: str) -> dict[str, Any]:
        """The only conversation of a person."""
        (found,) = self.talks(person)
        return found


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """What came early, built; what came late, and an ad that was looked up meanwhile, built."""
    world = DbtWorld(tmp_path_factory.mktemp("leads"))
    inbox = Inbox(world)
    inbox.deliver(*EARLY)
    world.build(*people_models(), tests=False)
    leads = {row["lead_id"]: row for row in world.rows("marts.fct_leads")}
    inbox.deliver(*LATE)
    place = {"account_id": "1", "campaign_id": "c1"}
    account = {"account_id": "1", "timezone": "Asia/Tokyo", "currency": "JPY"}
    world.write("meta_ads.accounts", [account])
    world.write("meta_ads.campaigns", [{**place, "campaign_name": "May"}])
    world.write("meta_ads.ads", [{**place, "ad_id": LOOKED_UP_LATER, "ad_name": "Blue"}])
    world.build(*people_models(), tests=False)
    return Story(leads, world)


TWICE = message("2026-05-03 14:02", phone="twice", id="delivered thrice", **referral(AD))
EARLY += [TWICE, TWICE, TWICE, quarantined(2)]


def test_e01_duplicate_deliveries_are_one_message(story: Story) -> None:
    assert story.talk("twice")["inbound_messages"] == 1
    copied = "intermediate.int_messages__deduplicated"
    assert story.world.one(copied, "message_key like '%/delivered thrice'")["copies"] == 3
    assert story.lead("twice")["touches"] == 1


BARE = message("2026-05-03 14:02", phone="copies", id="copied", origin="history")
FULL = message("2026-05-03 14:02", phone="copies", id="copied", **referral(AD))
EARLY += [BARE, FULL, BARE]


def test_e02_of_copies_that_differ_the_one_with_the_referral_wins(story: Story) -> None:
    assert story.lead("copies")["ad_id"] == AD
    assert story.lead("copies")["origin"] == "live"
    assert story.lead("copies")["touches"] == 1


def as_one(*parts: Envelope) -> Envelope:
    """The elements of several envelopes in one."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for part in parts:
        for table, found in part.rows.items():
            rows.setdefault(table, []).extend(found)
    return Envelope(rows)


EARLY += [
    as_one(
        message("2026-05-03 14:02", phone="together"),
        message("2026-05-03 14:02", phone="as well", bsuid="as well"),
        status("2026-05-03 14:05", id="answer", phone="together"),
    )
]


def test_e03_elements_of_one_envelope_are_all_counted(story: Story) -> None:
    assert story.world.one("marts.fct_leads", "lead_id ~ 'as well'")["touches"] == 1
    assert story.lead("together")["touches"] == 1
    assert story.talk("together")["outbound_messages"] == 1
    assert story.talk("together")["first_response_seconds"] == 180


EARLY += [
    message("2026-05-01 09:00", phone="tapped twice", **referral(AD)),
    message("2026-05-04 09:00", phone="tapped twice", **referral(OTHER_AD)),
]


def test_e04_referral_on_a_later_message_is_a_touch_of_its_own_time(story: Story) -> None:
    assert story.lead("tapped twice")["ad_id"] == AD
    assert story.lead("tapped twice")["latest_ad_id"] == OTHER_AD
    first, second = story.touches("tapped twice")
    assert (first["ad_id"], second["ad_id"]) == (AD, OTHER_AD)
    assert second["occurred_at"] == datetime(2026, 5, 4, 9, tzinfo=UTC)
    assert not second["is_opening"]


KINDS = ("audio", "button", "interactive", "request_welcome", "new")
EARLY += [
    message("2026-05-01 09:00", phone=f"wrote {kind}", type=kind, **referral(AD)) for kind in KINDS
]


@pytest.mark.parametrize("kind", KINDS)
def test_e05_referral_counts_on_any_type(story: Story, kind: str) -> None:
    assert story.lead(f"wrote {kind}")["basis"] == "ctwa_click"


EARLY += [message("2026-05-01 09:00", phone="withheld", **withheld())]


def test_e06_withheld_first_message_is_suspected_never_direct(story: Story) -> None:
    found = story.lead("withheld")
    assert (found["basis"], found["channel"]) == ("ad_suspected", "unknown_ad")
    assert found["ad_id"] is None
    assert "Meta withheld" in found["why"]


EARLY += [message("2026-05-01 09:00", phone="upgraded", **withheld())]
LATE += [message("2026-05-03 09:00", phone="upgraded", **referral(AD))]


def test_e06_referral_that_arrives_late_upgrades_the_first_message(story: Story) -> None:
    assert story.before("upgraded")["basis"] == "ad_suspected"

    found = story.lead("upgraded")
    assert (found["basis"], found["ad_id"]) == ("ctwa_click", AD)
    assert found["first_touch_at"] == datetime(2026, 5, 1, 9, tzinfo=UTC)
    assert AD in found["why"]


EARLY += [
    message("2026-05-01 09:00", phone="billed late"),
    status("2026-05-01 09:01", id="reply", phone="billed late"),
]
LATE += [status("2026-05-01 09:02", id="reply", phone="billed late", **BILLED)]


def test_e06_billing_betrays_an_ad_even_if_the_status_comes_a_run_later(story: Story) -> None:
    assert story.before("billed late")["basis"] == "direct"

    assert story.lead("billed late")["basis"] == "ad_suspected"
    assert story.talk("billed late")["basis"] == "ad_suspected"


EARLY += [
    message("2026-05-01 09:00", phone="billed first"),
    status("2026-05-01 09:02", id="bill", phone="billed first", **BILLED),
    message("2026-05-01 09:05", phone="billed first", **referral(AD)),
]


def test_e06_a_bill_before_the_referral_gives_the_first_message_its_ad(story: Story) -> None:
    found = story.lead("billed first")
    assert (found["basis"], found["ad_id"]) == ("ctwa_click", AD)
    assert found["first_touch_at"] == datetime(2026, 5, 1, 9, tzinfo=UTC)
    assert "billed the chat as opened by an ad; the referral that followed" in found["why"]


EARLY += [message("2026-05-01 09:00", phone="no click", **referral(AD, clid=None))]


def test_e07_referral_without_click_id_is_ctwa_ad(story: Story) -> None:
    found = story.lead("no click")
    assert (found["basis"], found["has_click_id"]) == ("ctwa_ad", False)
    assert found["channel"] == "click_to_whatsapp"


EARLY += [message("2026-05-01 09:00", phone="no ad", **referral(None, clid="clid"))]


def test_e08_e09_click_id_without_ad_is_paid_and_unknown(story: Story) -> None:
    found = story.lead("no ad")
    assert (found["basis"], found["channel"]) == ("ctwa_click", "unknown_ad")
    assert (found["ad_id"], found["resolution"], found["platform"]) == (None, None, "meta")


EARLY += [
    message("2026-05-01 09:00", phone="post", **referral("9", source_type="post")),
    message("2026-05-01 09:00", phone="POST", **referral("900", source_type="POST")),
]


def test_e10_post_is_organic_and_its_id_is_no_ad(story: Story) -> None:
    (found,) = story.touches("post")
    assert (found["basis"], found["channel"]) == ("post", "organic_social")
    assert (found["ad_id"], found["post_id"], found["platform"]) == (None, "9", None)


def test_e10_a_post_is_a_post_in_any_case_of_its_letters(story: Story) -> None:
    assert story.lead("POST")["basis"] == "post"
    named = story.world.query("select ad_id from intermediate.int_referral_ads__latest order by 1")
    assert [row["ad_id"] for row in named] == [AD, OTHER_AD, LOOKED_UP_LATER]


EARLY += [message("2026-05-01 09:00", phone="hologram", **referral(AD, source_type="hologram"))]


def test_e11_unknown_source_type_is_paid_and_unknown(story: Story) -> None:
    (found,) = story.touches("hologram")
    assert (found["channel"], found["referral_source_type"]) == ("unknown_ad", "hologram")


EARLY += [message("2026-05-08 09:00", phone="older")]
LATE += [message("2026-05-01 09:00", phone="older", origin="history", **referral(AD))]


def test_e12_late_earlier_message_moves_the_first_touch(story: Story) -> None:
    assert story.before("older")["first_touch_date"] == date(2026, 5, 8)

    found = story.lead("older")
    assert (found["basis"], found["ad_id"]) == ("ctwa_click", AD)
    assert found["is_backfilled"]
    assert found["first_touch_date"] == date(2026, 5, 1)


EARLY += [
    status("2026-05-01 09:00", id="template", phone="answered"),
    message("2026-05-01 10:00", phone="answered"),
]


def test_e14_answer_to_our_message_is_outbound(story: Story) -> None:
    found = story.lead("answered")
    assert (found["basis"], found["channel"]) == ("outbound", "outbound")
    assert found["first_touch_at"] == datetime(2026, 5, 1, 10, tzinfo=UTC)


# Keys that sort before and after the person's own, as hashes do by luck.
GREETED = ("a", "z")
for key in GREETED:
    EARLY += [
        message("2026-05-01 09:00", phone=f"greeted {key}", id=f"m-{key}"),
        echo("2026-05-01 09:00", phone=f"greeted {key}", id=f"{key}-greeting"),
    ]


@pytest.mark.parametrize("key", GREETED)
def test_e14_automatic_answer_in_the_same_second_did_not_write_first(
    story: Story, key: str
) -> None:
    assert story.lead(f"greeted {key}")["basis"] == "direct"
    talk = story.talk(f"greeted {key}")
    assert (talk["started_by"], talk["first_response_seconds"]) == ("inbound", 0)


EARLY += [
    status("2026-05-01 09:00", id="undelivered", phone="unreached", status="failed"),
    message("2026-05-01 10:00", phone="unreached"),
]


def test_e14_message_that_only_failed_opens_nothing(story: Story) -> None:
    assert story.lead("unreached")["basis"] == "direct"
    assert story.talk("unreached")["outbound_messages"] == 0


EARLY += [
    echo("2026-05-01 09:00", phone="written to", id="echo"),
    status("2026-05-01 09:00:01", id="echo", phone="written to"),
]


def test_e15_echo_opens_a_conversation_and_makes_no_lead(story: Story) -> None:
    assert "phone:written to" not in lead_ids(story)
    shell = story.talk("written to")
    assert (shell["lead_id"], shell["basis"], shell["outbound_messages"]) == (None, "outbound", 1)


EARLY += [
    message("2026-05-01 09:00", phone="knew us"),
    message("2026-05-05 09:00", phone="knew us", **referral(AD)),
]


def test_e16_organic_chat_first_keeps_the_source_direct(story: Story) -> None:
    found = story.lead("knew us")
    assert (found["channel"], found["latest_channel"]) == ("direct", "click_to_whatsapp")
    assert found["latest_ad_id"] == AD


EARLY += [
    message("2026-03-01 09:00", phone="came back", **referral(AD)),
    message("2026-05-01 09:00", phone="came back", **referral(AD)),
]


def test_e17_second_click_is_the_same_lead(story: Story) -> None:
    found = story.lead("came back")
    assert (found["touches"], found["ad_touches"]) == (2, 2)
    assert len(story.talks("came back")) == 2


SILENT = ("in a group", "thumbs up", "notice")
EARLY += [
    message("2026-05-01 09:00", phone="in a group", is_group=True),
    message("2026-05-01 09:00", phone="thumbs up", type="reaction"),
    message("2026-05-01 09:00", phone="notice", type="system"),
    status("2026-05-01 09:00", id="to a group", phone="in a group", is_group=True),
]


@pytest.mark.parametrize("person", SILENT)
def test_e22_groups_reactions_and_notices_are_no_talk(story: Story, person: str) -> None:
    assert story.talks(person) == []
    assert f"phone:{person}" not in lead_ids(story)


EARLY += [message("2026-05-01 02:00", phone="unknown yet", **referral(LOOKED_UP_LATER))]


def test_e33_ad_that_is_looked_up_later_resolves_old_touches(story: Story) -> None:
    before = story.before("unknown yet")
    assert (before["resolution"], before["campaign_id"]) == ("pending", None)
    assert before["first_touch_date"] == date(2026, 4, 30)

    after = story.lead("unknown yet")
    assert (after["resolution"], after["campaign_name"], after["ad_name"]) == (
        "resolved",
        "May",
        "Blue",
    )
    assert after["first_touch_date"] == date(2026, 5, 1)


EARLY += [
    message("2026-05-01 09:00", phone="one ad", **referral(AD)),
    message("2026-05-01 09:00", phone="its neighbour", **referral(OTHER_AD)),
]


def test_e38_ids_of_18_digits_survive(story: Story) -> None:
    assert story.lead("one ad")["ad_id"] == AD
    assert story.lead("its neighbour")["ad_id"] == OTHER_AD


EARLY += [message("2026-05-03 14:02", phone="why", **referral(AD))]


def test_why_names_touch_time_rule_and_version(story: Story) -> None:
    assert story.lead("why")["why"] == (
        f'Wrote on 2026-05-03 14:02 UTC after tapping the ad "Headline" (ad {AD}), with Meta\'s '
        "click id; the ad has not been looked up yet (first touch R5, basis R6 ctwa_click, "
        "rules v4)."
    )


EARLY += [
    message("2026-05-01 09:00", phone="ana", bsuid="ana", **referral(AD, clid="secret-clid")),
    outcome("2026-05-02 09:00", "qualified", "e1", phone="ana", email="ana@x"),
]


def test_no_personal_key_but_the_lead_id_reaches_the_marts(story: Story) -> None:
    everything = repr(story.world.snapshot(["marts"]))
    assert "bsuid:ana" in everything
    for personal in ("phone:ana", "email:ana@x", "secret-clid"):
        assert personal not in everything


def lead_ids(story: Story) -> set[str]:
    """Every lead of the world."""
    return {row["lead_id"] for row in story.world.rows("marts.fct_leads")}


def test_nobody_but_those_who_wrote_is_a_lead_and_only_we_opened_a_talk_without(
    story: Story,
) -> None:
    wrote = {row["phone_key"] for e in EARLY + LATE for row in e.rows.get("messages", [])} - {
        f"phone:{person}" for person in (*SILENT, "written to", "ana", "as well")
    }
    assert lead_ids(story) == wrote | {"bsuid:ana", "bsuid:as well"}
    assert len(story.world.rows("marts.fct_leads")) == len(lead_ids(story))
    shells = story.world.query("select * from marts.fct_conversations where lead_id is null")
    assert [shell["conversation_id"] for shell in shells] == [
        story.talk("written to")["conversation_id"]
    ]


def test_every_rule_of_people_and_leads_holds_in_its_unit_test(story: Story) -> None:
    """Unit tests do not run at night; here they do, on a built project."""
    nouns = ("messages", "conversations", "touches", "leads", "outcomes")
    folders = (*(f"intermediate/{noun}" for noun in nouns), "marts/leads")
    chosen = [f"test_type:unit,path:dbt_project/models/{folder}" for folder in folders]
    result = story.world.dbt("test", "--select", *chosen)
    assert len(result.result) >= 22
    assert {r.status for r in result.result} == {"pass"}
