"""Elements that are not messages: statuses, events of the account, contacts, handovers of chats.

Statuses of outbound messages are billing evidence (R6), and show identities too. Handovers are
Meta's Conversation Routing: `control_passed` is sent to the new owner of a chat, `control_taken` to
the previous one; both name roles, never apps or businesses. Nothing is sent when a chat is released
or idle: the field of the next message shows that (docs/attribution.md).
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from ingestion.parser.chat_signals import ChatSignals
from ingestion.parser.company import Outcome, add_outcome
from ingestion.parser.limits import Reject
from ingestion.parser.messages import Business, Messages
from ingestion.parser.people import (
    TEST_SENDERS,
    Contacts,
    Keys,
    Link,
    Person,
    id_change_links,
    identify,
    is_test_business,
    links_of,
)
from ingestion.parser.rows import Rows
from ingestion.parser.values import (
    CODE_CHARS,
    child,
    code,
    error_code,
    extra,
    moment,
    money,
    required,
    settled,
    text,
)

# Keys of phone, BSUID and parent BSUID; Meta's own pages spell the last one in three ways.
_RECIPIENT = (
    "recipient_id", "recipient_user_id",
    "parent_recipient_user_id", "recipient_parent_user_id", "parent_user_id",
)  # fmt: skip
_PARTICIPANT = (
    "recipient_participant_id", "recipient_participant_user_id",
    "recipient_participant_parent_user_id",
)  # fmt: skip


Pricing = tuple[str | None, str | None, str | None, bool | None]
NO_PRICING: Pricing = (None, None, None, None)


def _pricing(status: dict[str, Any]) -> Pricing:
    """Model, type and category of a status's pricing, and whether it is billed."""
    pricing = extra(status, "pricing")
    billable = pricing.get("billable")
    return (
        code(pricing, "pricing_model"),
        code(pricing, "type"),
        code(pricing, "category"),
        billable if type(billable) is bool else None,
    )


class Statuses:
    """Turns status elements into rows."""

    __slots__ = ("_keys", "_rows", "_signals")

    def __init__(self, keys: Keys, rows: Rows) -> None:
        self._keys, self._rows = keys, rows
        self._signals = ChatSignals(keys, rows) if rows.chat_rules else None

    def add(self, status: Any, business: Business, contacts: Contacts) -> list[Link]:
        """Add the row of `status`; returns the links it shows. Raises `Reject`."""
        if type(status) is not dict:
            raise Reject("status_not_object: expected an object")
        keys, rows = self._keys, self._rows
        message_id = required(status, "id")
        word = required(status, "status", CODE_CHARS)
        is_group = settled(status, "recipient_type") == "group"
        person, links = self._recipient(status, contacts, is_group)
        at_us = moment(status.get("timestamp"), rows.received_us)
        origin = None
        if "conversation" in status:
            origin = code(extra(extra(status, "conversation"), "origin"), "type")
        content = (
            *business,
            *keys.message(business.number_id, message_id),
            *person[:3],
            word,
            rows.received_us if at_us is None else at_us,
            "receipt" if at_us is None else "message",
            is_group,
            origin,
            *(_pricing(status) if "pricing" in status else NO_PRICING),
            error_code(status) if "errors" in status else None,
        )
        key = keys.content(orjson.dumps(content))
        is_test = (
            is_test_business(business.phone_number_id, business.number_id)
            or str(status.get("recipient_id")) in TEST_SENDERS
        )
        rows.statuses.append((*rows.place(), *content, key, is_test))
        if self._signals is not None and not is_test:
            self._signals.payment(status, business, contacts)
        return [] if is_test else links

    def _recipient(
        self, status: dict[str, Any], contacts: Contacts, is_group: bool
    ) -> tuple[Person, list[Link]]:
        """The recipient; in a group, the participant, because `recipient_id` is the group."""
        phone_at, bsuid_at, *parents_at = _PARTICIPANT if is_group else _RECIPIENT
        phone, bsuid, parent = text(status, phone_at), text(status, bsuid_at), None
        for parent_at in parents_at:
            if parent_at in status and (parent := text(status, parent_at)) is not None:
                break
        return identify(self._keys, contacts, phone, bsuid, parent, "status")


AUTOMATIC_SOURCE = "meta_automatic_events"
"""Source of outcomes that Meta infers from chats: suggestions, kept apart from the CRM's."""

ACCOUNT_FIELDS = frozenset(
    {
        "account_alerts",
        "account_review_update",
        "account_settings_update",
        "account_update",
        "business_capability_update",
        "message_template_quality_update",
        "message_template_status_update",
        "partner_solutions",
        "phone_number_name_update",
        "phone_number_quality_update",
        "security",
        "template_category_update",
    }
)
_EVENT_KEYS = ("event", "decision", "alert_type", "new_quality_score", "type")


