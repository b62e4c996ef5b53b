"""Webhooks of providers between Meta and the company: Gupshup and Twilio.

Gupshup sends Meta's format (its version 3) with a few additions. Its own format (version 2) is not
read: it names the app but not the business number, so chats of two numbers look the same, and no ad
before a message is documented for it.

Twilio sends form fields, one message or one status in each. A form is put into Meta's words and
then treated like Meta's messages, so that referrals, codes of links and quarantine follow the same
rules. Twilio sends no times, so the time of receipt is used. Its ids (`SM…`, `MM…`) are its own:
Meta's wamid of the same message is not in the form. `From` and `To` change places between a message
and a status, and the business number goes into the event log in clear: names and words count in any
case, and a form is quarantined if it does not say which of the two it is, or names the customer's
number as the business's.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from ctwa.pseudonym import phone_match_key
from ingestion.parser.events import Statuses
from ingestion.parser.limits import Reject, Unfit, repaired, unfit_text
from ingestion.parser.messages import Business, Messages
from ingestion.parser.people import NO_CONTACTS, Keys
from ingestion.parser.rows import Path, Rows
from ingestion.parser.values import child, children, settled, shown, text
from ingestion.parser.whatsapp import WhatsApp

OWN_FORMAT = "gupshup_own_format: expected Meta's format, set the subscription's version to 3"


class Gupshup:
    """Reads envelopes of source `gupshup` through `whatsapp`."""

    def __init__(self, rows: Rows, whatsapp: WhatsApp) -> None:
        self._rows, self._whatsapp = rows, whatsapp

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` if it is not JSON."""
        value = self._rows.load(body)
        if type(value) is dict and "entry" not in value and "payload" in value:
            element = "message" if value.get("type") == "message" else "envelope"
            self._rows.take(element, value, (), lambda _item, _path: None, OWN_FORMAT)
            return
        _remove_gupshups_own(value)
        self._whatsapp.read_value(value)


def _remove_gupshups_own(value: Any) -> None:
    """Remove statuses that Meta does not have: a subscription was confirmed, a message is
    queued."""
    for entry in children(value, "entry") if type(value) is dict else ():
        for change in children(entry, "changes") if type(entry) is dict else ():
            inner = change.get("value") if type(change) is dict else None
            if type(inner) is not dict:
                continue
            for holder in (inner, child(inner, "standby")):
                statuses = children(holder, "statuses")
                if statuses and all(_is_gupshups_own(status) for status in statuses):
                    del holder["statuses"]


def _is_gupshups_own(status: Any) -> bool:
    if type(status) is not dict:
        return False
    return status.get("status") == "enqueued" or status.get("type") == "set-callback"


MAX_FIELDS = 1_000

Form = dict[str, Any]
"""Field to its text, or to `Unfit`."""

_SIDS = ("MessageSid", "SmsMessageSid", "SmsSid")
_WORDS = ("MessageStatus", "SmsStatus")
_INBOUND = frozenset({"received", "receiving"})
_NOT_SENT = frozenset({"accepted", "scheduled", "queued", "sending", "canceled"})
"""Statuses of a message that has not left Twilio yet: Meta has nothing like them."""
_SENT = frozenset({"sent", "delivered", "read", "failed", "undelivered", "partially_delivered"})
_OF_MESSAGES = ("Body", "NumMedia")
"""Fields that every message has, and no status."""
_OF_CUSTOMERS = (
    "WaId", "ProfileName", "ButtonPayload", "ButtonText", "ListId", "Latitude",
    "OriginalRepliedMessageSid", "ReferralSourceType", "ReferralSourceId", "ReferralCtwaClid",
)  # fmt: skip
"""Fields that only a customer's message has."""
_THEIRS = ("WaId", "ChannelToAddress")
"""Fields that hold the customer's number, in either direction."""
_USER_IDS = ("ExternalUserId", "ExternalUserIdentifier")  # Twilio's changelog, 20 July 2026
_PARENT_IDS = ("ParentExternalUserId", "ParentExternalUserIdentifier")

