"""Who is one person: keys, links and countries (rule R4)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ingestion.parser.people import bsuid_country, phone_country
from tests.ingestion.parser.payloads import (
    BSUID,
    NAMES,
    OTHER_BSUID,
    OTHER_PHONE,
    PARENT,
    PHONE,
    encode,
    envelope,
    fixture,
    links,
    message,
    parse,
    reasons,
)

PHONE_KEY, OTHER_PHONE_KEY = NAMES.phone(PHONE), NAMES.phone(OTHER_PHONE)
BSUID_KEY, OTHER_BSUID_KEY = NAMES.bsuid(BSUID), NAMES.bsuid(OTHER_BSUID)
PARENT_KEY = NAMES.bsuid(PARENT)


def test_e23_a_person_with_a_bsuid_only() -> None:
    rows = parse(fixture("bsuid_only"))
    row = rows["messages"][0]
    assert (row["phone_key"], row["bsuid_key"], row["country"]) == (None, BSUID_KEY, "BR")
    assert links(rows) == {(BSUID_KEY, PARENT_KEY, k) for k in ("message", "contact")}


def test_e23_without_any_id_the_only_contact_is_the_person() -> None:
    row = parse(fixture("bsuid_in_contact_only"))["messages"][0]
    assert row["bsuid_key"] == BSUID_KEY


def test_e23_without_any_id_two_contacts_are_nobody() -> None:
    contacts = [{"wa_id": PHONE}, {"wa_id": OTHER_PHONE}]
    rows = parse(envelope(message(**{"from": None}), contacts=contacts))
    assert not rows["messages"]
    assert reasons(rows) == ["person_missing"]


def test_e23_a_bsuid_in_the_place_of_the_phone() -> None:
    row = parse(fixture("bsuid_in_from"))["messages"][0]
    assert (row["phone_key"], row["bsuid_key"]) == (None, BSUID_KEY)


def test_e24_both_ids_in_one_payload_are_linked() -> None:
    rows = parse(fixture("phone_and_bsuid"))
    assert (PHONE_KEY, BSUID_KEY, "message") in links(rows)
    assert (PHONE_KEY, BSUID_KEY, "contact") in links(rows)
    link = rows["identity_links"][0]
    assert (link["left_kind"], link["right_kind"]) == ("phone", "bsuid")
    assert link["observed_at"] == rows["messages"][0]["sent_at"]


def test_e24_contacts_beside_statuses_link_too() -> None:
    rows = parse(fixture("status_free_entry_point"))
    assert (PHONE_KEY, BSUID_KEY, "status") in links(rows)
    assert (PHONE_KEY, BSUID_KEY, "contact") in links(rows)


def test_e28_a_contact_is_seen_with_its_own_message_not_with_its_batch() -> None:
    """Whoever else's older message travels beside it: the time decides who had the number."""
    mine = message(timestamp="1781000000")
    older = message(**{"from": OTHER_PHONE}, id="other", timestamp="1771000000")
    contacts = [{"wa_id": PHONE, "user_id": BSUID}]

    alone = parse(envelope(mine, contacts=contacts))["identity_links"]
    batched = parse(envelope(older, mine, contacts=contacts))["identity_links"]

    assert {r["observed_at"] for r in batched} == {r["observed_at"] for r in alone}
    assert len({r["observed_at"] for r in alone}) == 1


def test_e25_a_parent_id_is_linked_and_stands_in_where_it_is_alone() -> None:
    alone = message(**{"from": None}, from_parent_user_id=PARENT)
    assert parse(envelope(alone))["messages"][0]["bsuid_key"] == PARENT_KEY
    assert (BSUID_KEY, PARENT_KEY, "status") in links(parse(fixture("status_read_bsuid_only")))


@pytest.mark.parametrize("spelling", ["parent_recipient_user_id", "recipient_parent_user_id",
                                      "parent_user_id"])  # fmt: skip
