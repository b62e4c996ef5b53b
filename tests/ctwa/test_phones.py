"""Phones that people typed: read as what they can be, refused where they cannot be any (E26)."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctwa.phones import PhoneError, is_filler, typed_phone
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


@pytest.mark.parametrize(
    ("typed", "country", "digits"),
    [
        ("+225 07 12 34 56", "BR", "2250707123456"),
        ("07 12 34 56", "CI", "2250707123456"),
        ("07 07 12 34 56", "CI", "2250707123456"),
        ("00225 07123456", "CI", "2250707123456"),
        ("22507123456", "BR", "2250707123456"),
        ("0162 123 4567", "VN", "84321234567"),
        ("97 12 34 56", "BJ", "2290197123456"),
        ("+241 06 03 12 34", "BR", "24166031234"),
        ("77 12 34 56", "CM", "237677123456"),
    ],
)
def test_e82_a_number_typed_in_its_older_spelling(typed: str, country: str, digits: str) -> None:
    assert typed_phone(typed, country) == digits


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


@pytest.mark.parametrize(
    "typed",
    [
        "(11) 99999-9999", "11999999999", "+55 11 91234-5678", "(21) 98888-8888", "12345678",
        "(11) 90000-0000", "99999-9999", "91234-5678", "11 9999-9999", "0000000000", "123456",
        "011 99999-9999", "(11) 91212-1212", "31 91122-3344", "(11) 3333-3333", "1" * 20,
        "+1 (555) 555-5555", "+44 7777 777777", "+52 55 5555 5555", "+351 912 345 678",
        "+34 600 000 000", "+49 1234567890", "+91 99999 99999", "+62 812 3456 7890", "88888888",
    ],
)  # fmt: skip
def test_e85_what_strangers_type_to_get_past_a_field_is_filler(typed: str) -> None:
    assert is_filler(typed)


@pytest.mark.parametrize("local", ["99999-9999", "98888-8888", "90000-0000", "91234-5678"])
def test_e85_fillers_are_told_in_every_area_and_spelling(local: str) -> None:
    for area in range(11, 100):
        for typed in (f"({area}) {local}", f"+55 {area} {local}", f"55{area}{local[1:]}"):
            assert is_filler(typed), typed


@pytest.mark.parametrize(
    "typed",
    [
        "(11) 98765-4321", "11 8765-4321", "+55 11 3003-4000", "(11) 99999-9998", "11 99988-7766",
        "(11) 95555-4444", "+1 650 555 1234", "+351 912 345 679", "", "ramal", "12", "1234",
        "16315551181", "+55 11 97654-3210", "5511987650001", "+91 98765 43210",
    ],
)  # fmt: skip
def test_e85_what_somebody_may_well_have_is_no_filler(typed: str) -> None:
    assert not is_filler(typed)


def test_e85_hardly_any_number_is_taken_for_filler() -> None:
    """Of mobile numbers of São Paulo, every 997th: of those that are, one in 10,000 at most."""
    numbers = [f"55119{n:08d}" for n in range(10_000_000, 99_999_999, 997)]
    assert sum(map(is_filler, numbers)) <= len(numbers) / 10_000


def test_e26_a_user_id_in_the_place_of_a_phone_is_told() -> None:
    with pytest.raises(PhoneError, match="give it as user_id"):
        typed_phone("BR.13491208655")


@pytest.mark.parametrize("typed", ["5.51199E+12", "5,51199e12", "5511987654321123456.0"])
def test_e26_numbers_that_a_spreadsheet_spoilt_are_told(typed: str) -> None:
    with pytest.raises(PhoneError, match="spreadsheet"):
        typed_phone(typed)


@pytest.mark.parametrize("typed", ["5511987654321.0", "5511987654321,00", "11987654321.0"])
def test_e89_zeros_that_a_spreadsheet_put_behind_a_number_are_taken_off(typed: str) -> None:
    assert typed_phone(typed) == "5511987654321"


@given(st.text(max_size=40) | st.from_regex(r"\+?[0-9 ()./-]{0,25}", fullmatch=True))
def test_what_is_read_once_is_read_the_same_again(typed: str) -> None:
    try:
        digits = typed_phone(typed)
    except PhoneError:
        return
    assert re.fullmatch("[0-9]{3,17}", digits)
    assert typed_phone(f"+{digits}") == digits