_REFERRAL = {
    "ReferralSourceType": "source_type",
    "ReferralSourceId": "source_id",
    "ReferralSourceUrl": "source_url",
    "ReferralHeadline": "headline",
    "ReferralBody": "body",
    "ReferralCtwaClid": "ctwa_clid",
}
_UNUSED = frozenset({"ReferralNumMedia", "ReferralMediaId"})
_NAMES = {
    name.lower(): name
    for name in (
        *_SIDS, *_WORDS, *_OF_MESSAGES, *_OF_CUSTOMERS, *_THEIRS, *_USER_IDS, *_PARENT_IDS,
        *_REFERRAL, *_UNUSED, "From", "To", "MessageType", "MediaContentType0", "ErrorCode",
        "Forwarded", "FrequentlyForwarded", "ReferralMediaContentType", "ReferralMediaUrl",
    )
}  # fmt: skip
"""The fields that are read, by their lower-case names."""
_TYPES = (
    # The type of a form without `MessageType`, by the fields that only this type has.
    ("ButtonPayload", "button"),
    ("ButtonText", "button"),
    ("ListId", "interactive"),
    ("Latitude", "location"),
)


class Twilio:
    """Reads envelopes of source `twilio` into `rows`."""

    def __init__(self, keys: Keys, rows: Rows) -> None:
        self._rows = rows
        self._messages = Messages(keys, rows)
        self._statuses = Statuses(keys, rows)

    def read(self, body: bytes) -> None:
        """Add the rows of one form; raises `Reject` if it is not about a message."""
        form = _read_form(body)
        self._rows.unfit = [value for value in form.values() if type(value) is Unfit]
        if _first(form, _SIDS) is None:
            raise Reject("sid_missing: expected MessageSid, as in webhooks of a messaging sender")
        doubt = None
        try:
            word = _word(form)
            is_message = _is_message(form, word)
        except Reject as reject:
            doubt, word, is_message = str(reject), None, not _has(form, ("MessageStatus",))
        if is_message:
            self._rows.take("message", form, (), self._message, doubt)
        elif word not in _NOT_SENT:
            self._rows.take("status", form, (), self._status, doubt)

    def _message(self, form: Form, path: Path) -> None:
        phone, bsuid = _person(form, "From")
        message: dict[str, Any] = {
            "id": _first(form, _SIDS),
            "from": phone,
            "from_user_id": bsuid,
            "from_parent_user_id": _bare(_first(form, _PARENT_IDS)),
            "type": _type(form),
            "text": {"body": form.get("Body", "")},
            "context": {
                "id": form.get("OriginalRepliedMessageSid"),
                "forwarded": _shown(form, "Forwarded").lower() == "true",
                "frequently_forwarded": _shown(form, "FrequentlyForwarded").lower() == "true",
            },
            "referral": _referral(form),
        }
        self._messages.add(message, _business(form, "To"), NO_CONTACTS, path)

    def _status(self, form: Form, _path: Path) -> None:
        phone, bsuid = _person(form, "To")
        word = _word(form)
        status = {
            "id": _first(form, _SIDS),
            "status": "failed" if word == "undelivered" else word,
            "recipient_id": phone,
            "recipient_user_id": bsuid,
            "parent_recipient_user_id": _bare(_first(form, _PARENT_IDS)),
            "errors": [{"code": form.get("ErrorCode")}],
        }
        business = _business(form, "From")
        links = self._statuses.add(status, business, NO_CONTACTS)
        self._messages.add_links(links, business, self._rows.received_us)


