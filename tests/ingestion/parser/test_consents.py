"""Words of consent (E72): from WhatsApp's own switch, from the signed endpoint, and bad ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.ingestion.parser.payloads import (
    BSUID,
    NAMES,
    OTHER_BSUID,
    OTHER_PHONE,
    PARENT,
    PHONE,
    RECEIVED,
    SENT,
    Rows,
    encode,
    envelope,
    fixture,
    links,
    message,
    parse,
    reasons,
)
from tests.ingestion.parser.test_hostile import HOSTILE, conserved

MAIL = "ana@example.com"
CANARY = "canary-5511999998888"


def preference(**extra: Any) -> dict[str, Any]:
    """An opt-out as WhatsApp tells it; `None` takes a key away."""
    found: dict[str, Any] = {
        "wa_id": PHONE,
        "detail": "User requested to stop marketing messages",
        "category": "marketing_messages",
        "value": "stop",
        "timestamp": SENT,
    }
    found.update(extra)
    return {key: value for key, value in found.items() if value is not None}


def preferences(*items: Any, **value: Any) -> dict[str, Any]:
    """One webhook of the field `user_preferences`."""
    return envelope(field="user_preferences", user_preferences=list(items), **value)


def consent(**extra: Any) -> dict[str, Any]:
    """A withdrawal as posted; `None` takes a key away."""
    found: dict[str, Any] = {
        "given": False,
        "declared_at": "2026-06-10T09:00:00-03:00",
        "phone": "+55 31 98765-0001",
    }
    found.update(extra)
    return {key: value for key, value in found.items() if value is not None}


def said(rows: Rows) -> list[tuple[Any, ...]]:
    """Who said what, without time."""
    columns = ("phone_key", "bsuid_key", "email_key", "is_given")
    return [tuple(row[c] for c in columns) for row in rows["consents"]]


# ---- WhatsApp's own switch -----------------------------------------------------------------------


def test_e72_a_stop_in_whatsapp_is_a_withdrawal() -> None:
    rows = parse(fixture("user_preferences"))
    (row,) = rows["consents"]
    assert (row["purpose"], row["is_given"]) == ("marketing", False)
    assert row["source"] == "whatsapp_user_preferences"
    assert row["declared_at"] == datetime.fromtimestamp(SENT + 99, UTC)
    # The contact beside it names the user id as well: the person is found by either.
    assert (row["phone_key"], row["bsuid_key"]) == (NAMES.phone(PHONE), NAMES.bsuid(BSUID))
    assert row["email_key"] is None
    assert rows["quarantine"] == []


@pytest.mark.parametrize(
    ("word", "is_given"), [("stop", False), ("resume", True), ("signup", True)]
)
def test_every_documented_choice_is_read(word: str, is_given: bool) -> None:
    rows = parse(preferences(preference(value=word, signup_id="13176843987434774")))
    assert [row["is_given"] for row in rows["consents"]] == [is_given]


def test_a_person_without_a_phone_is_known_by_the_user_id() -> None:
    rows = parse(preferences(preference(wa_id=None, user_id=BSUID)))
    assert said(rows) == [(None, NAMES.bsuid(BSUID), None, False)]


def test_ids_that_one_choice_names_together_are_one_person() -> None:
    rows = parse(preferences(preference(user_id=BSUID, parent_user_id=PARENT)))
    assert said(rows) == [(NAMES.phone(PHONE), NAMES.bsuid(BSUID), None, False)]
    assert links(rows) == {
        (NAMES.phone(PHONE), NAMES.bsuid(BSUID), "contact"),
        (NAMES.bsuid(BSUID), NAMES.bsuid(PARENT), "contact"),
    }
    assert {row["waba_id"] for row in rows["identity_links"]} == {"41"}


def test_the_contact_of_somebody_else_is_not_who_chose() -> None:
    """Meta's own example: the contact beside the choice is another person."""
    contacts = [{"wa_id": OTHER_PHONE, "user_id": OTHER_BSUID}]
    rows = parse(preferences(preference(), contacts=contacts))
    assert said(rows) == [(NAMES.phone(PHONE), None, None, False)]


