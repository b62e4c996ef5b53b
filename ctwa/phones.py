"""Phone numbers and ids that people typed, or that a spreadsheet took for numbers.

WhatsApp's own ids are the digits of a full number and do not pass through here. What a person typed
may lack the country, contain blanks, trunk zeros and words, or not be a number at all. A wrong
guess would be somebody else's key, so whatever cannot be a number is refused. The country-specific
ways in which WhatsApp spells a number differently from people are handled afterwards
(`ctwa.pseudonym.phone_match_key`).

Spreadsheets change what they take for a number. The same rule holds wherever such values come in:

| the spreadsheet wrote | it is | because |
|---|---|---|
| `101.0`, `101,00` | read as `101` | the zeros mean nothing, nothing was lost |
| `1.2E+17`, `1,20226e17` | refused | digits are lost, and all rows may share what is left |
| `120226305854810000.0` | refused | such a number keeps only 15 digits |
| `1.000` | refused | it may be one, or a thousand |
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal

import phonenumbers

from ctwa import number_plans
from ctwa.errors import CtwaError

DEFAULT_COUNTRY = "BR"

_USER_ID = re.compile(r"[A-Za-z]{2}\.(ENT\.)?[A-Za-z0-9]+")
# Words may stand around a number but not inside it: an extension or a second number is ambiguous.
_NUMBER = re.compile(r"[^\d+]*(?P<number>\+?[^\w+]*\d(?:[^\w+]|\d)*)[^\d+]*")


class PhoneError(CtwaError, ValueError):
    """The text is not a phone number. Says why and what is expected, never the text."""


def typed_phone(text: str, default_country: str = DEFAULT_COUNTRY) -> str:
    """Digits of the full international number in `text`; raises `PhoneError`.

    Without a plus (or 00) it is read as a number of `default_country` (ISO 3166, two letters) if
    such a number is in use there, else as a full number without its plus.

    >>> typed_phone("(11) 98765-4321"), typed_phone("Tel. +351 912 345 678")
    ('5511987654321', '351912345678')
    """
    text = text.strip()
    try:  # 5.51199E+12 would make one person of all rows of a file
        text = mended(text)
    except NumeralError as error:
        raise PhoneError(str(error)) from None
    if _USER_ID.fullmatch(text):
        raise PhoneError("is a WhatsApp user id, not a phone: give it as user_id")
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise PhoneError(_EXPECTED)
    digits = "".join(str(unicodedata.digit(c)) for c in found["number"] if c.isdecimal())
    is_full = "+" in text or digits.startswith("00")
    digits = digits.removeprefix("00") if is_full else digits
    readings = [_parsed(f"+{_modern(digits)}", None)]
    if not is_full:
        at_home = _parsed(digits, default_country), _from_an_old_plan(digits, default_country)
        readings = [*at_home, *readings]
    for number in readings:
        # With a plus the reading is certain: accept ranges too new for the library's tables.
        if number is not None and (_is_valid(number) or (is_full and _is_possible(number))):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
    raise PhoneError(_EXPECTED)


_EXPECTED = "expects a phone number that can exist, best in full, e.g. +5511987654321"


def _modern(digits: str) -> str:
    """Mexico dropped the 1 after 52 in 2019; WhatsApp and many CRMs did not."""
    if len(digits) == 13 and digits.startswith("521"):
        return f"52{digits[3:]}"
    return number_plans.current(digits)


def _from_an_old_plan(digits: str, country: str) -> phonenumbers.PhoneNumber | None:
    """A number of that country, written as before its numbering plan changed."""
    code = str(phonenumbers.country_code_for_region(country))
    for national in (digits, digits.removeprefix("0")):
        now = number_plans.current(code + national)
        if now != code + national:
            return _parsed(f"+{now}", None)
    return None


def _parsed(text: str, country: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None


def _is_valid(number: phonenumbers.PhoneNumber) -> bool:
    """In a range that is in use; Brazilian mobile numbers also without their ninth digit."""
    digits = phonenumbers.national_significant_number(number)
    if _is_filler(digits):
        return False
    if number.country_code == 55 and len(digits) == 10 and digits[2] in "6789":
        number = phonenumbers.PhoneNumber(55, int(f"{digits[:2]}9{digits[2:]}"))
    return bool(phonenumbers.is_valid_number(number))


def _is_possible(number: phonenumbers.PhoneNumber) -> bool:
    """As long as numbers are there, area code included."""
    reason = phonenumbers.is_possible_number_with_reason(number)
    digits = phonenumbers.national_significant_number(number)
    return bool(reason == phonenumbers.ValidationResult.IS_POSSIBLE) and not _is_filler(digits)


def _is_filler(digits: str) -> bool:
    """The same digit throughout, area code included: not a number anywhere, so a typing mistake."""
    return len(set(digits)) == 1


# ---- what people type to get past a required field -------------------------------------------

_RUN = "01234567890123456789"
_LEAST_TYPED = 6
"""With fewer digits the text is not a phone number at all, and the sender gets an error."""
_SUBSCRIBER = 8
_MOST_PREFIX = 3
"""Digits before the subscriber's own: an area code and the 9 or 6 of mobile numbers."""


