"""Leads to any CRM by signed POST: once each where all goes well, again where it does not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from activation import webhook
from activation.ledger import ledger_path, open_ledger
from activation.webhook import IN_A_ROW, WebhookCounts, WebhookSettingsError, post_leads
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, microseconds
from tests.support.crm_inbox import SECRET, Inbox, inbox
from tests.support.crm_outbox import BORN, Outbox, OutboxLead

PHONE, BSUID = "5511987654321", "BR.1000000000000001"


def message(phone: str = PHONE, bsuid: str = BSUID) -> dict[str, Any]:
    """A WhatsApp envelope with one text message."""
    sent = {"id": "wamid.A", "from": phone, "from_user_id": bsuid, "timestamp": "1778488200"}
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "551130001111", "phone_number_id": "2001"},
        "contacts": [{"profile": {"name": "Ana"}, "wa_id": phone, "user_id": bsuid}],
        "messages": [sent | {"type": "text", "text": {"body": "Hi"}}],
    }
    changes = [{"field": "messages", "value": value}]
    return {"object": "whatsapp_business_account", "entry": [{"id": "1001", "changes": changes}]}


@dataclass
class Office:
    """A company whose CRM has a webhook, on a clock of its own."""

    settings: Settings
    inbox: Inbox
    outbox: Outbox
    now: datetime = BORN - timedelta(hours=1)
    slept: list[float] = field(default_factory=list)

    def run(self, **settings: Any) -> WebhookCounts:
        self.outbox.build()
        chosen = self.settings.model_copy(update=settings)
        return post_leads(
            chosen, now=lambda: self.now, sleep=self.slept.append, clock=lambda: len(self.slept)
        )

    def wait(self, **later: float) -> None:
        self.now += timedelta(**later)

    def lead(self, lead_id: str, **values: Any) -> OutboxLead:
        """A lead of now, whose first message came from a phone of its own."""
        lead = self.outbox.add(lead_id, first_touch_at=self.now, **values)
        if lead.evidence_seq is None:
            phone = f"55119{len(self.outbox.leads):08d}"
            lead.evidence_seq = self.keep("whatsapp", message(phone))
            lead.phone_key = Pseudonymizer.from_settings(self.settings).phone(phone)
        return lead

    def keep(self, source: str, body: Any) -> int:
        """An envelope into the vault; its `seq`."""
        vault = open_vault(self.settings.vault_url)
        try:
            item = NewEnvelope(microseconds(self.now), source, orjson.dumps(body))
            vault.append([item])
            return vault.last_seq()
        finally:
            vault.close()

    def empty(self, lead: OutboxLead) -> None:
        """As a purge or an erasure leaves the body that shows who the lead is."""
        assert lead.evidence_seq is not None
        vault = open_vault(self.settings.vault_url)
        vault.erase_bodies([lead.evidence_seq])
        vault.close()


@pytest.fixture
def office(make_settings: Callable[..., Settings]) -> Iterator[Office]:
    with inbox() as served:
        settings = make_settings(crm_webhook_url=served.url, crm_webhook_secret=SECRET)
        made = Office(settings, served, Outbox(settings))
        assert made.run().is_on  # switched on
        made.wait(hours=1)
        yield made


# ---- what is said --------------------------------------------------------------------------------


def test_a_lead_is_told_once_with_who_it_is_and_where_from(office: Office) -> None:
    names = Pseudonymizer.from_settings(office.settings)
    seq = office.keep("whatsapp", message())
    lead = office.lead("a" * 32, evidence_seq=seq)
    lead.phone_key, lead.bsuid_key = names.phone(PHONE), names.bsuid(BSUID)
    counts = office.run()
    assert (counts.leads, counts.delivered, counts.answers) == (1, 1, {"204": 1})
    said = office.inbox.taken[0]
    assert office.inbox.paths == ["/hooks/leads"]
    assert said == {
        "event": "lead.attributed",
        "event_id": office.inbox.seen[0],
        "version": 1,
        "lead_id": "a" * 32,
        "identities": {"phone": f"+{PHONE}", "user_id": BSUID},
        "attribution": {
            "source": "meta",
            "channel": "click_to_whatsapp",
            "basis": "ctwa_click",
            "campaign_id": "120200000000000001",
            "campaign_name": "Winter",
            "adset_id": "120200000000000002",
            "adset_name": "Women 25-40",
            "ad_id": "120200000000000003",
            "ad_name": "Video 1",
            "headline": "Chat with us",
            "first_touch_at": "2026-05-11T08:30:00.123Z",
        },
    }
    assert office.run() == WebhookCounts(is_on=True, leads=1)
    assert len(office.inbox.seen) == 1


def test_a_form_tells_its_address_and_its_own_id(office: Office) -> None:
    names = Pseudonymizer.from_settings(office.settings)
    form = {
        "lead_id": "form-17",
        "submitted_at": office.now.isoformat(),
        "email": "Ana@Example.com",
        "phone": "+55 11 98765-4321",
    }
    lead = office.lead("a" * 32, evidence_seq=office.keep("leads", form))
    lead.email_key, lead.web_lead_key = names.email("ana@example.com"), names.web_lead("form-17")
    lead.phone_key = names.phone(PHONE)
    office.run()
    found = office.inbox.taken[0]["identities"]
    assert found.pop("email").casefold() == "ana@example.com"
    assert found == {"phone": f"+{PHONE}", "lead_id": "form-17"}


def test_a_purged_body_leaves_an_update_without_identities(office: Office) -> None:
    lead = office.lead("a" * 32)
    office.run()
    office.empty(lead)
    lead.campaign_name = "Summer"
    office.run()
    assert [bool(s["identities"]) for s in office.inbox.taken] == [True, False]


def test_a_lead_that_nothing_names_is_not_told_of(office: Office) -> None:
    """So it is with the erased: their lead stays in the counts, as nobody's."""
    office.empty(office.lead("a" * 32, basis="direct", source="direct"))
    counts = office.run()
    assert (counts.delivered, counts.waiting, counts.skipped) == (0, 0, {"no_identity": 1})
    assert office.run().skipped == {"no_identity": 1}
    assert office.inbox.seen == []


