"""E-mail addresses and phone numbers in texts where they do not belong: event ids, stages.

Such a text would appear in the event log and the marts as it is. Searched for is what cannot be
anything else: an address, a number with a plus or as people write it, and any identity that the
same record gives in its own fields. Otherwise, digits alone are an ordinary id.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import phonenumbers

_EMAIL = re.compile(r"[^\s@<>()\[\]:;,|/\"']+(?:@|%40)[^\s@<>()\[\]:;,|/\"']+\.[^\W\d_]{2,}", re.I)
_PHONES = re.compile(
    r"\+\d[\d\s().-]{6,18}\d"  # with its plus
    r"|\(\d{2,3}\)\s*\d{4,5}[\s.-]?\d{4}"  # (11) 98765-4321
    r"|\b00[1-9]\d{9,13}\b"
)
_DIGITS = re.compile(r"(?<!\d)\d{12,13}(?!\d)")
_MESSAGE_ID = re.compile(r"wamid\.[\w+/=-]+", re.I)
_PUNCTUATION = re.compile(r"^[\s\-–—_:;,./|()\[\]<>#]+|[\s\-–—_:;,./|(\[<>#]+$")
_NOT_DIGIT = re.compile(r"\D+")
_OWN_DIGITS = 8
"""How many of a phone's last digits are compared: area codes may be left out."""


def _spans(text: str, country: str, own: Iterable[str]) -> list[tuple[int, int]]:
    found = [m.span() for rule in (_EMAIL, _PHONES, _MESSAGE_ID) for m in rule.finditer(text)]
    found += [m.span() for m in _DIGITS.finditer(text) if _is_full_number(m[0], country)]
    for identity in own:
        digits = _NOT_DIGIT.sub("", identity)
        if len(digits) >= _OWN_DIGITS and "@" not in identity:
            tail = r"\D{0,2}".join(digits[-_OWN_DIGITS:])
            found += [m.span() for m in re.finditer(rf"[\d\s().+-]*{tail}", text)]
        elif len(identity) >= 4:
            found += [m.span() for m in re.finditer(re.escape(identity), text, re.I)]
    return found


def _is_full_number(digits: str, country: str) -> bool:
    """Whether digits are a valid number of the company's own country, with the country code."""
    code = phonenumbers.country_code_for_region(country)
    if not code or not digits.startswith(str(code)):
        return False
    try:
        number = phonenumbers.parse(f"+{digits}", None)
    except phonenumbers.NumberParseException:
        return False
    return bool(number.country_code == code and phonenumbers.is_valid_number(number))


def names_somebody(text: str, country: str, own: Iterable[str] = ()) -> bool:
    """Whether `text` contains an e-mail address or a phone; `own`: identities of the same record.

    >>> names_somebody("won-ana@example.com", "BR"), names_somebody("deal-8812", "BR")
    (True, False)
    """
    return bool(_spans(text, country, own))


def without_people(text: str, country: str, own: Iterable[str] = ()) -> str:
    """`text` without these, and without punctuation that is left at the ends.

    >>> without_people("Won - ana@example.com", "BR")
    'Won'
    """
    spans: list[tuple[int, int]] = []
    for start, end in sorted(_spans(text, country, own)):
        if spans and start <= spans[-1][1]:  # two rules found parts of one number
            start, end = spans[-1][0], max(spans.pop()[1], end)
        spans.append((start, end))
    for start, end in reversed(spans):
        text = f"{text[:start]}\0{text[end:]}"
    if not spans:
        return text
    kept = [_PUNCTUATION.sub("", part) for part in text.split("\0")]
    return " ".join(filter(None, kept)).strip()


__all__ = ["names_somebody", "without_people"]
