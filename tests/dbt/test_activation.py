"""What goes out: which outcomes may be told to Meta, with which click, and what a CRM is told.

One world for all: each test has people of its own, and two builds lie between what came early and
what came late. The states of what was sent are written after the second.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from activation.conversions_ledger import STATES, write_states
from ctwa.settings import load_settings
from publishing.marts import publish_marts
from tests.support.people import (
    Envelope,
    Inbox,
    activation_models,
    consent,
    exclusion,
    form,
    link,
    message,
    outcome,
    referral,
    withheld,
)
from tests.support.warehouse import AS_OF, DbtWorld


def tap(person: str, at: str, ad: str = "120", clid: str | None = None, **more: Any) -> Envelope:
    """A message of somebody who tapped an ad."""
    return message(at, phone=person, **referral(ad, clid=clid or f"clid of {person}", **more))


def qualified(person: str, at: str, event_id: str = "", **more: Any) -> Envelope:
    """The CRM calls somebody qualified."""
    return outcome(at, "qualified", event_id or f"good {person}", phone=person, **more)


def won(person: str, at: str, event_id: str, value: str | None = "10", **more: Any) -> Envelope:
    """A sale of a CRM that tells of sales."""
    money = {"value": value, "currency": "BRL" if value else None}
    return outcome(at, "won", event_id, phone=person, **{**money, **more})


def deal(person: str, number: int, stage: str, at: str, value: str | None, read: str) -> Envelope:
    """A stage that a deal of HubSpot reached, as it was read on day `read`."""
    return outcome(
        at, stage, f"deal:{number}:{stage}:{at}", source="hubspot_deals", phone=person,
        value=value, currency="BRL" if value else None, recorded_at=read,
    )  # fmt: skip


BORN, NEXT_DAY = "2026-05-01 10:00", "2026-05-02 10:00"

ONE_TAP = (
    "plain", "skipper", "twice", "dealer", "undone", "customer", "corrected", "deleted", "staff",
    "found", "late", "stopped", "returned", "torn", "unpriced",
)  # fmt: skip

EARLY = (
    *(tap(person, BORN) for person in ONE_TAP),
    qualified("plain", NEXT_DAY),
    # E67: to the second.
    tap("punctual", BORN), qualified("punctual", "2026-05-08 10:00:00"),
    tap("tardy", BORN), qualified("tardy", "2026-05-08 10:00:01"),
    message(BORN, phone="organic"), qualified("organic", NEXT_DAY),
    tap("messenger", BORN, app="messenger", ctwa_clid=None), qualified("messenger", NEXT_DAY),
    tap("twilio", BORN, waba_id=None), qualified("twilio", NEXT_DAY),
    qualified("known", "2026-04-30 10:00"), tap("known", BORN),
    # E70: three ads, the last after the outcome.
    tap("buyer", BORN, "120", "first"), tap("buyer", "2026-05-03 10:00", "121", "second"),
    won("buyer", "2026-05-04 10:00", "bought"), tap("buyer", "2026-05-05 10:00", "122", "third"),
    # E6: the referral of a message that Meta kept back comes with the next one.
    message(BORN, phone="withheld", **withheld()),
    tap("withheld", "2026-05-02 10:00", "120", "later"),
    qualified("withheld", "2026-05-01 20:00"),
    # E58, E59.
    won("skipper", NEXT_DAY, "skipped"),
    won("twice", NEXT_DAY, "first sale", "10"),
    won("twice", "2026-05-03 10:00", "second sale", "5"),
    won("unpriced", NEXT_DAY, "free", None),
    deal("dealer", 7, "closedwon", "2026-05-02 10:00", "100", "2026-05-02"),
    deal("undone", 8, "closedwon", "2026-05-02 10:00", None, "2026-05-03"),
    deal("undone", 8, "closedlost", "2026-05-03 10:00", "50", "2026-05-03"),
    outcome(NEXT_DAY, "customer", "contact:1:customer", source="hubspot", phone="customer"),
    # E20, E63, E72.
    exclusion(BORN, phone="staff"), qualified("staff", NEXT_DAY),
    qualified("found", NEXT_DAY, source="meta_automatic_events"),
    tap("erased", BORN, clid="erased"), qualified("erased", NEXT_DAY),
    qualified("corrected", NEXT_DAY, "correctable"),
    qualified("deleted", NEXT_DAY),
    qualified("stopped", NEXT_DAY), consent("2026-05-03 10:00", phone="stopped"),
    qualified("returned", NEXT_DAY), consent("2026-05-03 10:00", phone="returned"),
    qualified("torn", NEXT_DAY), consent("2026-05-03 10:00", phone="torn"),
    message("2026-05-03 09:00", phone="stopped two", bsuid="two", **referral("120", clid="two")),
    qualified("stopped two", "2026-05-04 10:00"), consent("2026-05-05 10:00", bsuid="two"),
    qualified("late", "2026-05-04 10:00", "younger"),
    # Two leads who turn out to be one.
    tap("older", BORN), qualified("older", "2026-05-04 10:00"),
    message("2026-05-02 09:00", bsuid="younger", **referral("121", clid="of the younger")),
    outcome("2026-05-03 10:00", "qualified", "good younger", bsuid="younger"),
    # E71: chats of before, imported.
    tap("historic", "2026-03-01 10:00", origin="history"),
    qualified("historic", "2026-03-02 10:00"),
    # What a CRM is told.
    form(BORN, "google", email="g@x", gclid="G1", ad_platform="google"),
    form(BORN, "news", email="n@x", utm_source="newsletter", utm_medium="email"),
    form(BORN, "gone", gclid="erased", ad_platform="google"),
    link(BORN, "crm_record:1", "phone:plain", "crm_record", waba_id=None),
    link(BORN, "crm_record:2", "email:n@x", "crm_record", waba_id=None),
    link(BORN, "crm_record:9", "email:stranger", "crm_record", waba_id=None),
)  # fmt: skip

LATE = (
    tap("plain", BORN),  # the same message once more
    qualified("late", NEXT_DAY, "older"),
    outcome("2026-05-03 10:00", "lost", "correctable", phone="corrected"),
    outcome("2026-05-03 10:00", "deleted", "delete", phone="deleted"),
    deal("dealer", 7, "closedwon", "2026-05-02 10:00", None, "2026-05-06"),
    deal("dealer", 7, "closedwon", "2026-05-05 10:00", "120.50", "2026-05-06"),
    consent("2026-05-04 10:00", given=True, phone="returned"),
    consent("2026-05-03 10:00", given=True, phone="torn"),
    link("2026-05-06 10:00", "phone:older", "bsuid:younger", "contact_card"),
    link("2026-05-06 10:00", "crm_record:3", "phone:plain", "crm_record", waba_id=None),
    link("2026-05-06 10:00", "crm_record:3", "crm_record:1", "crm_merge", waba_id=None),
)

SENT_AT = datetime(2026, 5, 7, 5, tzinfo=UTC)


def event_id(lead: str, stage: str = "qualified", occurrence: str = "first") -> str:
    """The id that an event must have."""
    return hashlib.md5(f"{lead}|{stage}|{occurrence}".encode()).hexdigest()


def state(lead: str, status: str, **columns: Any) -> dict[str, Any]:
    """What the ledger says of a lead's qualification."""
    sent = status == "sent"
    return {
        "conversion_event_id": event_id(lead), "lead_id": lead, "funnel_stage": "qualified",
        "event_name": "LeadSubmitted", "dataset_id": "900", "status": status, "reason": None,
        "occurred_at": datetime(2026, 5, 2, 10, tzinfo=UTC), "sent_at": SENT_AT if sent else None,
        "value": None, "currency": None, **columns,
    }  # fmt: skip


