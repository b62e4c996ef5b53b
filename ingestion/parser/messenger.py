"""Pages and Instagram: entries, the events of their chats, notices of forms, element by element.

An event with a message, a postback or an ad's referral is put into the words of WhatsApp's messages
and then treated like them. Other events (delivered, read, reactions, opt-ins ...) say nothing about
where somebody came from. A referral that does not come from an ad (a link, a code) is ignored: it
names no post and no ad.
"""

from __future__ import annotations

from typing import Any

from ingestion.parser.lead_forms import FIELD as LEADGEN
from ingestion.parser.lead_forms import FormNotices
from ingestion.parser.limits import MAX_LIST, Reject, Unfit, opened
from ingestion.parser.messages import KEYS, Business, Messages, Scoped
from ingestion.parser.people import NO_CONTACTS, Keys
from ingestion.parser.rows import Path, Rows
from ingestion.parser.values import (
    child,
    children,
    code,
    extra,
    moment,
    required,
    settled,
    text,
)

APPS = {"page": "messenger", "instagram": "instagram"}

_LISTS = ("messaging", "standby")
"""`standby`: events of chats that another app of the page controls."""
_FIELDS = frozenset(
    {"messages", "message_echoes", "messaging_postbacks", "messaging_referrals",
     "messaging_referral"}
)  # fmt: skip
"""Webhook fields whose change has a single event as its value."""
_KINDS = ("message", "postback", "referral")
_FIRST_MS = 10**11
"""Numbers from here on are milliseconds: in seconds this would be the year 5138."""
_UNDERSTOOD = frozenset(
    {"ad_id", "source", "type", "referer_uri", "ads_context_data", "ad_title", "photo_url"}
)


