"""Rules R4 and R5: what is learned later moves no lead; a later touch never changes its source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.properties.examination import Examination
from tests.properties.shrinking import told

Lead = dict[str, Any]
BIRTH = ("lead_id", "first_touch_id", "first_touch_at")
SOURCE = (*BIRTH, "basis", "channel", "platform", "ad_id")


def leads_before_and_after(
    examination: Examination, late: str
) -> Iterator[tuple[int, list[Lead], list[Lead]]]:
    """Leads of each history after the first run and after the last."""
    first, last = examination.after_first_run, examination.in_runs
    for salt, history in examination.cases.by_salt.items():
        # Where a number turned out to have changed hands, messages are somebody else's now (E28).
        parted = last.rows("marts.identity_conflicts", salt)
        if history.late == late and not parted:
            yield (
                salt,
                first.rows("marts.fct_leads", salt),
                last.rows("marts.fct_leads", salt),
            )


def test_e24_identities_learned_later_leave_the_older_leads_id(examined: Examination) -> None:
    merged = unchanged = 0
    for salt, before, after in leads_before_and_after(examined, "links"):
        kept = {lead["lead_id"] for lead in after}
        messages = {
            row["message_key"]: row
            for row in examined.in_runs.rows("intermediate.int_messages__with_person", salt)
        }
        by_person: dict[str, list[Lead]] = {}
        for lead in before:
            lead |= messages[lead["first_touch_id"]]
            by_person.setdefault(lead["person_key"], []).append(lead)
        expected = {min(leads, key=_age)["lead_id"] for leads in by_person.values()}
        assert kept == expected, told(examined.cases.by_salt[salt])
        merged += len(before) - len(after)
        unchanged += len(after)
    assert merged >= 1
    assert unchanged > 10


def _age(lead: Lead) -> tuple[Any, ...]:
    """The order of rule R3 among first touches."""
    return lead["first_touch_at"], not lead["has_referral"], lead["first_touch_id"]


def test_e17_a_later_touch_never_changes_the_first(examined: Examination) -> None:
    grown = 0
    for salt, before, after in leads_before_and_after(examined, "touches"):
        now = {lead["lead_id"]: lead for lead in after}
        for lead in before:
            # Suspicion of an ad is the one thing that a referral which follows may settle (E6).
            columns = BIRTH if lead["basis"] == "ad_suspected" else SOURCE
            then = {column: lead[column] for column in columns}
            same = {column: now[lead["lead_id"]][column] for column in columns}
            assert same == then, told(examined.cases.by_salt[salt])
            grown += now[lead["lead_id"]]["touches"] > lead["touches"]
    assert grown >= 1
