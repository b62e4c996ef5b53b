"""Twilio's webhooks of a WhatsApp sender: form fields, one message or one status in each.

A form is put into the words of Meta and goes the way of Meta's messages, so that referrals, codes
of links and quarantine follow the same rules. Twilio says no times: that of receipt stands in.
Its ids (`SM…`, `MM…`) are its own: Meta's wamid of the same message is not in the form.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from ingestion.parser.limits import Reject, hostile
from ingestion.parser.messages import Business, Messages
from ingestion.parser.people import NO_CONTACTS, Keys
from ingestion.parser.rows import Path, Rows
from ingestion.parser.statuses import Statuses

MAX_FIELDS = 1_000

Form = dict[str, str]

_SIDS = ("MessageSid", "SmsMessageSid", "SmsSid")
_WORDS = ("MessageStatus", "SmsStatus")
_INBOUND = frozenset({"received", "receiving"})
_NOT_SENT = frozenset({"accepted", "scheduled", "queued", "sending", "canceled"})
"""Statuses before a message leaves Twilio: Meta knows nothing like them."""

_REFERRAL = {
    "ReferralSourceType": "source_type",
    "ReferralSourceId": "source_id",
    "ReferralSourceUrl": "source_url",
    "ReferralHeadline": "headline",
    "ReferralBody": "body",
    "ReferralCtwaClid": "ctwa_clid",
}
_UNUSED = frozenset({"ReferralNumMedia", "ReferralMediaId"})
_TYPES = (
    # What a form without `MessageType` holds, told by the fields that only this type has.
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
        """Add the rows of one form; raises `Reject` where it is none of a message."""
        form, doubt = _read_form(body)
        if not any(form.get(name) for name in _SIDS):
            raise Reject("sid_missing: expected MessageSid, as in webhooks of a messaging sender")
        word = _first(form, _WORDS)
        if word is None or word in _INBOUND:
            self._rows.take("message", form, (), self._message, doubt)
        elif word not in _NOT_SENT:
            self._rows.take("status", form, (), self._status, doubt)

    def _message(self, form: Form, path: Path) -> None:
        phone, bsuid = _person(form, "From")
        message: dict[str, Any] = {
            "id": _first(form, _SIDS),
            "from": phone,
            "from_user_id": bsuid,
            "from_parent_user_id": _bare(form.get("ParentExternalUserId")),
            "type": _type(form),
            "text": {"body": form.get("Body", "")},
            "context": {
                "id": form.get("OriginalRepliedMessageSid"),
                "forwarded": form.get("Forwarded") == "true",
                "frequently_forwarded": form.get("FrequentlyForwarded") == "true",
            },
            "referral": _referral(form),
        }
        self._messages.add(message, _business(form, "To"), NO_CONTACTS, path)

    def _status(self, form: Form, _path: Path) -> None:
        phone, bsuid = _person(form, "To")
        word = _first(form, _WORDS)
        status = {
            "id": _first(form, _SIDS),
            "status": "failed" if word == "undelivered" else word,
            "recipient_id": phone,
            "recipient_user_id": bsuid,
            "parent_recipient_user_id": _bare(form.get("ParentExternalUserId")),
            "errors": [{"code": form.get("ErrorCode")}],
        }
        business = _business(form, "From")
        links = self._statuses.add(status, business, NO_CONTACTS)
        self._messages.add_links(links, business, self._rows.received_us)


def _read_form(body: bytes) -> tuple[Form, str | None]:
    """Fields that hold something, and why they cannot be trusted."""
    if body.lstrip()[:1] in (b"{", b"["):
        raise Reject("json_body: expected the form of a messaging webhook, not an event stream")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="surrogateescape",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise Reject("not_a_form: expected form fields in ASCII, percent-encoded") from None
    form = {name: value for name, value in pairs if value}
    if len(dict(pairs)) < len(pairs):
        return form, "duplicate_key: expected every field once in a form"
    return form, hostile(form)


def _first(form: Form, names: tuple[str, ...]) -> str | None:
    return next((form[name] for name in names if form.get(name)), None)


def _bare(address: str | None) -> str | None:
    return None if address is None else address.removeprefix("whatsapp:")


def _address(form: Form, name: str) -> str:
    address = form.get(name, "")
    if not address.startswith("whatsapp:"):
        raise Reject(f"{name}_not_whatsapp: expected whatsapp: and a number or user id")
    return address.removeprefix("whatsapp:")


def _person(form: Form, name: str) -> tuple[str | None, str | None]:
    """Phone and BSUID of the person under `name`, which holds either of them."""
    address = _address(form, name)
    bsuid = _bare(form.get("ExternalUserId"))
    if _is_number(address):
        return address, bsuid
    return form.get("WaId") if name == "From" else None, bsuid or address or None


def _business(form: Form, name: str) -> Business:
    address = _address(form, name)
    if not _is_number(address):
        raise Reject(f"{name}_not_a_number: expected whatsapp:+ and the digits of our number")
    return Business(None, None, address.removeprefix("+"))


def _is_number(address: str) -> bool:
    digits = address.removeprefix("+")
    return digits.isascii() and digits.isdigit()


def _type(form: Form) -> str:
    if "MessageType" in form:
        return form["MessageType"].lower()
    for name, type_ in _TYPES:
        if name in form:
            return type_
    media = form.get("MediaContentType0", "").partition("/")[0]
    if media in ("image", "video", "audio"):
        return media
    return "document" if media else "text"


def _referral(form: Form) -> dict[str, str] | None:
    """The fields of an ad, named as Meta names them; unknown ones keep their names (E11)."""
    given = {name: value for name, value in form.items() if name.startswith("Referral")}
    if _REFERRAL.keys().isdisjoint(given):
        return None
    media = given.pop("ReferralMediaContentType", "").partition("/")[0]
    media_url = given.pop("ReferralMediaUrl", None)
    referral = {
        _REFERRAL.get(name, name): value for name, value in given.items() if name not in _UNUSED
    }
    if media:
        referral["media_type"] = media
    if media in ("image", "video") and media_url:
        referral[f"{media}_url"] = media_url
    return referral
