"""A message becomes properties of HubSpot's contact and a signed POST, through the real models."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from activation.hubspot import write_back
from activation.webhook import post_leads
from ctwa.settings import Settings
from ingestion.crm.hubspot.account import PROPERTIES, create_properties
from simulator.hubspot_api import WRITE_SCOPES
from tests.support.crm_inbox import SECRET, inbox
from tests.support.erasure import ANA, ANA_CLICK, ANA_ID, AT, BIA, message, receive, webhook
from tests.support.hubspot import crm
from tests.support.warehouse import DbtWorld

BORN = datetime.fromtimestamp(AT, UTC)
AD = "120200000000000001"


def test_a_lead_reaches_the_crm_by_both_ways_once_and_a_merge_is_followed(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    with crm(make_settings, scopes=WRITE_SCOPES) as company, inbox() as office:
        create_properties(company.client(), PROPERTIES)
        settings = company.settings.model_copy(
            update={
                "hubspot_write_back": "live",
                "crm_webhook_url": office.url,
                "crm_webhook_secret": make_settings(crm_webhook_secret=SECRET).crm_webhook_secret,
            }
        )
        world = DbtWorld(tmp_path, settings=settings)

        def refresh() -> None:
            company.night()
            world.build("+crm_outbox", "+crm_records")

        company.state.now = BORN - timedelta(days=1)
        refresh()
        assert post_leads(settings, now=lambda: company.state.now).leads == 0  # switched on

        ana = company.state.contact(phone="+55 (11) 98765-4321", email="ana@example.com")
        bia = company.state.contact(phone="11 91234-5687")
        tapped = message(ANA, 1, ad=AD, clid=ANA_CLICK)
        receive(settings, [webhook(contacts=[(ANA, ANA_ID)], messages=[tapped])], AT + 60)
        receive(settings, [webhook(messages=[message(BIA, 2)])], AT + 120)
        company.state.now = BORN + timedelta(hours=1)
        refresh()
        assert write_back(settings, client=company.client()).written == 2
        assert post_leads(settings).delivered == 2

        stands = company.state.find("contacts", ana).properties
        assert (stands["ctwa_source"], stands["ctwa_channel"]) == ("meta", "click_to_whatsapp")
        assert (stands["ctwa_ad_id"], stands["ctwa_headline"]) == (AD, "Apartamento em Santos")
        assert company.state.find("contacts", bia).properties["ctwa_source"] == "direct"
        said = {s["lead_id"]: s for s in office.taken}[stands["ctwa_lead_id"]]
        assert said["identities"] == {"phone": f"+{ANA}", "user_id": ANA_ID}
        assert said["attribution"]["ad_id"] == AD

        refresh()
        company.api.calls.clear()
        write_back(settings, client=company.client())
        assert (company.api.calls, post_leads(settings).answers) == ([], {})

        merged = company.state.merge("contacts", bia, ana)  # Bia's number was Ana's second one
        refresh()
        assert write_back(settings, client=company.client()).written == 1
        now_stands = company.state.find("contacts", merged).properties
        assert now_stands["ctwa_lead_id"] == stands["ctwa_lead_id"]
        assert now_stands["ctwa_source"] == "meta"
