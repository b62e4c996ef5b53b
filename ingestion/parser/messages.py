"""Messages: live, echoed by the business app, and from a history sync."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from ingestion.parser.limits import Reject
from ingestion.parser.people import NO_CONTACTS, NOBODY, Contacts, Keys, Person, bsuids_in
from ingestion.parser.referral import read_referral
from ingestion.parser.rows import Path, Rows
from ingestion.parser.values import child, children, code, error_code, moment, required, text


class Business(NamedTuple):
    """Whose number it is. `number_id` outlives a move to another WABA (E30)."""

    waba_id: str | None
    phone_number_id: str | None
    number_id: str


class Link(NamedTuple):
    """Two identities of one person, and what showed it."""

    left_key: str
    left_kind: str
    right_key: str
    right_kind: str
    link_kind: str


class Scoped(NamedTuple):
    """Somebody on Messenger or Instagram, whose id means them within one page only."""

    app: str
    user_id: str
    sent_us: int | None  # their webhooks count milliseconds


NO_CODE = (None, None)

_ENDS = {
    # Keys of the person in a message: phone, BSUID, parent BSUID.
    "inbound": ("from", "from_user_id", "from_parent_user_id"),
    "outbound": ("to", "to_user_id", "to_parent_user_id"),
}


class Messages:
    """Turns one message element into a row, with the links it shows."""

    __slots__ = ("_keys", "_rows")

    def __init__(self, keys: Keys, rows: Rows) -> None:
        self._keys, self._rows = keys, rows

    def add(
        self,
        message: Any,
        business: Business,
        contacts: Contacts,
        path: Path,
        *,
        origin: str = "live",
        direction: str = "inbound",
        thread: tuple[str | None, str | None] = (None, None),
        kind: str | None = None,
        scoped: Scoped | None = None,
    ) -> None:
        """Add the row of `message` (raises `Reject`). `thread`: phone and BSUID of its chat;
        `scoped`: who and when, in place of what a message of WhatsApp says."""
        if type(message) is not dict:
            raise Reject("message_not_object: expected an object")
        rows, keys = self._rows, self._keys
        message_id = required(message, "id")
        type_ = kind or code(message, "type")
        if scoped is None:
            person, links = self._person(message, direction, contacts, thread, type_)
            sent_us = moment(message.get("timestamp"), rows.received_us)
        else:
            user_key = keys.scoped_id(scoped.app, business.number_id, scoped.user_id)
            person, links, sent_us = Person(None, user_key, None), [], scoped.sent_us
        if type_ == "system":
            links += self._changes(message, person)
        elif type_ == "contacts":
            links += self._shared_cards(message, person)
        context = child(message, "context")
        context_id = context.get("id")
        referral, problem = read_referral(message)
        # Of what somebody writes to us now: an echo or a history repeats what others wrote.
        written = type_ == "text" and direction == "inbound" and origin == "live"
        code_of_link = keys.coded_link(child(message, "text").get("body")) if written else NO_CODE
        content = (
            origin,
            direction,
            business.waba_id,
            business.phone_number_id,
            business.number_id,
            *keys.message(business.number_id, message_id),
            person.phone_key,
            person.bsuid_key,
            person.country,
            rows.received_us if sent_us is None else sent_us,
            "receipt" if sent_us is None else "message",
            type_,
            bool(message.get("group_id")),
            error_code(message),
            keys.message_id(context_id) if type(context_id) is str and context_id else None,
            context.get("forwarded") is True or context.get("frequently_forwarded") is True,
            *referral,
            None if scoped is None else scoped.app,
            *code_of_link,
        )
        key = keys.content(orjson.dumps(content))
        rows.messages.append((*rows.place(), *content, key))
        if problem is not None:
            rows.reject("referral", (*path, "referral"), problem)
        if links:
            self.add_links(links, business, content[10])

    def add_links(self, links: list[Link], business: Business, at_us: int) -> None:
        """Add identity links, each once."""
        where = business.waba_id, business.number_id
        for link in dict.fromkeys(links):
            if link.left_key != link.right_key:
                self._rows.identity_links.append((*self._rows.place(), *where, *link, at_us))

    def _person(
        self,
        message: dict[str, Any],
        direction: str,
        contacts: Contacts,
        thread: tuple[str | None, str | None],
        type_: str | None,
    ) -> tuple[Person, list[Link]]:
        phone_at, bsuid_at, parent_at = _ENDS[direction]
        phone = text(message, phone_at) or thread[0]
        bsuid = text(message, bsuid_at) or thread[1]
        person = self._keys.person(phone, bsuid, text(message, parent_at))
        links = links_of(person, "message")
        contact = contacts.find(phone, bsuid) if contacts is not NO_CONTACTS else None
        if contact is not None and contact != (phone, bsuid, None):
            person = merged(person, self._keys.person(*contact))
        if person[:2] == NOBODY[:2] and type_ != "system":
            raise Reject(f"person_missing: expected {phone_at}, {bsuid_at} or one contact")
        return person, links

    def _changes(self, message: dict[str, Any], person: Person) -> list[Link]:
        """Links of a system message: a new phone number or a new BSUID of the same person."""
        system = child(message, "system")
        change = code(system, "type") or ""
        links: list[Link] = []
        # `customer_identity_changed` is a security code, and names nobody new.
        if change in ("user_changed_number", "customer_changed_number"):
            new = self._keys.person(
                text(system, "wa_id") or text(system, "new_wa_id"), text(system, "user_id")
            )
            links += number_change_links(person, new)
        elif change == "user_changed_user_id":
            new_id = text(system, "user_id")
            body = system.get("body")
            old_ids = [b for b in bsuids_in(body) if b != new_id] if type(body) is str else []
            old = self._keys.person(None, old_ids[0] if old_ids else None)
            new = self._keys.person(None, new_id)
            links += id_change_links(old, new) + id_change_links(person, new)
        return links

    def _shared_cards(self, message: dict[str, Any], person: Person) -> list[Link]:
        """What contact cards show. The card that the business asked for is the sender's own, if it
        names one phone. Any other is of a third person: its phone and user id belong together, and
        neither to the sender."""
        is_own = text(message, "origin") == "contact_request"
        phones: set[str] = set()
        links: list[Link] = []
        for card in children(message, "contacts"):
            for item in children(card, "phones") if type(card) is dict else ():
                if type(item) is not dict:
                    continue
                shown = self._keys.person(
                    text(item, "wa_id") or text(item, "phone"), text(item, "user_id")
                )
                links += links_of(shown, "contact_card")
                if shown.phone_key:
                    phones.add(shown.phone_key)
        sender = person.bsuid_key or person.phone_key
        if is_own and len(phones) == 1 and sender is not None:
            kind = "bsuid" if person.bsuid_key else "phone"
            links.append(Link(phones.pop(), "phone", sender, kind, "contact_card"))
        return links


def merged(person: Person, contact: Person) -> Person:
    """What an element says of its person, filled up by the contact beside it."""
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
    """The same person under a new number, and mostly a new BSUID with it."""
    links = links_of(new, "number_change")
    if old.phone_key and new.phone_key:
        links.append(Link(old.phone_key, "phone", new.phone_key, "phone", "number_change"))
    elif old.bsuid_key and new.phone_key:
        links.append(Link(new.phone_key, "phone", old.bsuid_key, "bsuid", "number_change"))
    return links + id_change_links(old, new)


def id_change_links(old: Person, new: Person) -> list[Link]:
    """The same person under a new BSUID. Their phone is linked, too: it did not change hands."""
    links = []
    if old.bsuid_key and new.bsuid_key:
        links.append(Link(old.bsuid_key, "bsuid", new.bsuid_key, "bsuid", "id_change"))
    if old.phone_key and new.bsuid_key:
        links.append(Link(old.phone_key, "phone", new.bsuid_key, "bsuid", "id_change"))
    return links