class Account:
    """Turns elements of other fields into rows."""

    __slots__ = ("_keys", "_messages", "_rows")

    def __init__(self, keys: Keys, rows: Rows, messages: Messages) -> None:
        self._keys, self._rows, self._messages = keys, rows, messages

    def event(self, field: str, value: dict[str, Any], business: Business, time: Any) -> None:
        """A change of an account, a number or a template: what happened, without texts."""
        event = next((c for k in _EVENT_KEYS if (c := code(value, k))), None)
        self._event(field, event, error_code(value), business, time)

    def error(self, field: str, error: Any, business: Business, time: Any) -> None:
        """One of `value.errors[]`: an account-level refusal, e.g. a declined history sync."""
        if type(error) is not dict:
            raise Reject("error_not_object: expected an object")
        self._event(field, "error", error_code({"errors": [error]}), business, time)

    def _event(
        self, field: str, event: str | None, number: int | None, business: Business, time: Any
    ) -> None:
        rows = self._rows
        at_us = moment(time, rows.received_us)
        rows.account_events.append(
            (*rows.place(), *business, field, event, number, at_us, True, None)
        )

    def unread_field(
        self, field: str, business: Business, time: Any, *, holds_people: bool
    ) -> None:
        """A change none of whose lists was read, mostly of an unknown field (E80)."""
        rows = self._rows
        at_us = moment(time, rows.received_us)
        rows.account_events.append(
            (*rows.place(), *business, field, None, None, at_us, False, holds_people)
        )

    def automatic_event(self, item: Any, business: Business, time: Any) -> None:
        """A lead or purchase that Meta detected in a chat."""
        if type(item) is not dict:
            raise Reject("automatic_event_not_object: expected an object")
        if is_test_business(business.phone_number_id, business.number_id):  # R14
            return self._event("automatic_events", "test", None, business, time)
        rows, keys = self._rows, self._keys
        message_key = keys.message_id(required(item, "id"))
        stage = required(item, "event_name", CODE_CHARS)
        at_us = moment(item.get("timestamp"), rows.received_us)
        custom = child(item, "custom_data")
        outcome = Outcome(
            AUTOMATIC_SOURCE,
            f"{message_key}:{stage}",
            stage,
            rows.received_us if at_us is None else at_us,
            message_id_key=message_key,
            value=money(custom.get("value")),
            currency=code(custom, "currency"),
        )
        add_outcome(keys, rows, outcome)
        return None

    def app_contact(self, item: Any, business: Business) -> None:
        """A contact of the business app that has both ids."""
        if type(item) is not dict:
            raise Reject("state_sync_not_object: expected an object")
        if item.get("type") != "contact" or item.get("action") == "remove":
            return
        contact = child(item, "contact")
        person = self._keys.person(text(contact, "phone_number"), text(contact, "user_id"))
        at = moment(child(item, "metadata").get("timestamp"), self._rows.received_us)
        self._link(links_of(person, "contact_book"), business, at)

    def new_user_id(self, item: Any, business: Business) -> None:
        """Field `user_id_update`: a BSUID was replaced. It comes in two forms."""
        if type(item) is not dict:
            raise Reject("user_id_update_not_object: expected an object")
        ids = settled(item, "user_id")
        if type(ids) is dict:
            old_id, new_id = text(ids, "previous"), text(ids, "current")
        else:
            old_id, new_id = text(item, "previous_user_id"), text(item, "user_id")
        phone = text(item, "wa_id")
        old = self._keys.person(phone, old_id, text(item, "previous_parent_user_id"))
        new = self._keys.person(phone, new_id, text(item, "parent_user_id"))
        links = id_change_links(old, new) + links_of(new, "contact")
        self._link(links, business, moment(item.get("timestamp"), self._rows.received_us))

    def _link(self, links: list[Link], business: Business, at_us: int | None) -> None:
        received = self._rows.received_us
        self._messages.add_links(links, business, received if at_us is None else at_us)


PASSED, TAKEN = "control_passed", "control_taken"
_ROLES = ("previous_owner_role", "new_owner_role")
_WORD = re.compile(r"[a-z][a-z_]*")


def notices(value: Any) -> list[Any]:
    """The notices of one change: the value itself, or those listed under the field's name."""
    listed = value.get("messaging_handovers") if type(value) is dict else value
    if type(listed) is list:
        return listed
    return [listed if type(listed) is dict else value]


class Handovers:
    """Turns notices of handovers into rows."""

    __slots__ = ("_keys", "_messages", "_rows")

    def __init__(self, keys: Keys, rows: Rows, messages: Messages) -> None:
        self._keys, self._rows, self._messages = keys, rows, messages

    def add(self, notice: Any, business: Business, time: Any) -> None:
        """Add the row of `notice`; raises `Reject`. `time`: the entry's, for notices without a
        time.

        A notice of an unknown type is kept, with its roles.
        """
        if type(notice) is not dict:
            raise Reject("handover_not_object: expected an object")
        event = _word(notice, "type") or next((t for t in (PASSED, TAKEN) if t in notice), None)
        roles = child(notice, event) if event else {}
        sender, rows = child(notice, "sender"), self._rows
        person = self._keys.person(
            text(sender, "phone_number") or text(sender, "wa_id"),
            text(sender, "user_id"),
            text(sender, "parent_user_id"),
        )
        own_time = moment(notice.get("timestamp"), rows.received_us)
        at_us = moment(time, rows.received_us) if own_time is None else own_time
        at_us = rows.received_us if at_us is None else at_us
        content = (
            *business,
            person.phone_key,
            person.bsuid_key,
            person.country,
            event,
            *(_word(roles, role) for role in _ROLES),
            at_us,
        )
        rows.handovers.append((*rows.place(), *content, self._keys.content(orjson.dumps(content))))
        self._messages.add_links(links_of(person, "contact"), business, at_us)


def _word(obj: dict[str, Any], key: str) -> str | None:
    """A code word of Meta's, in lower case; None if it is anything else, such as a name."""
    word = (code(obj, key) or "").lower()
    return word if _WORD.fullmatch(word) else None
