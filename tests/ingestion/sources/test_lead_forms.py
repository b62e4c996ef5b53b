"""Instant forms into the vault: by notice and in bulk, each lead once, whatever is missed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
import pytest

from ctwa.settings import Settings
from ingestion.ads.meta.errors import GraphTokenError
from ingestion.apis.client import RetryPolicy
from ingestion.crm.lead_forms.page import Pages, examine
from ingestion.crm.lead_forms.source import BULK_EVERY, LeadFormsCounts, land_lead_forms
from ingestion.crm.lead_forms.tables import Known
from ingestion.lake.lake import Lake
from ingestion.source import SourceIncompleteError
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, microseconds
from keeping.erasure.forget import forget_person
from keeping.erasure.steps import land as land_events
from simulator.ads_faults import Fault, FaultScript
from simulator.lead_forms_api import (
    Form,
    FormsState,
    Lead,
    LeadFormsApi,
    Page,
    serve_lead_forms_api,
)
from tests.support.erasure import files_with

PAGE, OTHER, FORM, SECOND = "516540199", "516540200", "900100200300400", "900100200300500"
TOKEN, PAGE_TOKEN = "EAAsystem0SECRET0canary", "EAApage0SECRET0canary"
NAME, EMAIL, PHONE = "Ana Souza Lima", "ana.souza@example.com", "+5531987650001"
ADS = "120299990000000001"
LEAD = "1122334455667701"


@dataclass
class Shop:
    """A company with one page and two forms."""

    state: FormsState
    api: LeadFormsApi
    settings: Settings
    slept: list[float] = field(default_factory=list)

    def lead(self, number: int, form: str = FORM, **more: Any) -> Lead:
        """Somebody sends a form, now."""
        email, phone = f"{number}{EMAIL}", f"{PHONE[:-2]}{number:02}"
        answers = more.pop("answers", None) or {
            "full_name": NAME, "email": email, "phone_number": phone,
        }  # fmt: skip
        lead = Lead(f"11223344556677{number:02}", form, self.state.now, answers, **more)
        self.state.add(lead)
        return lead

    def notify(self, *leads: Lead, page: str = PAGE) -> None:
        """Meta's webhook reaches the receiver."""
        at = microseconds(self.state.now)
        bodies = [orjson.dumps(lead.notice(page)) for lead in leads]
        vault = open_vault(self.settings.vault_url)
        vault.append([NewEnvelope(at, "messenger", body) for body in bodies])
        vault.close()

    def read(self, *, in_bulk: bool = True, **later: float) -> LeadFormsCounts:
        self.state.now += timedelta(**later)
        pages = Pages(self.settings, RetryPolicy(tries=2), sleep=self.slept.append, seed=1)
        try:
            return land_lead_forms(
                self.settings, lambda: self.state.now, pages=pages, in_bulk=in_bulk
            )
        finally:
            pages.close()

    def night(self, **later: float) -> LeadFormsCounts:
        counts = self.read(**later)
        land_events(self.settings)
        return counts

    def rows(self, table: str, order: str = "seq, ordinal") -> list[dict[str, Any]]:
        lake = Lake.from_settings(self.settings)
        found: list[dict[str, Any]] = lake.query(
            f"select * from {{t}} order by {order}", t=table
        ).to_pylist()
        return found

    def known(self) -> list[str]:
        return [row["leadgen_id"] for row in self.rows("event_log/web_leads")]


@pytest.fixture
def shop(make_settings: Callable[..., Settings]) -> Iterator[Shop]:
    state = FormsState()
    state.add(Page(PAGE, PAGE_TOKEN), Form(FORM, PAGE, "Visita"), Form(SECOND, PAGE, "Preço"))
    with serve_lead_forms_api(state, token=TOKEN, page_size=2) as api:
        settings = make_settings(
            META_GRAPH_URL=api.url, META_PAGE_IDS=PAGE, META_PAGE_TOKEN=TOKEN, META_APP_SECRET="s"
        )
        yield Shop(state, api, settings)


def test_a_notice_is_followed_by_its_lead_in_the_same_run(shop: Shop) -> None:
    shop.night()
    lead = shop.lead(1, ad_id=ADS)
    shop.notify(lead)
    shop.api.calls.clear()
    counts = shop.night(minutes=5)
    assert (counts.leads, counts.by_notice) == (1, 1)
    assert not any("leadgen_forms" in call for call in shop.api.calls), "the bulk read is not due"
    assert shop.known() == [lead.lead_id]
    assert shop.rows("event_log/web_leads")[0]["ad_id"] == ADS
    assert len(shop.rows("event_log/form_notices")) == 1
    shop.api.calls.clear()
    assert shop.night(minutes=5).leads == 0
    assert shop.api.calls == [], "nothing is asked where nothing is new"


