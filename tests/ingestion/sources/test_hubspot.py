"""HubSpot read over HTTP into vault, event log and lake: what changed, once; merges, deletions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal

import pytest

from ctwa.settings import Settings
from ingestion.crm.hubspot.client import HubspotShapeError
from ingestion.crm.hubspot.records import CONTACTS, changed_ids, identified
from ingestion.crm.hubspot.source import HubspotCounts, land_hubspot
from ingestion.source import SourceIncompleteError
from keeping.erasure.forget import forget_person
from keeping.erasure.steps import land
from simulator.ads_faults import Fault
from simulator.hubspot_state import iso
from tests.support.hubspot import BEGIN, Crm, crm

ANA = "+55 (11) 98765-4321"


@pytest.fixture
def company(make_settings: Callable[..., Settings]) -> Iterator[Crm]:
    with crm(make_settings) as found:
        yield found


def test_off_without_a_token(settings: Settings) -> None:
    assert land_hubspot(settings) == HubspotCounts()


def test_a_contact_becomes_links_and_an_outcome_for_each_stage(company: Crm) -> None:
    ana = company.state.contact(
        phone=ANA, email="ana@example.com", hs_additional_emails="a@b.co;c@d.co"
    )
    company.state.update("contacts", ana, lifecyclestage="lead")
    company.wait()
    company.state.update("contacts", ana, lifecyclestage="salesqualifiedlead")
    counts = company.night()
    assert (counts.records, counts.changed, counts.envelopes) == (1, 1, 1)
    assert company.api.wrong == []
    names, own = company.names, company.contact_key(ana)
    others = [company.phone_key(ANA), *(names.email(e) for e in ("ana@example.com", "a@b.co"))]
    others.append(names.email("c@d.co"))
    assert company.links("crm_record") == {frozenset((own, other)) for other in others if other}
    lead = f"contact:{company.contact_key(ana)}:lead:{iso(BEGIN)}"
    qualified = (
        f"contact:{company.contact_key(ana)}:salesqualifiedlead:{iso(BEGIN + timedelta(hours=1))}"
    )
    found = company.outcomes()
    assert set(found) == {lead, qualified}
    row = found[qualified]
    assert (row["source"], row["stage"]) == ("hubspot", "salesqualifiedlead")
    assert row["stage_label"] == "Sales Qualified Lead"
    assert row["occurred_at"] == BEGIN + timedelta(hours=1)
    assert row["recorded_at"] == BEGIN + timedelta(hours=2)
    assert row["crm_record_key"] == own
    assert row["phone_key"] == company.phone_key("5511987654321")
    assert row["email_key"] == names.email("ana@example.com")
    assert row["country"] == "BR"
    assert company.rows("event_log/quarantine") == []


def test_only_what_the_parser_uses_comes_to_the_vault(company: Crm) -> None:
    company.state.contact(firstname="Ana", lastname="Souza", phone=ANA, lifecyclestage="lead")
    company.state.deal("closedwon", dealname="Ana Souza's kitchen", amount="10")
    company.land()
    text = str(company.bodies())
    assert "Souza" not in text
    assert "userId" not in text
    assert ANA in text


def test_a_second_run_lands_nothing_but_that_it_was_run(company: Crm) -> None:
    ana = company.state.contact(phone=ANA, lifecyclestage="lead")
    company.state.deal("qualifiedtobuy", ana, amount="100")
    company.night(minutes=3)
    again = company.night(minutes=5)  # within the overlap: everything is read again
    assert (again.records, again.changed, again.envelopes) == (2, 0, 0)
    assert again.rows == {"reads": 2, "records": 0, "stages": 0}
    company.land()
    later = company.land()
    assert (later.records, later.changed, later.envelopes) == (0, 0, 0)
    assert len(company.bodies()) == 2
    kinds = [(r["object_type"], r["is_archived"], r["records"]) for r in company.reads()]
    assert kinds[:4] == [
        ("contacts", False, 1),
        ("contacts", True, 0),
        ("deals", False, 1),
        ("deals", True, 0),
    ]


def test_a_change_of_no_interest_is_read_and_left(company: Crm) -> None:
    """A visit to a page, our own write-back: HubSpot says "changed" of all these."""
    ana = company.state.contact(phone=ANA, lifecyclestage="lead")
    company.night()
    company.state.update("contacts", ana, firstname="Ana Maria")
    counts = company.night()
    assert (counts.records, counts.changed, counts.envelopes) == (1, 0, 0)


def test_a_changed_stage_lands_one_outcome_more(company: Crm) -> None:
    ana = company.state.contact(phone=ANA, lifecyclestage="lead")
    company.state.contact(phone="+55 11 97777-0000", lifecyclestage="lead")
    company.night()
    before = company.outcomes()
    company.state.update("contacts", ana, lifecyclestage="customer")
    assert company.night().changed == 1
    new = set(company.outcomes()) - set(before)
    assert new == {f"contact:{company.contact_key(ana)}:customer:{iso(BEGIN + timedelta(hours=1))}"}


def test_a_cleared_stage_is_no_outcome(company: Crm) -> None:
    ana = company.state.contact(lifecyclestage="customer")
    company.state.update("contacts", ana, lifecyclestage="")
    company.wait()
    company.state.update("contacts", ana, lifecyclestage="lead")
    company.night()
    assert [row["stage"] for row in company.outcomes().values()] == ["customer", "lead"]
    assert company.rows("event_log/quarantine") == []


def test_a_record_that_the_index_shows_late_is_found_in_the_next_run(company: Crm) -> None:
    company.state.index_lag = timedelta(minutes=4)
    company.wait(minutes=58)
    company.state.contact(phone=ANA, lifecyclestage="lead")
    assert company.land(minutes=2).records == 0
    counts = company.night()
    assert (counts.records, counts.changed) == (1, 1)


def test_two_contacts_with_one_phone_are_linked_by_it(company: Crm) -> None:
    one = company.state.contact(phone=ANA, lifecyclestage="lead")
    two = company.state.contact(mobilephone="5511987654321", lifecyclestage="customer")
    company.night()
    phone = company.phone_key(ANA)
    assert company.links("crm_record") == {
        frozenset((company.contact_key(one), phone)),
        frozenset((company.contact_key(two), phone)),
    }


@pytest.mark.parametrize(
    "written",
    ["+55 (11) 98765-4321", "11 98765-4321", "(011) 98765-4321", "551187654321", "+5511987654321"],
)
def test_brazilian_spellings_are_one_person(company: Crm, written: str) -> None:
    ana = company.state.contact(hs_whatsapp_phone_number=written)
    company.night()
    both = frozenset((company.contact_key(ana), company.phone_key("5511987654321")))
    assert company.links("crm_record") == {both}


def test_what_is_no_phone_and_nobodys_address_links_nobody(company: Crm) -> None:
    company.state.contact(phone="não tem", mobilephone="0000000000", email="teste@teste.com")
    company.night()
    # With itself alone: that it names nobody any more takes back what it named before (E86).
    (link,) = company.rows("event_log/identity_links")
    assert (link["left_kind"], link["left_key"]) == (link["right_kind"], link["right_key"])
    assert company.rows("event_log/quarantine") == []


# ---- deals ---------------------------------------------------------------------------------


def test_a_deal_is_its_oldest_contacts_and_links_the_others_with_nobody(company: Crm) -> None:
    buyer = company.state.contact(phone=ANA)
    spouse = company.state.contact(phone="+55 21 98888-7777")
    company.api.page_size = 1
    deal = company.state.deal("appointmentscheduled", spouse, buyer, amount="1500.50")
    company.wait()
    company.state.update("deals", deal, dealstage="closedwon")
    company.night()
    found = company.outcomes()
    won = found[f"deal:{deal}:closedwon:{iso(BEGIN + timedelta(hours=1))}"]
    first = found[f"deal:{deal}:appointmentscheduled:{iso(BEGIN)}"]
    assert {won["crm_record_key"], first["crm_record_key"]} == {company.contact_key(buyer)}
    assert won["source"] == "hubspot_deals"
    assert won["stage_label"] == "Sales Pipeline / Closed Won"
    assert (won["value"], won["currency"]) == (Decimal("1500.500000"), "BRL")
    assert (first["value"], first["currency"]) == (Decimal("1500.500000"), "BRL")
    assert company.links("crm_merge") == set()
    assert len(company.links("crm_record")) == 2


def test_a_deal_of_nobody_is_kept_under_its_own_id(company: Crm) -> None:
    """Found later, its contact takes over: of copies the one recorded last counts."""
    deal = company.state.deal("closedwon", amount="10", deal_currency_code="USD")
    company.night()
    (row,) = company.outcomes().values()
    assert row["crm_record_key"] == company.names.crm_record("hubspot", f"deal:{deal}")
    assert row["currency"] == "USD"
    ana = company.state.contact(phone=ANA)
    company.state.associate(deal, ana)
    company.night()
    (row,) = company.outcomes().values()
    assert row["crm_record_key"] == company.contact_key(ana)


def test_e90_each_stage_bears_the_amount_that_the_deal_had_when_it_left_it(
    company: Crm,
) -> None:
    deal = company.state.deal("closedwon", amount="1000")
    company.night()
    company.state.update("deals", deal, amount="1200")
    company.night()
    assert [r["value"] for r in company.outcomes().values()] == [Decimal(1200)]
    company.state.update("deals", deal, dealstage="contractsent")
    company.night()
    company.state.update("deals", deal, dealstage="closedwon", amount="1500")
    company.night()
    by_time = sorted(company.outcomes().values(), key=lambda r: r["occurred_at"])
    assert [(r["stage"], r["value"]) for r in by_time] == [
        ("closedwon", Decimal(1200)),
        ("contractsent", Decimal(1200)),
        ("closedwon", Decimal(1500)),
    ]


def test_a_stage_with_a_number_for_its_name_has_the_accounts_words_for_it(company: Crm) -> None:
    company.state.pipelines["77"] = ("Clinic", {"184620731": "Consulta feita 🦷"})
    company.state.lifecycle["91823"] = "Paciente"
    ana = company.state.contact(lifecyclestage="91823")
    company.state.deal("184620731", ana)
    company.night()
    labels = {r["stage"]: r["stage_label"] for r in company.outcomes().values()}
    assert labels == {"91823": "Paciente", "184620731": "Clinic / Consulta feita 🦷"}


def test_e91_stages_of_an_archived_pipeline_keep_the_accounts_words(company: Crm) -> None:
    """HubSpot lists it no more; the history of its deals goes on naming its stages."""
    company.state.pipelines["old"] = ("Vendas", {"9001": "Proposta", "9002": "Ganho"})
    deal = company.state.deal("9001", company.state.contact(phone="+5511987654321"))
    company.night()
    del company.state.pipelines["old"]
    company.state.update("deals", deal, dealstage="9002")
    counts = company.night()
    assert counts.stages_left == "Vendas / Ganho, Vendas / Proposta"
    labels = [row["stage_label"] for row in company.outcomes().values() if row["stage_label"]]
    assert sorted(x for x in labels if x.startswith("Vendas")) == [
        "Vendas / Ganho",
        "Vendas / Proposta",
    ]
    assert len(company.rows("hubspot/stages", "stage_id")) == len(
        {(r["object_type"], r["stage_id"]) for r in company.rows("hubspot/stages", "stage_id")}
    )


def test_half_an_emoji_costs_nothing_and_a_damaged_id_its_record_alone(company: Crm) -> None:
    company.state.contact(phone="+5511987654321", firstname="Ana \ud83d", email="ana@x.br")
    company.state.pipelines["default"] = ("Sales \ud83d", {"1": "Novo \udc4b"})
    company.night()
    assert max(company.clock.slept, default=0) < 1  # no answer was asked for again
    labels = {row["label"] for row in company.rows("hubspot/stages", "label")}
    assert "Sales \ufffd / Novo \ufffd" in labels
    assert len(company.links("crm_record")) == 2
    rows = [{"id": "101"}, {"id": "10\ufffd"}, {"id": "102"}]
    assert [i for i, _ in identified(rows, CONTACTS)] == ["101", "102"]
    with pytest.raises(HubspotShapeError):
        identified(rows[1:2], CONTACTS)


def test_without_a_history_the_dates_of_the_stages_stand_in(company: Crm) -> None:
    company.api.no_history = True
    ana = company.state.contact(lifecyclestage="lead")
    company.wait()
    company.state.update("contacts", ana, lifecyclestage="customer")
    deal = company.state.deal("closedwon", ana, amount="5")
    company.night()
    assert set(company.outcomes()) == {
        f"contact:{company.contact_key(ana)}:lead:{iso(BEGIN)}",
        f"contact:{company.contact_key(ana)}:customer:{iso(BEGIN + timedelta(hours=1))}",
        f"deal:{deal}:closedwon:{iso(BEGIN + timedelta(hours=1))}",
    }


def test_a_contact_put_on_a_deal_without_a_change_is_found_within_a_week(company: Crm) -> None:
    deal = company.state.deal("closedwon", amount="10")
    company.night()
    ana = company.state.contact(phone=ANA)
    company.state.associate(deal, ana, quietly=True)
    assert company.night(days=3).changed == 1  # the contact alone
    (row,) = company.outcomes().values()
    assert row["crm_record_key"] == company.names.crm_record("hubspot", f"deal:{deal}")
    company.night(days=4)
    (row,) = company.outcomes().values()
    assert row["crm_record_key"] == company.contact_key(ana)
    assert company.night(days=1).records == 0  # compared once in seven days


def test_a_comparison_that_fails_does_not_hold_back_what_changed(company: Crm) -> None:
    for _ in range(30):
        company.state.deal("qualifiedtobuy", amount="10")
    company.night()
    deal = company.state.deal("closedwon", amount="10")
    company.wait(days=8)
    company.state.update("deals", deal, amount="20")
    read = "POST /crm/objects/2026-09/deals/batch/read"
    company.api.faults.faults = [Fault(read, nth=2, times=10_000, kind="html", status=502)]
    with pytest.raises(SourceIncompleteError):
        company.night()
    company.api.faults.faults = []
    assert [r["records"] for r in company.reads() if r["object_type"] == "deals"][-1] == 1
    land(company.settings)
    assert company.outcomes()[f"deal:{deal}:closedwon:{iso(BEGIN + timedelta(hours=1))}"]
    company.night()
    assert [r["since"] for r in company.reads() if r["records"] == 31] == [None]


# ---- merged, deleted, brought back -----------------------------------------------------------


def test_e29_merged_contacts_are_linked_and_keep_their_history(company: Crm) -> None:
    one = company.state.contact(phone=ANA, email="ana@example.com", lifecyclestage="lead")
    two = company.state.contact(
        phone="+55 21 98888-7777", email="ana@work.example", lifecyclestage="customer"
    )
    company.night()
    before = company.outcomes()
    merged = company.state.merge("contacts", one, two)
    company.night()
    own = company.contact_key(merged)
    assert company.links("crm_merge") == {
        frozenset((own, company.contact_key(one))),
        frozenset((own, company.contact_key(two))),
    }
    assert set(before) < set(company.outcomes())
    again = company.state.merge("contacts", company.state.contact(), merged)
    company.night()
    joined = {key for link in company.links("crm_merge") for key in link}
    assert joined >= {company.contact_key(i) for i in (one, two, merged, again)}


def test_e29_a_merged_deal_takes_the_amounts_of_those_merged_into_it(company: Crm) -> None:
    one = company.state.deal("closedwon", amount="1000")
    company.wait()
    two = company.state.deal("closedwon", amount="500")
    company.night()
    merged = company.state.merge("deals", one, two)
    company.night()
    paid = {i: r["value"] for i, r in company.outcomes().items() if r["value"] is not None}
    assert set(paid.values()) == {Decimal(1000)}
    assert all(i.startswith(f"deal:{merged}:closedwon:") for i in paid)


def test_e63_a_deleted_contact_is_marked_and_its_history_stays(company: Crm) -> None:
    ana = company.state.contact(phone=ANA, lifecyclestage="salesqualifiedlead")
    company.night()
    company.state.delete("contacts", ana)
    gone_at = company.state.now
    assert company.night().changed == 0  # the bin is read once a day
    assert company.night(hours=24).changed == 1
    assert set(company.outcomes()) == {
        f"contact:{company.contact_key(ana)}:salesqualifiedlead:{iso(BEGIN)}",
        f"contact:{company.contact_key(ana)}:deleted:{iso(gone_at)}",
    }
    row = company.outcomes()[f"contact:{company.contact_key(ana)}:deleted:{iso(gone_at)}"]
    assert row["crm_record_key"] == company.contact_key(ana)
    assert row["phone_key"] == company.phone_key(ANA)
    assert company.night(hours=24).changed == 0
    assert len(company.bodies()) == 2


def test_e63_a_deleted_deal_is_still_its_contacts_and_is_paid_no_more(company: Crm) -> None:
    """HubSpot tells no contacts of a deleted deal; the event log knows whose it was."""
    ana = company.state.contact(phone=ANA)
    deal = company.state.deal("closedwon", ana, amount="1000")
    company.night()
    company.state.delete("deals", deal)
    company.night(hours=24)
    rows = [r for r in company.outcomes().values() if r["source"] == "hubspot_deals"]
    assert {r["stage"] for r in rows} == {"closedwon", "deleted"}
    assert {r["crm_record_key"] for r in rows} == {company.contact_key(ana)}
    assert {r["value"] for r in rows} == {None}


def test_e63_a_record_that_comes_back_is_in_its_stage_from_then_on(company: Crm) -> None:
    ana = company.state.contact(phone=ANA, lifecyclestage="customer")
    company.night()
    company.state.delete("contacts", ana)
    company.night(hours=24)
    company.state.restore("contacts", ana)
    back_at = company.state.now
    company.night()
    latest = max(company.outcomes().values(), key=lambda r: r["occurred_at"])
    assert (latest["stage"], latest["occurred_at"]) == ("customer", back_at)
    company.state.update("contacts", ana)
    assert company.night().changed == 0


# ---- many ----------------------------------------------------------------------------------


def test_ten_thousand_hits_and_one_more_are_all_found(company: Crm) -> None:
    """A search has no more than 10,000 results: the stand-in refuses to page beyond them."""

    def found() -> list[int]:
        pages = changed_ids(company.client(), CONTACTS, None, company.state.now)
        return [int(i) for page in pages for i in page]

    made = [company.state.contact(phone=f"+55119{80_000_000 + n}") for n in range(10_000)]
    company.wait()
    assert found() == made
    made.append(company.state.contact())
    company.wait()
    assert found() == made
    assert company.api.wrong == []


def test_pages_of_a_hundred_where_the_account_allows_no_more(company: Crm) -> None:
    company.api.max_page = 100
    for number in range(101):
        company.state.contact(phone=f"+55119{80_000_000 + number}")
    counts = company.land()
    assert (counts.records, counts.changed, counts.envelopes) == (101, 101, 2)
    assert [len(body["records"]) for body in company.bodies()] == [100, 1]


def test_searches_keep_to_the_accounts_pace(company: Crm) -> None:
    for number in range(1_001):
        company.state.contact(phone=f"+55119{80_000_000 + number}")
    company.land()  # the stand-in refuses the fifth search of a second
    assert company.clock.slept
    assert max(company.clock.slept) < 1


class KilledError(BaseException):
    """The process ends here."""


def killed(*_: object) -> None:
    raise KilledError


def test_killed_between_vault_and_lake_the_records_come_again_without_harm(
    company: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bodies are durable, the row that says "read" is not."""
    company.state.contact(phone=ANA, lifecyclestage="lead")
    with monkeypatch.context() as patch:
        patch.setattr("ingestion.lake.lake.Lake.load", killed)
        with pytest.raises(KilledError):
            company.land()
    assert company.reads() == []
    assert len(company.bodies()) == 1
    assert company.night().changed == 1
    assert len(company.bodies()) == 2
    assert len(company.outcomes()) == 1
    assert len(company.rows("event_log/outcomes")) == 2
    assert company.night().changed == 0


