"""The WhatsApp envelope: entries, changes, and the lists in them, element by element (E3).

Lists are recognised by their name, whatever the webhook field, so that no message in a new field is
lost. They may also be inside an object with the field's name, as in `standby`: chats that another
responder of the number controls count like our own (E78). For an unknown field, its name is stored,
and whether it holds people (E80).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ingestion.parser.changes import (
    HANDOVERS,
    KNOWN,
    LISTS_READ,
    OF_PEOPLE,
    READ_KEYS,
    STANDBY,
    Change,
    Inner,
    business_of,
    flat_echo,
    holds_people,
    inner_objects,
    is_echo,
    is_ordinary,
    match_key,
    name_of,
    sender_of,
    unread,
)
from ingestion.parser.declarations import Preferences
from ingestion.parser.events import ACCOUNT_FIELDS, Account, Handovers, Statuses, notices
from ingestion.parser.limits import MAX_LIST, Reject, Unfit, left_out, opened
from ingestion.parser.messages import Business, Messages
from ingestion.parser.people import NO_CONTACTS, Contacts, Keys, is_test_business, links_of
from ingestion.parser.rows import Path, Rows
from ingestion.parser.values import child, children, moment, settled, text

_RARE = LISTS_READ - {"messages", "statuses", "contacts"}


class WhatsApp:
    """Reads WhatsApp envelopes in Meta's format, from any provider, into `rows`."""

    def __init__(self, keys: Keys, rows: Rows) -> None:
        self._rows, self._keys = rows, keys
        self._messages = Messages(keys, rows)
        self._statuses = Statuses(keys, rows)
        self._account = Account(keys, rows, self._messages)
        self._preferences = Preferences(keys, rows, self._messages)
        self._handovers = Handovers(keys, rows, self._messages)

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` if it is not JSON."""
        self.read_value(self._rows.load(body))

    def read_value(self, body: Any) -> None:
        """Add the rows of a body as `Rows.load` gave it."""
        if type(body) is not dict:
            return self._rows.reject("envelope", (), "not_object: expected an object")
        entries, doubt = opened(body, "entry")
        if type(entries) is not list:
            reasons = (unfit.reason for unfit in self._rows.unfit)  # the likely cause
            reason = next(reasons, "entry_missing: expected a list of entries")
            return self._rows.reject("envelope", (), reason)
        if doubt is not None:
            self._rows.reject("envelope", (), doubt)
        for i, entry in enumerate(entries):
            self._entry(entry, ("entry", i), doubt)
        return None

    def _entry(self, entry: Any, path: Path, doubt: str | None) -> None:
        if type(entry) is not dict:
            return self._rows.reject("entry", path, "entry_not_object: expected an object")
        changes, own = opened(entry, "changes")
        if type(changes) is not list:
            reason = own or "changes_missing: expected a list of changes"
            return self._rows.reject("entry", path, reason)
        if own is not None:
            self._rows.reject("entry", path, own)
        try:
            waba_id = text(entry, "id")
        except Reject:
            left_out(entry["id"])
            waba_id = None
        for j, change in enumerate(changes):
            self._read_change(change, entry, waba_id, (*path, "changes", j), doubt or own)
        return None

    def _read_change(
        self, change: Any, entry: dict[str, Any], waba_id: str | None, path: Path, doubt: str | None
    ) -> None:
        if not self._rows.unfit and is_ordinary(change):
            value = change["value"]
            try:
                business = business_of(value, [], waba_id)
            except Reject:
                pass  # a wrong type: to be quarantined
            else:
                contacts = Contacts(value["contacts"]) if "contacts" in value else NO_CONTACTS
                at, time = (*path, "value"), entry.get("time")
                now = Change("messages", value, at, time, business, contacts, doubt)
                return self._read_lists(now)
        return self._read_any_change(change, entry, waba_id, path, doubt)

    def _read_any_change(
        self, change: Any, entry: dict[str, Any], waba_id: str | None, path: Path, doubt: str | None
    ) -> None:
        value, own = opened(change, "value") if type(change) is dict else (None, None)
        field = name_of(change) if type(change) is dict else ""
        if field == HANDOVERS and type(value) in (dict, list):
            return self._handover_notices(value, entry, waba_id, path, doubt or own)
        if type(value) is not dict:
            if field and field not in KNOWN:
                business = Business(waba_id, None, waba_id or "")
                self._record_unread(field, value, business, entry.get("time"), doubt)
            return self._rows.reject("change", path, own or "value_missing: expected an object")
        inner = inner_objects(field, value)
        try:
            settled(change, "field")  # the field decides who wrote
            business = business_of(value, inner, waba_id)
        except Reject as reject:
            own, business = own or str(reject), Business(waba_id, None, waba_id or "")
        if own is not None:
            self._rows.reject("change", path, own)
        raw_contacts = children(value, "contacts")
        for holder, _ in inner:
            raw_contacts = raw_contacts + children(holder, "contacts")
        contacts = Contacts(raw_contacts[:MAX_LIST]) if raw_contacts else NO_CONTACTS
        now = Change(
            field, value, (*path, "value"), entry.get("time"), business, contacts, doubt or own
        )
        self._read_lists(now, inner)
        if field in ACCOUNT_FIELDS and now.doubt is None:
            self._account.event(field, value, business, now.time)
        if field not in KNOWN:
            self._record_unread(field, value, business, now.time, now.doubt)
        elif field in OF_PEOPLE and (inner or not value.keys() <= READ_KEYS):
            self._record_unread(field, unread(value, inner), business, now.time, now.doubt)
        return None

    def _read_lists(self, now: Change, inner: Inner = ()) -> None:
        first_row = len(self._rows.messages), len(self._rows.statuses)
        self._lists(now)
        for holder, steps in inner:
            found_by = STANDBY if steps[0] == STANDBY else now.field
            at = (*now.path, *steps)
            self._lists(replace(now, field=found_by, value=holder, path=at))
        if now.contacts.have_ids and now.doubt is None:
            self._contact_links(now, first_row)

    def _handover_notices(
        self,
        value: Any,
        entry: dict[str, Any],
        waba_id: str | None,
        path: Path,
        doubt: str | None,
    ) -> None:
        def add(notice: Any, _: Path) -> None:
            # The number is in the notice's `recipient`, or in `metadata` as elsewhere.
            recipient = child(notice, "recipient") if type(notice) is dict else {}
            metadata = child(value, "metadata") if type(value) is dict else {}
            holder = {"metadata": recipient or metadata}
            self._handovers.add(notice, business_of(holder, [], waba_id), entry.get("time"))

        for k, notice in enumerate(notices(value)):
            reason = doubt
            if k >= MAX_LIST:
                reason = f"list_too_long: expected at most {MAX_LIST} elements"
            self._rows.take("handover", notice, (*path, "value", k), add, reason)

    def _record_unread(
        self, field: str, value: Any, business: Business, time: Any, doubt: str | None
    ) -> None:
        """Record what is not read: an unknown field, or people in a known one."""
        has_people = holds_people(value, business.number_id)
        business = business if doubt is None else Business(None, None, "")
        if has_people or field not in KNOWN:
            self._account.unread_field(field, business, time, holds_people=has_people)

    def _lists(self, now: Change) -> None:
        value = now.value
        if "messages" in value:
            self._live(now)
        if "statuses" in value and now.field != "calls":
            self._each(now, "statuses", "status", lambda s, _: self._status(s, now))
        if not _RARE.isdisjoint(value):
            self._rare_lists(now)

    def _rare_lists(self, now: Change) -> None:
        value, account = now.value, self._account
        if "message_echoes" in value:
            self._echoes(now)
        if "history" in value:
            self._history(now)
        if "calls" in value:
            self._calls(now)
        if "state_sync" in value:
            self._each(
                now, "state_sync", "state_sync", lambda s, _: account.app_contact(s, now.business)
            )
        if "user_id_update" in value:
            self._each(
                now, "user_id_update", "user_id_update",
                lambda s, _: account.new_user_id(s, now.business),
            )  # fmt: skip
        if "automatic_events" in value:
            self._each(
                now, "automatic_events", "outcome",
                lambda s, _: account.automatic_event(s, now.business, now.time),
            )  # fmt: skip
        if "user_preferences" in value:
            self._each(
                now, "user_preferences", "consent",
                lambda p, _: self._preferences.add(p, now.business, now.contacts),
            )  # fmt: skip
        if "errors" in value and now.field not in ACCOUNT_FIELDS:
            self._each(
                now, "errors", "error",
                lambda e, _: account.error(now.field, e, now.business, now.time),
            )  # fmt: skip

    # ---- lists -------------------------------------------------------------------------------

    def _live(self, now: Change) -> None:
        if now.field == "history" or now.field == STANDBY:
            return self._both_ways(now)
        read, business, contacts, field = self._messages.add, now.business, now.contacts, now.field
        return self._each(
            now, "messages", "message", lambda m, at: read(m, business, contacts, at, field=field)
        )

    def _both_ways(self, now: Change) -> None:
        """Media of a history sync come as ordinary messages, in both directions."""
        origin = "history" if now.field == "history" else "live"
        own = match_key(now.business.number_id)

        def add(message: Any, path: Path) -> None:
            sent = type(message) is dict and (sender_of(message) == own or is_echo(message))
            if sent and origin == "live":
                return self._echo(message, now, path)
            return self._messages.add(
                message, now.business, now.contacts, path, origin=origin,
                direction="outbound" if sent else "inbound", field=now.field,
            )  # fmt: skip

        self._each(now, "messages", "message", add)

    def _echoes(self, now: Change) -> None:
        self._each(now, "message_echoes", "message", lambda m, path: self._echo(m, now, path))

    def _echo(self, message: Any, now: Change, path: Path) -> None:
        """An outbound message, written by a colleague, another app or Meta's agent."""
        self._messages.add(
            flat_echo(message) if is_echo(message) else message, now.business, now.contacts, path,
            origin="echo", direction="outbound", field=now.field,
        )  # fmt: skip

    def _history(self, now: Change) -> None:
        own = match_key(now.business.number_id)
        for chunk, path, in_doubt in self._objects(now.value, "history", now.path, now.doubt):
            self._each(
                now, "errors", "error",
                lambda e, _: self._account.error(now.field, e, now.business, now.time),
                holder=chunk, holder_path=path, doubt=in_doubt,
            )  # fmt: skip
            for thread, thread_path, doubt in self._objects(chunk, "threads", path, in_doubt):
                try:
                    context = child(thread, "context")
                    chat = text(thread, "id") or text(context, "wa_id"), text(context, "user_id")
                except Reject as reject:
                    chat, doubt = (None, None), doubt or str(reject)
                self._thread(now, thread, thread_path, chat, doubt, own)

    def _thread(
        self,
        now: Change,
        thread: dict[str, Any],
        path: Path,
        chat: tuple[str | None, str | None],
        doubt: str | None,
        own: str,
    ) -> None:
        def add(message: Any, message_path: Path) -> None:
            sent = type(message) is dict and sender_of(message) == own
            self._messages.add(
                message, now.business, now.contacts, message_path, origin="history",
                direction="outbound" if sent else "inbound", thread=chat, field=now.field,
            )  # fmt: skip

        self._each(now, "messages", "message", add, holder=thread, holder_path=path, doubt=doubt)

    def _calls(self, now: Change) -> None:
        """A call that came from an ad is a touch (E22); of others only chat rules read the end."""

        def add(call: Any, path: Path) -> None:
            self._messages.add(call, now.business, now.contacts, path, kind="call", field=now.field)

        for k, call in enumerate(children(now.value, "calls")[:MAX_LIST]):
            if self._messages.signals is not None:
                self._messages.signals.call(call, now.business, now.contacts)
            if type(call) is dict and type(call.get("referral")) in (dict, Unfit):
                self._one(call, (*now.path, "calls", k), "message", add, now.doubt)

    def _status(self, status: Any, now: Change) -> None:
        if type(status) is dict and status.get("type") == "call":
            return  # a call that rang, not a message
        links = self._statuses.add(status, now.business, now.contacts)
        if links:
            at_us = self._rows.statuses[-1][12]
            self._messages.add_links(links, now.business, at_us)

    def _contact_links(self, now: Change, first_row: tuple[int, int]) -> None:
        """Link the ids of one contact, as of the earliest element that names one of them.

        Not as of the earliest element of the change: elements share a change by chance, and the
        time decides who had a number (E28). Only contacts that no element names get that time.
        """
        if is_test_business(*now.business[1:]):  # R14
            return
        people = [self._keys.person(*c) for c in now.contacts.all if c[1] or c[2]]
        named = [(person, links) for person in people if (links := links_of(person, "contact"))]
        if not named:
            return
        seen = [(row[13], row[10], row[11]) for row in self._rows.messages[first_row[0] :]]
        seen += [(row[12], row[8], row[9]) for row in self._rows.statuses[first_row[1] :]]
        first: dict[str | None, int] = {}
        for at, *keys in seen:
            for key in keys:
                first[key] = min(at, first.get(key, at))
        first.pop(None, None)
        otherwise = min(at for at, *_ in seen) if seen else moment(now.time, self._rows.received_us)
        otherwise = self._rows.received_us if otherwise is None else otherwise
        for person, links in named:
            times = [first[key] for key in person[:2] if key in first]
            self._messages.add_links(links, now.business, min(times, default=otherwise))

    # ---- element by element ------------------------------------------------------------------

    def _objects(
        self, holder: dict[str, Any], key: str, path: Path, doubt: str | None
    ) -> Iterator[tuple[dict[str, Any], Path, str | None]]:
        """Objects in a list of containers of other lists, each with its path and why it is in
        doubt."""
        items, own = opened(holder, key)
        if own is not None:
            self._rows.reject(key, (*path, key), own)
        if type(items) is not list:
            if items is not None:
                self._rows.reject(key, (*path, key), f"{key}_not_list: expected a list")
            return
        for k, item in enumerate(items):
            at = (*path, key, k)
            if type(item) is dict:
                yield item, at, doubt or own
            else:
                self._rows.reject(key, at, f"{key}_not_object: expected an object")

    def _each(
        self,
        now: Change,
        key: str,
        element: str,
        add: Callable[[Any, Path], None],
        *,
        holder: dict[str, Any] | None = None,
        holder_path: Path = (),
        doubt: str | None = None,
    ) -> None:
        """Run `add(item, path)` for every item of a list; items that it rejects are quarantined."""
        items, own = opened(now.value if holder is None else holder, key)
        path = (*(holder_path or now.path), key)
        if own is not None:
            self._rows.reject("change", path, own)
        if items is None:
            return
        if type(items) is not list:
            self._rows.reject("change", path, f"{key}_not_list: expected a list")
            return
        reason = doubt or now.doubt or own
        for k, item in enumerate(items):
            if k == MAX_LIST:
                reason = f"list_too_long: expected at most {MAX_LIST} elements"
            self._one(item, (*path, k), element, add, reason)

    def _one(
        self,
        item: Any,
        path: Path,
        element: str,
        add: Callable[[Any, Path], None],
        doubt: str | None,
    ) -> None:
        doubt = doubt or (item.reason if type(item) is Unfit else None)
        self._rows.take(element, item, path, add, doubt)