class Messenger:
    """Reads envelopes of source `messenger` into `rows`."""

    def __init__(self, keys: Keys, rows: Rows) -> None:
        self._rows = rows
        self._messages = Messages(keys, rows)
        self._notices = FormNotices(keys, rows)
        self._app = ""
        self._page_id: Any = None

    def is_about_a_page(self, body: bytes) -> bool:
        """Whether the body's object is a page; false for what cannot be read."""
        try:
            value = self._rows.load(body)
        except Reject:
            return False
        return type(value) is dict and code(value, "object") == "page"

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` if nothing in it can be read."""
        value = self._rows.load(body)
        if type(value) is not dict:
            raise Reject("not_object: expected an object")
        app = APPS.get(code(value, "object") or "")
        if app is None:
            raise Reject(f"object_unknown: expected one of {', '.join(APPS)}")
        self._app = app
        entries, doubt = opened(value, "entry")
        if type(entries) is not list:
            raise Reject(doubt or "entry_missing: expected a list of entries")
        if doubt is not None:
            self._rows.reject("envelope", (), doubt)
        for i, entry in enumerate(entries):
            self._entry(entry, ("entry", i), doubt)

    def _entry(self, entry: Any, path: Path, doubt: str | None) -> None:
        if type(entry) is not dict:
            return self._rows.reject("entry", path, "entry_not_object: expected an object")
        self._page_id = entry.get("id")
        for key in (*_LISTS, "changes"):
            items, own = opened(entry, key)
            if own is not None:
                self._rows.reject("entry", (*path, key), own)
            elif items is not None and type(items) is not list and key != "changes":
                self._rows.reject("entry", (*path, key), f"{key}_not_list: expected a list")
            for k, item in enumerate(items if type(items) is list else ()):
                at = (*path, key, k)
                if key != "changes":
                    self._event(item, at, doubt or own, k)
                elif type(item) is dict and code(item, "field") in _FIELDS:
                    self._event(item.get("value"), (*at, "value"), doubt or own, k)
                elif type(item) is dict and code(item, "field") == LEADGEN:
                    value, why = opened(item, "value")
                    add = self._notices.add
                    self._rows.take("form_notice", value, (*at, "value"), add, doubt or own or why)
        return None

    def _event(self, event: Any, path: Path, doubt: str | None, place: int) -> None:
        """Read one event: it counts as a message (R1) unless it is clearly something else."""
        if type(event) is dict and not _is_message(event):
            return
        if place >= MAX_LIST:
            doubt = doubt or f"list_too_long: expected at most {MAX_LIST} elements"
        if type(event) is Unfit:
            doubt = doubt or event.reason
        self._rows.take("message", event, path, self._add, doubt)

    def _add(self, event: Any, path: Path) -> None:
        if type(event) is not dict:
            raise Reject("event_not_object: expected an object")
        kind = next(kind for kind in _KINDS if event.get(kind) is not None)
        content = settled(event, kind)
        if type(content) is not dict:
            raise Reject(f"{kind}_not_object: expected an object")
        is_echo = self._is_echo(event, content)
        person_at, page_at = ("recipient", "sender") if is_echo else ("sender", "recipient")
        user_id = text(child(event, person_at), "id")
        if user_id is None:
            raise Reject(f"person_missing: expected {person_at}.id")
        page_id = text(child(event, page_at), "id")
        if page_id is None:
            raise Reject(f"page_missing: expected {page_at}.id")
        referral = content if kind == "referral" else settled(content, "referral")
        referral = settled(event, "referral") if referral is None else referral
        message: dict[str, Any] = {
            "id": text(content, "mid") or _made_id(event, kind, content, user_id),
            "type": _type(kind, content),
            "text": {"body": content.get("text")},
            "context": {"id": extra(content, "reply_to").get("mid")},
            "referral": _ad(referral),
        }
        self._messages.add(
            message, Business(None, None, page_id), NO_CONTACTS, path,
            origin="echo" if is_echo else "live",
            direction="outbound" if is_echo else "inbound",
            scoped=Scoped(self._app, user_id, _moment(event.get("timestamp"), self._rows)),
            field="standby" if "standby" in path else "messaging",
        )  # fmt: skip

    def _is_echo(self, event: dict[str, Any], content: dict[str, Any]) -> bool:
        """Whether the page wrote it. The entry's id is the page's: if it is one of the two ends,
        that end is ours, so a person's id is never taken for a page's."""
        ends = [child(event, end).get("id") for end in ("sender", "recipient")]
        if ends.count(self._page_id) == 1:
            return bool(ends[0] == self._page_id)
        flag = settled(content, "is_echo")
        return flag is True or (type(flag) is str and flag.lower() == "true")


def _is_message(event: dict[str, Any]) -> bool:
    """Whether an event is a message, a button's postback, or only a tap on an ad."""
    if event.get("message") is not None or event.get("postback") is not None:
        return True
    referral = event.get("referral")
    return referral is not None and (type(referral) is not dict or _is_ad(referral))


def _is_ad(referral: dict[str, Any]) -> bool:
    source = referral.get("source")
    return (type(source) is str and source.upper() == "ADS") or referral.get("ad_id") is not None


def _ad(referral: Any) -> dict[str, Any] | None:
    """An ad's referral in WhatsApp's names; keys that WhatsApp does not have keep their names."""
    if referral is None:
        return None
    if type(referral) is not dict:
        raise Reject("referral_not_object: expected an object")
    if not _is_ad(referral):
        return None
    context = extra(referral, "ads_context_data")
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
    """An id for an event without one, the same for every copy; None for messages, which have
    ids."""
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
    """Milliseconds (in some formats, seconds) as microseconds (E13)."""
    if type(value) is str and len(value) <= 15 and value.isascii() and value.isdigit():
        value = int(value)
    if type(value) is not int or value < _FIRST_MS:
        return moment(value, rows.received_us)
    whole, rest = divmod(value, 1_000)
    seconds = moment(whole, rows.received_us)
    return None if seconds is None else seconds + rest * 1_000