@dataclass(frozen=True)
class Story:
    """The outbox after the first of two builds, and the world after the second."""

    first: dict[str, dict[str, Any]]
    world: DbtWorld

    def events(self, person: str, stage: str = "qualified") -> list[dict[str, Any]]:
        """Rows of the outbox of somebody's stage, the earlier first."""
        return self.world.query(
            "select * from activation.conversion_outbox"
            f" where lead_id = 'phone:{person}' and funnel_stage = '{stage}'"
            " order by occurred_at, occurrence"
        )

    def event(self, person: str, stage: str = "qualified") -> dict[str, Any]:
        """The only one of these."""
        (found,) = self.events(person, stage)
        return found

    def reason(self, person: str, stage: str = "qualified") -> str | None:
        """Why it is not to be sent."""
        found: str | None = self.event(person, stage)["ineligible_reason"]
        return found

    def crm(self, lead_id: str) -> dict[str, Any]:
        """What a CRM is told of a lead."""
        return self.world.one("activation.crm_outbox", f"lead_id = '{lead_id}'")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """What came early, built; what came late, built with every data test; then some were sent."""
    world = DbtWorld(tmp_path_factory.mktemp("activation"))
    inbox = Inbox(world)
    inbox.deliver(*EARLY)
    world.build(*activation_models(), tests=False)
    first = {r["conversion_event_id"]: r for r in world.rows("activation.conversion_outbox")}
    inbox.deliver(*LATE)
    world.build(*activation_models(), "+fct_leads")
    states = [
        state("phone:plain", "sent"),
        state("bsuid:younger", "sent"),
        state("phone:late", "skipped", reason="no_dataset", event_name=None, dataset_id=None),
    ]
    write_states(world.settings, pa.Table.from_pylist(states, schema=STATES))
    return Story(first, world)