def _read_form(body: bytes) -> Form:
    """The fields that are not empty; those that are read get Twilio's spelling, whatever their
    case."""
    if body.lstrip()[:1] in (b"{", b"["):
        raise Reject("json_body: expected the form of a messaging webhook, not an event stream")
    try:
        pairs = parse_qsl(
            body.decode("utf-8", "surrogateescape"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="surrogateescape",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise Reject("not_a_form: expected form fields, percent-encoded") from None
    form: Form = {}
    seen: dict[str, str] = {}
    for given, value in pairs:
        name = _NAMES.get(given.lower()) or repaired(given)
        if seen.setdefault(name, value) != value:
            form[name] = Unfit("duplicate_key: expected every field once in a form")
        elif value:
            form[name] = unfit_text(value) or value
    return form


def _has(form: Form, names: tuple[str, ...]) -> bool:
    return any(name in form for name in names)


def _first(form: Form, names: tuple[str, ...]) -> Any:
    return next((form[name] for name in names if name in form), None)


def _shown(form: Form, name: str) -> str:
    return shown(form.get(name)) or ""


def _word(form: Form) -> str | None:
    """The message's status, in Twilio's words."""
    word = next((settled(form, name) for name in _WORDS if name in form), None)
    return None if word is None else str(word).strip().lower()


def _is_message(form: Form, word: str | None) -> bool:
    """Whether a customer wrote it; otherwise it is a status of our message. Raises `Reject` if
    unclear.

    An unknown word means a status, unless the form has fields that only messages have."""
    if word in _INBOUND:
        return True
    if word in _SENT or word in _NOT_SENT:
        return False
    if _has(form, _OF_CUSTOMERS) or (word is None and _has(form, _OF_MESSAGES)):
        return True
    if word is None or _has(form, _OF_MESSAGES):
        raise Reject("direction_unclear: expected SmsStatus received, or a status of ours")
    return False


def _bare(address: Any) -> Any:
    is_address = type(address) is str and address[:9].lower() == "whatsapp:"
    return address[9:] if is_address else address


def _address(form: Form, name: str) -> str:
    address = settled(form, name) or ""
    bare: str = _bare(address)
    if bare == address:
        raise Reject(f"{name}_not_whatsapp: expected whatsapp: and a number or user id")
    return bare


def _person(form: Form, name: str) -> tuple[Any, Any]:
    """Phone and BSUID of the person in the field `name`, which holds either of the two."""
    address = _address(form, name)
    bsuid = _bare(_first(form, _USER_IDS))
    if _is_number(address):
        return address, bsuid
    return form.get("WaId") if name == "From" else None, bsuid or address or None


def _business(form: Form, name: str) -> Business:
    address = _address(form, name)
    if not _is_number(address):
        raise Reject(f"{name}_not_a_number: expected whatsapp:+ and the digits of our number")
    digits = address.removeprefix("+")
    theirs = (_bare(text(form, given)) for given in _THEIRS if given in form)
    if phone_match_key(digits) in [phone_match_key(t) for t in theirs if _is_number(t)]:
        raise Reject(f"{name}_is_the_customer: expected our own number")
    return Business(None, None, digits)


def _is_number(address: str) -> bool:
    digits = address.removeprefix("+")
    return digits.isascii() and digits.isdigit()


def _type(form: Form) -> str:
    if "MessageType" in form:
        return _shown(form, "MessageType").lower()
    for name, type_ in _TYPES:
        if name in form:
            return type_
    media = _shown(form, "MediaContentType0").partition("/")[0]
    if media in ("image", "video", "audio"):
        return media
    return "document" if media else "text"


def _referral(form: Form) -> dict[str, Any] | None:
    """The fields of an ad, in Meta's names; unknown ones keep their names (E11)."""
    given = {name: value for name, value in form.items() if name.lower().startswith("referral")}
    if _REFERRAL.keys().isdisjoint(given):
        return None
    media = (shown(given.pop("ReferralMediaContentType", "")) or "").partition("/")[0]
    media_url = given.pop("ReferralMediaUrl", None)
    referral = {
        _REFERRAL.get(name, name): value for name, value in given.items() if name not in _UNUSED
    }
    if media:
        referral["media_type"] = media
    if media in ("image", "video") and media_url:
        referral[f"{media}_url"] = media_url
    return referral