def test_e25_three_spellings_of_the_parent(spelling: str) -> None:
    status = {"id": "x", "status": "read", "timestamp": "1781000000", "recipient_user_id": BSUID}
    assert links(parse(envelope(statuses=[{**status, spelling: PARENT}]))) == {
        (BSUID_KEY, PARENT_KEY, "status")
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5531987650001", "553187650001"),
        ("5215512345678", "525512345678"),
        ("5491123456789", "541123456789"),
        ("+55 31 98765-0001", "5531987650001"),
    ],
)
def test_e26_spellings_of_one_number_are_one_person(one: str, other: str) -> None:
    first, second = parse(*[envelope(message(**{"from": p})) for p in (one, other)])["messages"]
    assert first["phone_key"] == second["phone_key"]


def test_e82_both_spellings_of_a_renumbered_number_are_linked_for_rows_of_before() -> None:
    bodies = [envelope(message(**{"from": p})) for p in ("22507123456", "2250707123456")]
    rows = parse(*bodies)
    key, before = NAMES.phone("2250707123456"), NAMES.digest("phone", "22507123456")
    assert {r["phone_key"] for r in rows["messages"]} == {key}
    assert {r["country"] for r in rows["messages"]} == {"CI"}
    assert links(rows) == {(key, before, "number_plan")}
    assert [r["seq"] for r in rows["identity_links"]] == [1, 2]
    shown = {(r["seq"], r["observed_at"]) for r in rows["identity_links"]}
    assert shown == {(r["seq"], r["sent_at"]) for r in rows["messages"]}
    assert not parse(envelope(message()))["identity_links"]


def test_e26_numbers_with_the_same_end_are_two_people() -> None:
    numbers = ("551133334444", "552133334444")
    first, second = parse(*[envelope(message(**{"from": p})) for p in numbers])["messages"]
    assert first["phone_key"] != second["phone_key"]


def test_e26_a_contact_is_found_by_another_spelling_of_its_number() -> None:
    contact = {"wa_id": "553187650001", "user_id": BSUID}
    row = parse(envelope(message(), contacts=[contact, {"wa_id": OTHER_PHONE}]))["messages"][0]
    assert row["bsuid_key"] == BSUID_KEY


@pytest.mark.parametrize("name", ["system_number_change", "system_number_change_old"])
def test_e27_a_new_number_of_the_same_person(name: str) -> None:
    rows = parse(fixture(name))
    assert links(rows) == {(PHONE_KEY, OTHER_PHONE_KEY, "number_change")}
    assert rows["messages"][0]["type"] == "system"


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("system_user_id_change", set()),
        ("user_id_update", {(PHONE_KEY, OTHER_BSUID_KEY, k) for k in ("contact", "id_change")}),
        (
            "user_id_update_flat",
            {(PHONE_KEY, OTHER_BSUID_KEY, k) for k in ("contact", "id_change")},
        ),
    ],
)
def test_e27_a_new_bsuid_of_the_same_person(name: str, extra: set[tuple[str, str, str]]) -> None:
    assert links(parse(fixture(name))) == {(BSUID_KEY, OTHER_BSUID_KEY, "id_change")} | extra


def test_e27_a_new_number_shows_its_new_bsuid_with_it() -> None:
    notice = message(type="system", from_user_id=BSUID, system={
        "type": "user_changed_number", "wa_id": OTHER_PHONE, "user_id": OTHER_BSUID,
    })  # fmt: skip
    assert links(parse(envelope(notice))) == {
        (PHONE_KEY, BSUID_KEY, "message"),
        (PHONE_KEY, OTHER_PHONE_KEY, "number_change"),
        (OTHER_PHONE_KEY, OTHER_BSUID_KEY, "number_change"),
        (BSUID_KEY, OTHER_BSUID_KEY, "id_change"),
        (PHONE_KEY, OTHER_BSUID_KEY, "id_change"),
    }


def test_e28_a_new_id_of_a_phone_is_told_even_where_the_old_one_is_not() -> None:
    notice = message(type="system", from_user_id=OTHER_BSUID, system={
        "type": "user_changed_user_id", "user_id": OTHER_BSUID, "body": "User changed",
    })  # fmt: skip
    assert (PHONE_KEY, OTHER_BSUID_KEY, "id_change") in links(parse(envelope(notice)))