def test_a_changed_source_is_an_update_under_another_id(office: Office) -> None:
    lead = office.lead("a" * 32, campaign_name=None)
    office.run()
    for name in ("Winter", "Summer", "Winter"):  # back to what was said once
        lead.campaign_name = name
        office.run()
    assert [s["event"] for s in office.inbox.taken] == ["lead.attributed", *["lead.updated"] * 3]
    assert [s["version"] for s in office.inbox.taken] == [1, 2, 3, 4]
    assert len(set(office.inbox.seen)) == 4


def test_an_update_of_what_never_arrived_is_still_the_first_word(office: Office) -> None:
    office.inbox.status = 422
    lead = office.lead("a" * 32)
    office.run()
    office.inbox.status = 200
    lead.ad_name = "Video 2"
    office.run()
    assert [s["event"] for s in office.inbox.taken] == ["lead.attributed"]


# ---- who is told of ------------------------------------------------------------------------------


def test_only_leads_born_after_it_was_switched_on(office: Office) -> None:
    office.outbox.add("a" * 32, first_touch_at=office.now - timedelta(days=90))
    office.lead("b" * 32)
    counts = office.run()
    assert [s["lead_id"] for s in office.inbox.taken] == ["b" * 32]
    assert counts.skipped == {"before_activation": 1}


def test_a_run_without_the_address_ends_it(office: Office) -> None:
    office.lead("a" * 32)
    assert office.run(crm_webhook_url="") == WebhookCounts()
    office.wait(hours=1)
    assert office.run().skipped == {"before_activation": 1}
    office.wait(hours=1)
    office.lead("b" * 32)
    office.run()
    assert [s["lead_id"] for s in office.inbox.taken] == ["b" * 32]


def test_e20_excluded_and_erased_leads_are_not_told(office: Office) -> None:
    office.lead("a" * 32, is_excluded=True)
    office.lead("b" * 32, is_erased=True)
    assert office.run().skipped == {"excluded": 1, "erased": 1}
    assert office.inbox.seen == []


def test_without_an_address_nothing_is_done_or_made(settings: Settings) -> None:
    assert post_leads(settings) == WebhookCounts()
    assert not ledger_path(settings).exists()


def test_an_address_without_a_secret_says_what_to_do(
    make_settings: Callable[..., Settings],
) -> None:
    with pytest.raises(WebhookSettingsError, match="CTWA_CRM_WEBHOOK_SECRET is not set"):
        post_leads(make_settings(crm_webhook_url="http://127.0.0.1:9/hook"))


# ---- when it does not arrive ---------------------------------------------------------------------


def test_what_was_not_taken_is_tried_again_ever_later_under_the_same_id(office: Office) -> None:
    office.inbox.status = 503
    office.lead("a" * 32)
    office.run()
    for minutes in (1, 5, 30, 120, 360, 360):
        office.wait(minutes=minutes - 0.5)
        office.run()  # too early
        seen = len(office.inbox.seen)
        office.wait(minutes=0.5)
        office.run()
        assert len(office.inbox.seen) == seen + 1, minutes
    office.inbox.status = 200
    office.wait(hours=6)
    assert office.run().delivered == 1
    assert len(set(office.inbox.seen)) == 1
    assert len(office.inbox.taken) == 1


