"""From the webhook to Meta and onto the CRM's contact by the nightly job, on the real clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

from activation.conversions_ledger import ConversionsLedger
from ctwa.settings import Settings
from ingestion.crm.hubspot.account import PROPERTIES, create_properties
from ingestion.crm.hubspot.client import HubspotClient
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope, microseconds
from orchestration.refresh import RefreshResult, refresh
from simulator.conversions_api import ConversionsApi, serve_conversions_api
from simulator.hubspot_api import WRITE_SCOPES, HubspotApi, serve_hubspot_api
from simulator.hubspot_state import HubspotState
from tests.support.plans import prepare

WABA, DATASET = "100000000000001", "770000000000001"
ANA, BEA = "5511987654321", "5511912345687"
CLICK = "AfExampleExampleExample"


@dataclass
class Company:
    settings: Settings
    meta: ConversionsApi
    crm: HubspotApi

    def receive(self, source: str, *bodies: Any) -> None:
        """As the receiver keeps them."""
        vault = open_vault(self.settings.vault_url)
        try:
            at = microseconds(datetime.now(UTC))
            vault.append([NewEnvelope(at, source, json.dumps(b).encode()) for b in bodies])
        finally:
            vault.close()

    def refresh(self) -> RefreshResult:
        self.crm.state.now = datetime.now(UTC)
        result = refresh(self.settings)
        assert result.failures == []
        assert [*self.meta.wrong, *self.crm.wrong] == []
        return result

    def published(self) -> list[tuple[str, str, str | None]]:
        """Stage, status and reason of every event, as BI tools read them."""
        with duckdb.connect(str(self.settings.marts_path), read_only=True) as marts:
            return marts.execute(
                "select funnel_stage, status, reason from marts.conversion_events order by all"
            ).fetchall()


@pytest.fixture
def company(make_settings: Callable[..., Settings]) -> Iterator[Company]:
    with (
        serve_conversions_api({DATASET: {WABA}}) as meta,
        serve_hubspot_api(HubspotState(datetime.now(UTC)), scopes=WRITE_SCOPES) as crm,
    ):
        settings = make_settings(
            meta_graph_url=meta.url,
            meta_access_token=meta.token,
            meta_dataset_ids=f"{WABA}:{DATASET}",
            meta_conversions_mode="live",
            hubspot_url=crm.url,
            hubspot_token=crm.token,
            hubspot_write_back="live",
        )
        client = HubspotClient.from_settings(settings)
        create_properties(client, list(PROPERTIES))
        client.close()
        yield Company(prepare(settings), meta, crm)


def tap(phone: str, at: datetime, name: str) -> dict[str, Any]:
    """The first message after a tap on an ad, as WhatsApp sends it."""
    referral = {
        "source_url": "https://fb.me/x", "source_type": "ad", "source_id": "120200000000000003",
        "headline": "Chat with us", "ctwa_clid": f"{CLICK}{name}",
    }  # fmt: skip
    message = {
        "from": phone, "id": f"wamid.{name}", "timestamp": str(int(at.timestamp())),
        "type": "text", "text": {"body": "Hi"}, "referral": referral,
    }  # fmt: skip
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550001111", "phone_number_id": "200"},
        "contacts": [{"profile": {"name": "Test"}, "wa_id": phone}],
        "messages": [message],
    }
    changes = [{"field": "messages", "value": value}]
    return {"object": "whatsapp_business_account", "entry": [{"id": WABA, "changes": changes}]}


def outcome(phone: str, stage: str, at: datetime, **more: Any) -> dict[str, Any]:
    found = {"event_id": f"{stage}-{phone}", "stage": stage, "occurred_at": at.isoformat()}
    return {**found, "phone": f"+{phone}", "source": "crm", **more}


def test_e71_e72_what_qualifies_reaches_meta_once_and_the_contact_its_source(
    company: Company,
) -> None:
    now = datetime.now(UTC)
    with ConversionsLedger.open(company.settings) as ledger:  # as a run two hours ago did
        ledger.begin_activation(microseconds(now - timedelta(hours=2)))
    contact = company.crm.state.contact(phone=f"+{ANA}")
    company.receive("whatsapp", tap(ANA, now - timedelta(hours=4), "ana"))
    company.receive("whatsapp", tap(BEA, now - timedelta(hours=5), "bea"))
    # Before sending was switched on: never told.
    company.receive("outcomes", outcome(BEA, "opportunity", now - timedelta(hours=3)))
    sold = outcome(ANA, "won", now - timedelta(minutes=5), value=1250.5, currency="BRL")
    company.receive("outcomes", sold)
    company.refresh()

    told = {(e["event_name"], e["user_data"]["ctwa_clid"]) for e in company.meta.accepted}
    assert told == {("QualifiedLead", f"{CLICK}ana"), ("Purchase", f"{CLICK}ana")}
    (purchase,) = [e for e in company.meta.accepted if e["event_name"] == "Purchase"]
    assert purchase["custom_data"] == {"currency": "BRL", "value": 1250.5}
    assert purchase["user_data"]["whatsapp_business_account_id"] == WABA
    written = company.crm.state.find("contacts", contact).properties
    assert written["ctwa_ad_id"] == "120200000000000003"
    assert written["ctwa_channel"] == "click_to_whatsapp"
    assert written["ctwa_headline"] == "Chat with us"
    # The publication of this very run says what became of them.
    assert company.published() == [
        ("qualified", "sent", None),
        ("qualified", "skipped", "before_activation"),
        ("won", "sent", None),
    ]