@pytest.mark.parametrize("name", ["phone_and_bsuid", "app_contact", "user_id_update",
                                  "status_free_entry_point", "contact_card_requested"])  # fmt: skip
def test_e28_links_of_whatsapp_name_the_account_that_showed_them(name: str) -> None:
    body = fixture(name)
    shown = {row["waba_id"] for row in parse(body)["identity_links"]}
    assert shown == {entry["id"] for entry in json.loads(body)["entry"]}


@pytest.mark.parametrize(
    ("shown", "sender", "direction"),
    [
        ("+55 11 98000-0001", "551180000001", "outbound"),
        ("+55 11 94000-0001", "551140000001", "inbound"),  # somebody's landline
    ],
)
def test_e12_the_business_s_own_number_is_known_in_its_spellings(
    shown: str, sender: str, direction: str
) -> None:
    sent = {"id": "a", "from": sender, "to": PHONE, "timestamp": "1781000000"}
    value = {
        "metadata": {"display_phone_number": shown, "phone_number_id": "1"},
        "history": [{"threads": [{"id": PHONE, "messages": [sent]}]}],
    }
    body = {"entry": [{"id": "1", "changes": [{"field": "history", "value": value}]}]}
    row = parse(json.dumps(body).encode())["messages"][0]
    assert row["direction"] == direction


NEW_NUMBER: dict[str, dict[str, Any]] = {
    # Everything beside `type` of a notice that PHONE became OTHER_PHONE
    "documented": {"from": PHONE, "system": {"wa_id": OTHER_PHONE}},
    "older": {"from": PHONE, "system": {"new_wa_id": OTHER_PHONE}},
    "from the new number, the old one in the sentence": {
        "from": OTHER_PHONE,
        "system": {"new_wa_id": OTHER_PHONE,
                   "body": f"User changed number from {PHONE} to {OTHER_PHONE}"},
    },
    "from the new number alone": {
        "from": OTHER_PHONE, "system": {"body": f"O cliente trocou {PHONE} por {OTHER_PHONE}."},
    },
    "from the old number alone": {
        "from": PHONE, "system": {"body": f"Nutzer A hat von {PHONE} auf {OTHER_PHONE} gewechselt"},
    },
    "no sender": {
        "system": {"wa_id": OTHER_PHONE,
                   "body": "El usuario cambió de +55 31 98765-0001 a +55 (31) 98765-0002"},
    },
    "a sentence that ends before the new number": {
        "from": OTHER_PHONE, "system": {"wa_id": OTHER_PHONE, "body": f"Ana mudou de {PHONE} p"},
    },
    "another order of words": {
        "system": {"wa_id": OTHER_PHONE, "body": f"Yeni numara {OTHER_PHONE}, eskisi {PHONE}"},
    },
    "marks of direction": {
        "system": {"wa_id": OTHER_PHONE, "body": f"\u202a+{PHONE}\u202c → \u200e+{OTHER_PHONE}"},
    },
    "other digits": {
        "system": {"wa_id": OTHER_PHONE, "body": "من ٥٥٣١٩٨٧٦٥٠٠٠١ إلى ٥٥٣١٩٨٧٦٥٠٠٠٢"},
    },
    "without blanks": {
        "system": {"wa_id": OTHER_PHONE, "body": f"用户将号码从{PHONE}更改为{OTHER_PHONE}"},
    },
    "in the other spelling": {
        "from": "553187650002",
        "system": {"body": f"User changed number from 553187650001 to {OTHER_PHONE}"},
    },
    "customer of older APIs": {"system": {"customer": PHONE, "wa_id": OTHER_PHONE}},
    "named with their own number": {
        "system": {"wa_id": OTHER_PHONE,
                   "body": f"User {PHONE} changed from {PHONE} to {OTHER_PHONE}"},
    },
    "another word for it": {
        "system": {"type": "brand_new_word", "previous_wa_id": PHONE, "wa_id": OTHER_PHONE},
    },
    "no type of message": {"type": None, "from": PHONE, "system": {"wa_id": OTHER_PHONE}},
}  # fmt: skip