def test_an_outcome_after_a_click_is_due(story: Story) -> None:
    event = story.event("plain")
    expected = {
        "conversion_event_id": event_id("phone:plain"),
        "occurrence": "first",
        "outcome_key": hashlib.md5(b"crm|good plain").hexdigest(),
        "ctwa_clid": "clid of plain",
        "waba_id": "waba",
        "phone_key": "phone:plain",
        "bsuid_key": None,
        "ad_id": "120",
        "value": None,
        "occurred_at": datetime(2026, 5, 2, 10, tzinfo=UTC),
        "click_at": datetime(2026, 5, 1, 10, tzinfo=UTC),
        "ineligible_reason": None,
    }
    assert {name: event[name] for name in expected} == expected


def test_e67_a_click_is_too_old_after_seven_days_to_the_second(story: Story) -> None:
    assert story.reason("punctual") is None
    assert story.reason("tardy") == "click_too_old"
    assert story.event("tardy")["ctwa_clid"] == "clid of tardy"


def test_e67_no_click_id_before_the_outcome_is_not_told(story: Story) -> None:
    for person in ("organic", "messenger", "known"):
        assert story.reason(person) == "no_click_id", person
        assert story.event(person)["ctwa_clid"] is None


def test_e67_what_is_not_told_is_still_qualified(story: Story) -> None:
    lead = story.world.one("marts.fct_leads", "lead_id = 'phone:tardy'")
    assert lead["is_qualified"]


def test_a_provider_that_does_not_name_the_account_leaves_it_open(story: Story) -> None:
    event = story.event("twilio")
    assert (event["waba_id"], event["ineligible_reason"]) == (None, None)


def test_e70_the_latest_click_before_the_outcome_is_told(story: Story) -> None:
    event = story.event("buyer", "won")
    assert (event["ctwa_clid"], event["ad_id"]) == ("second", "121")


def test_e70_a_setting_tells_the_first_touch_instead(story: Story) -> None:
    settings = load_settings(
        _env_file=None,
        CTWA_DATA_DIR=str(story.world.settings.data_dir),
        META_CONVERSION_CLICK="first_touch",
        META_CONVERSION_CLICK_DAYS="2",
        META_CONVERSION_EVENTS="won:Purchase",
    )
    other = DbtWorld(story.world.lake, settings=settings)
    before = story.world.rows("activation.conversion_outbox")
    try:
        other.build("conversion_outbox", tests=False)
        rows = other.rows("activation.conversion_outbox")
    finally:
        story.world.build("conversion_outbox", tests=False)
    assert {r["funnel_stage"] for r in rows} == {"won"}
    (event,) = [r for r in rows if r["lead_id"] == "phone:buyer"]
    assert (event["ctwa_clid"], event["ad_id"]) == ("first", "120")
    assert event["ineligible_reason"] == "click_too_old"
    assert story.world.rows("activation.conversion_outbox") == before


