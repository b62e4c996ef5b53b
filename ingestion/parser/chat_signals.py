"""Evaluates chat rules while a body is read: which condition of which rule a message meets.

A row of `chat_signals` has the rule's id, version and stage, which condition it is, and the keys
and time of the message; no text, and nothing of what matched. Conditions on one message are judged
here. What takes several messages, a number of replies or conditions that stand in different
messages, is put together by the model `int_chat_outcomes__met`, where order and repeats do not
matter (rule R3).

What somebody edits or deletes later says that of the message: of an edited text the last version
counts, from the time of the edit, and what was deleted for everyone counts as not said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from ingestion.parser.chat_rules import ChatRule, Part, number_key
from ingestion.parser.chat_texts import amounts_of, folded, texts_of
from ingestion.parser.limits import Reject
from ingestion.parser.people import NOBODY, Contacts, Keys, Person, identify
from ingestion.parser.rows import Rows
from ingestion.parser.values import child, children, code, moment, money, read_only, text

_NO_REPLY = frozenset({"system", "reaction", "edit", "revoke", "request_welcome", "call"})
"""Types of inbound messages by which nobody answers anything."""
_OF_TEXT = frozenset({"we_wrote", "they_wrote", "price_over"})
_PAID = frozenset({"captured", "completed", "success"})

Money = tuple[Decimal | None, str | None]
NO_MONEY: Money = (None, None)
Where = tuple[str | None, str | None, str]
"""WABA, phone number id and the number itself, as `Business` has them."""


@dataclass(slots=True)
class _Said:
    """One message, call or payment, as conditions look at it. Times in µs."""

    kind: str | None
    direction: str
    content: dict[str, Any]
    money: Money = NO_MONEY
    seconds: int = 0
    is_reply: bool = False
    _text: str | None = None
    _folded: str | None = None
    amounts: dict[str, list[Decimal]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        if self._text is None:
            self._text = texts_of(self.content, self.kind)
        return self._text

    @property
    def folded(self) -> str:
        if self._folded is None:
            self._folded = folded(self.text)
        return self._folded


class ChatSignals:
    """Turns what a message says into rows of `chat_signals`. A fault here is quarantined, without
    values, and never costs the message its own row."""

    __slots__ = ("_keys", "_rows", "_rules")

    def __init__(self, keys: Keys, rows: Rows) -> None:
        self._keys, self._rows, self._rules = keys, rows, rows.chat_rules.rules

    def message(
        self,
        message: dict[str, Any],
        kind: str | None,
        direction: str,
        business: Where,
        person: Person,
        at_us: int,
    ) -> None:
        """Add what a message shows, an edit or a deletion included."""
        self._safely(lambda: self._message(message, kind, direction, business, person, at_us))

    def call(self, call: Any, business: Where, contacts: Contacts) -> None:
        """Add what the end of a call shows: how long it was."""
        if type(call) is dict:
            self._safely(lambda: self._call(call, business, contacts))

    def payment(self, status: dict[str, Any], business: Where, contacts: Contacts) -> None:
        """Add what the status of a payment in the chat shows; other statuses show nothing."""
        if "payment" in status:
            self._safely(lambda: self._payment(status, business, contacts))

    def _safely(self, add: Callable[[], None]) -> None:
        try:
            add()
        except Reject:
            pass  # what cannot be read says nothing; the message's own row has its reason
        except Exception as error:  # noqa: BLE001 - only the type: a text may quote a value
            self._rows.reject("chat_rule", (), f"parser_error: {type(error).__name__}")

    def _message(
        self,
        message: dict[str, Any],
        kind: str | None,
        direction: str,
        business: Where,
        person: Person,
        at_us: int,
    ) -> None:
        own_id = text(message, "id")
        if own_id is None or not any(_applies(rule, business, at_us) for rule in self._rules):
            return
        if kind not in ("edit", "revoke"):
            said = _Said(kind, direction, message, _order(message) if kind == "order" else NO_MONEY)
            said.is_reply = direction == "inbound" and kind not in _NO_REPLY
            return self._add(said, self._keys.message(business[2], own_id), business, person, at_us)
        change = child(message, kind)
        # Messenger's deletions have the id of what was deleted.
        original = text(change, "original_message_id") or (own_id if kind == "revoke" else None)
        if original is None:
            return None
        keys = self._keys.message(business[2], original)
        revision = self._keys.message(business[2], own_id)[0]
        self._row(keys, business, person, at_us, revision, kind == "revoke")
        if kind == "edit":
            edited = child(change, "message")
            said = _Said(code(edited, "type"), direction, edited)
            self._add(said, keys, business, person, at_us, revision)
        return None

    def _call(self, call: dict[str, Any], business: Where, contacts: Contacts) -> None:
        call_id, seconds = text(call, "id"), call.get("duration")
        if code(call, "event") != "terminate" or code(call, "status") in ("FAILED", "REJECTED"):
            return
        with suppress(TypeError, ValueError):
            seconds = int(str(seconds)[:9])
        at_us = moment(call.get("end_time"), self._rows.received_us)
        at_us = moment(call.get("timestamp"), self._rows.received_us) if at_us is None else at_us
        if call_id is None or type(seconds) is not int:
            return
        whom = "to" if code(call, "direction") == "BUSINESS_INITIATED" else "from"
        person = self._person(call, contacts, whom, f"{whom}_user_id")
        said = _Said("call", "call", call, seconds=seconds)
        at_us = self._rows.received_us if at_us is None else at_us
        self._add(said, self._keys.message(business[2], call_id), business, person, at_us)

    def _payment(self, status: dict[str, Any], business: Where, contacts: Contacts) -> None:
        if (code(status, "status") or "").lower() not in _PAID:
            return
        payment = child(status, "payment")
        reference = text(payment, "reference_id") or text(status, "id")
        if reference is None:
            return
        at_us = moment(status.get("timestamp"), self._rows.received_us)
        said = _Said("payment", "payment", status, _paid(payment))
        at_us = self._rows.received_us if at_us is None else at_us
        person = self._person(status, contacts, "recipient_id", "recipient_user_id")
        keys = self._keys.message(business[2], f"payment:{reference}")
        self._add(said, keys, business, person, at_us)

    def _person(
        self, holder: dict[str, Any], contacts: Contacts, phone_at: str, bsuid_at: str
    ) -> Person:
        phone, bsuid = text(holder, phone_at), text(holder, bsuid_at)
        person = identify(self._keys, contacts, phone, bsuid, None, "status")[0]
        if person[:2] == NOBODY[:2]:
            raise Reject("person_missing: expected somebody's number or user id")
        return person

    def _add(
        self,
        said: _Said,
        keys: tuple[str, str],
        business: Where,
        person: Person,
        at_us: int,
        revision: str | None = None,
    ) -> None:
        for rule in self._rules:
            if not _applies(rule, business, at_us):
                continue
            met: dict[int, Money] = {}
            for place, part in enumerate(rule.parts):
                found = _met(part, said)
                if found is not None:
                    met[place] = found if rule.reads_value else NO_MONEY
            for number, way in enumerate(rule.alternatives):
                for place in way:
                    if place in met:
                        shown = _row_of(rule, number, place, len(way), met[place])
                        self._row(keys, business, person, at_us, revision, False, shown)

    def _row(
        self,
        keys: tuple[str, str],
        business: Where,
        person: Person,
        at_us: int,
        revision: str | None,
        is_deleted: bool,
        shown: tuple[Any, ...] = (None,) * 12,
    ) -> None:
        content = (*business, *keys, *person[:3], at_us, revision, is_deleted, *shown)
        key = self._keys.content(orjson.dumps(content, default=str))
        self._rows.chat_signals.append((*self._rows.place(), *content, key))


def _row_of(
    rule: ChatRule, alternative: int, place: int, parts: int, found: Money
) -> tuple[Any, ...]:
    part = rule.parts[place]
    return (
        rule.id,
        rule.version,
        rule.stage,
        rule.once_per,
        alternative,
        place,
        parts,
        part.kind in _OF_TEXT,
        part.needed if part.kind == "replies" else 0,
        part.within_s,
        *found,
    )


def _applies(rule: ChatRule, business: Where, at_us: int) -> bool:
    if at_us < rule.from_us or (rule.until_us is not None and at_us >= rule.until_us):
        return False
    if rule.numbers is None:
        return True
    return any(number_key(n) in rule.numbers for n in business[1:] if n)


def _met(part: Part, said: _Said) -> Money | None:
    """The amount that goes with the condition, if the message meets it; None if it does not."""
    kind = part.kind
    if kind == "price_over":
        if said.direction != "outbound" or part.currency is None or part.least is None:
            return None
        amounts = [a for a in amounts_of(said.text, part.currency) if a > part.least]
        return (max(amounts), part.currency) if amounts else None
    if kind in ("order", "payment"):
        return said.money if said.kind == kind and said.direction != "outbound" else None
    return NO_MONEY if _is_met(part, said) else None


def _is_met(part: Part, said: _Said) -> bool:
    kind = part.kind
    if kind == "replies":
        return said.is_reply
    if kind == "call_seconds":
        return said.kind == "call" and part.least is not None and said.seconds >= part.least
    if kind == "template":
        name = child(said.content, "template").get("name")
        return said.direction == "outbound" and read_only(name) in part.names
    if kind == "answered":
        answers = _answers(said.content) if said.direction == "inbound" else ()
        return any(a in part.names for a in answers)
    wanted = "outbound" if kind == "we_wrote" else "inbound"
    if said.direction != wanted or not said.text:
        return False
    searched = (said.folded if part.is_folded else said.text).encode("utf-8", "replace")
    return any(pattern.search(searched) is not None for pattern in part.patterns)


def _answers(message: dict[str, Any]) -> Iterator[str]:
    """Ids of the button, list row or flow that the message answers."""
    interactive = child(message, "interactive")
    for reply in ("button_reply", "list_reply"):
        yield from _ids(child(interactive, reply), "id")
    yield from _ids(child(message, "button"), "payload")
    answer = read_only(child(interactive, "nfm_reply").get("response_json"))
    if type(answer) is str and len(answer) <= 65_536:
        with suppress(orjson.JSONDecodeError):
            given = orjson.loads(answer)
            if type(given) is dict:
                yield from _ids(given, "flow_id", "flow_token")


def _ids(holder: dict[str, Any], *keys: str) -> Iterator[str]:
    for key in keys:
        value = read_only(holder.get(key))
        if type(value) is str and value:
            yield value


def _order(message: dict[str, Any]) -> Money:
    """The sum of an order's lines; nothing if a line lacks its price, or currencies differ."""
    with suppress(Reject):  # an order of an unknown amount is an order
        return _total(message)
    return NO_MONEY


def _total(message: dict[str, Any]) -> Money:
    total, currencies = Decimal(0), set()
    for item in children(child(message, "order"), "product_items"):
        price = money(item.get("item_price")) if type(item) is dict else None
        count = money(item.get("quantity")) if type(item) is dict else None
        if price is None or count is None:
            return NO_MONEY
        total += price * count
        currencies.add(code(item, "currency"))
    currency = currencies.pop() if len(currencies) == 1 else None
    return (money(total), currency) if currency else NO_MONEY


def _paid(payment: dict[str, Any]) -> Money:
    """WhatsApp gives an amount as a whole number and how many of it make one unit."""
    with suppress(Reject):
        amount, currency = child(payment, "amount"), code(payment, "currency")
        value, offset = money(amount.get("value")), money(amount.get("offset"))
        if value is not None and offset and currency is not None:
            return money((value / offset).quantize(Decimal("0.000001"))), currency
    return NO_MONEY
