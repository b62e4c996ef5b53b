"""E2, E28: `ctwa forget` erases the person the models see: every address, no other holder's rows.

Real bodies through vault and lake; built before, and after all that this module forgets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ctwa.pseudonym import Pseudonymizer
from ingestion.identity.erased import Ledger
from keeping.erasure.forget import Forgotten, IdentityError, SpareHolder, forget_person
from keeping.erasure.steps import land
from orchestration.forget import ForgetResult
from tests.support.erasure import (
    AT,
    all_rows,
    files_with,
    message,
    outcome,
    outcomes,
    receive,
    two_holders,
    wamid,
    webhook,
)
from tests.support.people import people_models
from tests.support.warehouse import DbtWorld

SHARED, SHARED_TOO = "5511980000001", "5511980000002"
OLD_ID, NEW_ID = "BR.OLDAAAAAAAAAAAA1", "BR.NEWBBBBBBBBBBBB1"
OLD_ID_TOO, NEW_ID_TOO = "BR.OLDAAAAAAAAAAAA2", "BR.NEWBBBBBBBBBBBB2"
NEW_MAIL = "nova.dona@example.com"
COPY_PHONE, COPY_PHONE_TOO, COPY_ID = "5511980000003", "5511980000004", "BR.COPYCCCCCCCCCCC1"
DAY = 1_440


def _copied(**sender: str) -> dict[str, Any]:
    """A copy of one message, under an address of the sender."""
    return {k: v for k, v in message(COPY_PHONE, 5).items() if k != "from"} | sender


BODIES = [
    *two_holders(SHARED, OLD_ID, NEW_ID, "120"),
    outcomes(outcome("mail", 81, "qualified", phone=SHARED, email=NEW_MAIL)),
    outcomes(outcome("by mail", 82, "qualified", email=NEW_MAIL)),
    *two_holders(SHARED_TOO, OLD_ID_TOO, NEW_ID_TOO, "130"),
    webhook(messages=[message(COPY_PHONE, 5, ad="140", clid="Copy")]),
    webhook(messages=[_copied(from_user_id=COPY_ID)]),
    webhook(messages=[_copied(**{"from": COPY_PHONE_TOO})]),
    webhook(messages=[message(COPY_PHONE_TOO, 9)]),
]


@dataclass
class Story:
    """The world before and after, and what each `forget` said."""

    world: DbtWorld
    names: Pseudonymizer
    leads: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    forgotten: dict[str, Forgotten] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)
    """Files that still hold the person after it."""
    after: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def lead(self, key: str | None, *, now: bool) -> dict[str, Any] | None:
        """The lead of this identity, before or after everything."""
        leads = self.world.rows("marts.fct_leads") if now else self.leads
        return next((row for row in leads if row["lead_id"] == key), None)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    world = DbtWorld(tmp_path_factory.mktemp("forget"), as_of=date(2026, 12, 31))
    settings = world.settings
    receive(settings, BODIES, at=AT + 90 * 86_400)
    land(settings)
    world.build(*people_models(), tests=False)
    told = Story(world, Pseudonymizer.from_settings(settings), world.rows("marts.fct_leads"))
    told.rows = all_rows(settings)
    names = told.names
    keys: dict[str, list[str | None]] = {
        "new": [names.bsuid(NEW_ID), names.email(NEW_MAIL),
                names.message_id(wamid(SHARED, 70 * DAY)), NEW_ID, NEW_MAIL],
        "old, too": [names.bsuid(OLD_ID_TOO), names.message_id(wamid(SHARED_TOO, 0)), OLD_ID_TOO],
        "copies": [names.phone(COPY_PHONE), names.phone(COPY_PHONE_TOO), names.bsuid(COPY_ID),
                   names.message_id(wamid(COPY_PHONE, 5)), COPY_PHONE, COPY_PHONE_TOO, COPY_ID],
    }  # fmt: skip
    change = datetime.fromtimestamp(AT, UTC) + timedelta(days=70)
    steps: dict[str, Callable[[], Forgotten]] = {
        "new": lambda: forget_person(settings, phone=SHARED),
        "new again": lambda: forget_person(settings, phone=SHARED),
        "old, too": lambda: forget_person(settings, phone=SHARED_TOO, before=change.date()),
        "copies": lambda: forget_person(settings, phone=COPY_PHONE_TOO),
    }
    for name, step in steps.items():
        told.forgotten[name] = step()
        traces = [str(key).encode() for key in keys.get(name, [])]
        told.left[name] = files_with(Path(settings.data_dir), traces)
    receive(settings, BODIES)
    receive(settings, [webhook(messages=[message(SHARED, _minutes(60))])], at=time.time() + 120)
    land(settings)
    told.after = all_rows(settings)
    world.build(*people_models(), full_refresh=True)
    return told


def _minutes(seconds_from_now: int) -> int:
    return int((time.time() + seconds_from_now - AT) / 60) + 1


def test_e28_present_holder_is_erased_and_the_earlier_one_keeps_every_row(story: Story) -> None:
    done, old = story.forgotten["new"], story.names.phone(SHARED)
    assert done.erased.rows["messages"] == 2
    assert done.erased.rows["outcomes"] == 3  # the sale, and two by the address
    assert done.erased.identities == 3
    assert story.left["new"] == []

    def of_old(rows: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        theirs = [r for t in ("messages", "outcomes") for r in rows[t] if r["phone_key"] == old]
        since = datetime.fromtimestamp(AT, UTC) + timedelta(days=70)
        return [r for r in theirs if (r.get("sent_at") or r["occurred_at"]) < since]

    kept = of_old(story.rows)
    assert len(kept) == 3
    assert [r for r in of_old(story.after) if r["seq"] <= len(BODIES)] == kept


def test_e28_output_names_the_holder_who_stays(story: Story) -> None:
    change = (datetime.fromtimestamp(AT, UTC) + timedelta(days=70)).date()
    assert story.forgotten["new"].spared == [SpareHolder(2, None, change)]
    assert story.forgotten["old, too"].spared == [SpareHolder(2, change, None)]
    (told,) = ForgetResult(story.forgotten["new"]).warnings()
    assert f"until {change} (2 messages show it)" in told
    assert f"--before {change}`" in told


def test_e28_leads_of_the_other_holder_stay_and_counts_do(story: Story) -> None:
    names = story.names
    old, new = names.bsuid(OLD_ID), names.bsuid(NEW_ID)
    assert story.lead(new, now=False)
    assert story.lead(new, now=True) is None
    assert story.lead(old, now=True) == story.lead(old, now=False)
    old_too, new_too = names.bsuid(OLD_ID_TOO), names.bsuid(NEW_ID_TOO)
    assert story.lead(old_too, now=False)
    assert story.lead(old_too, now=True) is None
    before, after = story.lead(new_too, now=False), story.lead(new_too, now=True)
    assert before
    assert after
    assert "is another person" in before["why"]
    assert "is another person" not in after["why"]
    assert after == before | {"why": after["why"]}  # it named a day of the erased one
    found = story.world.rows("marts.fct_leads")
    assert len(found) == len(story.leads) + 1  # who wrote after the erasure
    nobody = next(row for row in found if row["ad_id"] == "1209")
    assert (nobody["is_won"], nobody["is_qualified"]) == (True, True)


def test_e28_present_holder_who_writes_again_is_not_the_earlier_one(story: Story) -> None:
    found = story.world.query(
        "select identity_key, person_key from intermediate.int_messages__with_person"
        f" where sent_at > timestamptz '{datetime.now(UTC).isoformat()}' - interval 1 hour"
    )
    old = story.names.bsuid(OLD_ID)
    persons = {r["identity_key"]: r["person_key"] for r in story.world.identity("identities")}
    assert len(found) == 1
    assert found[0]["person_key"] != persons.get(old)
    assert found[0]["identity_key"] != story.names.phone(SHARED)


def test_e28_forgetting_again_does_not_reach_the_earlier_holder(story: Story) -> None:
    again = story.forgotten["new again"]
    assert not again.is_known
    assert [spared.messages for spared in again.spared] == [2]
    assert len(Ledger.of(story.world.settings).erasures) == 3


def test_e28_redelivered_rows_of_the_erased_only_are_kept_out(story: Story) -> None:
    again = [r for r in story.after["messages"] if r["seq"] > len(BODIES)]
    old, new = story.names.phone(SHARED), story.names.phone(SHARED_TOO)
    days = sorted((r["phone_key"], int(r["sent_at"].timestamp() - AT) // 86_400) for r in again)
    assert [day for key, day in days if key == old][:2] == [0, 2]
    assert [day for key, day in days if key == new] == [70, 72]
    assert len(again) == 5  # and the new message
    statuses = {r["phone_key"] for r in story.after["statuses"] if r["seq"] > len(BODIES)}
    assert statuses == {new}


def test_e02_other_addresses_of_one_message_are_erased(story: Story) -> None:
    done = story.forgotten["copies"]
    assert done.erased.identities == 3
    assert done.erased.rows["messages"] == 4
    assert story.left["copies"] == []
    lead = next(row for row in story.world.rows("marts.fct_leads") if row["ad_id"] == "140")
    assert lead["lead_id"] != story.names.phone(COPY_PHONE)


def test_e28_earlier_holder_is_erased_by_date(story: Story) -> None:
    assert story.forgotten["old, too"].erased.rows["messages"] == 2
    assert story.left["old, too"] == []


def test_e28_a_day_needs_a_phone(tmp_path: Path) -> None:
    world = DbtWorld(tmp_path)
    with pytest.raises(IdentityError, match="use it with --phone"):
        forget_person(world.settings, email="a@example.com", before=date(2026, 1, 1))