@pytest.mark.parametrize("shape", NEW_NUMBER)
def test_e81_a_new_number_in_any_shape_is_the_same_person(shape: str) -> None:
    notice = {"type": "system", "from": None, **NEW_NUMBER[shape]}
    notice["system"] = {"type": "user_changed_number", **notice["system"]}
    rows = parse(envelope(message(**notice)))
    assert links(rows) == {(PHONE_KEY, OTHER_PHONE_KEY, "number_change")}
    assert rows["messages"][0]["type"] == "system"
    assert rows["quarantine"] == []


NEW_ID: dict[str, dict[str, Any]] = {
    # Everything beside `type` of a notice that BSUID became OTHER_BSUID
    "since August 2026": {
        "system": {"body": "User...", "user_id": OTHER_BSUID, "previous_user_id": BSUID},
    },
    "sender is the old id": {
        "from_user_id": BSUID, "system": {"user_id": OTHER_BSUID, "body": "User..."},
    },
    "sender is the new id": {
        "from_user_id": OTHER_BSUID, "system": {"previous_user_id": BSUID},
    },
    "the contact is the new id": {
        "system": {"previous_user_id": BSUID}, "contacts": [{"user_id": OTHER_BSUID}],
    },
    "the contact is the old id": {
        "system": {"user_id": OTHER_BSUID}, "contacts": [{"user_id": BSUID}],
    },
    "the old id in the sentence": {
        "system": {"user_id": OTHER_BSUID, "body": f"De {BSUID} para {OTHER_BSUID}."},
    },
    "both in the sentence": {
        "from_user_id": OTHER_BSUID, "system": {"body": f"{BSUID} → {OTHER_BSUID}"},
    },
    "another word for it": {
        "system": {"type": "x", "user_id": OTHER_BSUID, "previous_user_id": BSUID},
    },
    "a number change without numbers": {
        "system": {"type": "user_changed_number", "user_id": OTHER_BSUID,
                   "previous_user_id": BSUID},
    },
}  # fmt: skip


@pytest.mark.parametrize("shape", NEW_ID)
def test_e81_a_new_user_id_in_any_shape_is_the_same_person(shape: str) -> None:
    notice = {"type": "system", "from": None, **NEW_ID[shape]}
    contacts = {"contacts": c} if (c := notice.pop("contacts", None)) else {}
    notice["system"] = {"type": "user_changed_user_id", **notice["system"]}
    rows = parse(envelope(message(**notice), **contacts))
    assert links(rows) == {(BSUID_KEY, OTHER_BSUID_KEY, "id_change")}
    assert rows["quarantine"] == []


def test_e81_parent_ids_of_a_notice_are_linked() -> None:
    other = "BR.ENT.30000000000000000002"
    notice = message(**{"from": None}, type="system", system={
        "type": "user_changed_user_id", "user_id": OTHER_BSUID, "parent_user_id": other,
        "previous_user_id": BSUID, "previous_parent_user_id": PARENT,
    })  # fmt: skip
    assert links(parse(envelope(notice))) == {
        (BSUID_KEY, OTHER_BSUID_KEY, "id_change"),
        (BSUID_KEY, PARENT_KEY, "id_change"),
        (OTHER_BSUID_KEY, NAMES.bsuid(other), "id_change"),
    }


def test_e81_a_new_number_with_both_old_ids_links_them_all() -> None:
    notice = message(**{"from": None}, type="system", system={
        "type": "user_changed_number", "wa_id": OTHER_PHONE, "user_id": OTHER_BSUID,
        "previous_user_id": BSUID, "body": f"User changed from {PHONE} to {OTHER_PHONE}",
    })  # fmt: skip
    assert links(parse(envelope(notice))) == {
        (PHONE_KEY, OTHER_PHONE_KEY, "number_change"),
        (OTHER_PHONE_KEY, OTHER_BSUID_KEY, "number_change"),
        (BSUID_KEY, OTHER_BSUID_KEY, "id_change"),
        (PHONE_KEY, OTHER_BSUID_KEY, "id_change"),
    }