def is_filler(text: str) -> bool:
    """Whether strangers type this number when a form wants one: (11) 99999-9999, 91234-5678.

    In any area and country, with or without the country code: the subscriber's part is the same
    digit throughout, digits in ascending order, a short block repeated, or pairs in order. That is
    about one in 50,000 Brazilian mobile numbers. Descending digits do not count: 98765-4321 is the
    example on many forms, and yet somebody has it in every area; if many people type it, their
    number shows it (`CTWA_SHARED_IDENTIFIER_DEGREE`). A number that WhatsApp shows is real,
    whatever it looks like: this test is for claims only.

    >>> is_filler("(21) 98888-8888"), is_filler("12345678"), is_filler("(11) 98765-4321")
    (True, True, False)
    """
    digits = "".join(str(unicodedata.digit(c)) for c in text if c.isdecimal())
    if not digits:
        return False
    if _is_plain(digits.removeprefix("00") or digits):
        return True
    readings = [_parsed(f"+{digits.removeprefix('00')}", None)]
    national = {phonenumbers.national_significant_number(n) for n in readings if n is not None}
    return any(_ends_in_filler(n) for n in {digits.lstrip("0"), *national})


def _is_plain(digits: str) -> bool:
    """Everything typed is the same digit, or ascends from 0 or 1."""
    runs = (_RUN[: len(digits)], _RUN[1 : len(digits) + 1])
    return len(digits) >= _LEAST_TYPED and (len(set(digits)) == 1 or digits in runs)


def _ends_in_filler(number: str) -> bool:
    if len(number) < _SUBSCRIBER - 1:
        return False
    least = max(_SUBSCRIBER - 1, len(number) - _MOST_PREFIX)
    tail = number[-least:]
    if len(set(tail)) == 1 or tail in _RUN:
        return True
    own = number[-_SUBSCRIBER:]
    return (
        len(number) <= _SUBSCRIBER + _MOST_PREFIX and len(own) == _SUBSCRIBER and _is_made_of(own)
    )


def _is_made_of(own: str) -> bool:
    """Made of blocks: 12121212, 12312312, 12341234, 11223344."""
    pairs = own[::2]
    return (
        any(own == (own[:size] * len(own))[: len(own)] for size in (2, 3))
        or (own[:4] == own[4:] and own[:4] in _RUN)
        or (pairs == own[1::2] and pairs in _RUN)
    )


# ---- what a spreadsheet made of an id or a phone ----------------------------------------------

DIGITS = 15
"""Significant digits of a number in a spreadsheet; all further ones become zeros."""

# Mantissa and exponent as Excel, Calc, pandas and Java write them. A sign or a point distinguishes
# them from hexadecimal ids such as `1234e567`.
_SHORTENED = re.compile(r"[+-]?(\d+([.,]\d+)?[eE][+-]\d+|\d+[.,]\d+[eE]\d+|\d[eE]\d{1,2})")
_WITH_ZEROS = re.compile(r"(?P<digits>[+-]?\d+)[.,](?P<zeros>0+)")

_LOST = (
    "is a number that a spreadsheet shortened, and its digits are lost: format its column as text"
)
_TWO_READINGS = "is a spreadsheet's number that can be read in two ways: format its column as text"


class NumeralError(CtwaError, ValueError):
    """The text is a number that a spreadsheet spoilt. Says so, but never quotes the text."""


def mended(text: str) -> str:
    """The id or phone that was meant; raises `NumeralError` if that cannot be known.

    >>> mended("101.0"), mended("007"), mended("1234e567")
    ('101', '007', '1234e567')
    """
    if _SHORTENED.fullmatch(text):
        raise NumeralError(_LOST)
    found = _WITH_ZEROS.fullmatch(text)
    if found is None:
        return text
    digits = found["digits"]
    if len(digits.lstrip("+-")) > DIGITS:
        raise NumeralError(_LOST)
    if len(found["zeros"]) == 3 and len(digits.lstrip("+-")) <= 3:
        raise NumeralError(_TWO_READINGS)
    return digits


def id_text(value: object) -> object:
    """A JSON number given as an id, as text; anything that is not a number stays as it is.

    Raises `NumeralError` for a number whose digits cannot all be known.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value
    if isinstance(value, int):
        return str(value) if abs(value) < 10**512 else value
    number = Decimal(str(value))
    if (
        not number.is_finite()
        or number.adjusted() >= DIGITS
        or number != number.to_integral_value()
    ):
        raise NumeralError(_LOST)
    return str(int(number))
