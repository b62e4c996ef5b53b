"""Rule R4: who is one person, whatever was learned when."""

from __future__ import annotations

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


def test_e23_user_id_alone_is_a_person(dbt_world: DbtWorld) -> None:
    Inbox(dbt_world).deliver(message("2026-05-01 09:00", bsuid="BR.1", **referral(AD)))
    dbt_world.build(*people_models(), tests=False)

    assert dbt_world.one("marts.fct_leads")["lead_id"] == "bsuid:BR.1"


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


def test_e26_two_people_stay_two_without_a_link(dbt_world: DbtWorld) -> None:
    Inbox(dbt_world).deliver(
        message("2026-05-01 09:00", phone="553187654321"),
        message("2026-05-01 09:00", phone="554187654321"),
    )
    dbt_world.build(*people_models(), tests=False)

    assert len(dbt_world.rows("marts.fct_leads")) == 2


def test_e27_number_change_joins_and_its_notice_is_no_touch(dbt_world: DbtWorld) -> None:
    Inbox(dbt_world).deliver(
        message("2026-05-01 09:00", phone="old", **referral(AD)),
        message("2026-05-05 09:00", phone="old", type="system"),
        link("2026-05-05 09:00", "phone:old", "phone:new"),
        message("2026-05-06 09:00", phone="new"),
    )
    dbt_world.build(*people_models(), tests=False)

    found = dbt_world.one("marts.fct_leads")
    assert (found["lead_id"], found["ad_id"], found["touches"]) == ("phone:old", AD, 1)


def test_e27_notice_of_nobody_makes_no_lead(dbt_world: DbtWorld) -> None:
    Inbox(dbt_world).deliver(
        message("2026-05-05 09:00", phone="old", type="system"),
        link("2026-05-05 09:00", "phone:old", "phone:new"),
    )
    dbt_world.build(*people_models(), tests=False)

    assert dbt_world.rows("marts.fct_leads") == []


def test_e30_moved_business_number_keeps_its_conversation(dbt_world: DbtWorld) -> None:
    Inbox(dbt_world).deliver(
        message("2026-05-01 09:00", phone="ana", phone_number_id="1", waba_id="old"),
        message("2026-05-02 09:00", phone="ana", phone_number_id="2", waba_id="new"),
    )
    dbt_world.build(*people_models(), tests=False)

    found = dbt_world.one("marts.fct_conversations")
    assert (found["inbound_messages"], found["business_number_id"]) == (2, NUMBER)


def test_e31_two_business_numbers_are_two_conversations_of_one_lead(dbt_world: DbtWorld) -> None:
    Inbox(dbt_world).deliver(
        message("2026-05-01 09:00", phone="ana", number="551"),
        message("2026-05-01 10:00", phone="ana", number="552"),
    )
    dbt_world.build(*people_models(), tests=False)

    assert dbt_world.one("marts.fct_leads")["touches"] == 2
    assert len(dbt_world.rows("marts.fct_conversations")) == 2


def test_status_alone_links_a_person_and_their_number(dbt_world: DbtWorld) -> None:
    Inbox(dbt_world).deliver(
        message("2026-05-01 09:00", bsuid="ana", **referral(AD)),
        status("2026-05-01 09:10", id="answer", phone="ana", bsuid="ana"),
        outcome("2026-05-03 09:00", "qualified", "e1", phone="ana"),
    )
    dbt_world.build(*people_models(), tests=False)

    found = dbt_world.one("marts.fct_leads")
    assert (found["is_qualified"], found["ad_id"]) == (True, AD)
    assert dbt_world.one("marts.fct_conversations")["first_response_seconds"] == 600
