"""E2, E27, E28, E30, E31: one number and two people, one person and many numbers.

All scenarios lie in one world, each with people of its own, and arrive in two nights: what the
first night took for one person, the second may show to be two, and the other way round.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from ingestion.identity.erased import Period
from ingestion.lake.lake import Lake
from keeping.erasure.person import Person, connected
from tests.support.lake import utc
from tests.support.people import (
    Envelope,
    Inbox,
    echo,
    link,
    message,
    outcome,
    people_models,
    referral,
    status,
)
from tests.support.warehouse import DbtWorld

AD = "120226305854810726"


@dataclass(frozen=True)
class Story:
    """What arrived in the first night, and what in the second."""

    first: tuple[Envelope, ...]
    second: tuple[Envelope, ...] = ()


def both(at: str, name: str, **more: Any) -> Envelope:
    """A message with phone and user id: `ana@1` is user id `ana` on phone `1`."""
    bsuid, phone = name.split("@")
    return message(at, phone=phone, bsuid=bsuid, **more)


STORIES = {
    # A number goes from ana to bia after 60 days of silence.
    "recycled": Story(
        (
            message("2026-01-01 09:00", phone="r1", **referral(AD)),
            both("2026-01-02 09:00", "r_ana@r1"),
            link("2026-01-03 09:00", "phone:r1", "email:r_ana", "outcome", waba_id=None),
            both("2026-03-03 09:00", "r_bia@r1"),
            message("2026-03-05 09:00", phone="r1", id="r_after"),
            link("2026-03-06 09:00", "phone:r1", "email:r_bia", "outcome", waba_id=None),
            outcome("2026-01-20 09:00", "qualified", "r_old", phone="r1"),
            outcome("2026-03-20 09:00", "won", "r_new", phone="r1"),
            outcome("2026-03-21 09:00", "won", "r_new_mail", email="r_bia"),
            status("2026-03-22 09:00", id="r_sent", phone="r1"),
        )
    ),
    "a_day_too_short": Story(
        (both("2026-01-02 09:00", "s_ana@s1"), both("2026-02-15 09:00", "s_bia@s1"))
    ),
    "just_long_enough": Story(
        (both("2026-01-02 09:00", "j_ana@j1"), both("2026-02-16 09:00", "j_bia@j1"))
    ),
    "another_waba": Story(
        (
            both("2026-01-02 09:00", "w_ana@w1", waba_id="one"),
            both("2026-04-02 09:00", "w_bia@w1", waba_id="other"),
        )
    ),
    # Another WABA saw the phone with an id of bia's before the one that saw it change hands.
    "second_id_elsewhere": Story(
        (
            both("2026-01-02 09:00", "x_ana@x1", waba_id="one"),
            both("2026-04-02 09:00", "x_bia@x1", waba_id="one"),
            both("2026-03-01 09:00", "x_two@x1", waba_id="other"),
            link("2026-04-04 09:00", "bsuid:x_bia", "bsuid:x_two", "id_change"),
        )
    ),
    "unknown_waba": Story(
        (
            both("2026-01-02 09:00", "u_ana@u1", waba_id=None),
            both("2026-04-02 09:00", "u_bia@u1", waba_id=None),
        )
    ),
    "id_replaced_by_notice": Story(
        (
            both("2026-01-02 09:00", "n_ana@n1"),
            link("2026-04-01 09:00", "bsuid:n_ana", "bsuid:n_new", "id_change"),
            both("2026-04-02 09:00", "n_new@n1"),
        )
    ),
    "id_of_the_phone_replaced": Story(
        (
            both("2026-01-02 09:00", "p_ana@p1"),
            link("2026-04-01 09:00", "phone:p1", "bsuid:p_new", "id_change"),
            both("2026-04-02 09:00", "p_new@p1"),
        )
    ),
    "parted_by_a_late_sighting": Story(
        (
            message("2026-01-02 09:00", phone="l1", **referral(AD)),
            message("2026-04-02 09:00", phone="l1"),
            both("2026-04-03 09:00", "l_bia@l1"),
            message("2026-04-04 09:00", phone="l1"),
        ),
        (both("2026-01-03 09:00", "l_ana@l1"), both("2026-04-01 09:00", "l_bia@l1")),
    ),
    "joined_by_a_late_sighting": Story(
        (both("2026-01-02 09:00", "k_ana@k1"), both("2026-04-02 09:00", "k_bia@k1")),
        (both("2026-03-02 09:00", "k_ana@k1"),),
    ),
    "joined_by_a_late_notice": Story(
        (both("2026-01-02 09:00", "q_ana@q1"), both("2026-04-02 09:00", "q_bia@q1")),
        (link("2026-04-02 08:00", "bsuid:q_ana", "bsuid:q_bia", "id_change"),),
    ),
    "three_holders": Story(
        (
            both("2026-01-01 09:00", "t_a@t1"),
            both("2026-03-01 09:00", "t_b@t1"),
            message("2026-03-02 09:00", phone="t1", id="t_b2"),
        ),
        (both("2026-05-01 09:00", "t_c@t1"), message("2026-05-02 09:00", phone="t1")),
    ),
    # E2: one message under two and three addresses; the better copy comes last.
    "copies": Story(
        (
            message("2026-05-01 09:00", phone="c1", id="c_copy"),
            message("2026-05-02 09:00", bsuid="c_ana"),
            message("2026-05-03 09:00", phone="c2"),
        ),
        (
            message("2026-05-01 09:00", bsuid="c_ana", id="c_copy", **referral(AD)),
            message("2026-05-01 09:00", phone="c2", id="c_copy"),
        ),
    ),
    "copies_of_ours": Story(
        (
            message("2026-05-01 09:00", phone="o1"),
            message("2026-05-01 12:00", bsuid="o_ana"),
            echo("2026-05-01 10:00", phone="o1", id="o_copy"),
            status("2026-05-01 10:01", bsuid="o_ana", id="o_copy"),
        )
    ),
    "participants_of_a_group": Story(
        (
            message("2026-05-01 09:00", phone="g1"),
            message("2026-05-01 09:00", phone="g2"),
            status("2026-05-01 10:01", phone="g1", id="g_sent", is_group=True),
            status("2026-05-01 10:01", phone="g2", id="g_sent", is_group=True),
        )
    ),
    # E27: to a number that somebody else had; the notice shows the new user id with it.
    "moved_to_a_recycled_number": Story(
        (
            both("2026-01-01 09:00", "m_other@m2"),
            both("2026-01-01 09:00", "m_ana@m1"),
            link("2026-04-01 09:00", "phone:m1", "phone:m2"),
            link("2026-04-01 09:00", "phone:m2", "bsuid:m_new"),
            link("2026-04-01 09:00", "bsuid:m_ana", "bsuid:m_new", "id_change"),
            message("2026-04-02 09:00", phone="m2"),
        )
    ),
    # E30, E31: numbers that moved, and brands.
    "moved_business": Story(
        (
            message("2026-05-01 09:00", phone="b1", number="5511400000010"),
            message("2026-05-02 09:00", phone="b1", number="5511400000011"),
            message("2026-05-03 09:00", phone="b1", number="5511400000012"),
            message("2026-05-04 09:00", phone="b1", number="5511400000013"),
        )
    ),
}

Nights = tuple[DbtWorld, dict[str, Any]]

NUMBERS = """business_number_id,current_number_id,brand
5511400000010,5511400000011,Sol
5511400000012,5511400000012,Sol
"""


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """The world after both nights, and the leads as they were after the first."""
    world = DbtWorld(tmp_path_factory.mktemp("recycled"))
    world.seeds["business_numbers"] = NUMBERS
    inbox = Inbox(world)
    inbox.deliver(*(e for story in STORIES.values() for e in story.first))
    world.build(*people_models(), tests=False)
    before = {row["lead_id"]: row for row in world.rows("marts.fct_leads")}
    inbox.deliver(*(e for story in STORIES.values() for e in story.second))
    world.build(*people_models())
    return world, before


def leads(world: DbtWorld, prefix: str) -> dict[str, dict[str, Any]]:
    """Leads of one story, by their ids without the kind in front."""
    whose = re.compile(f".*:{prefix}(_.*|[0-9])")
    found = [row for row in world.rows("marts.fct_leads") if whose.fullmatch(row["lead_id"])]
    return {row["lead_id"]: row for row in found}


def test_e28_recycled_number_is_two_people(nights: Nights) -> None:
    world, _ = nights
    found = leads(world, "r")

    assert set(found) == {"phone:r1", "bsuid:r_bia"}
    ana, bia = found["phone:r1"], found["bsuid:r_bia"]
    assert (ana["ad_id"], ana["is_won"], ana["is_qualified"]) == (AD, False, True)
    assert (bia["ad_id"], bia["is_won"]) == (None, True)


def test_e28_messages_and_statuses_by_phone_are_their_holders(nights: Nights) -> None:
    world, _ = nights
    built = world.query(
        "select message_key, identity_key from intermediate.int_messages__with_person"
        " where message_key like '%r_after' or message_key like '%r_sent'"
    )
    assert {row["identity_key"] for row in built} == {"bsuid:r_bia"}
    assert len(built) == 2


def test_e28_refused_join_is_reported_once(nights: Nights) -> None:
    world, _ = nights
    found = world.one("marts.identity_conflicts", "lead_id_earlier = 'phone:r1'")

    assert found["lead_id_later"] == "bsuid:r_bia"
    assert found["reason"] == "recycled_number"
    assert found["last_seen_earlier_at"].date().isoformat() == "2026-01-02"
    assert found["first_seen_later_at"].date().isoformat() == "2026-03-03"


@pytest.mark.parametrize(
    ("prefix", "people"),
    [("s", 1), ("j", 2), ("w", 1), ("x", 2), ("u", 1), ("n", 1), ("p", 1)],
    ids=["gap_too_short", "gap_just_long_enough", "another_waba", "second_id_elsewhere",
         "unknown_waba", "id_replaced_by_notice", "id_of_the_phone_replaced"],
)  # fmt: skip
def test_e28_only_contrary_evidence_parts_people(nights: Nights, prefix: str, people: int) -> None:
    assert len(leads(nights[0], prefix)) == people


def test_e28_late_sighting_parts_people(nights: Nights) -> None:
    world, before = nights
    assert [k for k in before if ":l" in k] == ["phone:l1"]
    assert before["phone:l1"]["touches"] == 2

    found = leads(world, "l")
    assert set(found) == {"phone:l1", "bsuid:l_bia"}
    # What bia wrote from her number alone before she was first seen with it stays with the number.
    assert found["bsuid:l_bia"]["first_touch_at"].date().isoformat() == "2026-04-01"


@pytest.mark.parametrize("prefix", ["k", "q"], ids=["sighting", "notice"])
def test_e28_late_evidence_joins_people_again(nights: Nights, prefix: str) -> None:
    world, before = nights
    assert len([k for k in before if f":{prefix}_" in k]) == 2

    assert set(leads(world, prefix)) == {f"bsuid:{prefix}_ana"}


def test_e28_number_may_change_hands_several_times(nights: Nights) -> None:
    world, _ = nights
    found = leads(world, "t")

    assert set(found) == {"bsuid:t_a", "bsuid:t_b", "bsuid:t_c"}
    assert len(world.query(
        "select * from marts.identity_conflicts where lead_id_later like 'bsuid:t%'"
    )) == 2  # fmt: skip
    whose = world.one("intermediate.int_messages__with_person", "message_key like '%t_b2'")
    assert whose["identity_key"] == "bsuid:t_b"


def test_e02_copies_under_several_addresses_are_one_person(nights: Nights) -> None:
    world, before = nights
    assert {k for k in before if ":c" in k} == {"phone:c1", "bsuid:c_ana", "phone:c2"}

    (found,) = leads(world, "c").values()
    assert (found["lead_id"], found["ad_id"]) == ("bsuid:c_ana", AD)
    assert world.one("marts.fct_conversations", "lead_id = 'bsuid:c_ana'")["inbound_messages"] == 3


def test_e02_message_of_ours_and_its_status_name_one_person(nights: Nights) -> None:
    assert set(leads(nights[0], "o")) == {"phone:o1"}


def test_e22_participants_of_a_group_are_not_one_person(nights: Nights) -> None:
    assert set(leads(nights[0], "g")) == {"phone:g1", "phone:g2"}


def test_e27_a_person_who_moves_to_a_recycled_number_keeps_their_own_past(nights: Nights) -> None:
    found = leads(nights[0], "m")

    assert set(found) == {"bsuid:m_other", "bsuid:m_ana"}


def test_e30_moved_business_number_goes_on_under_its_current_id(nights: Nights) -> None:
    world, _ = nights
    found = world.query(
        "select business_number_id, inbound_messages from marts.fct_conversations"
        " where lead_id = 'phone:b1' order by 1"
    )
    assert [(row["business_number_id"][-1], row["inbound_messages"]) for row in found] == [
        ("1", 2), ("2", 1), ("3", 1),
    ]  # fmt: skip


def test_e31_brand_is_of_the_current_number(nights: Nights) -> None:
    world, _ = nights
    found = world.query(
        "select brand, count(*) as n from intermediate.int_messages__with_person"
        " where identity_key = 'phone:b1' group by brand order by brand"
    )
    assert found == [{"brand": "5511400000013", "n": 1}, {"brand": "Sol", "n": 3}]


def test_e28_e02_an_erasure_finds_the_person_that_the_models_find(nights: Nights) -> None:
    """Erasures follow links outwards from one identity, the tables come from all links at once."""
    world, _ = nights
    resolved = {row["identity_key"]: row["person_key"] for row in world.identity("identities")}
    holders: dict[str, list[tuple[str, Period]]] = {}
    for row in world.identity("phones_held"):
        first = (row["phone_key"], Period(None, row["held_from"]))
        held = (row["identity_key"], Period(row["held_from"], row["held_until"]))
        holders.setdefault(row["phone_key"], [first]).append(held)
    people = {person: Person() for person in resolved.values()}
    for key, person in resolved.items():
        if key.partition(":")[0] in ("phone", "bsuid", "email") and key not in holders:
            people[person].identities.add(key)
    for phone, periods in holders.items():
        for node, period in periods:
            people[resolved[node]].phones.setdefault(phone, []).append(period)

    lake, after, silence = Lake(str(world.lake)), utc("2027-01-01"), timedelta(days=45)
    degree = world.settings.shared_identifier_degree
    for person in people.values():
        found = connected(lake, [min(person.identities)], after, silence, degree)
        assert (found.identities, found.phones) == (person.identities, person.phones)
    for phone, periods in holders.items():
        for node, period in periods:
            on = period.since or utc("2000-01-01")
            found = connected(lake, [phone], after, silence, degree, on=on)
            assert found.identities == people[resolved[node]].identities
    assert len(holders) >= 5


def test_e28_two_nights_are_one_full_run(nights: Nights) -> None:
    world, _ = nights
    before = world.snapshot()
    world.build(*people_models(), tests=False, full_refresh=True)

    after = world.snapshot()
    assert {name for name in before if before[name] != after[name]} == set()
