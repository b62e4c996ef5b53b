"""One change of a WhatsApp webhook: its field, where its lists are, and whose number it is about.

Meta moves content to new fields without notice (`standby`, August 2026: listeners lost their
leads). An unknown field is counted by its name, and so is a known field with people in a list that
is not read. Whether it holds messages or people is found by searching it, within limits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ctwa.pseudonym import phone_match_key
from ingestion.parser.events import ACCOUNT_FIELDS
from ingestion.parser.limits import MAX_LIST, Unfit, opened
from ingestion.parser.messages import Business
from ingestion.parser.people import Contacts, has_bsuid
from ingestion.parser.rows import Path
from ingestion.parser.values import CODE_CHARS, child, read_only, text

STANDBY = "standby"
"""Events of chats that another responder of the number controls."""
HANDOVERS = "messaging_handovers"

OF_PEOPLE = frozenset(
    {
        "automatic_events",
        "calls",
        "history",
        "message_echoes",
        "messages",
        "smb_app_state_sync",
        "smb_message_echoes",
        STANDBY,
        "user_id_update",
        "user_preferences",
    }
)
"""Fields whose lists of people's messages and ids are read."""

KNOWN = (
    OF_PEOPLE
    | ACCOUNT_FIELDS
    | {
        HANDOVERS,
        # Documented by Meta, not used here.
        "business_status_update",
        "business_username_updates",
        "campaign_status_update",
        "flows",
        "group_lifecycle_update",
        "group_participants_update",
        "group_settings_update",
        "group_status_update",
        "message_template_components_update",
        "payment_configuration_update",
        "template_correct_category_detection",
        "tracking_events",
    }
)

NO_NAME, UNREADABLE = "(none)", "(unreadable)"
_NAME = re.compile(r"[A-Za-z](?:[A-Za-z_]|[0-9](?![0-9]{3}))*")
"""Names as Meta writes them: never a phone number, an address or a user id."""

_MOST_VALUES = 5_000
_LISTS = frozenset({"messages", "contacts", "statuses", "message_echoes", "calls", "participants"})
_IDS = frozenset(
    {
        "ctwa_clid",
        "from_parent_user_id",
        "from_user_id",
        "parent_user_id",
        "recipient_id",
        "recipient_user_id",
        "referral",
        "to_user_id",
        "user_id",
        "wa_id",
    }
)
_NUMBERS = frozenset({"from", "phone", "phone_number", "recipient", "to"})
_OURS = frozenset({"metadata"})
_DIGITS = re.compile(r"\+?[0-9 ().-]{7,24}")
_SOMEBODY = re.compile(r"\+[0-9][0-9 ().-]{7,24}|[A-Z]{2}\.(ENT\.)?[0-9][A-Za-z0-9]{3,127}")


def name_of(change: dict[str, Any]) -> str:
    """The change's field as it may be stored: a short word, `NO_NAME` or `UNREADABLE`."""
    name = read_only(change.get("field"))
    if type(name) is str and name in KNOWN:
        return name
    if name is None or name == "":
        return NO_NAME
    fits = type(name) is str and len(name) <= CODE_CHARS and _NAME.fullmatch(name)
    return name if fits else UNREADABLE


def holds_people(value: Any, own_number: str) -> bool:
    """Whether messages, people or their ids are anywhere in `value`.

    `own_number`: digits of the business's own number, which is ignored. If there are more than
    `_MOST_VALUES` values, the search stops and people are assumed: better a false alarm.
    """
    level, seen = [value] if type(value) in (dict, list) else [], 0
    while level:
        below: list[Any] = []
        for item in level:
            if type(item) is dict:
                if any(_speaks_of_people(k, v, own_number) for k, v in item.items()):
                    return True
                inner: Iterable[Any] = (v for k, v in item.items() if k not in _OURS)
            else:
                inner = item
            for found in inner:
                seen += 1
                if seen > _MOST_VALUES:
                    return True
                if type(found) in (dict, list):
                    below.append(found)
        level = below
    return False


def _speaks_of_people(key: str, value: Any, own_number: str) -> bool:
    if not value:
        return False
    if type(value) is Unfit:
        return key in _LISTS or key in _IDS or key in _NUMBERS
    if key in _LISTS:
        return type(value) in (dict, list)
    if key in _IDS:
        return type(value) in (str, int, dict)
    if key not in _NUMBERS or type(value) not in (str, int):
        # Under an unknown key, only what cannot be anything else: an id, or a number with a plus.
        return (
            type(value) is str and bool(_SOMEBODY.fullmatch(value)) and not _is(value, own_number)
        )
    text = str(value)[:100]
    if has_bsuid(text):
        return True
    digits = "".join(c for c in text if c.isdigit())
    return bool(_DIGITS.fullmatch(text)) and len(digits) >= 7 and digits != own_number


