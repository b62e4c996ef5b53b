"""Source and campaign onto HubSpot's contacts, over HTTP: only what changed, edits respected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activation import hubspot
from activation.hubspot import PropertiesMissingError, WriteBackCounts, write_back
from activation.hubspot_contacts import TEXT_UNITS
from activation.outbox import OutboxError
from ctwa.settings import Settings
from ingestion.crm.hubspot.account import PROPERTIES, create_properties
from ingestion.crm.hubspot.client import HubspotScopeError, HubspotUnavailableError
from ingestion.vault import open_vault
from simulator.ads_faults import Fault
from simulator.hubspot_api import WRITE_SCOPES
from tests.support.crm_outbox import BORN, Outbox, OutboxLead
from tests.support.hubspot import Crm, crm

PHONE = "+55 (11) 98765-4321"
NAMES = {p.name for p in PROPERTIES}


@dataclass
class Desk:
    """A company with HubSpot, its warehouse, and the write-back between them."""

    company: Crm
    outbox: Outbox
    settings: Settings

    def person(self, lead_id: str = "a" * 32, *, phone: str = PHONE, **lead: Any) -> int:
        """A contact that was read from HubSpot, and the lead that it belongs to; its id."""
        found = self.company.state.contact(phone=phone)
        self.outbox.add(lead_id, **lead)
        self.land()
        self.belongs(found, lead_id)
        return found

    def land(self) -> None:
        self.company.land()

    def belongs(self, contact_id: int, lead_id: str) -> None:
        """`crm_records` as dbt would have it: the latest envelope with the contact."""
        key = self.company.contact_key(contact_id)
        self.outbox.records = [r for r in self.outbox.records if r[1] != key]
        self.outbox.records.append((lead_id, key, self.seq_of(contact_id)))

    def seq_of(self, contact_id: int) -> int:
        bodies = self.company.bodies()
        shown = [
            seq
            for seq, body in enumerate(bodies, 1)
            if any(r["id"] == str(contact_id) for r in body["records"])
        ]
        return shown[-1]

    def run(self, **settings: Any) -> WriteBackCounts:
        self.outbox.build()
        self.company.api.calls.clear()
        self.company.wait(minutes=1)
        chosen = self.settings.model_copy(update=settings)
        return write_back(chosen, now=lambda: self.company.state.now, client=self.company.client())

    def lead(self, lead_id: str = "a" * 32) -> OutboxLead:
        return self.outbox.leads[lead_id]

    def values(self, contact_id: int) -> dict[str, str]:
        """What of ours stands on a contact."""
        found = self.company.state.find("contacts", contact_id).properties
        return {name: found[name] for name in found if name in NAMES}

    def edit(self, contact_id: int, **values: str) -> None:
        self.company.wait(minutes=1)
        self.company.state.update("contacts", contact_id, **values)

    @property
    def calls(self) -> list[str]:
        return self.company.api.calls

    @property
    def updates(self) -> list[tuple[str, dict[str, str]]]:
        return self.company.api.updates


@pytest.fixture
def desk(make_settings: Callable[..., Settings]) -> Iterator[Desk]:
    with crm(make_settings, scopes=WRITE_SCOPES) as company:
        create_properties(company.client(), PROPERTIES)
        settings = company.settings.model_copy(update={"hubspot_write_back": "live"})
        yield Desk(company, Outbox(settings), settings)


# ---- what is written -----------------------------------------------------------------------------


def test_a_contact_gets_source_campaign_and_first_touch(desk: Desk) -> None:
    ana = desk.person()
    counts = desk.run()
    assert desk.values(ana) == {
        "ctwa_lead_id": "a" * 32,
        "ctwa_source": "meta",
        "ctwa_channel": "click_to_whatsapp",
        "ctwa_basis": "ctwa_click",
        "ctwa_campaign": "Winter",
        "ctwa_campaign_id": "120200000000000001",
        "ctwa_adset": "Women 25-40",
        "ctwa_ad": "Video 1",
        "ctwa_ad_id": "120200000000000003",
        "ctwa_headline": "Chat with us",
        "ctwa_first_touch_at": "2026-05-11T08:30:00.123Z",
    }
    assert (counts.contacts, counts.written, counts.unchanged) == (1, 1, 0)
    assert counts.properties == dict.fromkeys(NAMES, 1)
    assert desk.company.api.wrong == []


def test_a_second_run_asks_nothing_and_a_changed_name_writes_only_that(desk: Desk) -> None:
    ana = desk.person()
    desk.run()
    again = desk.run()
    assert desk.calls == []
    assert (again.unchanged, again.written, again.properties) == (1, 0, {})
    desk.lead().campaign_name = "Winter sale"
    counts = desk.run()
    assert desk.updates[1:] == [(str(ana), {"ctwa_campaign": "Winter sale"})]
    assert counts.properties == {"ctwa_campaign": 1}
    desk.run()
    assert desk.calls == []


def test_what_is_not_known_yet_stays_empty_and_is_filled_later(desk: Desk) -> None:
    ana = desk.person(campaign_name=None, headline=None)
    desk.run()
    assert not {"ctwa_campaign", "ctwa_headline"} & desk.values(ana).keys()
    desk.lead().campaign_name = "Winter"
    desk.run()
    assert desk.updates[-1] == (str(ana), {"ctwa_campaign": "Winter"})
    desk.lead().campaign_name = None  # the ad was taken for another one
    desk.run()
    assert desk.values(ana)["ctwa_campaign"] == ""


def test_several_contacts_of_one_person_are_all_written(desk: Desk) -> None:
    ana = desk.person()
    other = desk.company.state.contact(phone=PHONE)
    desk.land()
    desk.belongs(other, "a" * 32)
    assert desk.run().written == 2
    assert desk.values(ana) == desk.values(other)


def test_many_contacts_go_by_hundreds(desk: Desk) -> None:
    ids = [desk.company.state.contact(phone=f"+5511987{n:06d}") for n in range(205)]
    desk.land()
    for number, contact in enumerate(ids):
        lead = f"{number:032x}"
        desk.outbox.add(lead)
        desk.belongs(contact, lead)
    assert desk.run().written == 205
    assert len([c for c in desk.calls if "batch/update" in c]) == 3
    assert len([c for c in desk.calls if "batch/read" in c]) == 3
    assert all(len(desk.values(contact)) == len(NAMES) for contact in ids)


def test_hostile_names_are_data_and_too_long_ones_are_cut(desk: Desk) -> None:
    evil = '"}],"x":[{{ dbt }} <script>\x00=cmd()|\'; drop table crm_contacts; -- 🙃'
    ana = desk.person(campaign_name=evil, ad_name="é🙃" * TEXT_UNITS, headline=" two\nlines ")
    desk.run()
    found = desk.values(ana)
    assert found["ctwa_campaign"] == evil.replace("\x00", " ")
    assert len(found["ctwa_ad"].encode("utf-16-le")) <= 2 * TEXT_UNITS
    assert found["ctwa_ad"].startswith("é🙃é🙃")
    assert found["ctwa_headline"] == "two lines"
    desk.run()
    assert desk.calls == []


def test_nothing_but_our_properties_is_touched_and_no_contact_is_made(desk: Desk) -> None:
    ana = desk.person()
    desk.outbox.add("b" * 32)  # a lead that is not in the CRM
    before = desk.company.state.find("contacts", ana).properties.copy()
    desk.run()
    after = desk.company.state.find("contacts", ana).properties
    assert {k: v for k, v in after.items() if k not in NAMES} == before
    assert len(desk.company.state.records["contacts"]) == 1


def test_our_writes_do_not_come_back_as_changes(desk: Desk) -> None:
    desk.person()
    desk.run()
    counts = desk.company.land()
    assert (counts.records, counts.changed, counts.envelopes) == (1, 0, 0)


# ---- modes ---------------------------------------------------------------------------------------


def test_off_and_dry_run_make_no_request(desk: Desk) -> None:
    ana = desk.person()
    assert desk.run(hubspot_write_back="off") == WriteBackCounts("off")
    counts = desk.run(hubspot_write_back="dry_run")
    assert desk.calls == []
    assert (counts.mode, counts.contacts, counts.written) == ("dry_run", 1, 1)
    assert counts.properties == dict.fromkeys(NAMES, 1)
    assert desk.values(ana) == {}
    assert desk.run().written == 1  # what was only foretold is still to be done
    desk.lead().ad_name = "Video 2"
    assert desk.run(hubspot_write_back="dry_run").properties == {"ctwa_ad": 1}


def test_without_a_token_it_is_off(settings: Settings) -> None:
    live = settings.model_copy(update={"hubspot_write_back": "live"})
    assert write_back(live) == WriteBackCounts("live")


def test_a_warehouse_without_the_outbox_says_what_to_do(desk: Desk) -> None:
    with pytest.raises(OutboxError, match="run `ctwa refresh`"):
        write_back(desk.settings)


# ---- who is not written --------------------------------------------------------------------------


def test_e20_excluded_and_erased_leads_are_not_written(desk: Desk) -> None:
    staff = desk.person("b" * 32, is_excluded=True)
    gone = desk.person("c" * 32, phone="+5511912345687", is_erased=True)
    counts = desk.run()
    assert counts.skipped == {"excluded": 1, "erased": 1}
    assert desk.values(staff) == desk.values(gone) == {}
    assert desk.calls == []


def test_e63_a_deleted_contact_is_skipped_until_it_is_back(desk: Desk) -> None:
    ana = desk.person()
    other = desk.person("b" * 32, phone="+5511912345687")
    desk.company.state.delete("contacts", ana)
    counts = desk.run()
    assert (counts.written, counts.skipped) == (1, {"gone": 1})
    assert len(desk.values(other)) == len(NAMES)
    assert desk.run().skipped == {"gone": 1}
    assert desk.calls == []
    desk.company.state.restore("contacts", ana)
    desk.company.state.update("contacts", ana, lifecyclestage="lead")
    desk.land()
    desk.belongs(ana, "a" * 32)
    assert desk.run().written == 1
    assert desk.values(ana)["ctwa_campaign"] == "Winter"


def test_e29_contacts_merged_in_hubspot_are_written_once(desk: Desk) -> None:
    older = desk.person()
    later = desk.person(
        "b" * 32,
        phone="+5511912345687",
        campaign_name="Summer",
        first_touch_at=BORN + timedelta(days=1),
    )
    merged = desk.company.state.merge("contacts", later, older)
    counts = desk.run()
    assert [i for i, _ in desk.updates] == [str(merged)]
    assert desk.values(merged)["ctwa_campaign"] == "Winter"
    assert (counts.written, counts.contacts) == (1, 2)
    desk.run()
    assert desk.calls == []
    # Then the merge is read, and both are one lead here too.
    desk.land()
    for contact in (older, later, merged):
        key = desk.company.contact_key(contact)
        desk.outbox.records = [r for r in desk.outbox.records if r[1] != key]
        desk.outbox.records.append(("a" * 32, key, desk.seq_of(merged)))
    assert (desk.run().written, len(desk.updates)) == (0, 1)


def test_e29_what_we_wrote_on_a_contact_before_it_was_merged_is_no_edit(desk: Desk) -> None:
    older = desk.person()
    later = desk.person(
        "b" * 32,
        phone="+5511912345687",
        campaign_name="Summer",
        first_touch_at=BORN + timedelta(days=1),
    )
    desk.run()
    merged = desk.company.state.merge("contacts", later, older)  # the later one's values win
    desk.land()
    for contact in (older, later, merged):
        key = desk.company.contact_key(contact)
        desk.outbox.records = [r for r in desk.outbox.records if r[1] != key]
        desk.outbox.records.append(("a" * 32, key, desk.seq_of(merged)))
    counts = desk.run()
    assert (counts.kept, counts.written) == (0, 1)
    assert desk.values(merged)["ctwa_campaign"] == "Winter"


# ---- edits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("edited", ["Said on the phone: a friend", ""])
def test_an_edit_is_kept_also_a_cleared_value(desk: Desk, edited: str) -> None:
    ana = desk.person()
    desk.run()
    desk.edit(ana, ctwa_campaign=edited)
    desk.lead().campaign_name, desk.lead().ad_name = "Winter sale", "Video 2"
    counts = desk.run()
    assert (counts.kept, counts.properties) == (1, {"ctwa_ad": 1})
    assert desk.values(ana)["ctwa_campaign"] == edited
    assert desk.run().kept == 1
    assert desk.calls == []


def test_an_edit_is_overwritten_where_the_setting_says_so(desk: Desk) -> None:
    ana = desk.person()
    desk.edit(ana, ctwa_source="referral by a friend")
    assert desk.run().kept == 1
    assert desk.values(ana)["ctwa_source"] == "referral by a friend"
    counts = desk.run(crm_edits="overwrite")
    assert (counts.kept, counts.properties) == (0, {"ctwa_source": 1})
    assert desk.values(ana)["ctwa_source"] == "meta"
    assert desk.run().unchanged == 1


def test_values_that_are_right_already_are_only_noted(desk: Desk) -> None:
    ana = desk.person()
    desk.run()
    (desk.settings.activation_dir / "ledger.db").unlink()  # a lost ledger
    desk.edit(ana, ctwa_first_touch_at=str(int(BORN.timestamp() * 1000)))  # another spelling
    counts = desk.run()
    assert (counts.noted, counts.written, counts.kept) == (1, 0, 0)
    desk.lead().campaign_name = "Winter sale"
    assert desk.run().properties == {"ctwa_campaign": 1}


# ---- faults --------------------------------------------------------------------------------------


def test_a_kill_between_the_update_and_the_ledger_writes_nothing_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = desk.person()

    def killed(*args: Any) -> dict[str, str]:
        hubspot.__dict__["_real"](*args)
        raise KeyboardInterrupt

    monkeypatch.setitem(hubspot.__dict__, "_real", hubspot.update_contacts)
    with monkeypatch.context() as patched:
        patched.setattr(hubspot, "update_contacts", killed)
        with pytest.raises(KeyboardInterrupt):
            desk.run()
    assert len(desk.updates) == 1
    desk.lead().campaign_name = "Winter sale"  # meanwhile: the value of now is our own
    counts = desk.run()
    assert (counts.kept, counts.properties) == (0, {"ctwa_campaign": 1})
    assert desk.updates[1:] == [(str(ana), {"ctwa_campaign": "Winter sale"})]
    with monkeypatch.context() as patched:
        patched.setattr(hubspot, "update_contacts", killed)
        desk.lead().campaign_name = "Spring"
        with pytest.raises(KeyboardInterrupt):
            desk.run()
    desk.lead().campaign_name = "Winter sale"  # and back to what the ledger had before
    assert desk.run().properties == {"ctwa_campaign": 1}
    assert desk.values(ana)["ctwa_campaign"] == "Winter sale"


def test_a_purged_body_leads_to_the_contact_by_its_lead_id(desk: Desk) -> None:
    lead = "a" * 32 + ":Aurora"
    ana = desk.person(lead)
    desk.run()
    vault = open_vault(desk.settings.vault_url)
    vault.purge_bodies(datetime(2030, 1, 1, tzinfo=UTC), vault.last_seq())
    vault.close()
    never = desk.company.state.contact(phone="+5511912345687")
    desk.outbox.add("b" * 32)
    desk.outbox.records.append(("b" * 32, desk.company.contact_key(never), 1))
    desk.lead(lead).campaign_name = "Winter sale"
    counts = desk.run()
    assert (counts.written, counts.skipped) == (1, {"unknown_id": 1})
    assert desk.values(ana)["ctwa_campaign"] == "Winter sale"
    assert desk.values(never) == {}
    assert len([c for c in desk.calls if c.endswith("/search")]) == 1
    assert desk.run().skipped == {"unknown_id": 1}
    assert desk.calls == []


def test_one_contact_that_fails_holds_back_no_other_and_is_tried_again(desk: Desk) -> None:
    ana = desk.person()
    bea = desk.person("b" * 32, phone="+5511912345687")
    desk.company.api.refused_ids = {str(ana)}
    counts = desk.run()
    assert (counts.written, counts.refusals) == (1, {"CONFLICT": 1})
    assert len(desk.values(bea)) == len(NAMES)
    desk.company.api.refused_ids = set()
    counts = desk.run()
    assert (counts.written, counts.unchanged) == (1, 1)
    assert len(desk.values(ana)) == len(NAMES)


def test_a_value_that_a_rule_of_the_account_refuses_is_named_and_holds_back_no_other(
    desk: Desk,
) -> None:
    ids = [desk.person(f"{n:032x}", phone=f"+551198765000{n}") for n in range(5)]
    desk.company.api.rules = {"ctwa_headline": (r"[^!]*", "INVALID_CHARACTERS")}
    desk.lead(f"{3:032x}").headline = "Ana Souza, buy now!"
    counts = desk.run()
    assert (counts.written, counts.refusals) == (4, {"VALIDATION_ERROR": 1})
    assert counts.named == [f"contact {ids[3]}: ctwa_headline (INVALID_CHARACTERS)"]
    assert [bool(desk.values(i)) for i in ids] == [True, True, True, False, True]
    assert "Souza" not in str(counts)


def test_a_contact_that_lacks_what_the_account_requires_is_named(desk: Desk) -> None:
    """Since 2026-09 such a rule holds for every write, whatever is written."""
    ana = desk.person()
    bea = desk.person("b" * 32, phone="+5511912345678")
    desk.company.state.update("contacts", bea, lastname="Souza")
    desk.company.api.required = {"lastname"}
    counts = desk.run()
    assert (counts.written, counts.refused) == (1, 1)
    assert counts.named == [f"contact {ana}: lastname (REQUIRED_PROPERTY)"]
    assert (desk.values(ana), len(desk.values(bea))) == ({}, len(NAMES))


def test_what_a_rule_refuses_is_tried_less_and_less_and_named_until_it_is_taken(
    desk: Desk,
) -> None:
    ana = desk.person()
    desk.company.api.required = {"lastname"}
    tried = []
    for day in range(40):
        counts = desk.run()
        assert (counts.refused, len(counts.named)) == (1, 1)
        if desk.calls:
            tried.append(day)
        desk.run()
        assert desk.calls == []  # not twice in a day
        desk.company.wait(days=1)
    assert tried == [0, 1, 3, 7, 14]  # twice as long each time, then no more
    desk.company.api.required = set()
    assert desk.run().refused == 1
    desk.lead().campaign_name = "Winter sale"  # other values are another matter
    counts = desk.run()
    assert (counts.written, counts.refused, counts.named) == (1, 0, [])
    assert len(desk.values(ana)) == len(NAMES)


def test_a_refused_contact_that_was_read_anew_is_tried_again(desk: Desk) -> None:
    ana = desk.person()
    desk.company.api.required = {"lastname"}
    assert desk.run().refused == 1
    desk.edit(ana, lastname="Souza", email="ana@example.com")
    desk.land()
    desk.belongs(ana, "a" * 32)
    counts = desk.run()
    assert (counts.written, counts.refused) == (1, 0)


def test_a_rule_that_refuses_everybody_is_found_out_in_several_runs(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activation.hubspot_contacts.BATCH", 8)
    monkeypatch.setattr("activation.hubspot.BATCH", 8)
    monkeypatch.setattr("activation.hubspot.SPLITS", 10)
    for n in range(16):
        desk.person(f"{n:032x}", phone=f"+55119876500{n:02}")
    desk.company.api.required = {"lastname"}
    counts = desk.run()
    updates = [c for c in desk.calls if c.endswith("batch/update")]
    assert len(updates) == 11  # one of eight contacts, and the halves that a run may ask for
    assert counts.refused + counts.skipped["postponed"] == 8
    before = counts.refused
    for _ in range(10):
        counts = desk.run()
        assert counts.refused > before or counts.refused == 16
        before = counts.refused
    assert (counts.refused, counts.skipped, desk.calls) == (16, {}, [])


def test_limits_and_outages_that_pass_are_waited_for(desk: Desk) -> None:
    ana = desk.person()
    limit = {"status": "error", "message": "ten secondly", "policyName": "TEN_SECONDLY_ROLLING"}
    desk.company.api.faults.faults = [
        Fault("batch/update", status=429, body=limit, headers={"Retry-After": "7"}),
        Fault("batch/update", nth=2, status=502, kind="html"),
        Fault("batch/read", kind="truncated"),
    ]
    assert desk.run().written == 1
    assert any(7 <= s < 9 for s in desk.company.clock.slept)
    assert len(desk.values(ana)) == len(NAMES)


def test_an_outage_that_lasts_is_an_error_and_the_next_run_goes_on(desk: Desk) -> None:
    ana = desk.person()
    desk.company.api.faults.faults = [Fault("batch/update", times=99, status=503, kind="empty")]
    with pytest.raises(HubspotUnavailableError):
        desk.run()
    desk.company.api.faults.faults = []
    assert desk.run().written == 1
    assert len(desk.values(ana)) == len(NAMES)


def test_missing_properties_are_one_error_with_the_mend(desk: Desk) -> None:
    desk.person()
    del desk.company.state.custom["ctwa_ad"]
    desk.company.state.custom["ctwa_adset"]["type"] = "number"
    with pytest.raises(PropertiesMissingError) as caught:
        desk.run()
    assert str(caught.value) == (
        "contacts in HubSpot have no ctwa_ad; ctwa_adset is number: run `ctwa doctor --fix`"
    )
    assert desk.updates == []


def test_a_missing_permission_is_named(desk: Desk) -> None:
    desk.person()
    desk.company.api.scopes = WRITE_SCOPES - {"crm.objects.contacts.write"}
    with pytest.raises(HubspotScopeError, match=r"add the scope crm\.objects\.contacts\.write"):
        desk.run()


# ---- privacy -------------------------------------------------------------------------------------


def test_e77_no_raw_identity_in_ledger_log_or_counts(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ana = desk.person()
    counts = desk.run()
    told = str(counts) + "".join(r.getMessage() for r in caplog.records if r.name[:4] != "urll")
    for path in desk.settings.activation_dir.iterdir():
        told += path.read_bytes().decode("latin-1")
    for raw in ("98765", f"contact:{ana}", f"contacts/{ana}"):
        assert raw not in told
