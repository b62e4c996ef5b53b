"""From bodies in the vault to marts: what a parser must not lose, and what must not count.

One installation takes all of it in, first as the version before did, then by `--reparse`.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from ctwa import number_plans
from ctwa.pseudonym import Pseudonymizer
from ingestion.event_log.source import land_event_log
from ingestion.lake.lake import Lake
from ingestion.parser.people import TEST_NUMBER_IDS, TEST_NUMBERS
from ingestion.parser.rows import Rows
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from tests.ingestion.parser.payloads import (
    BSUID,
    OTHER_BSUID,
    OTHER_PHONE,
    PHONE,
    ROOT,
    encode,
    envelope,
    message,
    referral,
)
from tests.support.warehouse import DbtWorld

RECEIVED_US = int(datetime(2026, 6, 20, 12, tzinfo=UTC).timestamp() * 1_000_000)
META_TEST = {"display_phone_number": "16505551111", "phone_number_id": "123456123"}
META_SENDER = "16315551181"
SANDBOX = "whatsapp:+14155238886"
DEVELOPER, NEAR = "5531987650077", "5531987650078"
IVORIAN, IVORIAN_NOW = "22507123456", "2250707123456"


def people(number: int, *elements: dict[str, Any], **value: Any) -> bytes:
    """One webhook of Meta's, with message ids of its own."""
    for n, element in enumerate(elements):
        element["id"] = f"wamid.B{number}-{n}"
    return encode(envelope(*elements, **value))


def system(**extra: Any) -> dict[str, Any]:
    """A notice without a sender."""
    return message(50, **{"from": None}, type="system", system=extra)


def ad(who: str, **extra: Any) -> dict[str, Any]:
    """Somebody's message from an ad."""
    return message(1, **{"from": who, "referral": referral(), **extra})


def form(number: int, **fields: str) -> bytes:
    """A message as Twilio posts it."""
    told = {"MessageSid": f"SM{number}", "SmsStatus": "received", "From": f"whatsapp:+{NEAR}"}
    return urlencode({**told, **fields}).encode()


# Ids and numbers replaced, one lead each (E81).
REPLACED = [
    people(1, message(1, **{"from": None}, from_user_id=BSUID, referral=referral())),
    people(2, system(type="user_changed_user_id", user_id=OTHER_BSUID, previous_user_id=BSUID)),
    people(3, message(60, **{"from": None}, from_user_id=OTHER_BSUID)),
    people(4, message(1, referral=referral())),
    people(5, {**system(type="user_changed_number", new_wa_id=OTHER_PHONE,
                        body=f"User changed number from {PHONE} to {OTHER_PHONE}"),
               "from": OTHER_PHONE}),
    people(6, message(60, **{"from": OTHER_PHONE})),
]  # fmt: skip
# Characters that no table holds (E83): an ad lead each.
HURT = [f"553198765001{n}" for n in range(4)]
BAD = [
    people(11, ad(HURT[0], text={"body": "a\x00b"})),
    people(12, ad(HURT[1], text={"body": "\ud83d"})),
    people(13, message(2, **{"from": HURT[1]})),
    people(14, ad(HURT[2], referral=referral(body="Oferta \ud83d"))),
    people(15, message(2, **{"from": HURT[2]})),
]
BAD_FORM = form(
    16, From=f"whatsapp:+{HURT[3]}", To="whatsapp:+5511400012345", Body="a\x00",
    ReferralSourceType="ad", ReferralSourceId="1202", ReferralCtwaClid="Af",
)  # fmt: skip
# Test traffic (E84), and a real customer of a line whose number resembles a test line's.
META = [
    people(21, message(1, **{"from": META_SENDER}, timestamp="1504902988", referral=referral()),
           metadata=META_TEST, contacts=[{"wa_id": META_SENDER}]),
    people(22, message(2, **{"from": META_SENDER}, timestamp="1504902988")),  # to our own line
    people(23, metadata=META_TEST, statuses=[
        {"id": "wamid.S", "status": "sent", "timestamp": "1504902988", "recipient_id": META_SENDER},
    ]),
    people(24, field="automatic_events", metadata=META_TEST, automatic_events=[
        {"id": "wamid.S", "event_name": "Purchase", "timestamp": 1504902988, "ctwa_clid": "x"},
    ]),
    people(25, ad(DEVELOPER)),
    people(26, ad(NEAR), metadata={**META_TEST, "display_phone_number": "16505551112",
                                   "phone_number_id": "1234561230"}),
]  # fmt: skip
SANDBOXES = [
    form(27, From=f"whatsapp:+{DEVELOPER}", To=SANDBOX),
    form(28, From=SANDBOX, To=f"whatsapp:+{DEVELOPER}", SmsStatus="delivered"),
]
# One person under both spellings of their number (E82).
BEFORE = people(31, ad(IVORIAN))
SINCE = [
    people(32, message(60, **{"from": IVORIAN_NOW})),
    people(33, message(70, **{"from": IVORIAN})),
]


def deliver(world: DbtWorld, bodies: list[bytes], source: str = "whatsapp") -> None:
    vault = open_vault(world.settings.vault_url)
    try:
        vault.append([NewEnvelope(RECEIVED_US, source, body) for body in bodies])
    finally:
        vault.close()