def test_e180_missed_repeated_and_late_notices_make_the_same_rows(shop: Shop) -> None:
    leads = [shop.lead(n, ad_id=ADS) for n in range(1, 6)] + [shop.lead(6, SECOND)]
    shop.notify(leads[1], leads[1])
    assert shop.night().leads == 6  # more than a page of the listing
    shop.notify(leads[1], leads[2], leads[5])
    assert shop.night(hours=30).leads == 0
    assert sorted(shop.known()) == [lead.lead_id for lead in leads]
    states = shop.rows("meta_lead_forms/leads", "read_no, lead_key")
    assert {(row["state"], row["found_by"]) for row in states} == {("read", "bulk")}
    assert not any(lead.lead_id in str(states) for lead in leads)


def test_a_read_continues_from_the_last_one_and_a_day_before(shop: Shop) -> None:
    shop.lead(1)
    shop.night(days=1)
    shop.api.calls.clear()
    shop.night(days=2)
    reads = [r for r in shop.rows("meta_lead_forms/reads", "read_no") if r["form_id"] == FORM]
    assert reads[0]["until"] - reads[0]["since"] == timedelta(days=90)
    assert reads[1]["since"] == reads[0]["until"] - timedelta(days=1)
    after = int(reads[1]["since"].timestamp()) - 1
    assert any(f'"value":{after}' in call for call in shop.api.calls)


def test_what_meta_no_longer_keeps_does_not_come_and_what_was_read_stays(shop: Shop) -> None:
    shop.lead(1)
    shop.night()
    shop.night(days=95)
    assert len(shop.known()) == 1


def test_a_token_without_leads_retrieval_is_named_with_the_fix(shop: Shop) -> None:
    shop.notify(shop.lead(1))
    shop.state.may_read_leads = False
    with pytest.raises(SourceIncompleteError) as refusal:
        shop.night()
    text = str(refusal.value)
    assert f"META_PAGE_TOKEN may not read leads of page {PAGE}" in text
    assert "leads_retrieval" in text
    assert "canary" not in text
    shop.state.may_read_leads = True
    assert shop.night(hours=1).leads == 1


def test_a_dead_token_stops_and_names_its_setting(shop: Shop) -> None:
    shop.api.token = "another"
    with pytest.raises(GraphTokenError, match="META_PAGE_TOKEN is no longer valid"):
        shop.read()


def test_e181_a_deleted_form_is_named_once_and_stops_nothing(shop: Shop) -> None:
    shop.lead(1)
    shop.night()
    shop.state.forms[FORM].is_deleted = True
    shop.lead(2, SECOND)
    counts = shop.night(hours=1)
    assert (counts.leads, counts.forms_gone) == (1, f"Visita ({FORM})")
    assert shop.night(hours=1).forms_gone is None
    assert len(shop.known()) == 2


def test_a_form_deleted_between_list_and_read_is_gone_too(shop: Shop) -> None:
    gone = Fault(f"{FORM}/leads", code=100, subcode=33)
    shop.api.faults = FaultScript([gone])
    shop.lead(1, SECOND)
    counts = shop.night()
    assert (counts.leads, counts.forms_gone) == (1, f"Visita ({FORM})")


def test_e181_a_lead_refused_by_its_id_is_named_and_the_others_land(shop: Shop) -> None:
    shop.night()
    refused, fine = shop.lead(1), shop.lead(2)
    shop.state.refused.add(refused.lead_id)
    shop.notify(refused, fine)
    del shop.state.leads[refused.lead_id]
    with pytest.raises(SourceIncompleteError, match=f"lead {refused.lead_id}: Meta announced it"):
        shop.read(minutes=1)
    land_events(shop.settings)
    assert shop.known() == [fine.lead_id]
    with pytest.raises(SourceIncompleteError):
        shop.read(days=1)
    assert shop.read(days=3).leads == 0  # by now nobody expects it
    states = shop.rows("meta_lead_forms/leads", "read_no, lead_key")
    assert sorted(row["state"] for row in states) == ["read", "refused"]


def test_forms_that_cannot_be_listed_keep_no_lead_from_being_read_by_its_notice(
    shop: Shop,
) -> None:
    shop.api.faults = FaultScript([Fault(f"{PAGE}/leadgen_forms", code=200, status=403)])
    shop.notify(shop.lead(1))
    with pytest.raises(SourceIncompleteError, match=f"forms of page {PAGE}") as refusal:
        shop.night()
    assert refusal.value.counts.by_notice == 1


def test_for_the_live_worker_each_lead_is_asked_for_once_and_no_form_is_read(shop: Shop) -> None:
    refused, fine = shop.lead(1), shop.lead(2)
    shop.state.refused.add(refused.lead_id)
    shop.notify(refused, fine)
    shop.notify(shop.lead(3), page=OTHER)
    del shop.state.leads[refused.lead_id]
    assert shop.read(in_bulk=False).leads == 1
    assert not any("leadgen_forms" in call or "/leads" in call for call in shop.api.calls)
    shop.api.calls.clear()
    assert shop.read(in_bulk=False, minutes=1).leads == 0
    assert shop.api.calls == []
    with pytest.raises(SourceIncompleteError, match=f"lead {refused.lead_id}") as refusal:
        shop.read(minutes=1)
    assert "which is not configured" in str(refusal.value)


