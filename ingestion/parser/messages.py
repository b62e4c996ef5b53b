"""Messages and the ads that led to them: live, echoed by the business app, or from a history sync.

The `referral` block is read wherever it appears (E4, E5, E7-E11). Ids and the click id are kept as
sent; one never replaces the other (E9). What this version does not know is kept as JSON text in
`referral_extra`, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from ingestion.parser.chat_signals import ChatSignals
from ingestion.parser.limits import Reject, Unfit, left_out, plain
from ingestion.parser.people import (
    NOBODY,
    TEST_SENDERS,
    Contacts,
    Keys,
    Link,
    Person,
    id_change_links,
    identify,
    is_same,
    is_test_business,
    links_of,
    merged,
    number_change_links,
    one_number,
    two_ids,
    two_numbers,
)
from ingestion.parser.rows import Path, Rows
from ingestion.parser.values import (
    child,
    children,
    code,
    error_code,
    extra,
    moment,
    prose,
    read_only,
    required,
    text,
    url,
)


class Business(NamedTuple):
    """Whose number it is. `number_id` outlives a move to another WABA (E30)."""

    waba_id: str | None
    phone_number_id: str | None
    number_id: str


class Scoped(NamedTuple):
    """Somebody on Messenger or Instagram, whose id identifies them within one page only."""

    app: str
    user_id: str
    sent_us: int | None  # their webhooks count milliseconds


NO_CODE: tuple[str | None, str | None] = (None, None)
NO_CONTEXT: tuple[str | None, bool] = (None, False)

_NEW_NUMBER = ("user_changed_number", "customer_changed_number")
_NEW_ID = "user_changed_user_id"

_ENDS = {
    # Keys of the person in a message: phone, BSUID, parent BSUID.
    "inbound": ("from", "from_user_id", "from_parent_user_id"),
    "outbound": ("to", "to_user_id", "to_parent_user_id"),
}


class Messages:
    """Turns message elements into rows, with the links they show."""

    __slots__ = ("_keys", "_rows", "signals")

    def __init__(self, keys: Keys, rows: Rows) -> None:
        self._keys, self._rows = keys, rows
        self.signals = ChatSignals(keys, rows) if rows.chat_rules else None

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
        field: str | None = None,
    ) -> None:
        """Add the row of `message`. Raises `Reject`.

        `thread`: phone and BSUID of its chat. `scoped`: sender and time, instead of those that a
        WhatsApp message names. `field`: the webhook field it came in; not part of its content,
        because copies come in several.
        """
        if type(message) is not dict:
            raise Reject("message_not_object: expected an object")
        rows, keys = self._rows, self._keys
        message_id = required(message, "id")
        type_ = kind or code(message, "type")
        if type_ is None and type(message.get("system")) is dict:
            type_ = "system"  # a notice is not anybody's message, whatever it lacks
        if scoped is None:
            person, links = self._person(message, direction, contacts, thread, type_)
            sent_us = moment(message.get("timestamp"), rows.received_us)
        else:
            user_key = keys.scoped_id(scoped.app, business.number_id, scoped.user_id)
            person, links, sent_us = Person(None, user_key, None), [], scoped.sent_us
        if type_ == "system":
            links += self._changes(message, person, contacts)
        elif type_ == "contacts":
            links += self._shared_cards(message, person)
        context_key, is_forwarded = self._context(message) if "context" in message else NO_CONTEXT
        referral, problem = read_referral(message) if "referral" in message else (NONE, None)
        # Only in what somebody writes to us now: echoes and histories repeat what others wrote.
        written = type_ == "text" and direction == "inbound" and origin == "live"
        code_of_link = NO_CODE
        if written and type(content_of := message.get("text")) is dict:
            # A bad character is not a letter of any code: inside a code it makes the code unfit.
            code_of_link = keys.coded_link(read_only(content_of.get("body")))
        content = (
            origin,
            direction,
            *business,
            *keys.message(business.number_id, message_id),
            *person[:3],
            rows.received_us if sent_us is None else sent_us,
            "receipt" if sent_us is None else "message",
            type_,
            bool(message.get("group_id")),
            error_code(message) if "errors" in message else None,
            context_key,
            is_forwarded,
            *referral,
            None if scoped is None else scoped.app,
            *code_of_link,
        )
        key = keys.content(orjson.dumps(content))
        is_test = scoped is None and (
            is_test_business(business.phone_number_id, business.number_id)
            or str(message.get(_ENDS[direction][0])) in TEST_SENDERS
        )
        rows.messages.append((*rows.place(), *content, key, is_test, field))
        if problem is not None:
            rows.reject("referral", (*path, "referral"), problem)
        if links and not is_test:
            self.add_links(links, business, content[10])
        if self.signals is not None and not is_test and not message.get("group_id"):
            self.signals.message(message, type_, direction, business, person, content[10])

    def _context(self, message: dict[str, Any]) -> tuple[str | None, bool]:
        """Key of the message that this one answers, and whether it was forwarded."""
        context = extra(message, "context")
        context_id = context.get("id")
        left_out(context_id)
        key = self._keys.message_id(context_id) if type(context_id) is str and context_id else None
        is_forwarded = context.get("forwarded") is True
        return key, is_forwarded or context.get("frequently_forwarded") is True

    def add_links(self, links: list[Link], business: Business, at_us: int) -> None:
        """Add identity links, each once."""
        where = business.waba_id, business.number_id
        for link in dict.fromkeys(links):
            if link.left_key != link.right_key:
                self._rows.add_link(link, at_us, where)

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
        bsuid = (text(message, bsuid_at) if bsuid_at in message else None) or thread[1]
        parent = text(message, parent_at) if parent_at in message else None
        person, links = identify(self._keys, contacts, phone, bsuid, parent, "message")
        to_group = direction == "outbound" and bool(message.get("group_id"))
        if person[:2] == NOBODY[:2] and type_ != "system" and not to_group:
            raise Reject(f"person_missing: expected {phone_at}, {bsuid_at} or one contact")
        return person, links

    def _changes(self, message: dict[str, Any], sender: Person, contacts: Contacts) -> list[Link]:
        """Links of a notice: a new phone number or a new BSUID of the same person, in all forms
        that notices have had (E81). `sender`: the person that the message names, old or new."""
        system = child(message, "system")
        change = code(system, "type") or ""
        new_phone = text(system, "wa_id") or text(system, "new_wa_id")
        new_ids = text(system, "user_id"), text(system, "parent_user_id")
        old_phone = text(system, "previous_wa_id")
        old_ids = text(system, "previous_user_id"), text(system, "previous_parent_user_id")
        # `customer_identity_changed` is about a security code and names nobody new.
        if change not in (*_NEW_NUMBER, _NEW_ID) and not (old_phone or any(old_ids)):
            return []
        is_new_number = change in _NEW_NUMBER or (change != _NEW_ID and new_phone is not None)
        if is_new_number:
            old_phone = old_phone or text(system, "customer")
        body = read_only(system.get("body"))
        body = body if type(body) is str else ""
        if is_new_number and (old_phone is None or new_phone is None):
            key_of, from_phone = self._keys.phone, text(message, "from")
            old_phone, new_phone = _with_pair(
                two_numbers(body), old_phone, new_phone, from_phone, key_of
            )
            if old_phone is None and new_phone is not None:
                # The sentence may end before the new number, which has its own field.
                known, only = {key_of(n) for n in (new_phone, from_phone) if n}, one_number(body)
                if only is not None and len(known) == 1 and key_of(only) not in known:
                    old_phone = only
        if not any(old_ids) or new_ids[0] is None:
            sender_id = text(message, "from_user_id")
            old_id, new_id = _with_pair(
                two_ids(body), old_ids[0], new_ids[0], sender_id, self._keys.bsuid
            )
            old_ids, new_ids = (old_id, old_ids[1]), (new_id, new_ids[1])
        old = self._with_contact(old_phone, old_ids, contacts)
        new = self._with_contact(new_phone, new_ids, contacts)
        if is_same(sender, new) or (new[:2] == NOBODY[:2] and not is_same(sender, old)):
            new = merged(new, sender)
        else:
            old = merged(old, sender)
        if is_new_number:
            links = number_change_links(old, new)
            if old.bsuid_key and new.phone_key and not new.bsuid_key and old[:2] != sender[:2]:
                # Only the notice shows that the old user id and the old number are one person's.
                link = Link(new.phone_key, "phone", old.bsuid_key, "bsuid", "number_change")
                links.append(link)
            return links
        # The phone did not change: it belongs to the person before and after.
        return id_change_links(old._replace(phone_key=old.phone_key or new.phone_key), new)

    def _with_contact(
        self, phone: str | None, ids: tuple[str | None, str | None], contacts: Contacts
    ) -> Person:
        person = self._keys.person(phone, *ids)
        contact = contacts.find(phone, ids[0]) if phone or ids[0] else None
        return person if contact is None else merged(person, self._keys.person(*contact))

    def _shared_cards(self, message: dict[str, Any], person: Person) -> list[Link]:
        """Links that contact cards show. A card that the business asked for is the sender's own, if
        it names one phone. Any other card is about a third person: its phone and user id belong
        together, but not to the sender."""
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


def _with_pair(
    pair: tuple[str, str] | None,
    old: str | None,
    new: str | None,
    sender: str | None,
    key_of: Callable[[str], str | None],
) -> tuple[str | None, str | None]:
    """Old and new value, completed from the pair in a sentence if one of the pair is known."""
    if pair is None:
        return old, new
    first, second = map(key_of, pair)
    if not {first, second} & {key_of(value) for value in (old, new, sender) if value}:
        return old, new
    if new is None:
        is_reversed = old is not None and key_of(old) == second
        return pair if not is_reversed else (pair[1], pair[0])
    if key_of(new) not in (first, second):
        return old, new
    return old or pair[key_of(new) == first], new


CLID_CHARS = 2_048
EXTRA_BYTES = 4_096

Columns = tuple[
    bool, str | None, str | None, str | None, str | None, str | None, str | None,
    str | None, str | None, str | None, str | None, str | None, str | None,
]  # fmt: skip
"""From `has_referral` to `ctwa_clid`, in the order of the messages table."""

NONE: Columns = (False, *(None,) * 12)

_PROSE = frozenset({"headline", "body"})
_CODES = frozenset({"source_type", "media_type"})
_URLS = frozenset({"source_url", "image_url", "video_url", "thumbnail_url"})
_IDS = frozenset({"source_id", "ctwa_clid"})
_TEXTS = _PROSE | _URLS
_PLAIN = _TEXTS | _IDS
"""Keys that have a column of their own whenever their value is text: nearly all keys."""

KEYS = _PLAIN | _CODES | {"welcome_message"}
"""All keys that have a column."""


def read_referral(message: dict[str, Any]) -> tuple[Columns, str | None]:
    """Columns of a message's referral, and the reason if an id in it cannot be trusted.

    Such an id becomes null and only the id is quarantined: the message stays a lead from an ad.
    """
    block = message.get("referral")
    if block is None or block == {}:
        return NONE, None
    if type(block) is not dict:
        child(message, "referral")  # if it is in doubt, this raises with its reason
        raise Reject("referral_not_object: expected an object")
    problem = None
    ids: dict[str, str | None] = {}
    for key, limit in (("source_id", 512), ("ctwa_clid", CLID_CHARS)):
        try:
            ids[key] = text(block, key, limit)
        except Reject as reject:
            problem, ids[key] = f"referral_{reject}", None
    source_id, clid = ids["source_id"], ids["ctwa_clid"]
    if clid is not None and clid == source_id:
        clid = None  # some gateways put the ad id there
    welcome = block.get("welcome_message")
    return (
        True,
        code(block, "source_type"),
        source_id,
        url(block.get("source_url")),
        prose(block.get("headline")),
        prose(block.get("body")),
        code(block, "media_type"),
        url(block.get("image_url")),
        url(block.get("video_url")),
        url(block.get("thumbnail_url")),
        prose(welcome.get("text")) if type(welcome) is dict else None,
        _extra(block),
        clid,
    ), problem


def _extra(block: dict[str, Any]) -> str | None:
    unknown = {
        key: value
        for key, value in block.items()
        if not (type(value) is str and key in _PLAIN) and not _is_known(key, value)
    }
    if not unknown:
        return None
    try:
        data = orjson.dumps(unknown, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # it holds something unfit, or is nested more deeply than orjson writes
        data = orjson.dumps(plain(unknown), option=orjson.OPT_SORT_KEYS)
    if len(data) > EXTRA_BYTES:
        # Half a JSON text is not JSON: keep the names, to show that there was more.
        data = orjson.dumps({"_cut": sorted(key[:64] for key in unknown)[:32]})
    return data.decode()


def _is_known(key: str, value: Any) -> bool:
    """Whether a pair has a column for a value of its type (E76: a text may become an object)."""
    if value is None or key in _IDS:
        return True
    if type(value) is Unfit:
        return key in KEYS  # repaired in its column, or left out
    if key == "welcome_message":
        return type(value) is dict and value.keys() <= {"text"}
    if key in _CODES:
        return type(value) is str and len(value) <= 64
    return key in _TEXTS and type(value) is str
