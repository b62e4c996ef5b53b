"""`ctwa doctor`: each broken set-up is named with its fix, and a whole one is let pass."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from commands.doctor import inbound, installation, outbound, stores
from ctwa.settings import Settings
from ingestion.ads.google import accounts as google
from ingestion.ads.meta import accounts as meta
from ingestion.crm.hubspot import account as hubspot
from ingestion.crm.hubspot.account import PROPERTIES, create_properties, examine_write_back
from ingestion.event_log.adoption import look_at_receiver
from ingestion.event_log.source import land_event_log
from ingestion.source import Finding
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from ingestion.webhook.server import running
from simulator.ads_api import AdsApi, serve_ads_api
from simulator.ads_graph import ApiError
from simulator.ads_state import Account, AdsState
from simulator.hubspot_api import WRITE_SCOPES
from tests.support.erasure import message, receive, webhook
from tests.support.google import BRAZIL, MANAGER, REFRESH_TOKEN, googler
from tests.support.hubspot import TOKEN as HUBSPOT_TOKEN
from tests.support.hubspot import Crm, crm

TOKEN = "EAAdoctor0token0of0the0test"


@pytest.fixture
def api() -> Iterator[AdsApi]:
    """Meta with one account of ours and one that hides."""
    state = AdsState(now=lambda: datetime(2026, 6, 1, tzinfo=UTC))
    state.add(Account("101", "Ours", "BRL", "America/Sao_Paulo", True))
    state.add(Account("102", "Hidden", "BRL", "America/Sao_Paulo", False))
    with serve_ads_api(state, token=TOKEN) as served:
        yield served


@pytest.fixture
def connected(make_settings: Callable[..., Settings], api: AdsApi) -> Callable[..., Settings]:
    """Settings that know the stand-in."""

    def make(**overrides: Any) -> Settings:
        given = {
            "meta_graph_url": api.url,
            "meta_api_version": api.version,
            "meta_access_token": TOKEN,
            "meta_ad_account_ids": "101",
        }
        return make_settings(**(given | overrides))

    return make


def by_subject(findings: Iterator[Finding]) -> dict[str, Finding]:
    found = {f.subject: f for f in findings}
    for finding in found.values():
        assert (finding.status == "wrong") == bool(finding.fix), finding
        for secret in (TOKEN, REFRESH_TOKEN, HUBSPOT_TOKEN):
            assert secret not in finding.found + finding.fix
    return found


# ---- Meta ----------------------------------------------------------------------------------------


def test_a_right_token_and_account_are_ok(connected: Callable[..., Settings]) -> None:
    found = by_subject(meta.examine(connected()))
    assert {f.status for f in found.values()} == {"ok"}
    assert found["Meta ad account 101"].found == "Ours, BRL, America/Sao_Paulo"


def test_a_dead_token_is_named_once_and_accounts_are_not_asked(
    connected: Callable[..., Settings], api: AdsApi
) -> None:
    found = by_subject(meta.examine(connected(meta_access_token="EAAsomebodyelses")))
    assert list(found) == ["Meta token"]
    assert "META_ACCESS_TOKEN" in found["Meta token"].fix
    assert not [c for c in api.calls if "act_" in c]


@pytest.mark.parametrize(
    ("told", "subject", "text"),
    [
        ({"is_valid": False}, "Meta token", "invalid"),
        ({"is_valid": True, "expires_at": 1}, "Meta token", "ends on 1970-01-01"),
        (
            {"is_valid": True, "data_access_expires_at": int(time.time()) + 86_400},
            "Meta token",
            "ends on",
        ),
        ({"is_valid": True, "scopes": ["pages_read"]}, "Meta permissions", "ads_read is not among"),
    ],
)
def test_what_meta_tells_of_a_token_is_judged(
    connected: Callable[..., Settings], api: AdsApi, told: dict[str, Any], subject: str, text: str
) -> None:
    api.token_told = told
    finding = by_subject(meta.examine(connected()))[subject]
    assert finding.status == "wrong"
    assert text in finding.found
    assert "system user token" in finding.fix


def test_an_account_that_hides_is_named_and_the_other_is_ok(
    connected: Callable[..., Settings],
) -> None:
    found = by_subject(meta.examine(connected(meta_ad_account_ids="101,102,103")))
    assert found["Meta ad account 101"].status == "ok"
    assert "ads_read" in found["Meta ad account 102"].fix + found["Meta ad account 102"].found
    assert found["Meta ad account 103"].status == "wrong"


def test_half_of_the_settings_is_wrong_and_none_is_off(
    make_settings: Callable[..., Settings],
) -> None:
    assert [f.status for f in meta.examine(make_settings())] == ["off"]
    found = by_subject(meta.examine(make_settings(meta_access_token="t")))
    assert found["Meta ads"].fix.startswith("set META_AD_ACCOUNT_IDS")


def test_nobody_at_the_address_is_told_as_such(connected: Callable[..., Settings]) -> None:
    found = by_subject(meta.examine(connected(meta_graph_url="http://127.0.0.1:9")))
    assert "connection failed" in found["Meta token"].found
    assert found["Meta ad account 101"].status == "wrong"


# ---- Google Ads ----------------------------------------------------------------------------------


def test_a_right_google_account_and_a_manager_are_ok(
    make_settings: Callable[..., Settings],
) -> None:
    with googler(make_settings, customers=(BRAZIL, MANAGER)) as shop:
        found = by_subject(google.examine(shop.settings))
    assert {f.status for f in found.values()} == {"ok"}
    assert found[f"Google Ads {BRAZIL}"].found == "Loja, BRL, America/Sao_Paulo"
    assert found[f"Google Ads {MANAGER}"].found == "Agency, a manager of 1 active account"


def test_a_dead_google_token_is_named_once_and_no_account_is_asked(
    make_settings: Callable[..., Settings],
) -> None:
    with googler(make_settings, google_ads_refresh_token="1//withdrawn") as shop:
        found = by_subject(google.examine(shop.settings))
        assert not [call for call in shop.api.calls if "customers" in call]
    assert list(found) == ["Google token"]
    assert "invalid_grant" in found["Google token"].found
    assert "GOOGLE_ADS_REFRESH_TOKEN" in found["Google token"].fix


def test_a_google_account_that_is_not_ours_is_named_and_the_other_is_ok(
    make_settings: Callable[..., Settings],
) -> None:
    with googler(make_settings, customers=("5550000000", BRAZIL)) as shop:
        found = by_subject(google.examine(shop.settings))
    assert found["Google Ads 5550000000"].status == "wrong"
    assert "GOOGLE_ADS_LOGIN_CUSTOMER_ID" in found["Google Ads 5550000000"].fix
    assert found[f"Google Ads {BRAZIL}"].status == "ok"


def test_half_of_googles_settings_is_wrong_and_none_is_off(
    make_settings: Callable[..., Settings],
) -> None:
    assert [f.status for f in google.examine(make_settings())] == ["off"]
    found = by_subject(google.examine(make_settings(google_ads_client_id="c")))
    assert "GOOGLE_ADS_REFRESH_TOKEN" in found["Google Ads"].fix
    assert "GOOGLE_ADS_CLIENT_ID" not in found["Google Ads"].found


# ---- HubSpot -------------------------------------------------------------------------------------


def test_a_right_hubspot_token_is_ok_and_none_is_off(
    make_settings: Callable[..., Settings],
) -> None:
    assert [f.status for f in hubspot.examine(make_settings())] == ["off"]
    with crm(make_settings) as company:
        found = by_subject(hubspot.examine(company.settings))
    assert [f.status for f in found.values()] == ["ok", "ok", "ok"]


def test_a_dead_hubspot_token_is_named_once(make_settings: Callable[..., Settings]) -> None:
    with crm(make_settings) as company:
        wrong = make_settings(hubspot_url=company.api.url, hubspot_token="pat-na1-dead")
        found = by_subject(hubspot.examine(wrong))
    assert list(found) == ["HubSpot token"]
    assert "HUBSPOT_TOKEN" in found["HubSpot token"].fix


def test_a_permission_that_hubspot_did_not_grant_is_named(
    make_settings: Callable[..., Settings],
) -> None:
    with crm(make_settings) as company:
        company.api.scopes = frozenset(s for s in company.api.scopes if "deals" not in s)
        found = by_subject(hubspot.examine(company.settings))
    assert (found["HubSpot contacts"].status, found["HubSpot deals"].status) == ("ok", "wrong")
    assert "crm.objects.deals.read" in found["HubSpot deals"].found + found["HubSpot deals"].fix


# ---- what goes out -------------------------------------------------------------------------------


def writing(company: Crm, mode: str = "live") -> Settings:
    return company.settings.model_copy(update={"hubspot_write_back": mode})


def test_missing_properties_are_named_and_made_on_demand(
    make_settings: Callable[..., Settings],
) -> None:
    with crm(make_settings, scopes=WRITE_SCOPES) as company:
        found = by_subject(examine_write_back(writing(company)))
        assert "ctwa_lead_id, ctwa_source" in found["HubSpot write-back"].found
        assert "ctwa doctor --fix" in found["HubSpot write-back"].fix
        assert company.state.custom == {}
        found = by_subject(examine_write_back(writing(company), fix=True))
        assert found["HubSpot write-back"].found.startswith("created ctwa_lead_id, ")
        assert {p["groupName"] for p in company.state.custom.values()} == {"ctwa_attribution"}
        assert company.state.custom.keys() == {p.name for p in PROPERTIES}
        company.api.calls.clear()
        found = by_subject(examine_write_back(writing(company), fix=True))
        assert [f.status for f in found.values()] == ["ok", "ok"]
        assert not [c for c in company.api.calls if "create" in c or "groups" in c]
        refused = (
            "POST /crm/objects/2026-09/contacts/batch/update: the number of inputs is 1 to 100"
        )
        assert company.api.wrong == [refused] * 3


def test_properties_that_are_there_stay_and_only_others_are_made(
    make_settings: Callable[..., Settings],
) -> None:
    with crm(make_settings, scopes=WRITE_SCOPES) as company:
        create_properties(company.client(), PROPERTIES[:3])
        company.state.custom["ctwa_source"]["label"] = "Our own words"
        list(examine_write_back(writing(company), fix=True))
        assert company.state.custom["ctwa_source"]["label"] == "Our own words"
        assert len(company.state.custom) == len(PROPERTIES)
        company.state.custom["ctwa_ad"]["type"] = "number"
        found = by_subject(examine_write_back(writing(company), fix=True))["HubSpot write-back"]
        assert (found.status, "ctwa_ad is of type number" in found.found) == ("wrong", True)


def test_in_a_dry_run_missing_properties_are_no_fault(
    make_settings: Callable[..., Settings],
) -> None:
    with crm(make_settings) as company:
        found = list(examine_write_back(writing(company, "dry_run")))
        assert [f.status for f in found] == ["off"]
        assert "`ctwa doctor --fix` creates them" in found[0].found
        assert [f.status for f in examine_write_back(writing(company, "off"))] == ["off"]
        assert [f.status for f in examine_write_back(make_settings())] == ["off"]


def test_permissions_to_write_are_named(make_settings: Callable[..., Settings]) -> None:
    with crm(make_settings) as company:
        found = by_subject(examine_write_back(writing(company), fix=True))["HubSpot write-back"]
        assert "crm.schemas.contacts.write" in found.fix
        company.api.scopes = WRITE_SCOPES - {"crm.objects.contacts.write"}
        found = by_subject(examine_write_back(writing(company), fix=True))["HubSpot contacts"]
        assert "crm.objects.contacts.write" in found.fix


MANAGES = {
    "is_valid": True,
    "expires_at": 0,
    "scopes": ["whatsapp_business_management", "whatsapp_business_manage_events"],
}


def test_conversions_are_off_unless_datasets_or_a_mode_are_set(
    connected: Callable[..., Settings], api: AdsApi
) -> None:
    assert [f.status for f in outbound.conversions(connected())] == ["off"]
    assert api.calls == []
    assert [f.status for f in outbound.conversions(connected(meta_conversions_mode="off"))] == [
        "off"
    ]
    found = list(outbound.conversions(connected(meta_conversions_mode="live")))
    assert "META_DATASET_IDS is not set" in found[-1].found


def test_a_dataset_that_is_the_accounts_own_is_ok_and_others_are_named(
    connected: Callable[..., Settings], api: AdsApi
) -> None:
    api.token_told, api.datasets = MANAGES, {"11": "77", "12": "78", "13": None}
    settings = connected(meta_dataset_ids="11:77,12:77,13:79,14:80")
    found = by_subject(outbound.conversions(settings))
    assert found["conversions token"].status == "ok"
    assert found["WhatsApp account 11"] == Finding("WhatsApp account 11", "ok", "dataset 77")
    assert found["WhatsApp account 12"].fix == "add 12:78 to META_DATASET_IDS"
    assert "create one in Events Manager" in found["WhatsApp account 13"].fix
    assert found["WhatsApp account 14"].status == "wrong"


def test_an_account_that_clicks_came_by_and_nobody_set_is_named_with_its_pair(
    connected: Callable[..., Settings], api: AdsApi
) -> None:
    api.token_told, api.datasets = MANAGES, {"11": "77", "2": "78"}
    settings = connected(meta_dataset_ids="11:77")
    receive(settings, [webhook(messages=[message("5511987654321", 1, ad="120", clid="Af1")])])
    land_event_log(settings)
    found = by_subject(outbound.conversions(settings))
    assert found["WhatsApp account 2"].fix == "add 2:78 to META_DATASET_IDS"


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (MANAGES | {"is_valid": False}, "invalid"),
        (MANAGES | {"scopes": ["ads_read", "whatsapp_business_management"]}, "lacks whatsapp_b"),
    ],
)
def test_a_conversions_token_that_may_not_manage_events_is_named(
    connected: Callable[..., Settings], api: AdsApi, told: dict[str, Any], text: str
) -> None:
    api.token_told, api.datasets = told, {"11": "77"}
    finding = by_subject(outbound.conversions(connected(meta_dataset_ids="11:77")))[
        "conversions token"
    ]
    assert text in finding.found
    assert "whatsapp_business_manage_events" in finding.fix


def test_a_conversions_token_of_its_own_is_used_and_named(
    connected: Callable[..., Settings], api: AdsApi
) -> None:
    settings = connected(meta_dataset_ids="11:77", meta_conversions_token="EAAdead0token")
    found = by_subject(outbound.conversions(settings))
    assert list(found) == ["conversions token"]
    assert found["conversions token"].found.startswith("META_CONVERSIONS_TOKEN is not valid")
    none = connected(meta_dataset_ids="11:77", meta_access_token=None)
    assert "neither" in by_subject(outbound.conversions(none))["conversions token"].found


@pytest.mark.parametrize(
    ("url", "secret", "text"),
    [
        ("https://crm.example.com/hook", None, "CTWA_CRM_WEBHOOK_SECRET is not set"),
        ("https://crm.example.com/hook", "short", "shorter than 16"),
        ("http://crm.example.com/hook", "s" * 32, "not https"),
    ],
)
def test_half_of_the_crm_webhook_is_named(
    make_settings: Callable[..., Settings], url: str, secret: str | None, text: str
) -> None:
    settings = make_settings(crm_webhook_url=url, crm_webhook_secret=secret)
    assert text in by_subject(outbound.crm_webhook(settings))["CRM webhook"].found


def test_a_whole_crm_webhook_is_ok_and_none_is_off(make_settings: Callable[..., Settings]) -> None:
    assert [f.status for f in outbound.crm_webhook(make_settings())] == ["off"]
    whole = make_settings(
        crm_webhook_url="https://crm.example.com/hook?key=k3y", crm_webhook_secret="s" * 32
    )
    finding = by_subject(outbound.crm_webhook(whole))["CRM webhook"]
    assert (finding.status, "k3y" in finding.found) == ("ok", False)


# ---- this machine --------------------------------------------------------------------------------


def test_a_new_installation_is_whole(settings: Settings) -> None:
    found = by_subject(installation.data_directory(settings)) | by_subject(stores.stores(settings))
    found |= by_subject(outbound.marts(settings)) | by_subject(stores.backups(settings))
    found |= by_subject(installation.versions(settings))
    assert not [f for f in found.values() if f.status == "wrong"]


def test_a_folder_that_cannot_be_written_is_named(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(data_dir=Path("/proc/ctwa"))
    finding = by_subject(installation.data_directory(settings))["data directory"]
    assert "cannot be written" in finding.found
    assert "CTWA_DATA_DIR" in finding.fix


def test_a_full_disk_is_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "MIN_FREE_BYTES", 2**60)
    assert "free space" in by_subject(installation.data_directory(settings))["data directory"].fix


def test_a_lost_or_open_key_is_named(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(pii_key=None)
    vault = open_vault(settings.vault_url)
    vault.append([NewEnvelope(1_780_000_000_000_000, "whatsapp", b"{}")])
    vault.close()
    land_event_log(settings)
    key = settings.data_dir / "pii.key"
    assert by_subject(stores.stores(settings))["key"].status == "ok"
    key.chmod(0o644)
    assert by_subject(stores.stores(settings))["key"].fix == f"run `chmod 600 {key}`"
    key.chmod(0o600)
    key.write_text("abc")
    assert "no complete key" in by_subject(stores.stores(settings))["key"].found
    key.unlink()
    assert "backup" in by_subject(stores.stores(settings))["key"].fix


def test_a_vault_that_is_none_is_named(settings: Settings) -> None:
    file = Path(settings.vault_url.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"this is not a database at all" * 100)
    assert by_subject(stores.stores(settings))["vault"].status == "wrong"
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(file).execute("select * from envelopes")


def test_marts_that_have_grown_old_are_named(settings: Settings) -> None:
    settings.marts_path.parent.mkdir(parents=True, exist_ok=True)
    for age, status in ((timedelta(hours=1), "ok"), (timedelta(days=3), "wrong")):
        settings.marts_path.unlink(missing_ok=True)
        with duckdb.connect(str(settings.marts_path)) as connection:
            connection.execute(
                "create table publication as "
                "select 'v' as version, ?::timestamptz as published_at, date '2026-06-01' as as_of",
                [datetime.now(UTC) - age],
            )
        assert by_subject(outbound.marts(settings))["marts"].status == status


def test_backups_that_are_missing_or_old_are_named(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings(backup_dir=tmp_path / "backups")
    assert "run `ctwa backup`" in by_subject(stores.backups(settings))["backup"].fix
    made = tmp_path / "backups" / "one"
    made.mkdir(parents=True)
    assert by_subject(stores.backups(settings))["backup"].status == "ok"
    os.utime(made, (0, 0))
    assert "1970" in by_subject(stores.backups(settings))["backup"].found


def test_another_version_than_the_locked_one_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "version", lambda name: "0.0.1")
    finding = by_subject(installation.versions(settings))["versions"]
    assert "duckdb 0.0.1 instead of" in finding.found


# ---- ways in -------------------------------------------------------------------------------------


def test_a_receiver_that_runs_is_ok_and_one_that_does_not_is_named(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(meta_app_secret="s" * 32)
    with running(settings) as url:
        public = make_settings(meta_app_secret="s" * 32, public_url=url)
        found = list(inbound.receiver(public, url))
        assert [f.status for f in found] == ["ok", "ok", "wrong"]  # the last: not https
    down = by_subject(inbound.receiver(settings, url))["receiver"]
    assert down.fix.startswith("start it: `ctwa serve`")


def test_a_receiver_that_fills_another_vault_is_named(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """As where one of them is started without CTWA_DATA_DIR: each looks well on its own."""
    other = make_settings(data_dir=tmp_path / "other", meta_app_secret="s" * 32)
    settings = make_settings(meta_app_secret="s" * 32)
    receive(other, [webhook(messages=[message("5511987654321", 1)])])
    land_event_log(settings)
    with running(other) as url:
        found = by_subject(inbound.receiver(settings, url))["receiver"]
        assert found.status == "wrong"
        assert "fills another vault than the refresh reads, with bodies waiting" in found.found
        assert "the same CTWA_DATA_DIR" in found.fix
        assert by_subject(inbound.receiver(other, url))["receiver"].status == "ok"
        late = datetime.now(UTC) + timedelta(hours=31)
        assert look_at_receiver(other, url, late).status == "warn"
        land_event_log(other)
        assert look_at_receiver(other, url, late).status == "ok"
        time.sleep(1.1)  # the receiver's answer to /readyz is as old as that
        found = by_subject(inbound.receiver(settings, url))["receiver"]
        assert found.status == "wrong"
        assert found.found.endswith("fills another vault than the refresh reads")
    assert look_at_receiver(settings, url, late).status == "off", "nobody answers any more"


@pytest.mark.parametrize(
    ("given", "subject", "text"),
    [
        ({}, "WhatsApp webhook", "no messages can come in"),
        ({"meta_app_secret": "s" * 32}, "WhatsApp webhook", "META_VERIFY_TOKEN is not set"),
        ({"intake_secret": "short"}, "web leads, outcomes, consents", "shorter than 16"),
        ({"twilio_auth_token": "t" * 32}, "Twilio", "CTWA_PUBLIC_URL is not set"),
        ({"site_id": "aurora"}, "site button", "CTWA_SITE_ORIGINS is not set"),
    ],
)
def test_half_a_way_in_is_named(
    make_settings: Callable[..., Settings], given: dict[str, Any], subject: str, text: str
) -> None:
    finding = by_subject(inbound.ways_in(make_settings(**given)))[subject]
    assert finding.status == "wrong"
    assert text in finding.found


def test_another_provider_alone_is_enough(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(gupshup_webhook_secret="g" * 32)
    found = by_subject(inbound.ways_in(settings))
    assert (found["Gupshup"].status, found["WhatsApp webhook"].status) == ("ok", "off")


# ---- who is told ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "subject", "status", "text"),
    [
        ({}, "alerts", "off", "sent to no one"),
        (
            {"alert_webhook_url": "https://hooks.example.com/T0/canary"},
            "alerts by webhook",
            "ok",
            "sent to hooks.example.com; not tested",
        ),
        (
            {"alert_webhook_url": "http://hooks.example.com/T0/canary"},
            "alerts by webhook",
            "wrong",
            "CTWA_ALERT_WEBHOOK_URL is not https",
        ),
        (
            {"alert_email_to": "ana@example.com", "smtp_url": "smtps://u:canary@mail.example.com"},
            "alerts by e-mail",
            "ok",
            "1 recipient(s), by mail.example.com; not tested",
        ),
        (
            {"alert_email_to": "ana@example.com"},
            "alerts by e-mail",
            "wrong",
            "CTWA_SMTP_URL is not set",
        ),
        (
            {"smtp_url": "smtps://u:canary@mail.example.com"},
            "alerts by e-mail",
            "wrong",
            "CTWA_ALERT_EMAIL_TO is not set",
        ),
    ],
)
def test_who_is_told_of_alarms_is_said_without_the_channels_secret(
    make_settings: Callable[..., Settings],
    given: dict[str, Any],
    subject: str,
    status: str,
    text: str,
) -> None:
    [finding] = by_subject(outbound.channels(make_settings(**given))).values()
    assert (finding.subject, finding.status) == (subject, status)
    assert text in finding.found
    assert "canary" not in finding.found + finding.fix


# ---- routing of WhatsApp numbers -----------------------------------------------------------------

NO_PERMISSION = ApiError(200, "(#200) You do not have the necessary permissions", None, 403)
NO_SUCH_EDGE = ApiError(100, "(#100) Tried accessing nonexisting field (routing_roles)")
SHOWN = {"71": "+55 11 4000-1000"}


def routed(
    connected: Callable[..., Settings], api: AdsApi, told: dict[str, Any] | ApiError | None
) -> Finding:
    """What is found of one number of a known account, whose roles Meta tells so."""
    api.phone_numbers = {"11": SHOWN}
    api.routing_roles = {"71": told} if told is not None else {}
    found = by_subject(inbound.numbers(connected(meta_dataset_ids="11:77")))
    return found["WhatsApp number +55 11 4000-1000"]


@pytest.mark.parametrize(
    ("told", "status", "text"),
    [
        ({"roles": [], "is_standby": True}, "ok", "standby is granted; primary for nothing"),
        ({"data": [{"roles": ["ctwa", "calls"], "is_standby": True}]}, "ok", "for calls, ctwa"),
        ({"routing_roles": {"roles": ["standby"]}}, "ok", "standby is granted"),
        ({"data": {"roles": [{"role": "CTWA"}], "standby_visibility": "GRANTED"}}, "ok", "ctwa"),
        ({"roles": ["ctwa"], "is_standby": False}, "wrong", "standby is not granted; primary for"),
        ({"roles": [], "is_standby": False}, "wrong", "chats that others handle, and their leads"),
        (
            {"roles": ["ctwa", "customer_service", "marketing", "utility"], "is_standby": False},
            "ok",
            "every chat begins here",
        ),
        ({"roles": ["ctwa"]}, "off", "could not be checked: Meta does not say whether"),
        ({"id": "71"}, "off", "could not be checked"),
        (NO_SUCH_EDGE, "off", "could not be checked: Meta does not offer routing roles"),
        (NO_PERMISSION, "wrong", "could not be checked: the token may not read"),
        (None, "wrong", "could not be checked: the token may not read"),
        (ApiError(2, "Service temporarily unavailable", None, 500), "wrong", "no usable answer"),
    ],
)
def test_e78_each_number_is_asked_for_its_roles_and_whether_standby_is_granted(
    connected: Callable[..., Settings],
    api: AdsApi,
    told: dict[str, Any] | ApiError | None,
    status: str,
    text: str,
) -> None:
    finding = routed(connected, api, told)
    assert finding.status == status
    assert text in finding.found
    if "standby is not granted; primary" in finding.found:
        assert "give the business of your app standby visibility" in finding.fix
        assert "docs/connect/whatsapp.md" in finding.fix


def test_e78_numbers_of_the_event_log_are_asked_and_one_that_is_not_routed_is_no_fault(
    connected: Callable[..., Settings], api: AdsApi
) -> None:
    settings = connected()
    receive(settings, [webhook(messages=[message("5511987654321", 1, ad="120")])])
    land_event_log(settings)
    api.routing_roles = {"1": {"roles": [], "is_standby": False}}
    api.phone_numbers = {"2": {"1": "+55 11 4000-0000", "9": "+55 11 4000-0009"}}
    found = by_subject(inbound.numbers(settings))
    # It may have one responder only, as long as messages come.
    mine = found["WhatsApp number 551140000000"]
    last = datetime.now(UTC) - timedelta(seconds=1)
    fresh = inbound.Number("1", "n", last)
    assert mine.status in ("wrong", "off")
    judged = inbound._judged("n", fresh, inbound.roles_in({"roles": [], "is_standby": False}))
    assert (judged.status, "only one responder" in judged.found) == ("off", True)
    # The one that never brought anything is asked for as well.
    assert "could not be checked" in found["WhatsApp number +55 11 4000-0009"].found


def test_e78_what_nobody_can_ask_for_is_said(
    connected: Callable[..., Settings], api: AdsApi
) -> None:
    assert [f.status for f in inbound.numbers(connected())] == ["off"]
    (untold,) = inbound.numbers(connected(meta_access_token=None, meta_dataset_ids="11:77"))
    assert (untold.status, "could not be checked" in untold.found) == ("off", True)
    found = by_subject(inbound.numbers(connected(meta_dataset_ids="12:77")))
    assert "cannot be listed" in found["WhatsApp numbers of account 12"].found
    dead = connected(meta_dataset_ids="11:77", meta_access_token="EAAsomebodyelses")
    (finding,) = inbound.numbers(dead)
    assert (finding.status, "no longer valid" in finding.found) == ("wrong", True)
    assert api.calls