def _is(number: str, own_number: str) -> bool:
    return "".join(c for c in number if c.isdigit()) == own_number


LISTS_READ = frozenset((
    "messages", "statuses", "message_echoes", "history", "state_sync", "user_id_update",
    "automatic_events", "user_preferences", "calls", "errors", "contacts",
))  # fmt: skip
READ_KEYS = LISTS_READ | {"messaging_product", "metadata"}
"""Keys of a value that are read, or hold no people."""

_ORDINARY = frozenset({"messages", "statuses", "contacts", "messaging_product", "metadata"})


@dataclass(slots=True)
class Change:
    """One change being read. `value`: the object with its lists; `path`: where that object is."""

    field: str
    value: dict[str, Any]
    path: Path
    time: Any
    business: Business
    contacts: Contacts
    doubt: str | None  # why nothing in it can be trusted, or None


def is_ordinary(change: Any) -> bool:
    """Whether a change is like nearly all: nothing but messages and statuses. If nothing in the
    body is unfit either, it needs no search for what other changes may hold."""
    if type(change) is not dict or change.get("field") != "messages":
        return False
    value = change.get("value")
    if type(value) is not dict or not value.keys() <= _ORDINARY:
        return False
    contacts = value.get("contacts", [])
    return type(contacts) is list and len(contacts) <= MAX_LIST


_PUNCTUATION = str.maketrans("", "", "+-() .")

Inner = Sequence[tuple[dict[str, Any], Path]]
"""Objects in a value that hold lists of their own, and their paths in it."""


def inner_objects(field: str, value: dict[str, Any]) -> Inner:
    """Objects under `standby` and under the field's own name, which may hold the field's lists."""
    if field == "messages" and STANDBY not in value:
        return []  # the usual case
    found: list[tuple[dict[str, Any], Path]] = []
    for key in dict.fromkeys((STANDBY, field)):
        held, _ = opened(value, key)
        if type(held) is dict and key not in LISTS_READ:
            found.append((held, (key,)))
        elif type(held) is list and key == STANDBY:
            found += [(h, (key, k)) for k, h in enumerate(held[:MAX_LIST]) if type(h) is dict]
    return found


def unread(value: dict[str, Any], inner: Inner) -> list[dict[str, Any]]:
    """The parts of a value that are neither a known list nor one of its `inner` objects."""
    held = {steps[0] for _, steps in inner}
    left = [{key: item for key, item in value.items() if key not in READ_KEYS and key not in held}]
    return left + [
        {key: item for key, item in holder.items() if key not in READ_KEYS} for holder, _ in inner
    ]


def is_echo(message: Any) -> bool:
    """Whether it is the echo of a send request: `{"id", "timestamp", "message"}`."""
    return (
        type(message) is dict
        and type(message.get("message")) is dict
        and "from" not in message
        and "from_user_id" not in message
    )


def flat_echo(echo: dict[str, Any]) -> dict[str, Any]:
    """The echo of a send request, flattened to the form of the business app's echoes."""
    sent = echo["message"]
    flat = sent | {key: item for key, item in echo.items() if key != "message"}
    if sent.get("recipient_type") == "group":
        return {k: v for k, v in flat.items() if k != "to"} | {"group_id": sent.get("to")}
    if "to_user_id" not in flat and type(sent.get("recipient")) is str:
        flat["to_user_id"] = sent["recipient"]  # instead of `to`, if the phone is unknown
    return flat


def business_of(value: dict[str, Any], inner: Inner, waba_id: str | None) -> Business:
    metadata = child(value, "metadata")
    for holder, _ in inner:
        metadata = metadata or child(holder, "metadata")
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
    """Digits of a phone number, or '' if the text is something else."""
    digits = number.translate(_PUNCTUATION)
    return digits if digits.isascii() and digits.isdigit() else ""


def match_key(number: str) -> str:
    """One key for all spellings of a number; the business's own number has several too."""
    digits = _digits(number)
    return phone_match_key(digits) or digits


def sender_of(message: dict[str, Any]) -> str:
    sender = message.get("from")
    return match_key(str(sender)) if type(sender) in (str, int) else ""
