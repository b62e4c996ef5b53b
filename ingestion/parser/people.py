"""Whom an element is about: phone, BSUID, country, and which identities a payload links.

Two identities are linked only if the same object names both (rule R4). A contact belongs to a
message by its ids, never by its position in the list.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import phonenumbers

from ctwa import link_code, phones
from ctwa.pseudonym import Pseudonymizer, phone_match_key
from ingestion.parser.limits import Reject
from ingestion.parser.values import text

_CACHE = 1 << 16
_NOT_PHONE = re.compile(r"[A-Za-z._]")
# Separate from other words; a digit distinguishes it from the end of one sentence and the start of
# the next.
_BSUID = re.compile(
    r"(?<![A-Za-z0-9.])[A-Za-z]{2}\.(?:ENT\.)?(?=[A-Za-z]*[0-9])[A-Za-z0-9]{1,128}(?![A-Za-z0-9])"
)
_PLAIN_NUMBER = re.compile(r"(?<![A-Za-z0-9_.@])\+?[0-9]{7,15}(?![A-Za-z0-9_@])")
_SPACED_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.@])\+?\(?[0-9](?:[\s().\-\u2010-\u2015]{0,2}[0-9]){6,14}(?![A-Za-z0-9_@])"
)
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069]")
"""Marks of writing direction, which surround numbers in a sentence."""


class Person(NamedTuple):
    """Keys of one person; `parent_key` is the portfolio-wide BSUID if Meta gives one."""

    phone_key: str | None
    bsuid_key: str | None
    country: str | None
    parent_key: str | None = None


class Link(NamedTuple):
    """Two identities of one person, and what showed it."""

    left_key: str
    left_kind: str
    right_key: str
    right_kind: str
    link_kind: str


NOBODY = Person(None, None, None)

_Phone = tuple[str | None, list[str]]


class Keys:
    """Keyed hashes with a cache: people and messages occur several times in a batch."""

    def __init__(self, names: Pseudonymizer, site_id: str = "") -> None:
        cached = lru_cache(_CACHE)
        self._phone: Callable[[str], _Phone] = cached(self._hashed_phone)
        self.renumbered: dict[str, list[str]] = {}
        """Phones seen since this was last emptied: key to keys of older spellings (E82)."""
        self._is_filler: Callable[[str], bool] = cached(phones.is_filler)
        self.bsuid: Callable[[str], str | None] = cached(names.bsuid)
        self.message_id: Callable[[str], str] = cached(names.message_id)
        self.message: Callable[[str, str], tuple[str, str]] = cached(self._message)
        self._known_person: Callable[..., tuple[Person, list[str]]] = cached(self._person)
        self.email, self.web_lead, self.web_form = names.email, names.web_lead, names.web_form
        self.link_code, self.crm_record = names.link_code, names.crm_record
        self.event: Callable[[str], str] = lambda event_id: names.digest("event_id", event_id)
        self.scoped_id: Callable[[str, str, str], str] = cached(names.scoped_id)
        self._names, self._site_id = names, site_id

    def phone(self, phone: str) -> str | None:
        """Key of a phone number in any spelling, or None if it is not a phone number."""
        key, older = self._phone(phone)
        if older and key is not None:
            self.renumbered[key] = older
        return key

    def claimed_phone(self, phone: str) -> str | None:
        """`phone` for a number that somebody typed or exported; None if it is filler (E85)."""
        return None if self._is_filler(phone) else self.phone(phone)

    def person(self, phone: str | None, bsuid: str | None, parent: str | None = None) -> Person:
        """Keys of a person from raw ids. Third parties put BSUIDs into phone fields; these are
        recognised by letters or a dot."""
        person, older = self._known_person(phone, bsuid, parent)
        if older and person.phone_key is not None:
            self.renumbered[person.phone_key] = older
        return person

    def content(self, data: bytes) -> str:
        """Key of a row's columns, written as JSON."""
        return self._names.digest_bytes(b"content:" + data)

    def coded_link(self, text: Any) -> tuple[str | None, str | None]:
        """Key and state of the code in a message's text (`link_code_key`, `link_code_state`)."""
        # Few messages have one, so this cheap test comes before the regular expression.
        if type(text) is not str or "cw-" not in text.lower():
            return None, None
        found = link_code.find(text, self._site_id)
        if found is None:
            return None, None
        return found.code and self.link_code(found.code), found.state

    def _message(self, number_id: str, message_id: str) -> tuple[str, str]:
        """`message_key` and `message_id_key`."""
        return self._names.message(number_id, message_id), self._names.message_id(message_id)

    def _hashed_phone(self, phone: str) -> _Phone:
        return self._names.phones(phone)

    def _person(
        self, phone: str | None, bsuid: str | None, parent: str | None = None
    ) -> tuple[Person, list[str]]:
        if phone is not None and _NOT_PHONE.search(phone):
            phone, bsuid = None, bsuid or phone
        if bsuid is None:
            bsuid, parent = parent, None
        phone_key, older = (None, []) if phone is None else self._phone(phone)
        bsuid_key = None if bsuid is None else self.bsuid(bsuid)
        country = None
        if phone is not None and phone_key is not None:
            country = phone_country(phone)
        if country is None and bsuid_key is not None and bsuid is not None:
            country = bsuid_country(bsuid)
        parent_key = self.bsuid(parent) if parent else None
        return Person(phone_key, bsuid_key, country, parent_key), older