def test_killed_before_the_vault_has_them_they_are_read_again(
    company: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were "read" said first, these records would never come."""
    company.state.contact(phone=ANA, lifecyclestage="lead")
    with monkeypatch.context() as patch:
        patch.setattr("ingestion.vault.sqlite.SqliteVault.append", killed)
        with pytest.raises(KilledError):
            company.land()
    assert company.reads() == []
    assert company.rows("hubspot/records", "read_no") == []
    assert company.night().changed == 1
    assert len(company.outcomes()) == 1


def test_what_a_read_that_failed_has_seen_is_not_known(company: Crm) -> None:
    """Contacts of an unfinished envelope, noted by a read that broke off before it was full."""
    for number in range(250):
        company.state.contact(phone=f"+55119{80_000_000 + number}", lifecyclestage="lead")
    read = "POST /crm/objects/2026-09/contacts/batch/read"
    company.api.faults.faults = [Fault(read, nth=8, times=10_000, kind="html", status=502)]
    with pytest.raises(SourceIncompleteError):
        company.night()
    assert company.rows("hubspot/records", "read_no") == []  # deals have landed, without any
    company.api.faults.faults = []
    assert company.night().changed == 250
    assert len(company.outcomes()) == 250


# ---- erased --------------------------------------------------------------------------------


def test_an_erased_contact_does_not_come_back_with_what_was_before(company: Crm) -> None:
    """HubSpot still has them: what they do from now on is a new person's, what was stays gone."""
    ana = company.state.contact(phone=ANA, email="ana@example.com", lifecyclestage="lead")
    company.state.deal("closedwon", ana, amount="100")
    company.night()
    keys = {company.contact_key(ana), company.phone_key(ANA)}
    company.wait()
    forget_person(company.settings, phone=ANA, now=lambda: company.state.now)
    assert len(company.rows("event_log/outcomes")) == 2
    assert company.rows("event_log/identity_links") == []
    assert company.bodies() == []
    company.wait()
    company.state.update("contacts", ana, lifecyclestage="customer")
    company.night()
    rows = company.rows("event_log/outcomes")
    theirs = [row for row in rows if keys & {row["crm_record_key"], row["phone_key"]}]
    assert [row["stage"] for row in theirs] == ["customer"]
    assert company.rows("event_log/identity_links") == []
    assert company.bodies() == []


def test_e90_an_erased_persons_deal_is_still_one_deal(company: Crm) -> None:
    """Its outcomes bear the value each; that they are of one deal must be seen, which one not."""
    ana = company.state.contact(phone=ANA)
    deals = [company.state.deal("qualifiedtobuy", ana, amount="100") for _ in range(2)]
    company.wait()
    for deal in deals:
        company.state.update("deals", deal, dealstage="closedwon")
    company.night()
    forget_person(company.settings, phone=ANA, now=lambda: company.state.now)
    ids = [r["event_id"] for r in company.rows("event_log/outcomes") if r["value"] is not None]
    assert len(set(ids)) == 4
    assert all(i.startswith("deal:") for i in ids)
    assert len({i.split(":")[1] for i in ids}) == 2
    assert not [i for i in ids for deal in deals if str(deal) in i.split(":")[1:2]]