def test_a_choice_that_names_nobody_is_of_the_only_contact() -> None:
    rows = parse(preferences(preference(wa_id=None), contacts=[{"wa_id": PHONE}]))
    assert said(rows) == [(NAMES.phone(PHONE), None, None, False)]


@pytest.mark.parametrize("timestamp", [None, "soon", 12, 1.5, 9_999_999_999])
def test_a_choice_without_a_usable_time_is_of_its_receipt(timestamp: Any) -> None:
    rows = parse(preferences(preference(timestamp=timestamp)))
    assert [row["declared_at"] for row in rows["consents"]] == [RECEIVED]


def test_a_stop_without_a_category_is_a_stop() -> None:
    assert said(parse(preferences(preference(category=None)))) == [
        (NAMES.phone(PHONE), None, None, False)
    ]


BAD_PREFERENCES: dict[str, tuple[Any, str]] = {
    "null": (None, "user_preference_not_object"),
    "text": (CANARY, "user_preference_not_object"),
    "another category": (preference(category=CANARY), "category_unknown"),
    "no value": (preference(value=None), "preference_unknown"),
    "another value": (preference(value=CANARY), "preference_unknown"),
    "value a list": (preference(value=["stop"]), "preference_unknown"),
    "nobody": (preference(wa_id=None), "person_missing"),
    "phone too short": (preference(wa_id="12"), "person_missing"),
    "phone an object": (preference(wa_id={"a": CANARY}), "wa_id_not_text"),
    "phone a double": (preference(wa_id=5.5e12), "wa_id_not_text"),
    "user id too long": (preference(user_id="B" * 1_025), "user_id_too_long"),
}


@pytest.mark.parametrize("name", BAD_PREFERENCES)
def test_a_choice_that_cannot_be_taken_takes_no_other_with_it(name: str) -> None:
    bad, reason = BAD_PREFERENCES[name]
    other = preference(wa_id=OTHER_PHONE, value="resume")
    body = envelope(
        message(1), field="user_preferences", user_preferences=[preference(), bad, other]
    )
    rows = parse(body)
    assert [row["is_given"] for row in rows["consents"]] == [False, True]
    assert reasons(rows) == [reason]
    (refused,) = rows["quarantine"]
    assert refused["element"] == "consent"
    assert refused["path"] == "entry[0].changes[0].value.user_preferences[1]"
    assert CANARY not in str(rows)
    assert len(rows["messages"]) == 1
    assert conserved(rows)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_value_takes_its_own_choice_only(name: str) -> None:
    value, reason = HOSTILE[name]
    body = preferences(preference(), preference(wa_id="@@"), preference(wa_id=OTHER_PHONE))
    rows = parse(encode(body).replace(b'"@@"', value))
    assert [row[0] for row in said(rows)] == [NAMES.phone(PHONE), NAMES.phone(OTHER_PHONE)]
    assert reasons(rows) == [reason.format(key="wa_id")]
    assert conserved(rows)


def test_a_list_that_is_none_is_one_row_with_a_reason() -> None:
    rows = parse(envelope(field="user_preferences", user_preferences="stop"))
    assert reasons(rows) == ["user_preferences_not_list"]


# ---- what others post ----------------------------------------------------------------------------


def test_e72_a_posted_withdrawal_in_full() -> None:
    rows = parse(
        consent(consent_id=CANARY, user_id=BSUID, email="Ana@Example.com", source="site"),
        source="consents",
    )
    (row,) = rows["consents"]
    assert said(rows) == [(NAMES.phone(PHONE), NAMES.bsuid(BSUID), NAMES.email(MAIL), False)]
    assert (row["purpose"], row["source"]) == ("marketing", "site")
    assert row["declared_at"] == datetime(2026, 6, 10, 12, tzinfo=UTC)
    assert CANARY not in str(rows)
    assert (rows["envelopes"][0]["quarantined"], rows["quarantine"]) == (0, [])


