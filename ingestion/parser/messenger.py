"""Messenger and Instagram: entries, and the events of their chats, element by element.

An event with a message, a postback or an ad's referral is put into the words of WhatsApp's
messages and goes their way. Others (delivered, read, reactions, opt-ins ...) tell nothing of where
somebody came from. A referral that is no ad's (a link, a code) is none here either: it has no
post and no ad to name.
"""

from __future__ import annotations

from typing import Any

from ingestion.parser.limits import MAX_LIST, Reject, hostile, read_body
from ingestion.parser.messages import Business, Messages, Scoped
from ingestion.parser.people import NO_CONTACTS, Keys
from ingestion.parser.referral import KEYS
from ingestion.parser.rows import Path, Rows
from ingestion.parser.values import child, children, code, moment, required, text

APPS = {"page": "messenger", "instagram": "instagram"}

_LISTS = ("messaging", "standby")
"""`standby`: what another app of the page has in hand."""
_FIELDS = frozenset(
    {"messages", "message_echoes", "messaging_postbacks", "messaging_referrals",
     "messaging_referral"}
)  # fmt: skip
"""Webhook fields whose change holds one event as its value."""
_KINDS = ("message", "postback", "referral")
_FIRST_MS = 10**11
"""From here on a number counts milliseconds: in seconds it would be the year 5138."""
_UNDERSTOOD = frozenset(
    {"ad_id", "source", "type", "referer_uri", "ads_context_data", "ad_title", "photo_url"}
)