@pytest.mark.parametrize(
    "body",
    [
        "User 5511900000000 changed from 5531987650001 to 5531987650002",  # three
        "User changed to 5531987650002",
        "User 5511900000000 changed to 5511911111111",  # neither is known
        f"id{PHONE} to x{OTHER_PHONE}",  # not set off
        "User changed from 12 to 34",
        "User 5511900000000 changed from 5531987650001",
        None,
        7,
    ],
)
def test_e81_a_sentence_with_other_than_two_numbers_links_nobody(body: object) -> None:
    notice = message(**{"from": OTHER_PHONE}, type="system", system={
        "type": "user_changed_number", "new_wa_id": OTHER_PHONE, "body": body,
    })  # fmt: skip
    assert links(parse(envelope(notice))) == set()


@pytest.mark.parametrize("source", ["dialog360", "gupshup"])
def test_e81_providers_pass_the_notice_on(source: str) -> None:
    notice = message(**{"from": None}, type="system", system={
        "type": "user_changed_user_id", "user_id": OTHER_BSUID, "previous_user_id": BSUID,
    })  # fmt: skip
    rows = parse(encode(envelope(notice)), source=source)
    assert links(rows) == {(BSUID_KEY, OTHER_BSUID_KEY, "id_change")}


def test_e27_a_security_code_is_no_new_identity() -> None:
    assert not parse(fixture("system_identity_change"))["identity_links"]


def test_a_requested_contact_card_gives_the_phone() -> None:
    assert (PHONE_KEY, BSUID_KEY, "contact_card") in links(parse(fixture("contact_card_requested")))


def test_a_card_of_another_person_links_nobody() -> None:
    assert not parse(fixture("contact_card_of_another"))["identity_links"]


def test_a_card_of_another_person_links_their_own_ids_to_each_other_only() -> None:
    phones = [{"wa_id": OTHER_PHONE, "user_id": OTHER_BSUID}]
    card = message(from_user_id=BSUID, type="contacts", contacts=[{"phones": phones}])
    assert links(parse(envelope(card))) == {
        (PHONE_KEY, BSUID_KEY, "message"),
        (OTHER_PHONE_KEY, OTHER_BSUID_KEY, "contact_card"),
    }


def test_a_requested_card_with_two_numbers_links_nobody() -> None:
    phones = [{"wa_id": PHONE}, {"wa_id": OTHER_PHONE}]
    card = message(**{"from": None}, from_user_id=BSUID, type="contacts",
                   origin="contact_request", contacts=[{"phones": phones}])  # fmt: skip
    assert not parse(envelope(card))["identity_links"]


def test_a_contact_of_another_person_is_not_taken_by_its_place() -> None:
    other = {"wa_id": OTHER_PHONE, "user_id": OTHER_BSUID}
    rows = parse(envelope(message(), contacts=[other]))
    assert rows["messages"][0]["bsuid_key"] is None
    assert links(rows) == {(OTHER_PHONE_KEY, OTHER_BSUID_KEY, "contact")}


def test_digits_of_a_bsuid_are_not_somebodys_phone() -> None:
    contact = {"wa_id": OTHER_PHONE, "user_id": f"BR.{PHONE}"}
    assert parse(envelope(message(), contacts=[contact]))["messages"][0]["bsuid_key"] is None


def test_contacts_of_the_business_app_link() -> None:
    assert links(parse(fixture("app_contact"))) == {(PHONE_KEY, BSUID_KEY, "contact_book")}


@pytest.mark.parametrize(
    ("phone", "country"),
    [
        ("5531987650001", "BR"), ("14155550100", "US"), ("14165550100", "CA"),
        ("447400123456", "GB"), ("79161234567", "RU"), ("77011234567", "KZ"),
        ("5491123456789", "AR"), ("0000000", None),
        ("+351 912 345 678", "PT"), ("390612345678", "IT"), ("870773111632", None),
    ],
)  # fmt: skip
def test_country_of_a_phone(phone: str, country: str | None) -> None:
    assert phone_country(phone) == country


@pytest.mark.parametrize(
    ("bsuid", "country"), [("US.1", "US"), ("us.ENT.2", "US"), ("BSUID_1", None), ("", None)]
)
def test_country_of_a_bsuid(bsuid: str, country: str | None) -> None:
    assert bsuid_country(bsuid) == country
