"""Phones that people typed: read as what they can be, refused where they cannot be any (E26)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctwa.phones import PhoneError, typed_phone
from ctwa.pseudonym import phone_match_key


@pytest.mark.parametrize(
    ("typed", "digits"),
    [
        ("+55 (11) 98765-4321", "5511987654321"),
        ("(11) 98765-4321", "5511987654321"),
        ("11987654321", "5511987654321"),
        ("0 15 11 98765-4321", "5511987654321"),  # trunk zero and carrier
        ("5511987654321", "5511987654321"),
        ("0055 11 98765 4321", "5511987654321"),
        ("551187654321", "551187654321"),  # WhatsApp's spelling, without the ninth digit
        ("Tel.: (11) 3333-4444 (casa)", "551133334444"),
        ("11 3333.4444", "551133334444"),
        ("+351 912 345 678", "351912345678"),
        ("4915112345678", "4915112345678"),  # full, but without its plus
        ("12025550123", "12025550123"),  # no number of Brazil, but one of the USA
        ("+52 1 55 1234 5678", "525512345678"),
        ("5215512345678", "525512345678"),
        ("+54 11 15 2345 6789", "5491123456789"),
        ("+39 06 1234 5678", "390612345678"),
        ("(11) 8765-4321", "551187654321"),  # as it was written before the ninth digit
        ("\uff0b\uff15\uff15 11 98765-4321", "5511987654321"),
    ],
)
def test_e26_typed_numbers_are_read_in_full(typed: str, digits: str) -> None:
    assert typed_phone(typed) == digits


@pytest.mark.parametrize(
    "typed",
    ["+55 11 98765-4321", "11 98765-4321", "551187654321", "5511987654321", "0055 11 987654321"],
)
def test_e26_spellings_of_a_crm_and_of_whatsapp_share_a_match_key(typed: str) -> None:
    assert phone_match_key(typed_phone(typed)) == "551187654321"


def test_e26_a_number_without_a_country_is_of_the_default_country() -> None:
    assert typed_phone("011 15 2345-6789", "AR") == "5491123456789"
    assert typed_phone("55 1234 5678", "MX") == "525512345678"
    assert typed_phone("912 345 678", "PT") == "351912345678"


@pytest.mark.parametrize(
    "typed",
    [
        "", "n/a", "123", "98765-4321", "+1 234", "1" * 30,
        "(11) 98765-4321 ramal 12", "+5511987654321 / +5511987654322", "11 98765-4321 ou 4322",
        "00000000000", "11111111111", "99999999999", "1-800-FLOWERS", "canary-4711",
    ],
)  # fmt: skip
def test_e26_what_can_be_nobodys_number_is_refused_without_repeating_it(typed: str) -> None:
    with pytest.raises(PhoneError, match="expects a phone number") as caught:
        typed_phone(typed)
    assert not typed or typed not in str(caught.value)


def test_e26_a_user_id_in_the_place_of_a_phone_is_told() -> None:
    with pytest.raises(PhoneError, match="give it as user_id"):
        typed_phone("BR.13491208655")


@pytest.mark.parametrize("typed", ["5.51199E+12", "5511987654321.0", "5,51199e12"])
def test_e26_numbers_that_a_spreadsheet_spoilt_are_told(typed: str) -> None:
    with pytest.raises(PhoneError, match="spreadsheet"):
        typed_phone(typed)


@given(st.text(max_size=40) | st.from_regex(r"\+?[0-9 ()./-]{0,25}", fullmatch=True))
def test_what_is_read_once_is_read_the_same_again(typed: str) -> None:
    try:
        digits = typed_phone(typed)
    except PhoneError:
        return
    assert re.fullmatch("[0-9]{3,17}", digits)
    assert typed_phone(f"+{digits}") == digits
