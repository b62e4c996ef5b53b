"""Rules R9, R11 and R13 on leads: what the CRM said of them, and when.

One world for all: each test has a person of its own, and two builds lie between what came early
and what came late.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.support.people import Envelope, Inbox, message, outcome, people_models, referral
from tests.support.warehouse import DbtWorld


def born(person: str) -> Envelope:
    """The first message of a lead, with the id `birth of <person>`."""
    at = "2026-03-01 09:00"
    return message(at, phone=person, id=f"birth of {person}", **referral("120"))


def won(at: str, event_id: str, person: str, value: str, currency: str) -> Envelope:
    """A sale."""
    return outcome(at, "won", event_id, phone=person, value=value, currency=currency)


def deal(
    person: str, number: int, *stages: tuple[str, str, str | None], unread: bool = False
) -> tuple[Envelope, ...]:
    """A HubSpot deal: each stage with its day in March and what the deal was worth in it.

    `unread`: as parsers before version 4 had it, with the amount on the latest stage alone.
    """
    last = len(stages) - 1
    return tuple(
        outcome(
            f"2026-03-{day} 09:00", stage, f"deal:{number}:{stage}:2026-03-{day}",
            phone=person, source="hubspot_deals",
            value=None if unread and n < last else value, currency="BRL" if value else None,
        )
        for n, (stage, day, value) in enumerate(stages)
    )  # fmt: skip


DEALS = {
    "moved": deal(
        "moved", 1, ("qualifiedtobuy", "02", "900"), ("closedwon", "03", "900"),
        ("501", "05", "50"),
    ),
    "delivered": deal("delivered", 2, ("closedwon", "03", "900"), ("contractsent", "05", "0.5")),
    "unread": deal(
        "unread", 3, ("closedwon", "03", "900"), ("501", "05", "900"), unread=True
    ),
    "twice": deal(
        "twice", 4, ("closedwon", "03", "100"), ("contractsent", "04", "120"),
        ("closedwon", "05", "150"), ("501", "06", "150"),
    ),
    "undone": deal("undone", 5, ("closedwon", "03", "80"), ("closedlost", "04", "80")),
    "open": deal("open", 6, ("qualifiedtobuy", "03", "80"), ("contractsent", "04", "85")),
    "both": (
        *deal("both", 7, ("closedwon", "03", "10"), ("501", "04", "1")),
        *deal("both", 8, ("closedwon", "03", "20")),
    ),
}  # fmt: skip

CORRECTED = outcome("2026-03-05 09:00", "lost", "corrected", phone="corrected")

EARLY = (
    *(born(p) for p in ("late", "fallen", "yen", "silent", "corrected", "quoted", "hot")),
    won("2026-03-02 09:00", "fallen 1", "fallen", "10.10", "BRL"),
    won("2026-03-03 09:00", "fallen 2", "fallen", "2", "USD"),
    outcome("2026-03-04 09:00", "disqualified", "fallen 3", phone="fallen"),
    won("2026-03-02 09:00", "yen 1", "yen", "10", "BRL"),
    won("2026-03-02 09:00", "yen 2", "yen", "10", "JPY"),
    outcome("2026-03-02 09:00", "won", "stranger", phone="stranger"),
    outcome("2026-02-01 09:00", "qualified", "early", phone="early"),
    CORRECTED,
    outcome("2026-03-02 09:00", "qualified", "quoted", message_id="birth of quoted"),
    outcome("2026-03-02 09:00", "Very hot", "hot", phone="hot"),
    *(event for person, events in DEALS.items() for event in (born(person), *events)),
)

LATE = (
    outcome("2026-05-29 09:00", "Qualified", "late", phone="late"),
    born("early"),
    won("2026-03-02 09:00", "corrected", "corrected", "10", "BRL"),
    CORRECTED,
)


@dataclass(frozen=True)
class Story:
    """The marts after the first of two builds, and the world after the second."""

    first_leads: dict[str, dict[str, Any]]
    first_outcomes: dict[str, dict[str, Any]]
    world: DbtWorld

    def lead(self, person: str) -> dict[str, Any]:
        """The only lead of a person."""
        return self.world.one("marts.fct_leads", f"lead_id = 'phone:{person}'")

    def outcome(self, event_id: str) -> dict[str, Any]:
        """The only row of an event."""
        return self.world.one("marts.fct_outcomes", f"event_id = '{event_id}'")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """What came early, built; what came late, built with every data test."""
    world = DbtWorld(tmp_path_factory.mktemp("qualified"))
    inbox = Inbox(world)
    inbox.deliver(*EARLY)
    world.build(*people_models(), tests=False)
    leads = {row["lead_id"]: row for row in world.rows("marts.fct_leads")}
    outcomes = {row["event_id"]: row for row in world.rows("marts.fct_outcomes")}
    inbox.deliver(*LATE)
    world.build(*people_models(), tests=True)
    return Story(leads, outcomes, world)


def test_e57_qualification_months_later_stays_with_the_day_of_birth(story: Story) -> None:
    before, found = story.first_leads["phone:late"], story.lead("late")
    assert before["is_qualified"] is False
    assert found["first_touch_date"] == before["first_touch_date"]
    assert (found["is_qualified"], found["days_to_qualify"]) == (True, 89)
    assert (found["is_qualified_30d"], found["is_qualified_90d"]) == (False, True)


def test_e58_disqualified_later_stays_ever_qualified(story: Story) -> None:
    found = story.lead("fallen")
    assert (found["is_qualified"], found["is_won"]) == (True, True)
    assert (found["is_currently_qualified"], found["current_stage"]) == (False, "disqualified")
    # 10.10 + 2 x 5.32, the rate of 2 March.
    assert found["won_value_reporting"] == Decimal("20.74")
    assert (found["won_value"], found["won_currency"]) == (None, None)


def test_e44_value_without_a_rate_is_null_and_its_check_warns(story: Story) -> None:
    assert story.lead("yen")["won_value_reporting"] is None
    assert story.world.one("checks.outcome_values_are_converted")["currency"] == "JPY"


def test_e60_outcome_without_a_lead_and_lead_without_outcome_are_kept(story: Story) -> None:
    assert story.outcome("stranger")["lead_id"] is None
    assert story.world.query("select lead_id from marts.fct_leads where lead_id ~ 'stranger'") == []
    assert story.lead("silent")["is_qualified"] is False


def test_e61_crm_record_before_the_first_message_waits_for_it(story: Story) -> None:
    assert "phone:early" not in story.first_leads
    assert story.first_outcomes["early"]["lead_id"] is None

    found = story.lead("early")
    assert (found["is_qualified"], found["days_to_qualify"]) == (True, 0)
    assert found["qualified_at"] == datetime(2026, 2, 1, 9, tzinfo=UTC)
    assert found["first_touch_at"] == datetime(2026, 3, 1, 9, tzinfo=UTC)


def test_correction_of_an_event_counts_once_whichever_comes_first(story: Story) -> None:
    assert story.outcome("corrected")["stage"] == "lost"
    assert story.lead("corrected")["is_won"] is False


def test_outcome_by_message_id_finds_the_lead(story: Story) -> None:
    found = story.outcome("quoted")
    assert (found["matched_by"], found["lead_id"]) == ("message_id", "phone:quoted")


def test_unmapped_stage_is_kept_and_named_by_a_check(story: Story) -> None:
    assert story.outcome("hot")["funnel_stage"] is None
    named = story.world.one("checks.stages_are_mapped", "source = 'crm'")
    assert (named["source"], named["stage"], named["outcomes"]) == ("crm", "Very hot", 1)


@pytest.mark.parametrize(
    ("person", "is_won", "value"),
    [
        ("moved", True, 900),  # into a delivery pipeline that nobody mapped, and to another amount
        ("delivered", True, 900),  # into a stage that is mapped, and to another amount
        ("unread", True, 900),  # read before the history of amounts was
        ("twice", True, 150),
        ("undone", True, None),  # lost after it was won: no sale
        ("open", False, None),
        ("both", True, 30),
    ],
)
def test_e90_the_value_of_a_win_stays_with_the_win(
    story: Story, person: str, is_won: bool, value: int | None
) -> None:
    for lead in (story.first_leads[f"phone:{person}"], story.lead(person)):
        assert (lead["is_won"], lead["won_value_reporting"]) == (is_won, value)


def test_e90_a_deal_has_its_value_once(story: Story) -> None:
    found = story.world.query(
        "select event_id, value from marts.fct_outcomes"
        " where source = 'hubspot_deals' and value is not null order by all"
    )
    assert [(row["event_id"], row["value"]) for row in found] == [
        ("deal:1:closedwon:2026-03-03", 900),
        ("deal:2:closedwon:2026-03-03", 900),
        ("deal:3:closedwon:2026-03-03", 900),
        ("deal:4:closedwon:2026-03-05", 150),
        ("deal:5:closedlost:2026-03-04", 80),
        ("deal:6:contractsent:2026-03-04", 85),
        ("deal:7:closedwon:2026-03-03", 10),
        ("deal:8:closedwon:2026-03-03", 20),
    ]