def test_identities_of_one_word_are_one_person() -> None:
    rows = parse(consent(wa_id=OTHER_PHONE, email=MAIL), source="consents")
    assert said(rows) == [(NAMES.phone(OTHER_PHONE), None, NAMES.email(MAIL), False)]
    assert links(rows) == {
        (NAMES.phone(OTHER_PHONE), NAMES.phone(PHONE), "consent"),
        (NAMES.phone(OTHER_PHONE), NAMES.email(MAIL), "consent"),
    }


def test_the_same_word_again_has_the_same_content() -> None:
    bodies = consent(), consent(phone="031 98765-0001"), consent(given=True)
    first, again, other = parse(*bodies, source="consents")["consents"]
    assert first["content_key"] == again["content_key"] != other["content_key"]


def test_e13_a_clock_that_is_ahead_does_not_have_the_last_word() -> None:
    ahead = (RECEIVED + timedelta(days=400)).isoformat()
    near = RECEIVED + timedelta(hours=20)
    rows = parse(
        [consent(given=True, declared_at=ahead), consent(declared_at=near.isoformat())],
        source="consents",
    )
    assert [row["declared_at"] for row in rows["consents"]] == [RECEIVED, near]


def test_nobodys_address_beside_a_phone_is_left_out() -> None:
    rows = parse(consent(email="teste@teste.com"), source="consents")
    assert said(rows) == [(NAMES.phone(PHONE), None, None, False)]
    assert rows["identity_links"] == []


def test_good_words_beside_bad_ones_are_kept() -> None:
    bad: list[Any] = [
        consent(given=None), consent(given="no"), consent(given=0), consent(declared_at=None),
        consent(declared_at="2026-06-10T09:00:00"), consent(phone=None), consent(phone="12"),
        consent(phone=None, email="teste@teste.com"), consent(phone=None, user_id="1A2B3C"),
        consent(phone=None, email=CANARY), consent(source="a\x00b"), 7, None, {}, [consent()],
    ]  # fmt: skip
    rows = parse([consent(), *bad, consent(given=True)], source="consents")
    assert [row["is_given"] for row in rows["consents"]] == [False, True]
    assert [row["path"] for row in rows["quarantine"]] == [f"[{n}]" for n in range(1, len(bad) + 1)]
    assert "parser_error" not in reasons(rows)
    assert {row["element"] for row in rows["quarantine"]} == {"consent"}
    assert CANARY not in str(rows)
    assert rows["envelopes"][0]["quarantined"] == len(bad)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_value_takes_its_own_word_only(name: str) -> None:
    value, reason = HOSTILE[name]
    body = json.dumps([consent(), consent(source="@@"), consent(given=True)]).encode()
    rows = parse(body.replace(b'"@@"', value), source="consents")
    assert [row["is_given"] for row in rows["consents"]] == [False, True]
    assert reasons(rows) in ([reason], ["consent_invalid"])


@pytest.mark.parametrize("name", HOSTILE)
def test_e83_a_hostile_value_that_nobody_reads_costs_nothing(name: str) -> None:
    body = json.dumps([consent(), consent(detail="@@"), consent(given=True)]).encode()
    rows = parse(body.replace(b'"@@"', HOSTILE[name][0]), source="consents")
    assert [row["is_given"] for row in rows["consents"]] == [False, False, True]
    assert rows["quarantine"] == []


@pytest.mark.parametrize("body", [b"", b"not json", b"[", b"[" * 100_000])
def test_what_is_not_json_is_quarantined_whole(body: bytes) -> None:
    rows = parse(body, encode(consent()), source="consents")
    assert [row["element"] for row in rows["quarantine"]] == ["envelope"]
    assert len(rows["consents"]) == 1


def test_no_more_than_a_thousand_words_are_taken_of_one_body() -> None:
    rows = parse([consent()] * 1_002, source="consents")
    assert len(rows["consents"]) == 1_000
    assert reasons(rows) == ["list_too_long"] * 2


@pytest.mark.parametrize(
    ("source", "kept"), [("shop of ana@example.com", "shop of"), ("ana@example.com", "crm")]
)
def test_a_source_of_consent_holds_nobodys_address(source: str, kept: str) -> None:
    rows = parse(consent(source=source, email=MAIL), source="consents")
    assert [row["source"] for row in rows["consents"]] == [kept]