def is_same(one: Person, other: Person) -> bool:
    """Whether the two have an identity in common."""
    ids = {one.phone_key, one.bsuid_key, one.parent_key} - {None}
    return not ids.isdisjoint((other.phone_key, other.bsuid_key, other.parent_key))


def merged(person: Person, contact: Person) -> Person:
    """What an element says about its person, completed by the contact next to it."""
    phone_key, bsuid_key, country, parent_key = person
    return Person(
        phone_key or contact[0],
        bsuid_key or contact[1],
        country or contact[2],
        parent_key or contact[3],
    )


def links_of(person: Person, kind: str) -> list[Link]:
    """Links between the ids that one object names together."""
    phone_key, bsuid_key, _, parent_key = person
    links: list[Link] = []
    if bsuid_key and phone_key:
        links.append(Link(phone_key, "phone", bsuid_key, "bsuid", kind))
    if bsuid_key and parent_key:
        links.append(Link(bsuid_key, "bsuid", parent_key, "bsuid", kind))
    return links


def number_change_links(old: Person, new: Person) -> list[Link]:
    """The same person under a new number, and usually a new BSUID with it."""
    links = links_of(new, "number_change")
    if old.phone_key and new.phone_key:
        links.append(Link(old.phone_key, "phone", new.phone_key, "phone", "number_change"))
    elif old.bsuid_key and new.phone_key:
        links.append(Link(new.phone_key, "phone", old.bsuid_key, "bsuid", "number_change"))
    return links + id_change_links(old, new)


def id_change_links(old: Person, new: Person) -> list[Link]:
    """The same person under a new BSUID. Their phone is linked too: it did not change hands."""
    links = []
    if old.bsuid_key and new.bsuid_key:
        links.append(Link(old.bsuid_key, "bsuid", new.bsuid_key, "bsuid", "id_change"))
    if old.phone_key and new.bsuid_key:
        links.append(Link(old.phone_key, "phone", new.bsuid_key, "bsuid", "id_change"))
    for person in (old, new):
        if person.bsuid_key and person.parent_key:
            links.append(Link(person.bsuid_key, "bsuid", person.parent_key, "bsuid", "id_change"))
    return links


_NEW_IDS = frozenset({"user_id", "parent_user_id"})


class Contacts:
    """`contacts[]` of one change, found by id."""

    __slots__ = ("_by_id", "_by_match_key", "all", "have_ids")

    def __init__(self, items: list[Any]) -> None:
        self.all: list[tuple[str | None, str | None, str | None]] = []
        self._by_id: dict[str, tuple[str | None, str | None, str | None]] = {}
        self._by_match_key: dict[str, tuple[str | None, str | None, str | None]] | None = None
        self.have_ids = False
        """Whether one of them has a BSUID, and so may show a link."""
        for item in items:
            if type(item) is not dict:
                continue
            bsuid = parent = None
            try:
                phone = text(item, "wa_id")
                if not _NEW_IDS.isdisjoint(item):
                    bsuid, parent = text(item, "user_id"), text(item, "parent_user_id")
            except Reject:
                continue  # a contact only adds to what elements say
            contact = phone, bsuid, parent
            self.all.append(contact)
            if bsuid or parent:
                self.have_ids = True
            if bsuid:
                self._by_id[bsuid] = contact
            if phone:
                self._by_id[phone] = contact

    def find(self, phone: str | None, bsuid: str | None) -> tuple[str | None, ...] | None:
        """The contact with one of these ids; without any id, the contact if there is just one."""
        if bsuid and (found := self._by_id.get(bsuid)):
            return found
        if phone:
            return self._by_id.get(phone) or self._other_spelling(phone)
        if not bsuid and len(self.all) == 1:
            return self.all[0]
        return None

    def _other_spelling(self, phone: str) -> tuple[str | None, ...] | None:
        if self._by_match_key is None:  # rarely needed: ids are usually spelled the same
            self._by_match_key = {}
            for contact in self.all:
                if contact[0] and not _NOT_PHONE.search(contact[0]):
                    key = phone_match_key(contact[0]) or contact[0]
                    self._by_match_key.setdefault(key, contact)
        return self._by_match_key.get(phone_match_key(phone) or phone)


NO_CONTACTS = Contacts([])