def quarantined(world: DbtWorld) -> list[str]:
    rows = Lake.from_settings(world.settings).query(
        "select reason from {t} order by seq", t="event_log/quarantine"
    )
    return [reason.partition(":")[0] for reason in rows["reason"].to_pylist()]


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> tuple[DbtWorld, list[str]]:
    """The world, and what was quarantined before it was parsed again."""
    world = DbtWorld(tmp_path_factory.mktemp("bodies"))
    take = Rows.take

    def took(rows: Rows, *args: Any) -> None:
        """As the version before: one bad character anywhere took the whole element."""
        doubt = rows.unfit[0].reason if rows.unfit else None
        take(rows, *args[:4], doubt)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rows, "take", took)
        deliver(world, [*REPLACED, *BAD, *META])
        deliver(world, [BAD_FORM, *SANDBOXES], "twilio")
        land_event_log(world.settings)
        before = quarantined(world)
    land_event_log(world.settings, reparse=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_plans, "current", lambda digits: digits)
        patch.setattr(number_plans, "older", lambda digits: [])
        deliver(world, [BEFORE])
        land_event_log(world.settings)
    deliver(world, SINCE)
    land_event_log(world.settings)
    world.build("+path:dbt_project/models/marts", tests=False)
    return world, before


@pytest.fixture
def world(landed: tuple[DbtWorld, list[str]]) -> DbtWorld:
    return landed[0]


def lead_of(world: DbtWorld, phone: str, prefix: str = "") -> dict[str, Any]:
    key = Pseudonymizer.from_settings(world.settings).phone(phone)
    return world.one("marts.fct_leads", f"lead_id = '{prefix}{key}'")


def test_e81_whoever_got_a_new_id_or_number_is_one_lead(world: DbtWorld) -> None:
    names = Pseudonymizer.from_settings(world.settings)
    keys = {names.bsuid(BSUID), names.bsuid(OTHER_BSUID), names.phone(PHONE),
            names.phone(OTHER_PHONE)}  # fmt: skip
    found = [r for r in world.rows("marts.fct_leads") if r["lead_id"] in keys]
    assert {r["lead_id"] for r in found} == {names.bsuid(BSUID), names.phone(PHONE)}
    assert {(r["channel"], r["touches"]) for r in found} == {("click_to_whatsapp", 1)}


def test_e83_no_lead_is_lost_for_a_character(landed: tuple[DbtWorld, list[str]]) -> None:
    world, before = landed
    assert sorted(before) == ["lone_surrogate"] * 2 + ["nul_in_text"] * 2
    assert quarantined(world) == []  # `--reparse` brought all of them back
    for phone in HURT:
        assert lead_of(world, phone)["basis"] == "ctwa_click"
    (health,) = world.query("select sum(mended_values) as n from marts.attribution_health")
    assert health["n"] == 1


def test_e84_test_traffic_is_kept_marked_and_in_no_count(world: DbtWorld) -> None:
    tests = world.query("select * from marts.fct_leads where is_test order by lead_id")
    assert len(tests) == 2
    assert {(r["is_excluded"], r["exclusion_reason"]) for r in tests} == {
        (True, "test traffic of the platform")
    }
    assert lead_of(world, META_SENDER, "test:")["is_test"]
    counted = world.query("select * from marts.fct_leads where not is_test")
    for report in ("channel_performance", "ad_performance", "campaign_performance"):
        (total,) = world.query(
            f"select sum(leads) as leads, sum(excluded_leads) as others from marts.{report}"
        )
        assert (total["leads"], total["others"]) == (len(counted), 0), report
    (health,) = world.query(
        "select min(report_date) as first, sum(conversations) as chats, sum(outcomes) as outcomes,"
        " sum(excluded_leads) as others, sum(repeats) as repeats from marts.attribution_health"
    )
    assert health == {"first": date(2026, 6, 9), "chats": len(counted), "outcomes": 0,
                      "others": 0, "repeats": 0}  # fmt: skip
    (chats,) = world.query("select count(*) as n from marts.fct_conversations where is_test")
    assert chats["n"] == 3


def test_e84_who_tries_a_sandbox_with_their_own_phone_stays_a_lead(world: DbtWorld) -> None:
    assert not lead_of(world, DEVELOPER)["is_test"]
    assert lead_of(world, DEVELOPER)["channel"] == "click_to_whatsapp"
    assert lead_of(world, DEVELOPER, "test:")["is_test"]


def test_e84_rows_of_before_the_mark_are_told_by_the_same_numbers() -> None:
    macro = (ROOT / "dbt_project/macros/test_traffic.sql").read_text()
    listed = re.findall(r"in \(([^)]*)\)", macro)
    assert [set(re.findall(r"'(\d+)'", numbers)) for numbers in listed] == [
        set(TEST_NUMBERS),
        set(TEST_NUMBER_IDS),
    ]


def test_e84_a_line_that_resembles_a_test_line_counts(world: DbtWorld) -> None:
    assert not lead_of(world, NEAR)["is_excluded"]


def test_e82_a_number_is_one_person_before_and_after_the_upgrade(world: DbtWorld) -> None:
    names = Pseudonymizer.from_settings(world.settings)
    found = world.query(
        f"select * from marts.fct_leads where lead_id in"
        f" ('{names.phone(IVORIAN_NOW)}', '{names.digest('phone', IVORIAN)}')"
    )
    (lead,) = found
    assert lead["lead_id"] == names.digest("phone", IVORIAN)  # the older one's stays
    assert (lead["channel"], lead["touches"], lead["inbound_messages"]) == (
        "click_to_whatsapp", 1, 3,
    )  # fmt: skip
