"""`ctwa live` as a process beside the receiver: from a signed post to marts and CRM, by HTTP."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import urllib3

from ctwa.live_state import LiveState
from ctwa.settings import PROJECT_DIR, Settings
from ingestion.crm.hubspot.account import PROPERTIES, create_properties
from ingestion.crm.hubspot.client import HubspotClient
from ingestion.lake.lake import Lake
from simulator.delivery import sign
from simulator.hubspot_api import WRITE_SCOPES, serve_hubspot_api
from simulator.hubspot_state import HubspotState
from simulator.installation import running_receiver
from simulator.lead_forms_api import Form, FormsState, Lead, Page, serve_lead_forms_api
from tests.support.crm_inbox import SECRET, Inbox, inbox
from tests.support.erasure import files_with, message, webhook
from tests.support.hubspot import TOKEN
from tests.support.live import (
    PATIENCE_SECONDS,
    built_whole,
    environment_of,
    published_seq,
    rows,
    until,
)
from tests.support.plans import plan_for

pytestmark = pytest.mark.timeout(900)

APP_SECRET = "secret-of-this-test"
AD = "120200000000000001"
LEADS = "select count(*) from fct_leads"
TOUCHES = "select count(*) from fct_touches"
ONCE = "select count(*), count(distinct lead_id), count(distinct touch_id) from fct_touches"


class Company:
    """A receiver, an installation that was built once, and a CRM's own address."""

    def __init__(self, settings: Settings, url: str, office: Inbox) -> None:
        self.settings, self.url, self.office = settings, url, office
        self.people = 0

    def number(self, person: int) -> str:
        """The phone of the first person, the second, …"""
        return f"55119{80_000_000 + person}"

    def post(self) -> None:
        """The first message of a new person, signed, acknowledged."""
        self.people += 1
        number = self.number(self.people)
        tapped = message(number, self.people, ad=AD, clid=f"click{number}")
        tapped["timestamp"] = str(int(time.time()))  # the CRM hears of what comes from now on
        body = webhook(messages=[tapped])
        headers = {"X-Hub-Signature-256": sign(body, APP_SECRET)}
        answer = urllib3.request(
            "POST", f"{self.url}/webhooks/whatsapp", body=body, headers=headers, timeout=60
        )
        assert answer.status == 200

    def leads(self) -> int:
        """How many a reader finds."""
        ((found,),) = rows(self.settings, LEADS)
        assert isinstance(found, int)
        return found

    def live(self) -> subprocess.Popen[bytes]:
        """`ctwa live`."""
        command = [sys.executable, "-m", "commands.cli", "live"]
        return subprocess.Popen(command, cwd=PROJECT_DIR, start_new_session=True)


def end(worker: subprocess.Popen[bytes]) -> int:
    """Ask it to end after its cycle; its exit code."""
    worker.terminate()
    return worker.wait(PATIENCE_SECONDS)


@pytest.fixture
def company(make_settings: Callable[..., Settings]) -> Iterator[Company]:
    with _company(make_settings) as company:
        yield company


@contextmanager
def _company(make_settings: Callable[..., Settings], **more: str) -> Iterator[Company]:
    with inbox() as office:
        settings = make_settings(
            **more,
            meta_app_secret=APP_SECRET,
            meta_verify_token="token",
            crm_webhook_url=office.url,
            crm_webhook_secret=SECRET,
        )
        built_whole(settings, plan_for(settings))
        with environment_of(settings), running_receiver(settings) as url:
            yield Company(settings, url, office)


def test_a_signed_post_is_a_lead_in_the_marts_and_at_the_crm(company: Company) -> None:
    worker = company.live()
    try:
        until(lambda: LiveState.read(company.settings.data_dir) is not None, "the worker")
        company.post()
        until(lambda: company.leads() == 1, "the first lead")
        # WhatsApp's times are whole seconds, and nobody of before activation is told of.
        time.sleep(1)
        company.post()
        company.post()
        until(lambda: company.leads() == 3, "further leads")
        until(lambda: len({said["lead_id"] for said in company.office.taken}) >= 2, "the CRM's")
        assert company.live().wait(PATIENCE_SECONDS) == 75, "one is enough"
        text = urllib3.request("GET", f"{company.url}/metrics").data.decode()
        assert "ctwa_live_lag_seconds 0.0" in text
    finally:
        assert end(worker) == 0
    assert rows(company.settings, ONCE) == [(3, 3, 3)]


