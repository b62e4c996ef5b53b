"""Statuses of outbound messages: billing evidence (R6) and a further place to learn identities."""

from __future__ import annotations

from typing import Any

import orjson

from ingestion.parser.limits import Reject
from ingestion.parser.messages import Business, Link, links_of, merged
from ingestion.parser.people import NO_CONTACTS, Contacts, Keys, Person
from ingestion.parser.rows import Rows
from ingestion.parser.values import CODE_CHARS, child, code, error_code, moment, required, text

# Keys of phone, BSUID and parent BSUID; Meta's own pages spell the last in three ways.
_RECIPIENT = (
    "recipient_id", "recipient_user_id",
    "parent_recipient_user_id", "recipient_parent_user_id", "parent_user_id",
)  # fmt: skip
_PARTICIPANT = (
    "recipient_participant_id", "recipient_participant_user_id",
    "recipient_participant_parent_user_id",
)  # fmt: skip


class Statuses:
    """Turns one status element into a row."""

    __slots__ = ("_keys", "_rows")

    def __init__(self, keys: Keys, rows: Rows) -> None:
        self._keys, self._rows = keys, rows

    def add(self, status: Any, business: Business, contacts: Contacts) -> list[Link]:
        """Add the row of `status`; returns links it shows. Raises `Reject`."""
        if type(status) is not dict:
            raise Reject("status_not_object: expected an object")
        keys, rows = self._keys, self._rows
        message_id = required(status, "id")
        word = required(status, "status", CODE_CHARS)
        is_group = status.get("recipient_type") == "group"
        person, links = self._recipient(status, contacts, is_group)
        at_us = moment(status.get("timestamp"), rows.received_us)
        pricing = child(status, "pricing")
        billable = pricing.get("billable")
        content = (
            business.waba_id,
            business.phone_number_id,
            business.number_id,
            *keys.message(business.number_id, message_id),
            person.phone_key,
            person.bsuid_key,
            person.country,
            word,
            rows.received_us if at_us is None else at_us,
            "receipt" if at_us is None else "message",
            is_group,
            code(child(child(status, "conversation"), "origin"), "type"),
            code(pricing, "pricing_model"),
            code(pricing, "type"),
            code(pricing, "category"),
            billable if type(billable) is bool else None,
            error_code(status),
        )
        key = keys.content(orjson.dumps(content))
        rows.statuses.append((*rows.place(), *content, key))
        return links

    def _recipient(
        self, status: dict[str, Any], contacts: Contacts, is_group: bool
    ) -> tuple[Person, list[Link]]:
        """The person; in a group the participant, as `recipient_id` is the group's."""
        phone_at, bsuid_at, *parents_at = _PARTICIPANT if is_group else _RECIPIENT
        phone, bsuid, parent = text(status, phone_at), text(status, bsuid_at), None
        for parent_at in parents_at:
            if (parent := text(status, parent_at)) is not None:
                break
        person = self._keys.person(phone, bsuid, parent)
        links = links_of(person, "status")
        contact = contacts.find(phone, bsuid) if contacts is not NO_CONTACTS else None
        if contact is not None and contact != (phone, bsuid, None):
            person = merged(person, self._keys.person(*contact))
        return person, links