def test_e06_a_message_kept_back_borrows_the_click_that_followed(story: Story) -> None:
    event = story.event("withheld")
    assert event["ctwa_clid"] == "later"
    assert event["click_at"] == datetime(2026, 5, 1, 10, tzinfo=UTC)


def test_e58_who_is_won_at_once_is_qualified_too(story: Story) -> None:
    assert story.reason("skipper") is None
    assert story.event("skipper", "won")["value"] == Decimal("10.000000")


def test_each_sale_is_told_a_lead_qualifies_once(story: Story) -> None:
    assert [e["value"] for e in story.events("twice", "won")] == [Decimal(10), Decimal(5)]
    assert len(story.events("twice")) == 1


def test_a_sale_without_value_is_not_told(story: Story) -> None:
    assert story.reason("unpriced", "won") == "no_value"
    assert story.reason("unpriced") is None
    assert story.reason("customer", "won") == "no_value"


def test_a_deal_won_twice_is_one_purchase_with_its_amount_of_today(story: Story) -> None:
    event = story.event("dealer", "won")
    assert event["occurrence"] == "hubspot_deals|deal:7"
    assert (event["value"], event["currency"]) == (Decimal("120.500000"), "BRL")
    assert event["occurred_at"] == datetime(2026, 5, 2, 10, tzinfo=UTC)
    assert story.first[event["conversion_event_id"]]["value"] == Decimal(100)


def test_a_deal_lost_after_it_was_won_is_no_sale(story: Story) -> None:
    assert story.reason("undone", "won") == "no_value"


def test_an_older_outcome_that_comes_late_keeps_the_id(story: Story) -> None:
    event = story.event("late")
    before = story.first[event["conversion_event_id"]]
    assert before["occurred_at"] == datetime(2026, 5, 4, 10, tzinfo=UTC)
    assert event["occurred_at"] == datetime(2026, 5, 2, 10, tzinfo=UTC)
    assert event["outcome_key"] != before["outcome_key"]


def test_an_outcome_corrected_away_is_not_due_any_more(story: Story) -> None:
    assert event_id("phone:corrected") in story.first
    assert story.events("corrected") == []


def test_e63_a_deleted_record_keeps_what_was_reached(story: Story) -> None:
    assert story.reason("deleted") is None


def test_e20_who_does_not_count_is_not_told(story: Story) -> None:
    assert story.reason("staff") == "excluded"


def test_what_meta_found_itself_is_not_told_back(story: Story) -> None:
    assert story.reason("found") == "from_meta"


def test_e72_the_erased_are_not_told(story: Story) -> None:
    assert story.reason("erased") == "erased"


def test_e72_the_latest_word_of_the_person_counts(story: Story) -> None:
    assert story.reason("stopped") == "consent_withdrawn"
    assert story.reason("returned") is None
    assert story.first[event_id("phone:returned")]["ineligible_reason"] == "consent_withdrawn"


def test_e72_at_the_same_instant_the_withdrawal_counts(story: Story) -> None:
    assert story.reason("torn") == "consent_withdrawn"


def test_e72_a_withdrawal_under_another_identity_is_the_persons(story: Story) -> None:
    (event,) = story.world.query(
        "select * from activation.conversion_outbox where bsuid_key = 'bsuid:two'"
    )
    assert event["ineligible_reason"] == "consent_withdrawn"


def test_leads_that_turn_out_to_be_one_have_one_event(story: Story) -> None:
    assert {event_id("phone:older"), event_id("bsuid:younger")} <= story.first.keys()
    event = story.event("older")
    assert event["conversion_event_id"] == event_id("phone:older")
    assert event["occurred_at"] == datetime(2026, 5, 3, 10, tzinfo=UTC)
    assert event["ctwa_clid"] == "of the younger"
    assert story.world.query(
        "select * from activation.conversion_outbox where lead_id = 'bsuid:younger'"
    ) == []  # fmt: skip


def test_outcomes_of_imported_chats_are_listed_too(story: Story) -> None:
    assert story.event("historic")["occurred_at"] == datetime(2026, 3, 2, 10, tzinfo=UTC)