def test_the_source_is_on_a_contact_of_hubspot_without_a_refresh(
    make_settings: Callable[..., Settings],
) -> None:
    """On one that was there before the message, and on one that was made after it."""
    account = HubspotState(datetime.now(UTC) - timedelta(minutes=5))
    with serve_hubspot_api(account, token=TOKEN, scopes=WRITE_SCOPES) as api:
        create_properties(HubspotClient(api.url, TOKEN), PROPERTIES)
        hubspot = {"hubspot_url": api.url, "hubspot_token": TOKEN, "hubspot_write_back": "live"}
        with _company(make_settings, **hubspot) as company:

            def contact(person: int) -> int:
                return account.contact(phone=f"+{company.number(person)}")

            def has_source(of: int) -> bool:
                found = account.find("contacts", of).properties
                return (found.get("ctwa_source"), found.get("ctwa_ad_id")) == ("meta", AD)

            worker = company.live()
            try:
                known = contact(1)
                company.post()
                until(lambda: has_source(known), "the source of a known contact")
                company.post()
                until(lambda: company.leads() == 2, "the second lead")
                late = contact(2)
                until(lambda: has_source(late), "the source of a contact made after the message")
            finally:
                assert end(worker) == 0
    assert api.wrong == []


@pytest.mark.deep
def test_a_signed_notice_of_an_instant_form_is_a_lead_in_the_marts(
    make_settings: Callable[..., Settings],
) -> None:
    """Without its answers outside the vault; a chat of the same person is the same lead."""
    now = datetime.now(UTC).replace(microsecond=0)
    answers = {"phone_number": "+5511980000001", "email": "canary@example.com"}
    lead = Lead("11223344556677889", "900", now - timedelta(hours=1), answers, ad_id=AD)
    forms = FormsState(now=now)
    forms.add(Page("516", "EAApage"), Form("900", "516", "Visita"), lead)
    with serve_lead_forms_api(forms, token="EAAsystem") as api:
        page = {"meta_graph_url": api.url, "meta_page_ids": "516", "meta_page_token": "EAAsystem"}
        with _company(make_settings, **page) as company:
            worker = company.live()
            try:
                until(lambda: LiveState.read(company.settings.data_dir) is not None, "the worker")
                body = json.dumps(lead.notice("516")).encode()
                headers = {"X-Hub-Signature-256": sign(body, APP_SECRET)}
                url = f"{company.url}/webhooks/messenger"
                began = time.monotonic()
                assert urllib3.request("POST", url, body=body, headers=headers).status == 200
                until(lambda: company.leads() == 1, "the lead")
                print(f"in the marts after {time.monotonic() - began:.1f} s")
                company.post()  # person 1 has the phone of the form
                until(lambda: rows(company.settings, TOUCHES) == [(2,)], "the chat")
            finally:
                assert end(worker) == 0
    found = rows(company.settings, "select channel, ad_id, latest_channel from fct_leads")
    assert found == [("meta_lead_form", AD, "click_to_whatsapp")]
    # Its chat's click id has the number in it, which no real one has.
    leaks = files_with(company.settings.data_dir, [b"canary", b"+5511980000001"])
    assert {name.partition(".")[0] for name in leaks} == {"vault"}
    assert api.wrong == []


@pytest.mark.deep
def test_nightly_and_live_take_turns(company: Company) -> None:
    """While messages come in all the time, a nightly refresh gets its turn, and both are right."""
    worker = company.live()
    stop = threading.Event()

    def busy() -> None:
        while not stop.wait(0.3):
            company.post()

    posting = threading.Thread(target=busy)
    try:
        company.post()
        until(lambda: company.leads() == 1, "the first lead")
        posting.start()
        nightly = subprocess.run(
            [sys.executable, "-m", "commands.cli", "refresh"],
            cwd=PROJECT_DIR, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert nightly.returncode == 0, nightly.stderr[-3_000:]
        stop.set()
        posting.join()
        until(lambda: company.leads() == company.people, "the leads of the night")
    finally:
        stop.set()
        assert end(worker) == 0
    assert rows(company.settings, ONCE) == [(company.people,) * 3]


@pytest.mark.deep
def test_killed_thirty_times_under_posts_every_lead_is_there_and_told_once(
    company: Company,
) -> None:
    luck = random.SystemRandom()
    for _ in range(30):
        state = LiveState.read(company.settings.data_dir)
        before, worker = state.pid if state else 0, company.live()
        until(lambda b=before: _pid(company.settings) != b, "the worker")  # type: ignore[misc]
        deadline = time.monotonic() + luck.uniform(0, 8)
        while time.monotonic() < deadline:
            company.post()
            time.sleep(luck.uniform(0, 0.5))
        worker.kill()
        worker.wait()
    worker = company.live()
    until(lambda: published_seq(company.settings) == company.people, "what killed workers left")
    assert end(worker) == 0
    assert rows(company.settings, ONCE) == [(company.people,) * 3]
    lake = Lake.from_settings(company.settings)
    landed = lake.query("select seq from {e} order by seq", e="event_log/envelopes")
    assert landed["seq"].to_pylist() == list(range(1, company.people + 1))
    # A kill between the answer and the note of it repeats the same event, which says so by its id.
    told = [said["event_id"] for said in company.office.taken]
    by_lead = {said["lead_id"]: said["event_id"] for said in company.office.taken}
    assert set(told) == set(by_lead.values())


def _pid(settings: Settings) -> int:
    state = LiveState.read(settings.data_dir)
    return state.pid if state else 0
