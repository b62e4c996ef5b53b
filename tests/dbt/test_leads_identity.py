"""Rule R4: who is one person, whatever was learned when."""

from __future__ import annotations

import pytest

from tests.support.people import (
    NUMBER,
    Inbox,
    link,
    message,
    outcome,
    people_models,
    referral,
    status,
)
from tests.support.warehouse import DbtWorld

AD = "120226305854810726"


# Nine persons or pairs of them that one build settles; the tests below it read their own.
SETTLED = (
    message("2026-05-01 09:00", bsuid="BR.1", **referral(AD)),
    message("2026-05-01 09:00", phone="553187654321"),
    message("2026-05-01 09:00", phone="554187654321"),
    message("2026-05-01 09:00", phone="old", **referral(AD)),
    message("2026-05-05 09:00", phone="old", type="system"),
    link("2026-05-05 09:00", "phone:old", "phone:new"),
    message("2026-05-06 09:00", phone="new"),
    message("2026-05-05 09:00", phone="nobody", type="system"),
    link("2026-05-05 09:00", "phone:nobody", "phone:heir"),
    message("2026-05-01 09:00", phone="moved", phone_number_id="1", waba_id="old"),
    message("2026-05-02 09:00", phone="moved", phone_number_id="2", waba_id="new"),
    message("2026-05-01 09:00", phone="both", number="551"),
    message("2026-05-01 10:00", phone="both", number="552"),
    message("2026-05-01 09:00", bsuid="seen", **referral(AD)),
    status("2026-05-01 09:10", id="answer", phone="seen", bsuid="seen"),
    outcome("2026-05-03 09:00", "qualified", "e1", phone="seen"),
)


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> DbtWorld:
    """`SETTLED`, built once."""
    world = DbtWorld(tmp_path_factory.mktemp("settled"))
    Inbox(world).deliver(*SETTLED)
    world.build(*people_models(), tests=False)
    return world


def leads(world: DbtWorld) -> set[str]:
    """All lead ids of a world."""
    return {row["lead_id"] for row in world.rows("marts.fct_leads")}


def test_nobody_but_those_who_wrote_is_a_lead(settled: DbtWorld) -> None:
    phones = {"553187654321", "554187654321", "old", "moved", "both"}
    assert leads(settled) == {f"phone:{p}" for p in phones} | {"bsuid:BR.1", "bsuid:seen"}
    assert len(settled.rows("marts.fct_leads")) == 7


def test_e23_user_id_alone_is_a_person(settled: DbtWorld) -> None:
    assert settled.one("marts.fct_leads", "lead_id like '%BR.1'")["lead_id"] == "bsuid:BR.1"


def test_e26_two_people_stay_two_without_a_link(settled: DbtWorld) -> None:
    assert {"phone:553187654321", "phone:554187654321"} <= leads(settled)


def test_e27_number_change_joins_and_its_notice_is_no_touch(settled: DbtWorld) -> None:
    assert "phone:new" not in leads(settled)
    found = settled.one("marts.fct_leads", "lead_id = 'phone:old'")
    assert (found["lead_id"], found["ad_id"], found["touches"]) == ("phone:old", AD, 1)


def test_e27_notice_of_nobody_makes_no_lead(settled: DbtWorld) -> None:
    assert not {"phone:nobody", "phone:heir"} & leads(settled)


def test_e30_moved_business_number_keeps_its_conversation(settled: DbtWorld) -> None:
    found = settled.one("marts.fct_conversations", "lead_id = 'phone:moved'")
    assert (found["inbound_messages"], found["business_number_id"]) == (2, NUMBER)


def test_e31_two_business_numbers_are_two_conversations_of_one_lead(settled: DbtWorld) -> None:
    assert settled.one("marts.fct_leads", "lead_id = 'phone:both'")["touches"] == 2
    found = settled.query("select * from marts.fct_conversations where lead_id = 'phone:both'")
    assert len(found) == 2


def test_status_alone_links_a_person_and_their_number(settled: DbtWorld) -> None:
    found = settled.one("marts.fct_leads", "lead_id = 'bsuid:seen'")
    assert (found["is_qualified"], found["ad_id"]) == (True, AD)
    talk = settled.one("marts.fct_conversations", "lead_id = 'bsuid:seen'")
    assert talk["first_response_seconds"] == 600


def test_e24_phone_first_user_id_later_keeps_the_older_leads_id(dbt_world: DbtWorld) -> None:
    inbox = Inbox(dbt_world)
    inbox.deliver(
        message("2026-05-01 09:00", phone="ana"),
        message("2026-05-02 09:00", bsuid="ana", **referral(AD)),
    )
    dbt_world.build(*people_models(), tests=False)
    assert len(dbt_world.rows("marts.fct_leads")) == 2

    inbox.deliver(message("2026-05-20 09:00", phone="ana", bsuid="ana"))
    dbt_world.build(*people_models(), tests=False)

    found = dbt_world.one("marts.fct_leads")
    assert (found["lead_id"], found["channel"]) == ("phone:ana", "direct")
    assert (found["latest_ad_id"], found["touches"]) == (AD, 2)
    conversation = dbt_world.one("marts.fct_conversations")
    assert conversation["inbound_messages"] == 3


def test_e24_link_may_come_before_both_of_them(dbt_world: DbtWorld) -> None:
    inbox = Inbox(dbt_world)
    inbox.deliver(link("2026-04-01 09:00", "phone:ana", "bsuid:ana", "contact_card"))
    dbt_world.build(*people_models(), tests=False)
    assert dbt_world.rows("marts.fct_leads") == []

    inbox.deliver(message("2026-05-02 09:00", bsuid="ana"))
    dbt_world.build(*people_models(), tests=False)
    inbox.deliver(message("2026-05-01 09:00", phone="ana"))
    dbt_world.build(*people_models(), tests=False)

    assert dbt_world.one("marts.fct_leads")["lead_id"] == "phone:ana"


def test_e24_chain_of_links_over_many_runs_is_one_person(dbt_world: DbtWorld) -> None:
    inbox = Inbox(dbt_world)
    names = [f"p{n}" for n in range(6)]
    for place, name in enumerate(names):
        inbox.deliver(message(f"2026-05-0{place + 1} 09:00", phone=name))
    dbt_world.build(*people_models(), tests=False)
    assert len(dbt_world.rows("marts.fct_leads")) == 6

    for left, right in ((4, 5), (0, 1), (2, 3), (3, 4), (1, 2)):
        inbox.deliver(link("2026-05-09 09:00", f"phone:p{left}", f"phone:p{right}"))
        dbt_world.build("+int_leads__sourced", tests=False)
    dbt_world.build(*people_models(), tests=False)

    assert dbt_world.one("marts.fct_leads")["lead_id"] == "phone:p0"
