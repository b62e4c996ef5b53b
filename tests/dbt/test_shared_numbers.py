"""Numbers with several responders, from the vault to the marts: the leads, and who answers them.

One world for the module. What happens comes in two runs; a second world gets all of it at once, in
another order. Both must say the same.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from ingestion.event_log.replay import replay
from ingestion.event_log.source import land_event_log
from ingestion.lake.lake import Lake
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from tests.conftest import PII_KEY
from tests.ingestion.parser.payloads import encode, referral
from tests.support.warehouse import DbtWorld

CASE = Path(__file__).parents[1] / "fixtures" / "cases" / "standby.ndjson"
MARTS = ("+fct_conversations", "+fct_leads", "+health_alarms")
AS_OF = date(2026, 11, 10)
RECEIVED = datetime(2026, 11, 9, 12, tzinfo=UTC)
NOON = int(datetime(2026, 11, 9, 9, tzinfo=UTC).timestamp())
NUMBERS = {"main": ("551140001000", "7770001"), "other": ("551140002000", "7770002")}

HOLDERS: dict[str, tuple[str, int]] = {
    "own": ("own", 0),
    "listened": ("other", 0),
    "agent": ("ai_agent", 1),
    "escalated": ("escalation", 1),
    "given_back": ("other", 2),
    "taken": ("escalation", 1),
    "ours_again": ("own", 2),
    "both_fields": ("own", 0),
    "referral_by_standby": ("own", 0),
    "told_no_role": ("own", 1),
    "taken_without_a_role": ("other", 1),
    "unknown_kind": ("unknown", 1),
    "new_role": ("other", 1),
    "told_twice": ("escalation", 1),
    "told_before_it_wrote": ("escalation", 1),
    "at_one_instant": ("escalation", 1),
    "known_by_user_id": ("ai_agent", 1),
    "another_number": ("own", 0),
    "called_meanwhile": ("other", 0),
    "only_we_wrote": ("unknown", 0),
}
"""Somebody -> who answers them, and how often that changed."""


def phone(who: str) -> str:
    return f"55119770{list(HOLDERS).index(who):05d}"


def bsuid(who: str) -> str:
    return f"BR.9000{list(HOLDERS).index(who):05d}"


def change(field: str, value: dict[str, Any], number: str = "main") -> bytes:
    shown, number_id = NUMBERS[number]
    metadata = {"display_phone_number": shown, "phone_number_id": number_id}
    whole = {"messaging_product": "whatsapp", "metadata": metadata, **value}
    entry = {"id": "5550001", "changes": [{"field": field, "value": whole}]}
    return encode({"object": "whatsapp_business_account", "entry": [entry]})


def says(who: str, minute: int, by: str = "messages", number: str = "main", **more: Any) -> bytes:
    """Somebody writes, that many minutes after noon; a tap on the ad opens the chat."""
    item = {
        "id": f"wamid.{who}{minute}",
        "from": phone(who),
        "timestamp": str(NOON + 60 * minute),
        "type": "text",
        **({"referral": referral()} if minute == 0 else {}),
        **more,
    }
    item = {key: value for key, value in item.items() if value is not None}
    lists = {"messages": [item]}
    return change(by, {"standby": lists} if by == "standby" else lists, number)


def answers(who: str, minute: int) -> bytes:
    """Another responder answers, as its echo tells."""
    message = {"messaging_product": "whatsapp", "to": phone(who), "type": "text"}
    echo = {"id": f"wamid.{who}{minute}", "timestamp": str(NOON + 60 * minute), "message": message}
    return change("standby", {"standby": {"message_echoes": [echo]}})


def notice(
    who: str, minute: int, event: str, new: str | None = None, number: str = "main"
) -> bytes:
    shown, number_id = NUMBERS[number]
    value = {
        "recipient": {"display_phone_number": shown, "phone_number_id": number_id},
        "sender": {"phone_number": phone(who)},
        "type": event,
        "timestamp": str(NOON + 60 * minute),
        event: {"new_owner_role": new} if new else {},
    }
    return change("messaging_handovers", value)


PASSED, TAKEN = "control_passed", "control_taken"
BY_USER_ID = {"from_user_id": bsuid("known_by_user_id")}
FIRST = [
    says("own", 0),
    says("listened", 0, "standby"),
    answers("listened", 1),
    says("listened", 2, "standby"),
    says("agent", 0, "standby"),
    says("escalated", 0, "standby"),
    notice("escalated", 1, PASSED, "escalation"),
    says("escalated", 2),
    says("given_back", 0, "standby"),
    notice("given_back", 1, PASSED, "escalation"),
    says("given_back", 2),
    says("taken", 0),
    says("taken", 2, "standby"),
    says("ours_again", 0),
    notice("ours_again", 1, TAKEN, "escalation"),
    says("ours_again", 2, "standby"),
    says("both_fields", 0, "standby"),
    says("referral_by_standby", 0, referral=None),
    says("told_no_role", 0, "standby"),
    notice("told_no_role", 1, PASSED),
    says("taken_without_a_role", 0),
    notice("taken_without_a_role", 1, TAKEN),
    says("unknown_kind", 0, "standby"),
    notice("unknown_kind", 1, "control_shared"),
    says("new_role", 0),
    notice("new_role", 1, TAKEN, "concierge"),
    says("told_twice", 0, "standby"),
    notice("told_twice", 1, PASSED, "escalation"),
    says("told_before_it_wrote", 0),
    says("at_one_instant", 0, "standby"),
    says("at_one_instant", 5, "standby"),
    says("known_by_user_id", 0, "standby", **BY_USER_ID, **{"from": None}),
    notice("known_by_user_id", 1, TAKEN, "ai_agent"),
    says("another_number", 0),
    notice("another_number", 1, TAKEN, "ai_agent", number="other"),
    says("called_meanwhile", 0, "standby"),
    change("calls", {"calls": [{"id": "wacid.1", "from": phone("called_meanwhile"),
                                "timestamp": str(NOON + 60), "referral": referral()}]}),
    change("messages", {"statuses": [
        {"id": "wamid.only", "status": "sent", "timestamp": str(NOON),
         "recipient_id": phone("only_we_wrote")},
    ]}),
]  # fmt: skip
LATE = [
    notice("agent", 1, TAKEN, "ai_agent"),
    notice("taken", 1, TAKEN, "escalation"),
    says("given_back", 3, "standby"),
    says("ours_again", 3),
    says("both_fields", 0),
    says("referral_by_standby", 0, "standby"),
    notice("told_twice", 1, PASSED, "escalation"),
    notice("told_before_it_wrote", -1, PASSED, "escalation"),
    notice("at_one_instant", 5, PASSED, "escalation"),
    says("known_by_user_id", 4, "standby", **BY_USER_ID),
    change("brand_new", {"brand_new": {"chats": [{"wa_id": phone("own")}]}}),
    change("brand_new", {"brand_new": {"chats": []}}),
    change("quiet_news", {"state": "GREEN"}),
]


def deliver(world: DbtWorld, bodies: list[bytes]) -> None:
    vault = open_vault(world.settings.vault_url)
    try:
        at = int(RECEIVED.timestamp() * 1e6)
        vault.append([NewEnvelope(at, "whatsapp", body) for body in bodies])
    finally:
        vault.close()
    land_event_log(world.settings)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> DbtWorld:
    """The case by `ctwa replay` and the first run, then what comes late."""
    world = DbtWorld(tmp_path_factory.mktemp("shared"), as_of=AS_OF, CTWA_PII_KEY=PII_KEY)
    assert replay(world.settings, [CASE], now=RECEIVED.timestamp).stored == 14
    deliver(world, FIRST)
    world.build(*MARTS, tests=False)
    deliver(world, LATE)
    world.build(*MARTS)
    return world


def test_e78_the_leads_of_a_shared_number_are_all_there(world: DbtWorld) -> None:
    """The public case: four leads on `messages`, four on `standby`, one on both."""
    found = world.query(
        "select leads.channel, leads.basis, count(*) as leads from marts.fct_leads as leads"
        " where first_touch_at < timestamptz '2026-11-07 00:00:00+00' group by all"
    )
    assert found == [{"channel": "click_to_whatsapp", "basis": "ctwa_click", "leads": 9}]
    echoes = world.query(
        "select sum(outbound_messages) as ours, sum(inbound_messages) as theirs"
        " from marts.fct_conversations where started_at < timestamptz '2026-11-07 00:00:00+00'"
    )
    assert echoes == [{"ours": 4, "theirs": 9}]


def test_e78_e79_everybody_who_wrote_is_one_lead_of_the_ad(world: DbtWorld) -> None:
    found = world.query(
        "select basis, count(*) as leads from marts.fct_leads"
        " where first_touch_at > timestamptz '2026-11-07 00:00:00+00' group by all"
    )
    assert found == [{"basis": "ctwa_click", "leads": len(HOLDERS) - 1}]
    lake = Lake.from_settings(world.settings)
    assert lake.query("select reason from {q}", q="event_log/quarantine").num_rows == 0


@pytest.mark.parametrize("who", HOLDERS)
def test_e79_who_answers_follows_the_last_notice_and_the_field(world: DbtWorld, who: str) -> None:
    key = world.query(
        "select distinct conversation_id from intermediate.int_messages__in_conversations"
        " inner join intermediate.int_messages__deduplicated using (message_key)"
        f" where phone_key = '{_key(world, who)}'"
    )
    if who == "only_we_wrote":
        row = world.one("marts.fct_conversations", "inbound_messages = 0")
    else:
        (found,) = key
        row = world.one(
            "marts.fct_conversations", f"conversation_id = '{found['conversation_id']}'"
        )
    assert (row["answered_by"], row["handovers"]) == HOLDERS[who]


def _key(world: DbtWorld, who: str) -> str:
    from ctwa.pseudonym import Pseudonymizer

    return str(Pseudonymizer.from_settings(world.settings).phone(phone(who)))


def test_e79_the_same_in_one_run_and_in_another_order(world: DbtWorld, tmp_path: Path) -> None:
    other = DbtWorld(tmp_path, as_of=AS_OF, CTWA_PII_KEY=PII_KEY)
    deliver(other, [*reversed(FIRST + LATE)])
    replay(other.settings, [CASE], now=RECEIVED.timestamp)
    land_event_log(other.settings)
    other.build(*MARTS, tests=False)
    assert other.snapshot() == world.snapshot()


def test_e80_a_field_that_nobody_knew_is_counted_and_raises_an_alarm(world: DbtWorld) -> None:
    day = world.one("marts.attribution_health", "report_date = '2026-11-09'")
    assert (day["unknown_field_changes"], day["unknown_field_changes_with_people"]) == (3, 1)
    assert day["unknown_fields"] == "brand_new (2), quiet_news (1)"
    assert world.query("select sum(unknown_field_changes) as n from marts.attribution_health") == [
        {"n": 3}
    ]
    alarm = world.one("marts.health_alarms", "alarm = 'unknown_fields'")
    assert (alarm["status"], alarm["subject"], alarm["measured"]) == ("warn", "brand_new", 1)
    assert alarm["since"] == date(2026, 11, 9)
    assert "1 change in the last seven days" in alarm["message"]


def test_e80_the_alarm_is_over_a_week_later(world: DbtWorld) -> None:
    for days, status in ((15, "warn"), (16, "ok")):
        world.build("health_alarms", as_of=date(2026, 11, days), tests=False)
        alarm = world.one("marts.health_alarms", "alarm = 'unknown_fields'")
        assert (alarm["status"], bool(alarm["mend"])) == (status, status == "warn")
