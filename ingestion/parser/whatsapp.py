"""The WhatsApp envelope: entries, changes, and the lists in them, element by element (E3).

Lists are recognised by their name, whatever the webhook field: a new field that carries messages
loses none. Of a field that is not known, only the envelope's row is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ctwa.pseudonym import phone_match_key
from ingestion.parser.account import ACCOUNT_FIELDS, Account
from ingestion.parser.consents import Preferences
from ingestion.parser.limits import MAX_LIST, Reject, hostile, read_body
from ingestion.parser.messages import Business, Messages, links_of
from ingestion.parser.people import NO_CONTACTS, Contacts, Keys
from ingestion.parser.rows import Path, Rows
from ingestion.parser.statuses import Statuses
from ingestion.parser.values import child, children, code, moment, text

_LISTS = (
    "messages", "statuses", "message_echoes", "history", "state_sync", "user_id_update",
    "automatic_events", "user_preferences", "calls", "errors", "contacts",
)  # fmt: skip
_RARE = frozenset(_LISTS) - {"messages", "statuses", "contacts"}
_NO_DIGITS = str.maketrans("", "", "+-() .")


@dataclass(slots=True)
class _Change:
    """One change being read."""

    field: str
    value: dict[str, Any]
    path: Path
    time: Any
    business: Business
    contacts: Contacts
    doubt: str | None  # why nothing in it can be trusted


class WhatsApp:
    """Reads envelopes as Meta writes them for WhatsApp, whoever passes them on, into `rows`."""

    def __init__(self, keys: Keys, rows: Rows) -> None:
        self._rows, self._keys = rows, keys
        self._messages = Messages(keys, rows)
        self._statuses = Statuses(keys, rows)
        self._account = Account(keys, rows, self._messages)
        self._preferences = Preferences(keys, rows, self._messages)
        self._suspicious = False

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` where it is not JSON."""
        self.read_value(*read_body(body))

    def read_value(self, body: Any, suspicious: bool) -> None:
        """Add the rows of a body as `read_body` gave it."""
        self._suspicious = suspicious
        if type(body) is not dict:
            return self._rows.reject("envelope", (), "not_object: expected an object")
        entries = body.get("entry")
        if type(entries) is not list:
            return self._rows.reject("envelope", (), "entry_missing: expected a list of entries")
        doubt = self._doubt(body, ("entry",))
        if doubt is not None:
            self._rows.reject("envelope", (), doubt)
        for i, entry in enumerate(entries):
            self._entry(entry, ("entry", i), doubt)
        return None

    def _entry(self, entry: Any, path: Path, doubt: str | None) -> None:
        if type(entry) is not dict:
            return self._rows.reject("entry", path, "entry_not_object: expected an object")
        changes = entry.get("changes")
        if type(changes) is not list:
            return self._rows.reject("entry", path, "changes_missing: expected a list of changes")
        own = self._doubt(entry, ("changes",))
        if own is not None:
            self._rows.reject("entry", path, own)
        try:
            waba_id = text(entry, "id")
        except Reject:
            waba_id = None
        for j, change in enumerate(changes):
            self._read_change(change, entry, waba_id, (*path, "changes", j), doubt or own)
        return None

    def _read_change(
        self, change: Any, entry: dict[str, Any], waba_id: str | None, path: Path, doubt: str | None
    ) -> None:
        value = change.get("value") if type(change) is dict else None
        if type(value) is not dict:
            return self._rows.reject("change", path, "value_missing: expected an object")
        own = self._doubt(change, ("value",)) or self._doubt(value, _LISTS)
        try:
            business = _business(value, waba_id)
        except Reject as reject:
            own, business = own or str(reject), Business(waba_id, None, waba_id or "")
        if own is not None:
            self._rows.reject("change", path, own)
        raw_contacts = children(value, "contacts")
        if self._suspicious:
            raw_contacts = [c for c in raw_contacts[:MAX_LIST] if hostile(c) is None]
        contacts = Contacts(raw_contacts) if raw_contacts else NO_CONTACTS
        field = code(change, "field") or "unknown"
        now = _Change(
            field, value, (*path, "value"), entry.get("time"), business, contacts, doubt or own
        )
        self._lists(now)
        if field in ACCOUNT_FIELDS and now.doubt is None:
            self._account.event(field, value, business, now.time)
        return None

    def _lists(self, now: _Change) -> None:
        value = now.value
        first_row = len(self._rows.messages), len(self._rows.statuses)
        if "messages" in value:
            self._live(now)
        if "statuses" in value and now.field != "calls":
            self._each(now, "statuses", "status", lambda s, _: self._status(s, now))
        if not _RARE.isdisjoint(value):
            self._rare_lists(now)
        if now.contacts is not NO_CONTACTS and now.doubt is None:
            self._contact_links(now, first_row)

    def _rare_lists(self, now: _Change) -> None:
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
            self._each(now, "automatic_events", "outcome", lambda s, _: account.automatic_event(s))
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

    def _live(self, now: _Change) -> None:
        origin = "history" if now.field == "history" else "live"
        own = _match_key(now.business.number_id)

        def add(message: Any, path: Path) -> None:
            # Media of a history sync comes as plain messages, of both directions.
            sent = origin == "history" and type(message) is dict and _sender(message) == own
            self._messages.add(
                message, now.business, now.contacts, path,
                origin=origin, direction="outbound" if sent else "inbound",
            )  # fmt: skip

        self._each(now, "messages", "message", add)

    def _echoes(self, now: _Change) -> None:
        def add(message: Any, path: Path) -> None:
            self._messages.add(
                message, now.business, now.contacts, path, origin="echo", direction="outbound"
            )

        self._each(now, "message_echoes", "message", add)

    def _history(self, now: _Change) -> None:
        own = _match_key(now.business.number_id)
        for chunk, path in self._objects(now.value, "history", now.path, now.doubt):
            self._each(
                now, "errors", "error",
                lambda e, _: self._account.error(now.field, e, now.business, now.time),
                holder=chunk, holder_path=path,
            )  # fmt: skip
            for thread, thread_path in self._objects(chunk, "threads", path, now.doubt):
                try:
                    context = child(thread, "context")
                    chat = text(thread, "id") or text(context, "wa_id"), text(context, "user_id")
                    doubt = now.doubt or self._doubt(thread, ("messages",))
                except Reject as reject:
                    chat, doubt = (None, None), now.doubt or str(reject)
                self._thread(now, thread, thread_path, chat, doubt, own)

    def _thread(
        self,
        now: _Change,
        thread: dict[str, Any],
        path: Path,
        chat: tuple[str | None, str | None],
        doubt: str | None,
        own: str,
    ) -> None:
        def add(message: Any, message_path: Path) -> None:
            sent = type(message) is dict and _sender(message) == own
            self._messages.add(
                message, now.business, now.contacts, message_path, origin="history",
                direction="outbound" if sent else "inbound", thread=chat,
            )  # fmt: skip

        self._each(now, "messages", "message", add, holder=thread, holder_path=path, doubt=doubt)

    def _calls(self, now: _Change) -> None:
        """A call that an ad started is a touch (E22); other calls are not needed."""

        def add(call: Any, path: Path) -> None:
            self._messages.add(call, now.business, now.contacts, path, kind="call")

        for k, call in enumerate(children(now.value, "calls")[:MAX_LIST]):
            if type(call) is dict and type(call.get("referral")) is dict:
                self._one(call, (*now.path, "calls", k), "message", add, now.doubt)

    def _status(self, status: Any, now: _Change) -> None:
        links = self._statuses.add(status, now.business, now.contacts)
        if links:
            at_us = self._rows.statuses[-1][12]
            self._messages.add_links(links, now.business, at_us)

    def _contact_links(self, now: _Change, first_row: tuple[int, int]) -> None:
        """Ids that one contact names together, seen at the earliest element that names one of them.

        Not at the earliest of the change: what travels together is luck, and the time decides who
        had a number (E28). Only a contact that no element names has nothing better.
        """
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
        if otherwise is None:
            otherwise = self._rows.received_us
        for person, links in named:
            times = [first[key] for key in person[:2] if key in first]
            self._messages.add_links(links, now.business, min(times, default=otherwise))

    # ---- element by element ------------------------------------------------------------------

    def _objects(
        self, holder: dict[str, Any], key: str, path: Path, doubt: str | None
    ) -> Iterator[tuple[dict[str, Any], Path]]:
        """Objects of a list that only holds other lists."""
        items = holder.get(key)
        if type(items) is not list:
            if items is not None:
                self._rows.reject(key, (*path, key), f"{key}_not_list: expected a list")
            return
        for k, item in enumerate(items):
            at = (*path, key, k)
            if type(item) is dict:
                yield item, at
            else:
                self._rows.reject(key, at, f"{key}_not_object: expected an object")

    def _each(
        self,
        now: _Change,
        key: str,
        element: str,
        add: Callable[[Any, Path], None],
        *,
        holder: dict[str, Any] | None = None,
        holder_path: Path = (),
        doubt: str | None = None,
    ) -> None:
        """Run `add(item, path)` for every item of a list; what it refuses is quarantined."""
        items = (now.value if holder is None else holder).get(key)
        path = (*(holder_path or now.path), key)
        if items is None:
            return
        if type(items) is not list:
            self._rows.reject("change", path, f"{key}_not_list: expected a list")
            return
        for k, item in enumerate(items):
            reason = doubt or now.doubt
            if k >= MAX_LIST:
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
        if doubt is None and self._suspicious:
            doubt = hostile(item)
        self._rows.take(element, item, path, add, doubt)

    def _doubt(self, holder: dict[str, Any], lists: tuple[str, ...]) -> str | None:
        return hostile(holder, lists) if self._suspicious else None


def _business(value: dict[str, Any], waba_id: str | None) -> Business:
    metadata = child(value, "metadata")
    return _known_business(
        waba_id, text(metadata, "phone_number_id"), text(metadata, "display_phone_number")
    )


@lru_cache(1_024)
def _known_business(
    waba_id: str | None, phone_number_id: str | None, display_number: str | None
) -> Business:
    shown = _digits(display_number or "")
    return Business(waba_id, phone_number_id, shown or phone_number_id or waba_id or "")


def _digits(number: str) -> str:
    """Digits of a phone number, or nothing where the text is something else."""
    digits = number.translate(_NO_DIGITS)
    return digits if digits.isascii() and digits.isdigit() else ""


def _match_key(number: str) -> str:
    """A number by which it is told in all its spellings: the business's own has several, too."""
    digits = _digits(number)
    return phone_match_key(digits) or digits


def _sender(message: dict[str, Any]) -> str:
    sender = message.get("from")
    return _match_key(str(sender)) if type(sender) in (str, int) else ""
