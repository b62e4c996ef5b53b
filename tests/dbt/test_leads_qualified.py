"""Rules R9, R11 and R13 on leads: what the CRM said of them, and when."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from tests.support.people import Inbox, message, outcome, people_models, referral
from tests.support.warehouse import DbtWorld

BORN = message("2026-03-01 09:00", phone="ana", id="birth", **referral("120"))


def test_e57_qualification_months_later_stays_with_the_day_of_birth(dbt_world: DbtWorld) -> None:
    inbox = Inbox(dbt_world)
    inbox.deliver(BORN)
    dbt_world.build(*people_models(), tests=False)
    born = dbt_world.one("marts.fct_leads")

    inbox.deliver(outcome("2026-05-29 09:00", "Qualified", "e1", phone="ana"))
    dbt_world.build(*people_models(), tests=False)

    found = dbt_world.one("marts.fct_leads")
    assert found["first_touch_date"] == born["first_touch_date"]
    assert (found["is_qualified"], found["days_to_qualify"]) == (True, 89)
    assert (found["is_qualified_30d"], found["is_qualified_90d"]) == (False, True)


def test_e58_disqualified_later_stays_ever_qualified(dbt_world: DbtWorld) -> None:
    Inbox(dbt_world).deliver(
        BORN,
        outcome("2026-03-02 09:00", "won", "e1", phone="ana", value="10.10", currency="BRL"),
        outcome("2026-03-03 09:00", "won", "e2", phone="ana", value="2", currency="USD"),
        outcome("2026-03-04 09:00", "disqualified", "e3", phone="ana"),
    )
    dbt_world.build(*people_models(), tests=False)

    found = dbt_world.one("marts.fct_leads")
    assert (found["is_qualified"], found["is_won"]) == (True, True)
    assert (found["is_currently_qualified"], found["current_stage"]) == (False, "disqualified")
    # 10.10 + 2 x 5.32, the rate of 2 March.
    assert found["won_value_reporting"] == Decimal("20.74")
    assert (found["won_value"], found["won_currency"]) == (None, None)


def test_e44_value_without_a_rate_is_null_and_its_check_warns(dbt_world: DbtWorld) -> None:
    Inbox(dbt_world).deliver(
        BORN,
        outcome("2026-03-02 09:00", "won", "e1", phone="ana", value="10", currency="BRL"),
        outcome("2026-03-02 09:00", "won", "e2", phone="ana", value="10", currency="JPY"),
    )
    dbt_world.build(*people_models(), tests=True)

    assert dbt_world.one("marts.fct_leads")["won_value_reporting"] is None
    assert dbt_world.one("checks.outcome_values_are_converted")["currency"] == "JPY"


def test_e60_outcome_without_a_lead_and_lead_without_outcome_are_kept(dbt_world: DbtWorld) -> None:
    Inbox(dbt_world).deliver(BORN, outcome("2026-03-02 09:00", "won", "e1", phone="stranger"))
    dbt_world.build(*people_models(), tests=False)

    assert dbt_world.one("marts.fct_outcomes")["lead_id"] is None
    assert dbt_world.one("marts.fct_leads")["is_qualified"] is False


def test_e61_crm_record_before_the_first_message_waits_for_it(dbt_world: DbtWorld) -> None:
    inbox = Inbox(dbt_world)
    inbox.deliver(outcome("2026-02-01 09:00", "qualified", "e1", phone="ana"))
    dbt_world.build(*people_models(), tests=False)
    assert dbt_world.one("marts.fct_outcomes")["lead_id"] is None

    inbox.deliver(BORN)
    dbt_world.build(*people_models(), tests=False)

    found = dbt_world.one("marts.fct_leads")
    assert (found["is_qualified"], found["days_to_qualify"]) == (True, 0)
    assert found["qualified_at"] == datetime(2026, 2, 1, 9, tzinfo=UTC)
    assert found["first_touch_at"] == datetime(2026, 3, 1, 9, tzinfo=UTC)


def test_correction_of_an_event_counts_once_whichever_comes_first(dbt_world: DbtWorld) -> None:
    newer = outcome("2026-03-05 09:00", "lost", "e1", phone="ana")
    older = outcome("2026-03-02 09:00", "won", "e1", phone="ana", value="10", currency="BRL")
    inbox = Inbox(dbt_world)
    inbox.deliver(BORN, newer)
    dbt_world.build(*people_models(), tests=False)
    inbox.deliver(older, newer)
    dbt_world.build(*people_models(), tests=False)

    assert dbt_world.one("marts.fct_outcomes")["stage"] == "lost"
    assert dbt_world.one("marts.fct_leads")["is_won"] is False


def test_outcome_by_message_id_finds_the_lead(dbt_world: DbtWorld) -> None:
    Inbox(dbt_world).deliver(
        BORN, outcome("2026-03-02 09:00", "qualified", "e1", message_id="birth")
    )
    dbt_world.build(*people_models(), tests=False)

    found = dbt_world.one("marts.fct_outcomes")
    assert (found["matched_by"], found["lead_id"]) == ("message_id", "phone:ana")


def test_unmapped_stage_is_kept_and_named_by_a_check(dbt_world: DbtWorld) -> None:
    Inbox(dbt_world).deliver(BORN, outcome("2026-03-02 09:00", "Very hot", "e1", phone="ana"))
    dbt_world.build(*people_models(), tests=True)

    assert dbt_world.one("marts.fct_outcomes")["funnel_stage"] is None
    named = dbt_world.one("checks.stages_are_mapped")
    assert (named["source"], named["stage"], named["outcomes"]) == ("crm", "Very hot", 1)