class Messenger:
    """Reads envelopes of source `messenger` into `rows`."""

    def __init__(self, keys: Keys, rows: Rows) -> None:
        self._rows = rows
        self._messages = Messages(keys, rows)
        self._suspicious = False
        self._app = ""

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` where nothing of it can be read."""
        value, self._suspicious = read_body(body)
        if type(value) is not dict:
            raise Reject("not_object: expected an object")
        app = APPS.get(code(value, "object") or "")
        if app is None:
            raise Reject(f"object_unknown: expected one of {', '.join(APPS)}")
        self._app = app
        entries = value.get("entry")
        if type(entries) is not list:
            raise Reject("entry_missing: expected a list of entries")
        doubt = self._doubt(value, ("entry",))
        if doubt is not None:
            self._rows.reject("envelope", (), doubt)
        for i, entry in enumerate(entries):
            self._entry(entry, ("entry", i), doubt)

    def _entry(self, entry: Any, path: Path, doubt: str | None) -> None:
        if type(entry) is not dict:
            return self._rows.reject("entry", path, "entry_not_object: expected an object")
        own = self._doubt(entry, (*_LISTS, "changes"))
        if own is not None:
            self._rows.reject("entry", path, own)
        for key in _LISTS:
            items = entry.get(key)
            if items is not None and type(items) is not list:
                self._rows.reject("entry", (*path, key), f"{key}_not_list: expected a list")
            for k, item in enumerate(children(entry, key)):
                self._event(item, (*path, key, k), doubt or own, k)
        for k, change in enumerate(children(entry, "changes")):
            if type(change) is dict and code(change, "field") in _FIELDS:
                self._event(change.get("value"), (*path, "changes", k, "value"), doubt or own, k)
        return None

    def _event(self, event: Any, path: Path, doubt: str | None, place: int) -> None:
        """One event: a message (R1), unless it is an object that plainly is something else."""
        if type(event) is dict and not _is_message(event):
            return
        if place >= MAX_LIST:
            doubt = doubt or f"list_too_long: expected at most {MAX_LIST} elements"
        if doubt is None:
            doubt = self._doubt(event, ())
        self._rows.take("message", event, path, self._add, doubt)

    def _add(self, event: Any, path: Path) -> None:
        if type(event) is not dict:
            raise Reject("event_not_object: expected an object")
        kind = next(kind for kind in _KINDS if event.get(kind) is not None)
        content = event[kind]
        if type(content) is not dict:
            raise Reject(f"{kind}_not_object: expected an object")
        is_echo = content.get("is_echo") is True
        person_at, page_at = ("recipient", "sender") if is_echo else ("sender", "recipient")
        user_id = text(child(event, person_at), "id")
        if user_id is None:
            raise Reject(f"person_missing: expected {person_at}.id")
        page_id = text(child(event, page_at), "id")
        if page_id is None:
            raise Reject(f"page_missing: expected {page_at}.id")
        referral = content if kind == "referral" else content.get("referral")
        referral = event.get("referral") if referral is None else referral
        message: dict[str, Any] = {
            "id": text(content, "mid") or _made_id(event, kind, content, user_id),
            "type": _type(kind, content),
            "text": {"body": content.get("text")},
            "context": {"id": child(content, "reply_to").get("mid")},
            "referral": _ad(referral),
        }
        self._messages.add(
            message, Business(None, None, page_id), NO_CONTACTS, path,
            origin="echo" if is_echo else "live",
            direction="outbound" if is_echo else "inbound",
            scoped=Scoped(self._app, user_id, _moment(event.get("timestamp"), self._rows)),
        )  # fmt: skip

    def _doubt(self, holder: Any, lists: tuple[str, ...]) -> str | None:
        return hostile(holder, lists) if self._suspicious else None


def _is_message(event: dict[str, Any]) -> bool:
    """Whether an event is a message, a button's postback, or a tap on an ad without either."""
    if event.get("message") is not None or event.get("postback") is not None:
        return True
    referral = event.get("referral")
    return referral is not None and (type(referral) is not dict or _is_ad(referral))


def _is_ad(referral: dict[str, Any]) -> bool:
    source = referral.get("source")
    return (type(source) is str and source.upper() == "ADS") or referral.get("ad_id") is not None


def _ad(referral: Any) -> dict[str, Any] | None:
    """The referral of an ad, named as WhatsApp names it; what it lacks there keeps its name."""
    if referral is None:
        return None
    if type(referral) is not dict:
        raise Reject("referral_not_object: expected an object")
    if not _is_ad(referral):
        return None
    context = child(referral, "ads_context_data")
    found = {
        key: value
        for key, value in (context | referral).items()
        if key not in _UNDERSTOOD and key not in KEYS
    }
    found |= {
        "source_type": "ad",
        "source_id": referral.get("ad_id"),
        "source_url": referral.get("referer_uri"),
        "headline": context.get("ad_title"),
        "image_url": context.get("photo_url"),
        "video_url": context.get("video_url"),
    }
    for media in ("video", "image"):
        if found[f"{media}_url"]:
            found.setdefault("media_type", media)
    return found


def _made_id(event: dict[str, Any], kind: str, content: dict[str, Any], user_id: str) -> str | None:
    """An id that every copy of an event without one gets alike; a message has one."""
    if kind == "message":
        return None
    return f"{kind}:{user_id}:{required(event, 'timestamp')}:{text(content, 'ad_id') or ''}"


def _type(kind: str, content: dict[str, Any]) -> str:
    if kind != "message":
        return kind
    if content.get("is_deleted") is True:
        return "revoke"
    if content.get("is_unsupported") is True:
        return "unsupported"
    attachments = children(content, "attachments")
    first = attachments[0] if attachments and type(attachments[0]) is dict else {}
    return code(first, "type") or "text"


def _moment(value: Any, rows: Rows) -> int | None:
    """Milliseconds, or seconds in some shapes, as microseconds (E13)."""
    if type(value) is str and len(value) <= 15 and value.isascii() and value.isdigit():
        value = int(value)
    if type(value) is not int or value < _FIRST_MS:
        return moment(value, rows.received_us)
    whole, rest = divmod(value, 1_000)
    seconds = moment(whole, rows.received_us)
    return None if seconds is None else seconds + rest * 1_000