def test_after_two_days_it_is_given_up_until_something_changes(office: Office) -> None:
    office.inbox.status = 500
    lead = office.lead("a" * 32)
    for _ in range(12):
        office.run()
        office.wait(hours=6)
    counts = office.run()
    assert (counts.given_up, counts.waiting, counts.answers) == (1, 0, {})
    office.inbox.status = 204
    lead.campaign_name = "Summer"
    counts = office.run()
    assert (counts.given_up, counts.delivered) == (0, 1)


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422, 302])
def test_what_is_refused_is_not_sent_again_until_something_changes(
    office: Office, status: int
) -> None:
    office.inbox.status = status
    office.inbox.headers = {"location": f"{office.inbox.url}/elsewhere"}
    lead = office.lead("a" * 32)
    assert office.run().refused == 1
    office.wait(days=1)
    assert office.run().refused == 1
    assert len(office.inbox.seen) == 1
    assert office.inbox.paths == ["/hooks/leads"]
    office.inbox.status = 200
    lead.campaign_name = "Summer"
    counts = office.run()
    assert (counts.refused, counts.delivered) == (0, 1)


@pytest.mark.parametrize("status", [408, 425, 429])
def test_a_limit_is_waited_for_as_long_as_it_says(office: Office, status: int) -> None:
    office.inbox.answers = [status]
    office.inbox.headers = {"retry-after": "600"}
    office.lead("a" * 32)
    assert office.run().waiting == 1
    office.wait(minutes=9)
    assert office.run().answers == {}
    office.wait(minutes=1)
    assert office.run().delivered == 1


def test_where_nobody_answers_it_is_tried_again_at_once(office: Office) -> None:
    office.lead("a" * 32)
    down = office.run(crm_webhook_url="http://127.0.0.1:9/hook")
    assert (down.waiting, down.answers) == (1, {"no answer": 1})
    assert office.slept == [1.0, 3.0]
    office.wait(minutes=2)
    assert office.run().delivered == 1


def test_an_answer_that_does_not_come_is_not_asked_for_again_at_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT", (5.0, 0.2))
    office.inbox.delay = 1.0
    office.lead("a" * 32)
    assert office.run().answers == {"timeout": 1}
    assert office.slept == []


def test_an_address_that_is_down_is_left_alone_for_this_run(office: Office) -> None:
    office.inbox.status = 503
    for number in range(20):
        office.lead(f"{number:032x}")
    counts = office.run()
    assert (counts.waiting, counts.answers) == (20, {"503": IN_A_ROW})
    office.inbox.status = 204
    office.wait(minutes=1)
    assert office.run().delivered == 20


def test_a_run_ends_in_time_and_the_next_one_goes_on(office: Office) -> None:
    office.lead("a" * 32)
    office.lead("b" * 32)
    office.outbox.build()
    ticks = iter([0.0, 1.0, 2.0, 500.0])
    counts = post_leads(office.settings, now=lambda: office.now, clock=lambda: next(ticks))
    assert (counts.delivered, counts.waiting) == (1, 1)
    assert office.run().delivered == 1
    assert sorted(s["lead_id"] for s in office.inbox.taken) == ["a" * 32, "b" * 32]


def test_one_refusal_holds_back_no_other(office: Office) -> None:
    office.inbox.answers = [422]
    for lead in "abc":
        office.lead(lead * 32)
    counts = office.run()
    assert (counts.delivered, counts.refused) == (2, 1)


def test_a_kill_before_the_ledger_posts_again_with_the_same_id(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.lead("a" * 32)
    with monkeypatch.context() as patched:
        patched.setattr("activation.webhook._Run._note", _killed)
        with pytest.raises(KeyboardInterrupt):
            office.run()
    assert office.run().delivered == 1
    assert len(office.inbox.taken) == 2
    assert len(set(office.inbox.seen)) == 1


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


# ---- privacy -------------------------------------------------------------------------------------


def test_e77_neither_identities_nor_secrets_in_ledger_log_or_counts(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "activation")
    names = Pseudonymizer.from_settings(office.settings)
    seq = office.keep("whatsapp", message())
    office.lead("a" * 32, evidence_seq=seq, phone_key=names.phone(PHONE))
    office.inbox.answers = [503]
    told = str(office.run()) + caplog.text
    for path in office.settings.activation_dir.iterdir():
        told += path.read_bytes().decode("latin-1")
    assert PHONE not in told
    assert SECRET not in told


def test_the_clock_of_the_switch_is_utc(office: Office) -> None:
    with open_ledger(office.settings) as ledger:
        found = ledger.execute("select on_since_us from crm_posts_switch").fetchone()[0]
    assert datetime.fromtimestamp(found / 1e6, UTC) == BORN - timedelta(hours=1)
