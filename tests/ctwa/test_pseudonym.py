"""Pseudonyms: one person's spellings meet, two people's never do."""

from __future__ import annotations

import hmac
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctwa.pseudonym import Pseudonymizer, phone_match_key
from ctwa.settings import Settings

KEY = Pseudonymizer(b"0123456789abcdef")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+55 (11) 98765-4321", "551187654321"),  # Brazil: WhatsApp drops the ninth digit
        ("5521998765432", "552198765432"),
        ("+52 1 55 1234 5678", "525512345678"),  # Mexico: 1 after 52
        ("+54 9 11 2345-6789", "541123456789"),  # Argentina: 9 after 54
        ("0049 171 1234567", "+49 171 1234567"),
    ],
)
def test_e26_spellings_of_one_number_share_a_key(one: str, other: str) -> None:
    assert phone_match_key(one) == phone_match_key(other)
    assert KEY.phone(one) == KEY.phone(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("551132345678", "5511932345678"),  # a landline, and a mobile number with a 9 before it
        ("5511987654321", "5521987654321"),  # same last eight digits, other area code
        ("4917112345678", "17112345678"),  # no matching by suffix
    ],
)
def test_e26_other_numbers_stay_apart(one: str, other: str) -> None:
    assert phone_match_key(one) != phone_match_key(other)


@pytest.mark.parametrize("text", ["", "abc", "123", "1" * 16])
def test_what_is_no_phone_number_has_no_key(text: str) -> None:
    assert KEY.phone(text) is None


@given(st.text(), st.text())
def test_kinds_and_values_never_collide(a: str, b: str) -> None:
    assert KEY.digest("phone", a) != KEY.digest("bsuid", a)
    if a != b:
        assert KEY.digest("x", a) != KEY.digest("x", b)


@given(st.from_regex(r"\+?[0-9 ()-]{0,25}", fullmatch=True))
def test_match_keys_are_stable(text: str) -> None:
    once = phone_match_key(text)
    if once is not None:
        assert phone_match_key(once) == once


def test_the_key_is_made_once_and_private(settings: Settings) -> None:
    plain = settings.model_copy(update={"pii_key": None})
    first = Pseudonymizer.from_settings(plain).phone("+5511987654321")
    assert Pseudonymizer.from_settings(plain).phone("5511987654321") == first
    mode = (settings.data_dir / "pii.key").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_another_key_gives_other_pseudonyms() -> None:
    assert KEY.phone("5511987654321") != Pseudonymizer(b"f" * 32).phone("5511987654321")


def test_a_short_key_is_refused_with_the_mend() -> None:
    with pytest.raises(ValueError, match="at least 32 hex digits"):
        Pseudonymizer(b"short")


def test_bsuid_country_may_be_lower_case_the_rest_may_not() -> None:
    assert KEY.bsuid("us.abcD") == KEY.bsuid("US.abcD")
    assert KEY.bsuid("US.abcd") != KEY.bsuid("US.abcD")


def test_e_mail_addresses_match_whatever_their_case() -> None:
    assert KEY.email(" Ana@Example.com ") == KEY.email("ana@example.com")
    assert KEY.email("ana") is None


@pytest.mark.parametrize("length", [16, 63, 64, 65, 200])
def test_digests_are_hmac_sha256(length: int) -> None:
    """The two hashed blocks of the key are only a short cut: RFC 2104 as the library has it."""
    key = bytes(range(length))
    expected = hmac.digest(key, "message_id:wamid.é".encode(), "sha256").hex()[:32]
    assert Pseudonymizer(key).digest("message_id", "wamid.é") == expected