def test_the_mart_shows_what_became_of_each(story: Story) -> None:
    def shown(lead: str) -> tuple[Any, ...]:
        row = story.world.one(
            "marts.conversion_events", f"conversion_event_id = '{event_id(lead)}'"
        )
        return row["lead_id"], row["status"], row["reason"], row["event_name"], row["ad_id"]

    assert shown("phone:plain") == ("phone:plain", "sent", None, "LeadSubmitted", "120")
    # Sent before it was known that two leads are one.
    assert shown("bsuid:younger") == ("bsuid:younger", "sent", None, "LeadSubmitted", None)
    assert shown("phone:late") == ("phone:late", "skipped", "no_dataset", "QualifiedLead", "120")
    assert shown("phone:punctual") == ("phone:punctual", "pending", None, "QualifiedLead", "120")
    assert shown("phone:tardy") == (
        "phone:tardy",
        "skipped",
        "click_too_old",
        "QualifiedLead",
        "120",
    )


def test_a_state_written_after_the_build_is_published(story: Story) -> None:
    published = publish_marts(story.world.settings, as_of=AS_OF, expected=["conversion_events"])
    with duckdb.connect(str(published.path), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        rows = connection.execute(
            "select status, sent_at from marts.conversion_events where conversion_event_id = ?",
            [event_id("phone:plain")],
        ).fetchall()
    assert rows == [("sent", SENT_AT)]


def test_e77_no_click_id_and_nobodys_key_is_published(story: Story) -> None:
    columns = {
        row["column_name"]
        for row in story.world.query(
            "select column_name from information_schema.columns where table_schema = 'marts'"
            " and table_name = 'conversion_events'"
        )
    }
    assert columns
    assert not columns & {"ctwa_clid", "phone_key", "bsuid_key", "email_key", "outcome_key"}


def test_a_crm_is_told_the_ad_and_its_headline(story: Story) -> None:
    told = story.crm("phone:plain")
    assert (told["source"], told["channel"], told["basis"]) == (
        "meta",
        "click_to_whatsapp",
        "ctwa_click",
    )
    assert (told["ad_id"], told["headline"]) == ("120", "Headline")
    assert (told["phone_key"], told["is_excluded"], told["is_erased"]) == (
        "phone:plain",
        False,
        False,
    )


def test_the_latest_copy_shows_who_it_is(story: Story) -> None:
    assert story.crm("phone:plain")["evidence_seq"] == len(EARLY) + 1
    assert story.crm("phone:skipper")["evidence_seq"] == 1 + ONE_TAP.index("skipper")


def test_a_crm_is_told_the_source_of_a_form(story: Story) -> None:
    assert story.crm("web_lead:google")["source"] == "google"
    news = story.crm("web_lead:news")
    assert (news["source"], news["email_key"]) == ("newsletter", "email:n@x")
    assert news["web_lead_key"] == "web_lead:news"
    assert story.crm("phone:organic")["source"] == "direct"


def test_who_was_erased_or_does_not_count_is_marked_for_the_crm(story: Story) -> None:
    assert story.crm("phone:erased")["is_erased"]
    assert story.crm("web_lead:gone")["is_erased"]
    assert story.crm("phone:staff")["is_excluded"]


def test_joined_leads_are_one_row_for_the_crm(story: Story) -> None:
    assert story.crm("phone:older")["ad_id"] == "120"
    assert story.world.query(
        "select lead_id from activation.crm_outbox where lead_id = 'bsuid:younger'"
    ) == []  # fmt: skip


def test_e29_a_merged_contact_is_written_to_under_its_new_id_alone(story: Story) -> None:
    rows = story.world.rows("activation.crm_records")
    assert [(r["lead_id"], r["crm_record_key"]) for r in rows] == [
        ("phone:plain", "crm_record:3"),
        ("web_lead:news", "crm_record:2"),
    ]
    assert rows[0]["seq"] == len(EARLY) + len(LATE)


def test_every_rule_of_what_goes_out_holds_in_its_unit_test(story: Story) -> None:
    chosen = "test_type:unit,path:dbt_project/models/activation"
    result = story.world.dbt("test", "--select", chosen)
    assert len(result.result) == 5
    assert {r.status for r in result.result} == {"pass"}
