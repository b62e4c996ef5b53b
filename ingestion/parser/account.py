"""Webhook fields that are not about messages: account events, suggested outcomes, contact books."""

from __future__ import annotations

from typing import Any

from ingestion.parser.limits import Reject
from ingestion.parser.messages import Business, Link, Messages, id_change_links, links_of
from ingestion.parser.outcomes import Outcome, add_outcome
from ingestion.parser.people import Keys
from ingestion.parser.rows import Rows
from ingestion.parser.values import (
    CODE_CHARS,
    child,
    code,
    error_code,
    moment,
    money,
    required,
    text,
)

AUTOMATIC_SOURCE = "meta_automatic_events"
"""Source of outcomes that Meta guesses from chats: a suggestion, told apart from the CRM's."""

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
        """A change of an account, a number or a template: what happened, not the texts."""
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
        rows.account_events.append((*rows.place(), *business, field, event, number, at_us))

    def automatic_event(self, item: Any) -> None:
        """A lead or purchase that Meta detected in a chat."""
        if type(item) is not dict:
            raise Reject("automatic_event_not_object: expected an object")
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
        """Field `user_id_update`: a BSUID was replaced; two spellings are seen."""
        if type(item) is not dict:
            raise Reject("user_id_update_not_object: expected an object")
        ids = item.get("user_id")
        if type(ids) is dict:
            old_id, new_id = text(ids, "previous"), text(ids, "current")
        else:
            old_id, new_id = text(item, "previous_user_id"), text(item, "user_id")
        phone = text(item, "wa_id")
        old, new = self._keys.person(phone, old_id), self._keys.person(phone, new_id)
        links = id_change_links(old, new) + links_of(new, "contact")
        self._link(links, business, moment(item.get("timestamp"), self._rows.received_us))

    def _link(self, links: list[Link], business: Business, at_us: int | None) -> None:
        received = self._rows.received_us
        self._messages.add_links(links, business, received if at_us is None else at_us)