def identify(
    keys: Keys,
    contacts: Contacts,
    phone: str | None,
    bsuid: str | None,
    parent: str | None,
    kind: str,
) -> tuple[Person, list[Link]]:
    """The person with these ids, completed by their contact; and the links of the ids alone."""
    person = keys.person(phone, bsuid, parent)
    # With one id alone there is nothing to link.
    links = [] if bsuid is None and parent is None else links_of(person, kind)
    contact = contacts.find(phone, bsuid) if contacts is not NO_CONTACTS else None
    if contact is not None and contact != (phone, bsuid, None):
        person = merged(person, keys.person(*contact))
    return person, links


def has_bsuid(value: str) -> bool:
    """Whether the text contains a BSUID."""
    return _BSUID.search(value) is not None


def two_ids(body: str) -> tuple[str, str] | None:
    """The two BSUIDs in the sentence of a notice, in order, or None if there are not exactly two.

    Somebody's name is part of the sentence: if it contains a third id, it is unclear which are
    meant.
    """
    found = dict.fromkeys(_BSUID.findall(_sentence(body)))
    if len(found) != 2:
        return None
    first, second = found
    return first, second


def two_numbers(body: str) -> tuple[str, str] | None:
    """The two phone numbers in the sentence of a notice, in order, or None, like `two_ids`.

    >>> two_numbers("O usuário mudou de +55 31 98765-0001 para +55 31 98765-0002")
    ('+55 31 98765-0001', '+55 31 98765-0002')
    """
    for pattern in (_PLAIN_NUMBER, _SPACED_NUMBER):
        found = {phone_match_key(n): n for n in reversed(pattern.findall(_sentence(body)))}
        if len(found) == 2 and None not in found:
            second, first = found.values()
            return first, second
    return None


def one_number(body: str) -> str | None:
    """The only phone number in the sentence of a notice, which may be cut off before a second one.

    >>> one_number("Ana mudou de +55 31 98765-0001 para")
    '+55 31 98765-0001'
    """
    found = {phone_match_key(n): n for n in _SPACED_NUMBER.findall(_sentence(body))}
    return next(iter(found.values())) if len(found) == 1 and None not in found else None


def _sentence(body: str) -> str:
    """The visible text, with ASCII digits."""
    text = _UNSEEN.sub("", body[:1_000])
    if text.isascii():
        return text
    return "".join(str(unicodedata.digit(c)) if c.isdecimal() else c for c in text)


def bsuid_country(bsuid: str) -> str | None:
    """Country prefix of a BSUID: the only hint at the country if the phone is hidden."""
    head = bsuid[:2].upper()
    return (
        head if len(bsuid) > 3 and bsuid[2] == "." and head.isascii() and head.isalpha() else None
    )


@lru_cache(_CACHE)
def phone_country(phone: str) -> str | None:
    """ISO country of an international number by its prefix; None if there is no such prefix."""
    plain = phone.isascii() and phone.isdigit()
    digits = phone if plain else "".join(c for c in phone if c.isdecimal())
    for length in (1, 2, 3):
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(digits[:length] or 0))
        if regions is None:
            continue
        if len(regions) == 1:
            return None if regions[0] == "001" else str(regions[0])
        return _shared_code(digits[:length], digits[length:]) or str(regions[0])
    return None


def _shared_code(country_code: str, national: str) -> str | None:
    if not national or len(national) > 15:
        return None
    number = phonenumbers.PhoneNumber(int(country_code), int(national))
    region = phonenumbers.region_code_for_number(number)
    return None if region is None else str(region)


# The platforms' own test traffic (R14, E84): identities that no company has. Its rows are marked
# `is_test`, link nobody, and appear in no count. Numbers are listed in full, so that a real line
# that resembles one is never taken for it. `macros/test_traffic.sql` repeats the business numbers,
# for rows written before this rule; a test keeps both lists equal.
#
# Not listed: the +1 555 numbers that Meta lends to developers, because it also gives such numbers
# to companies permanently; `ctwa exclude --business-number` excludes one's own.
TEST_NUMBERS = {
    "16505551111": "Meta's App Dashboard, button Test of the webhook fields",
    "14155238886": "Twilio's sandbox for WhatsApp, shared by all: twilio.com/docs/whatsapp",
    "4930609859535": "360dialog's sandbox, shared by all: docs.360dialog.com, Sandbox",
}
"""Display numbers of business lines, as digits, and where each is published."""

TEST_NUMBER_IDS = {"123456123": "Meta's App Dashboard, button Test: its `phone_number_id`"}

TEST_SENDERS = {
    "16315551181": "Meta's App Dashboard, button Test: its sender `test user name`",
}
"""Numbers of customers; no subscriber in the USA has 555-1181."""


def is_test_business(phone_number_id: str | None, number_id: str) -> bool:
    """Whether a WhatsApp number is one that the platforms test with."""
    return number_id in TEST_NUMBERS or phone_number_id in TEST_NUMBER_IDS
