"""E85, E86: identifiers that are not one person's, and the properties of rule R4 as a function."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.identity.links import LINKS
from ingestion.identity.persons import Persons, find_persons
from tests.dbt.test_identity_properties import SILENCE, claims, expected, history
from tests.support.people import Envelope, form, link, message, record

DAY = "2026-05-04 12:00"
Row = dict[str, Any]


def rows_of(envelopes: Iterable[Envelope]) -> list[Row]:
    """Links as `ingestion.identity.links` gives them, but one row each."""
    envelopes = list(envelopes)
    rows = [r for e in envelopes for r in e.rows.get("identity_links", [])]
    found = [
        {name: row.get(name) for name in LINKS.names}
        | dict.fromkeys(("first_observed_at", "last_observed_at"), row["observed_at"])
        | {"last_recorded_at": row.get("recorded_at") or row["observed_at"]}
        for row in rows
    ]
    copies: dict[str, dict[str, datetime]] = {}
    for table, at in (("messages", "sent_at"), ("statuses", "status_at")):
        for row in (r for e in envelopes for r in e.rows.get(table, [])):
            shown = copies.setdefault(row["message_key"], {})
            who = row["bsuid_key"] or row["phone_key"]
            shown[who] = min(row[at], shown.get(who, row[at]))
    found += [
        {"left_key": who, "left_kind": "any", "right_key": key, "right_kind": "message",
         "waba_id": None, "link_kind": "copy", "first_observed_at": when,
         "last_observed_at": when, "last_recorded_at": when}
        for key, shown in copies.items() if len(shown) > 1
        for who, when in shown.items()
    ]  # fmt: skip
    return found


def persons(envelopes: Iterable[Envelope], degree: int = 5) -> dict[str, str]:
    """Whose each identity is."""
    found = judge(rows_of(envelopes), degree)
    keys = found.keys.to_pylist()
    return {key: keys[p] for key, p in zip(keys, found.person.tolist(), strict=True)}


def judge(rows: list[Row], degree: int = 5) -> Persons:
    return find_persons(pa.Table.from_pylist(rows, schema=LINKS), SILENCE, degree)


def shared(found: Persons) -> set[str]:
    return {k for k, flag in zip(found.keys.to_pylist(), found.is_shared, strict=True) if flag}


def people(who: dict[str, str], *identities: str) -> int:
    """How many people these identities are."""
    return len({who.get(identity, identity) for identity in identities})


def forms(count: int, **common: str) -> list[Envelope]:
    """Forms of as many people, each with an e-mail of their own."""
    mails = [common | {"email": f"e{n}"} if "email" not in common else common for n in range(count)]
    return [form(DAY, f"w{n}", **mail) for n, mail in enumerate(mails)]


def mails(count: int) -> list[str]:
    return [f"email:e{n}" for n in range(count)]


# ---- degree --------------------------------------------------------------------------------


def test_e86_a_phone_of_many_forms_joins_nobody_from_the_degree_on() -> None:
    family, office = forms(4, phone="x"), forms(5, phone="x")
    assert people(persons(family), *mails(4), "phone:x") == 1
    assert people(persons(office), *mails(5), "phone:x") == 6
    assert people(persons(office, degree=6), *mails(5)) == 1


def test_e86_people_are_counted_not_forms() -> None:
    """One person who sends the same form over and over, with a phone, or with a mailbox, too."""
    alone = [form(DAY, f"w{n}", phone="x") for n in range(30)]
    both = [form(DAY, f"w{n}", phone="x", email="y") for n in range(30)]
    assert people(persons(alone), *(f"web_lead:w{n}" for n in range(30))) == 1
    assert people(persons(both), "email:y", *(f"web_lead:w{n}" for n in range(30))) == 1


def test_e86_people_whom_something_else_connects_are_one() -> None:
    """Six mailboxes of one person, as the CRM knows."""
    one = record("ana", DAY, *mails(6), "phone:x")
    assert people(persons([*forms(6, phone="x"), one]), *mails(6), "phone:x") == 1


def test_e86_an_office_with_a_number_and_a_mailbox_hides_neither_behind_the_other() -> None:
    staff = [record(f"r{n}", DAY, "phone:x", "email:info", f"email:e{n}") for n in range(6)]
    assert people(persons(staff), *mails(6)) == 6
    forms_too = [form(DAY, f"w{n}", phone="x", email="info") for n in range(3)]
    assert people(persons([*staff, *forms_too]), *mails(6)) == 6


def test_e86_whoever_holds_an_office_s_number_at_whatsapp_stays_whole() -> None:
    talk = message(DAY, phone="x", bsuid="desk", id="m")
    who = persons([*forms(6, phone="x"), talk])
    assert people(who, "phone:x", "bsuid:desk") == 1
    assert people(who, *mails(6), "bsuid:desk") == 7


def test_e86_a_constant_lead_id_joins_nobody() -> None:
    """A CRM, or a site, that gives everybody the same id."""
    said = [link(DAY, f"email:e{n}", "web_lead:0", "outcome", waba_id=None) for n in range(6)]
    assert people(persons(said), *mails(6)) == 6


def test_e86_each_person_of_a_shared_identifier_is_refused_the_next_by_time() -> None:
    office = [form(f"2026-05-0{n + 1} 12:00", f"w{n}", phone="x", email=f"e{n}") for n in range(5)]
    found = judge(rows_of(office))
    refusals = found.refusals.to_pylist()
    who = persons(office)
    expected_pairs = [(who[f"email:e{n}"], who[f"email:e{n + 1}"]) for n in range(4)]
    pairs = [(row["earlier_person_key"], row["later_person_key"]) for row in refusals]
    assert pairs == expected_pairs
    assert {(r["reason"], r["identifier_key"]) for r in refusals} == {
        ("shared_identifier", "phone:x")
    }
    assert refusals[0]["first_seen_later_at"] == datetime(2026, 5, 2, 12, tzinfo=UTC)


# ---- the CRM corrected ---------------------------------------------------------------------


def test_e86_a_correction_in_the_crm_undoes_a_join_below_the_degree() -> None:
    before = [record("a", "2026-05-01", "phone:x", "email:a"),
              record("b", "2026-05-01", "phone:x", "email:b")]  # fmt: skip
    assert people(persons(before), "email:a", "email:b") == 1
    after = [*before, record("b", "2026-05-02", "phone:z", "email:b")]
    who = persons(after)
    assert people(who, "email:a", "email:b") == 2
    assert (who["phone:x"], who["phone:z"]) == (who["email:a"], who["email:b"])
    (refused,) = judge(rows_of(after)).refusals.to_pylist()
    assert (refused["reason"], refused["identifier_key"]) == ("corrected", "phone:x")


def test_e86_a_record_that_names_nobody_any_more_takes_back_what_it_said() -> None:
    said = [record("a", "2026-05-01", "phone:x"), record("b", "2026-05-01", "phone:x")]
    who = persons([*said, record("a", "2026-05-02")])
    assert people(who, "crm_record:a", "crm_record:b") == 2
    who = persons([*said, record("a", "2026-05-02", merged=("c",))])
    assert people(who, "crm_record:a", "crm_record:b") == 2


def test_e29_e86_a_merged_record_brings_its_people_along() -> None:
    told = [
        record("a", "2026-05-01", "email:a"),
        record("b", "2026-05-01", "phone:b"),
        record("a", "2026-05-02", "email:a", merged=("b",)),
    ]
    assert people(persons(told), "email:a", "phone:b") == 1


def test_e86_a_number_change_at_whatsapp_is_no_correction() -> None:
    told = [
        record("a", "2026-05-01", "phone:old", "email:a"),
        link(DAY, "phone:old", "phone:new", "number_change"),
        record("a", "2026-05-02", "phone:new", "email:a"),
    ]
    assert people(persons(told), "phone:old", "phone:new", "email:a") == 1


# ---- properties ----------------------------------------------------------------------------


def _partition(who: dict[str, str]) -> set[frozenset[str]]:
    sets: dict[str, set[str]] = {}
    for identity, person in who.items():
        sets.setdefault(person, set()).add(identity)
    return {frozenset(members) for members in sets.values()}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(2, 6))
def test_e28_e86_persons_are_the_reference_s_in_any_order(seed: int, degree: int) -> None:
    rng = random.Random(seed)
    told = [*history(rng, "h"), *claims(rng, "c"), *claims(rng, "d")]
    people_ = expected(told, degree)
    rows = rows_of(told)
    rng.shuffle(rows)
    found = judge(rows, degree)
    keys = found.keys.to_pylist()
    ours = {key: keys[p] for key, p in zip(keys, found.person.tolist(), strict=True)}
    theirs = {key: people_.persons.find(key) for key in people_.identities}
    assert shared(found) == people_.shared
    assert _partition({k: ours.get(k, k) for k in theirs}) == _partition(theirs)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_e86_a_stranger_with_a_junk_identifier_changes_nobody(seed: int) -> None:
    rng = random.Random(seed)
    office = [record(f"o{n}", DAY, "phone:c.office", f"email:o{n}") for n in range(6)]
    told = [*office, *claims(rng, "c")]
    before = persons(told)
    strangers = [form(DAY, f"s{n}", phone="c.office", email=f"s{n}") for n in range(3)]
    after = persons([*told, *strangers])
    assert _partition({k: after[k] for k in before}) == _partition(before)
    assert people(after, *(f"email:s{n}" for n in range(3)), "email:o0") == 4


@pytest.mark.parametrize("places", [range(6), reversed(range(6))], ids=["in order", "backwards"])
def test_e86_people_come_apart_with_the_last_of_them(places: Iterable[int]) -> None:
    office = forms(6, phone="x")
    told = [office[place] for place in places]
    assert people(persons(told[:4]), *mails(6)) == 3  # four are one, and two not heard of
    assert people(persons(told), *mails(6)) == 6


def test_e86_a_junk_identifier_of_very_many_is_not_squared() -> None:
    """In proportion: 20,000 people on one number are told apart in the time of a test."""
    told = [r for n in range(20_000) for r in form(DAY, f"w{n}", phone="x", email=f"e{n}").rows[
        "identity_links"
    ]]  # fmt: skip
    found = judge(rows_of([Envelope({"identity_links": told})]))
    assert shared(found) == {"phone:x"}
    assert len(set(found.person.tolist())) == 20_001
    assert found.refusals.num_rows == 19_999


def test_nothing_linked_is_nobody() -> None:
    found = find_persons(LINKS.empty_table(), timedelta(days=45), 5)
    assert (len(found.keys), found.refusals.num_rows, found.sightings) == (0, 0, [])
