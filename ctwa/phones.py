"""Phone numbers that people typed: into a CRM, a file, a form, a command.

WhatsApp's own ids are digits of a full number and never come here. What a human wrote may lack the
country, hold blanks, trunk zeros and words, or be no number at all. Guessing at such a text makes
somebody else's key of it, so what cannot be a number is refused. The country quirks by which
WhatsApp spells a number otherwise than people do come after (`ctwa.pseudonym.phone_match_key`).
"""

from __future__ import annotations

import re
import unicodedata

import phonenumbers

DEFAULT_COUNTRY = "BR"

# A spreadsheet's 5.51199E+12 has lost digits, and 5511987654321.0 has won one: read as they stand,
# they are other people, and in the first case one for all rows of the file.
_NUMERAL = re.compile(r"[+-]?\d+([.,]0+|([.,]\d+)?[eE][+-]?\d+)")
_USER_ID = re.compile(r"[A-Za-z]{2}\.(ENT\.)?[A-Za-z0-9]+")
# Words may stand around a number, none in it: an extension, or a second number, is a question.
_NUMBER = re.compile(r"[^\d+]*(?P<number>\+?[^\w+]*\d(?:[^\w+]|\d)*)[^\d+]*")


class PhoneError(ValueError):
    """The text is no phone number; says why and what is expected, never the text."""


def typed_phone(text: str, default_country: str = DEFAULT_COUNTRY) -> str:
    """Digits of the full international number in `text`; raises `PhoneError`.

    Without a plus (or 00) it is read as a number of `default_country` (ISO 3166, two letters)
    where it is one that is in use there, else as a full number without its plus.

    >>> typed_phone("(11) 98765-4321"), typed_phone("Tel. +351 912 345 678")
    ('5511987654321', '351912345678')
    """
    text = text.strip()
    if _NUMERAL.fullmatch(text):
        raise PhoneError("is a spreadsheet's number, not a phone: make its column text")
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
        readings.insert(0, _parsed(digits, default_country))
    for number in readings:
        # A plus says what the digits are: then a range too new for the library's tables will do.
        if number is not None and (_is_valid(number) or (is_full and _is_possible(number))):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
    raise PhoneError(_EXPECTED)


_EXPECTED = "expects a phone number that can exist, best in full, e.g. +5511987654321"


def _modern(digits: str) -> str:
    """Mexico gave up the 1 after 52 in 2019; WhatsApp and many CRMs did not."""
    return f"52{digits[3:]}" if len(digits) == 13 and digits.startswith("521") else digits


def _parsed(text: str, country: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None


def _is_valid(number: phonenumbers.PhoneNumber) -> bool:
    """In a range that is in use; Brazil's mobile numbers also without their ninth digit."""
    digits = phonenumbers.national_significant_number(number)
    if _is_filler(digits):
        return False
    if number.country_code == 55 and len(digits) == 10 and digits[2] in "6789":
        number = phonenumbers.PhoneNumber(55, int(f"{digits[:2]}9{digits[2:]}"))
    return bool(phonenumbers.is_valid_number(number))


def _is_possible(number: phonenumbers.PhoneNumber) -> bool:
    """Of a length that numbers have there, area code included."""
    reason = phonenumbers.is_possible_number_with_reason(number)
    digits = phonenumbers.national_significant_number(number)
    return bool(reason == phonenumbers.ValidationResult.IS_POSSIBLE) and not _is_filler(digits)


def _is_filler(digits: str) -> bool:
    """What people type to get past a required field: it would make all of them one person."""
    return len(set(digits)) == 1
