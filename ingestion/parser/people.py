"""Who an element speaks of: phone, BSUID, country, and what one payload shows to be one person.

Two identities are linked only where the same object names both (rule R4). A contact belongs to a
message by its ids, never by its place in the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import phonenumbers

from ctwa import link_code
from ctwa.pseudonym import Pseudonymizer, phone_match_key
from ingestion.parser.limits import Reject
from ingestion.parser.values import text

_CACHE = 1 << 16
_NOT_PHONE = re.compile(r"[A-Za-z._]")
_BSUID = re.compile(r"\b[A-Za-z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}\b")


class Person(NamedTuple):
    """Keys of one person; `parent_key` is the portfolio-wide BSUID where Meta gives one."""

    phone_key: str | None
    bsuid_key: str | None
    country: str | None
    parent_key: str | None = None


NOBODY = Person(None, None, None)


class Keys:
    """Keyed hashes with a cache: a person and a message come several times in one batch."""

    def __init__(self, names: Pseudonymizer, site_id: str = "") -> None:
        cached = lru_cache(_CACHE)
        self.phone: Callable[[str], str | None] = cached(names.phone)
        self.bsuid: Callable[[str], str | None] = cached(names.bsuid)
        self.message_id: Callable[[str], str] = cached(names.message_id)
        self.message: Callable[[str, str], tuple[str, str]] = cached(self._message)
        self.person: Callable[..., Person] = cached(self._person)
        self.email, self.web_lead, self.web_form = names.email, names.web_lead, names.web_form
        self.link_code, self.crm_record = names.link_code, names.crm_record
        self.scoped_id: Callable[[str, str, str], str] = cached(names.scoped_id)
        self._names, self._site_id = names, site_id

    def content(self, data: bytes) -> str:
        """Key of a row's columns, written as JSON."""
        return self._names.digest_bytes(b"content:" + data)

    def coded_link(self, text: Any) -> tuple[str | None, str | None]:
        """Key and state of the code in a message's text (`link_code_key`, `link_code_state`)."""
        # Hardly a message has one: looked for before the expression is tried.
        if type(text) is not str or "cw-" not in text.lower():
            return None, None
        found = link_code.find(text, self._site_id)
        if found is None:
            return None, None
        return found.code and self.link_code(found.code), found.state

    def _message(self, number_id: str, message_id: str) -> tuple[str, str]:
        """`message_key` and `message_id_key`."""
        return self._names.message(number_id, message_id), self._names.message_id(message_id)

    def _person(self, phone: str | None, bsuid: str | None, parent: str | None = None) -> Person:
        """Keys of a person from raw ids. Third parties put BSUIDs into phone fields: told by
        letters or a dot."""
        if phone is not None and _NOT_PHONE.search(phone):
            phone, bsuid = None, bsuid or phone
        if bsuid is None:
            bsuid, parent = parent, None
        phone_key = None if phone is None else self.phone(phone)
        bsuid_key = None if bsuid is None else self.bsuid(bsuid)
        country = None
        if phone is not None and phone_key is not None:
            country = phone_country(phone)
        if country is None and bsuid_key is not None and bsuid is not None:
            country = bsuid_country(bsuid)
        parent_key = self.bsuid(parent) if parent else None
        return Person(phone_key, bsuid_key, country, parent_key)


class Contacts:
    """`contacts[]` of one change, found by id."""

    __slots__ = ("_by_id", "_by_match_key", "all")

    def __init__(self, items: list[Any]) -> None:
        self.all: list[tuple[str | None, str | None, str | None]] = []
        self._by_id: dict[str, tuple[str | None, str | None, str | None]] = {}
        self._by_match_key: dict[str, tuple[str | None, str | None, str | None]] | None = None
        for item in items:
            if type(item) is not dict:
                continue
            try:
                contact = (text(item, "wa_id"), text(item, "user_id"), text(item, "parent_user_id"))
            except Reject:
                continue  # a contact only adds to what elements say
            self.all.append(contact)
            phone, bsuid, _ = contact
            if bsuid:
                self._by_id[bsuid] = contact
            if phone:
                self._by_id[phone] = contact

    def find(self, phone: str | None, bsuid: str | None) -> tuple[str | None, ...] | None:
        """The contact with one of these ids; with none of them, the only contact there is."""
        if bsuid and (found := self._by_id.get(bsuid)):
            return found
        if phone:
            return self._by_id.get(phone) or self._other_spelling(phone)
        if not bsuid and len(self.all) == 1:
            return self.all[0]
        return None

    def _other_spelling(self, phone: str) -> tuple[str | None, ...] | None:
        if self._by_match_key is None:  # rarely needed: ids mostly agree to the letter
            self._by_match_key = {}
            for contact in self.all:
                if contact[0] and not _NOT_PHONE.search(contact[0]):
                    key = phone_match_key(contact[0]) or contact[0]
                    self._by_match_key.setdefault(key, contact)
        return self._by_match_key.get(phone_match_key(phone) or phone)


NO_CONTACTS = Contacts([])


def bsuids_in(body: str) -> list[str]:
    """BSUIDs named in the sentence of a system message, in order."""
    return _BSUID.findall(body[:1_000])


def bsuid_country(bsuid: str) -> str | None:
    """Country in front of a BSUID: the only hint where the phone is hidden."""
    head = bsuid[:2].upper()
    return (
        head if len(bsuid) > 3 and bsuid[2] == "." and head.isascii() and head.isalpha() else None
    )


@lru_cache(_CACHE)
def phone_country(phone: str) -> str | None:
    """ISO country of an international number by its prefix; None when there is no such prefix."""
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