def test_for_the_live_worker_the_first_lead_without_an_answer_is_the_last_asked_for(
    shop: Shop,
) -> None:
    leads = [shop.lead(n) for n in range(1, 5)]
    shop.notify(*leads)
    shop.api.faults = FaultScript([Fault(f"GET /{leads[1].lead_id}", times=2, status=500, code=2)])
    with pytest.raises(SourceIncompleteError) as refusal:
        shop.read(in_bulk=False)
    assert refusal.value.counts.leads == 1
    assert shop.read(in_bulk=False).leads == 3


def test_notices_of_a_page_that_is_not_configured_are_named(shop: Shop) -> None:
    shop.notify(shop.lead(1), page=OTHER)
    with pytest.raises(SourceIncompleteError, match=f"page {OTHER}, which is not configured"):
        shop.night()


def test_one_page_that_fails_stops_no_other(
    shop: Shop, make_settings: Callable[..., Settings]
) -> None:
    shop.lead(1)
    shop.settings = shop.settings.model_copy(update={"meta_page_ids": (OTHER, PAGE)})
    with pytest.raises(SourceIncompleteError, match=f"page {OTHER}") as refusal:
        shop.night()
    assert refusal.value.counts.leads == 1


def test_test_leads_and_organic_ones_are_marked(shop: Shop) -> None:
    shop.lead(1, is_test=True, is_organic=True)
    shop.lead(2, is_organic=True)
    shop.night()
    rows = {row["leadgen_id"][-2:]: row for row in shop.rows("event_log/web_leads")}
    assert {n: (r["is_test"], r["is_organic"]) for n, r in rows.items()} == {
        "01": (True, True),
        "02": (False, True),
    }


def test_a_kill_before_the_read_is_noted_repeats_it_and_changes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.lead(1)

    def killed(_: Known) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Known, "load", killed)
        with pytest.raises(KeyboardInterrupt):
            shop.read()
    shop.night(minutes=1)
    first, again = shop.rows("event_log/web_leads")
    assert first["content_key"] == again["content_key"]
    assert first["form_key"] == again["form_key"]


def test_no_answer_is_outside_the_vault_and_an_erased_lead_does_not_come_again(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    shop.notify(shop.lead(1))
    shop.night()
    secrets = [NAME, EMAIL, PHONE.removeprefix("+"), PHONE[-11:], TOKEN, PAGE_TOKEN]
    raw = [secret.encode() for secret in secrets]
    with_them = {found.partition(".")[0] for found in files_with(shop.settings.data_dir, raw)}
    assert with_them == {"vault"}
    assert not any(secret in caplog.text for secret in secrets)
    phone = shop.state.leads[LEAD].answers["phone_number"]
    done = forget_person(shop.settings, phone=phone)
    assert (done.erased.rows["web_leads"], done.erased.rows["form_notices"]) == (1, 1)
    ids = [*raw, LEAD.encode()]
    assert files_with(shop.settings.data_dir, ids) == []
    assert shop.night(hours=2).leads == 0
    assert files_with(shop.settings.data_dir, ids) == []


def test_doctor_checks_permission_page_and_subscription(shop: Shop) -> None:
    shop.api.token_told = {"is_valid": True, "scopes": ["leads_retrieval"]}
    assert {f.status for f in examine(shop.settings)} == {"ok"}
    shop.state.may_read_leads = False  # "Leads access" of the business leaves the app out
    (denied,) = [f for f in examine(shop.settings) if f.status == "wrong"]
    assert f"META_PAGE_TOKEN may not read leads of page {PAGE}" in denied.found
    assert "Leads access" in denied.fix
    shop.state.may_read_leads = True
    shop.state.pages[PAGE].subscribed = ("messages",)
    shop.api.token_told["scopes"] = ["ads_read"]
    wrong = {f.subject: f for f in examine(shop.settings) if f.status == "wrong"}
    assert "leads_retrieval" in wrong["Meta page token"].found
    assert "no app is subscribed to leadgen" in wrong[f"Meta page {PAGE}, notices"].found
    assert "canary" not in str(wrong)
    shop.api.token = "another"
    (dead,) = [f for f in examine(shop.settings) if f.status == "wrong"]
    assert "META_PAGE_TOKEN is no longer valid" in dead.found


def test_without_pages_it_is_off(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    assert [f.status for f in examine(settings)] == ["off"]
    assert land_lead_forms(settings).leads == 0
    assert timedelta(hours=1) > BULK_EVERY
