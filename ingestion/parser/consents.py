"""Consent to marketing: who gave it, who withdrew it, and when (E72).

Envelopes of source `consents`, posted to `/webhooks/consents` or written by `ctwa consent`, hold an
object or a list of `{"given": false, "declared_at": ISO 8601, "phone" | "wa_id" | "user_id" |
"email": text, "source": text}`. What people choose in WhatsApp itself comes as
`value.user_preferences[]`. Of a person the latest word counts, at the same instant the withdrawal.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from ctwa.phones import DEFAULT_COUNTRY
from ingestion.parser.limits import Reject, read_body
from ingestion.parser.messages import Business, Link, Messages, links_of, merged
from ingestion.parser.people import Contacts, Keys
from ingestion.parser.rows import Rows
from ingestion.parser.statements import each_statement
from ingestion.parser.values import code, moment, text
from ingestion.webhook.consents import validate_consent
from ingestion.webhook.fields import IntakeError
from ingestion.webhook.vault import microseconds

SOURCE = "consents"
PREFERENCES_SOURCE = "whatsapp_user_preferences"
MARKETING = "marketing"
_DAY_US = 86_400 * 1_000_000
_PREFERENCES = {
    "stop": False,
    "resume": True,
    "signup": True,  # by a sign-up link, with a `signup_id`
}


class Consent(NamedTuple):
    """Content of a row of `consents`, in the order of its columns. Time in µs."""

    phone_key: str | None
    bsuid_key: str | None
    email_key: str | None
    purpose: str
    is_given: bool
    declared_us: int
    source: str


def _add(keys: Keys, rows: Rows, consent: Consent) -> None:
    content = tuple(consent)
    rows.consents.append((*rows.place(), *content, keys.content(orjson.dumps(content))))


class Consents:
    """Reads envelopes of source `consents`: an object, or a list of objects."""

    __slots__ = ("_country", "_keys", "_rows")

    def __init__(self, keys: Keys, rows: Rows, default_country: str = DEFAULT_COUNTRY) -> None:
        self._keys, self._rows, self._country = keys, rows, default_country

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` where it is not JSON."""
        value, suspicious = read_body(body)
        each_statement(value, suspicious, self._rows, "consent", self._add)

    def _add(self, item: Any) -> None:
        try:
            said = validate_consent(item, default_country=self._country)
        except IntakeError as error:
            raise Reject(f"consent_invalid: {error}") from None
        keys, rows = self._keys, self._rows
        at_us = microseconds(said.declared_at)
        if at_us > rows.received_us + _DAY_US:  # a clock that is wrong must not have the last word
            at_us = rows.received_us
        phones = [keys.phone(phone) for phone in (said.wa_id, said.phone) if phone]
        phone = next((key for key in phones if key), None)
        bsuid = keys.bsuid(said.user_id) if said.user_id else None
        email = keys.email(said.email) if said.email else None
        if not any((phone, bsuid, email)):
            raise Reject("identity_unusable: expected a full phone number, e-mail address or id")
        _add(keys, rows, Consent(phone, bsuid, email, MARKETING, said.given, at_us, said.source))
        known = [
            *((key, "phone") for key in phones),
            (bsuid, "bsuid"),
            (email, "email"),
        ]
        self._link([(key, kind) for key, kind in known if key is not None], at_us)

    def _link(self, known: list[tuple[str, str]], at_us: int) -> None:
        """All identities of one word are one person: each is linked to the first (R4)."""
        for link in dict.fromkeys(Link(*known[0], *other, "consent") for other in known[1:]):
            if link.left_key != link.right_key:
                self._rows.identity_links.append((*self._rows.place(), None, None, *link, at_us))


class Preferences:
    """Reads `user_preferences[]` of WhatsApp: the person's own switch for marketing messages."""

    __slots__ = ("_keys", "_messages", "_rows")

    def __init__(self, keys: Keys, rows: Rows, messages: Messages) -> None:
        self._keys, self._rows, self._messages = keys, rows, messages

    def add(self, item: Any, business: Business, contacts: Contacts) -> None:
        """Add the row of one choice, and the links it shows. Raises `Reject`."""
        if type(item) is not dict:
            raise Reject("user_preference_not_object: expected an object")
        if code(item, "category") not in ("marketing_messages", None):  # no other is documented
            raise Reject("category_unknown: expected marketing_messages")
        word = code(item, "value")
        if word not in _PREFERENCES:
            raise Reject(f"preference_unknown: expected one of {', '.join(_PREFERENCES)}")
        phone, bsuid = text(item, "wa_id"), text(item, "user_id")
        person = self._keys.person(phone, bsuid, text(item, "parent_user_id"))
        links = links_of(person, "contact")
        contact = contacts.find(phone, bsuid)
        if contact is not None:
            person = merged(person, self._keys.person(*contact))
        if person.phone_key is None and person.bsuid_key is None:
            raise Reject("person_missing: expected wa_id, user_id or one contact")
        rows = self._rows
        at_us = moment(item.get("timestamp"), rows.received_us)
        at_us = rows.received_us if at_us is None else at_us
        said = Consent(
            person.phone_key,
            person.bsuid_key,
            None,
            MARKETING,
            _PREFERENCES[word],
            at_us,
            PREFERENCES_SOURCE,
        )
        _add(self._keys, rows, said)
        self._messages.add_links(links, business, at_us)


__all__ = ["MARKETING", "PREFERENCES_SOURCE", "SOURCE", "Consent", "Consents", "Preferences"]
