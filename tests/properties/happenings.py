"""One thing that happens in a history, and the webhook element it travels in.

Histories are written with small numbers (phone 0, ad 2, message 1): a `Cast` turns them into real
ids by a salt, so that the same history can stand in one world several times and never meet itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ctwa.link_code import ALPHABET, code_of, shown

START = datetime(2026, 1, 5, tzinfo=UTC)
"""Day 0 of every history."""

RECEIVED = datetime(2026, 6, 29, tzinfo=UTC)
"""When everything is received. One moment: when something came must not matter."""

SITE = "aurora"
"""The company's site, whose coded links count."""

NOTICES = (
    "control_passed/ai_agent", "control_passed/escalation", "control_passed/utility",
    "control_taken/escalation", "control_taken/ai_agent", "control_passed/", "control_shared/",
)  # fmt: skip
"""Type of a notice that a chat changed hands, and the new holder's role."""

# WABA, phone_number_id, display number. The second is the first after its move (E30).
NUMBERS = (
    ("101", "9001", "551140000001"),
    ("102", "9002", "551140000001"),
    ("101", "9003", "551140000002"),
)


@dataclass(frozen=True, slots=True)
class Who:
    """Ids that an element shows of its person; `short`: the phone without Brazil's ninth digit."""

    phone: int | None = None
    bsuid: int | None = None
    short: bool = False


@dataclass(frozen=True, slots=True)
class Happening:
    """One element. `what` refines `kind`; `other` is a second person, contact or identity in it."""

    kind: str
    at: int  # seconds after START
    who: Who
    what: str = ""
    other: Who | None = None
    number: int = 0
    message: int = 0  # which message id, or which event id of an outcome
    ad: int = 0

    @property
    def adds_only_links(self) -> bool:
        """Says nothing but that identities are one person's."""
        links = ("id_update", "contact_book", "number_change", "id_change", "consent")
        failed = self.kind == "status" and self.what == "failed"
        return self.kind in links or failed


class Piece(NamedTuple):
    """An element on its way: the place of its list in an envelope, itself, its contact."""

    source: str
    business: int
    field: str
    part: str
    item: Any
    contact: dict[str, str] | None = None

    @property
    def place(self) -> tuple[str, int, str, str]:
        """Pieces of one place may share a list."""
        return self[:4]


class Cast(NamedTuple):
    """The real ids of one history."""

    salt: int

    def phone(self, who: Who) -> str | None:
        """A mobile number of São Paulo in WhatsApp's digits, in one of its two spellings (E26)."""
        if who.phone is None:
            return None
        return f"5511{'' if who.short else '9'}8{self.salt:05d}{who.phone:02d}"

    def bsuid(self, who: Who) -> str | None:
        """A business-scoped user id."""
        return None if who.bsuid is None else f"BR.{self.salt:05d}B{who.bsuid:02d}"

    def ad(self, number: int) -> str:
        """An ad id of 18 digits: neighbours are one float64, every third begins with a zero."""
        return f"{'0' if number == 2 else '1'}20226{self.salt:05d}81070{number:02d}"

    def message(self, number: int) -> str:
        """A provider message id."""
        return f"wamid.{self.salt:05d}/{number}"

    def event(self, number: int) -> str:
        """An event id of the CRM."""
        return f"deal-{self.salt:05d}-{number}"

    def code(self, number: int) -> str:
        """The code of a coded link."""
        digits = f"{self.salt:05d}{number:03d}"
        return code_of("".join(ALPHABET[int(d)] for d in digits), SITE)

    @property
    def account(self) -> str:
        """The ad account of this history."""
        return f"10100357{self.salt:05d}12"

    def piece(self, h: Happening) -> Piece:
        """The element of a happening."""
        return _RENDER[h.kind](self, h)

    # ---- what people write -----------------------------------------------------------------

    def _message(self, h: Happening) -> Piece:
        if h.what == "broken":
            return Piece("whatsapp", h.number, "messages", "messages", f"no object {self.salt}")
        item = self._sent(h, "from", "from_user_id") | self._content(h)
        return Piece("whatsapp", h.number, self._field(h), "messages", item, self._contact(h))

    def _field(self, h: Happening) -> str:
        """Copies of one message come by both fields: who holds a chat changes in its middle."""
        return "standby" if (h.message + h.at) % 3 == 0 else "messages"

    def _sent(self, h: Happening, phone_at: str, bsuid_at: str) -> dict[str, Any]:
        item: dict[str, Any] = {"id": self.message(h.message), "timestamp": _stamp(h.at)}
        item["type"] = "text"
        item |= {phone_at: self.phone(h.who), bsuid_at: self.bsuid(h.who)}
        return {name: value for name, value in item.items() if value is not None}

    def _content(self, h: Happening) -> dict[str, Any]:
        ad = {"source_type": "ad", "source_id": self.ad(h.ad), "headline": f"H{h.ad}"}
        click = {"ctwa_clid": f"click-{self.salt}-{h.message}"}
        match h.what:
            case "ad":
                return {"referral": ad | click}
            case "status_ad":
                return {"referral": ad, "type": "audio"}
            case "unknown_ad":
                return {"referral": {"source_type": "ad"} | click}
            case "post":
                return {"referral": ad | {"source_type": "post"}}
            case "new_kind":
                return {"referral": ad | {"source_type": "hologram", "novelty": 1}}
            case "withheld":
                return {"type": "unsupported", "errors": [{"code": 131060, "title": "t"}]}
            case "reaction":
                return {"type": "reaction", "reaction": {"emoji": "x"}}
            case "group":
                return {"group_id": f"G{self.salt}"}
            case "bad_time":
                return {"timestamp": "yesterday"}
            case "coded":
                # Around the click, which counts when it is received: it comes from a browser.
                at = RECEIVED + timedelta(minutes=10 * (h.at % 7 - 2))
                text = {"body": f"Olá ({shown(self.code(h.ad // 2))})"}
                return {"text": text, "timestamp": str(int(at.timestamp()))}
            case "card":
                card = {"phones": [{"wa_id": self.phone(h.other or h.who)}]}
                return {"type": "contacts", "origin": "contact_request", "contacts": [card]}
        return {"text": {"body": "oi"}}

    def _contact(self, h: Happening) -> dict[str, str] | None:
        if h.other is None or h.what == "card":
            return None
        wa_id = self.phone(h.who) or self.phone(h.other)
        user_id = self.bsuid(h.who) or self.bsuid(h.other)
        found = {"wa_id": wa_id, "user_id": user_id}
        return {name: value for name, value in found.items() if value}

    def _echo(self, h: Happening) -> Piece:
        if h.ad == 2:  # what another responder does is told by a notice
            return self._handover(h)
        item = self._sent(h, "to", "to_user_id") | {"from": NUMBERS[h.number][2]}
        return Piece("whatsapp", h.number, "smb_message_echoes", "message_echoes", item)

    def _handover(self, h: Happening) -> Piece:
        """A notice that the chat went to another responder of the number (E79)."""
        event, _, role = NOTICES[h.message % len(NOTICES)].partition("/")
        sender = {"phone_number": self.phone(h.who), "user_id": self.bsuid(h.who)}
        item = {
            "recipient": _metadata(h.number),
            "sender": {name: value for name, value in sender.items() if value},
            "type": event,
            "timestamp": _stamp(h.at),
            event: {"new_owner_role": role} if role else {},
        }
        return Piece("whatsapp", h.number, "messaging_handovers", "messaging_handovers", item)

    def _history(self, h: Happening) -> Piece:
        own = NUMBERS[h.number][2]
        item = self._sent(h, "from", "from_user_id")
        if h.what == "outbound":
            item = self._sent(h, "to", "to_user_id") | {"from": own}
        thread = {"id": self.phone(h.who) or self.bsuid(h.who), "messages": [item]}
        return Piece("whatsapp", h.number, "history", "history", {"threads": [thread]})

    def _status(self, h: Happening) -> Piece:
        item: dict[str, Any] = {
            "id": self.message(h.message),
            "status": "delivered" if h.what == "billed" else h.what,
            "timestamp": _stamp(h.at),
        }
        ids = {"recipient_id": self.phone(h.who), "recipient_user_id": self.bsuid(h.who)}
        item |= {name: value for name, value in ids.items() if value}
        if h.what == "billed":
            item["pricing"] = {"type": "free_entry_point", "category": "referral_conversion"}
        return Piece("whatsapp", h.number, "messages", "statuses", item)

    # ---- what shows identities -------------------------------------------------------------

    def _number_change(self, h: Happening) -> Piece:
        new = h.other or h.who
        system = {"type": "user_changed_number", "wa_id": self.phone(new) or "5511900000000"}
        return self._system(h, system)

    def _id_change(self, h: Happening) -> Piece:
        new = self.bsuid(h.other or h.who)
        body = f"User X changed from {self.bsuid(h.who)} to {new}"
        return self._system(h, {"type": "user_changed_user_id", "user_id": new, "body": body})

    def _system(self, h: Happening, system: dict[str, Any]) -> Piece:
        item = self._sent(h, "from", "from_user_id")
        item |= {"id": f"{item['id']}/system/{h.at}", "type": "system", "system": system}
        return Piece("whatsapp", h.number, "messages", "messages", item)

    def _id_update(self, h: Happening) -> Piece:
        item = {
            "wa_id": self.phone(h.who),
            "user_id": {"previous": self.bsuid(h.who), "current": self.bsuid(h.other or h.who)},
            "timestamp": _stamp(h.at),
        }
        return Piece("whatsapp", h.number, "user_id_update", "user_id_update", item)

    def _contact_book(self, h: Happening) -> Piece:
        contact = {"phone_number": self.phone(h.who), "user_id": self.bsuid(h.other or h.who)}
        time = {"timestamp": _stamp(h.at)}
        item = {"type": "contact", "action": "add", "contact": contact, "metadata": time}
        return Piece("whatsapp", h.number, "smb_app_state_sync", "state_sync", item)

    # ---- what others say -------------------------------------------------------------------

    def _outcome(self, h: Happening) -> Piece:
        item: dict[str, Any] = {
            "event_id": self.event(h.message),
            "stage": h.what,
            "occurred_at": (START + timedelta(seconds=h.at)).isoformat(),
            "source": ("crm", "hubspot")[h.ad % 2],
        }
        item |= {"phone": self.phone(h.who), "user_id": self.bsuid(h.who)}
        if h.other is not None:
            item["email"] = f"P{h.other.phone}.{self.salt:05d}@x.br"
        if h.who == Who():
            item["message_id"] = self.message(h.message)
        if h.what == "won":
            item |= {"value": 10.5 + h.ad, "currency": ("BRL", "USD", "CLP")[h.ad]}
        item = {name: value for name, value in item.items() if value is not None}
        return Piece("outcomes", 0, "", "", item)

    def _form(self, h: Happening) -> Piece:
        item = {
            "lead_id": f"form-{self.salt:05d}-{h.message % 3}",
            "submitted_at": (START + timedelta(seconds=h.at)).isoformat(),
            # Of every history the same: nobody's, so that no two of them meet (E85).
            "phone": "(11) 99999-9999" if h.number == 2 else self.phone(h.who),
            "email": f"P{h.other.phone}.{self.salt:05d}@x.br" if h.other else None,
            "page_url": self._page(h),
        }
        item = {name: value for name, value in item.items() if value is not None}
        return Piece("leads", 0, "", "", item)

    def _click(self, h: Happening) -> Piece:
        item = {"code": self.code(h.ad // 2), "page_url": self._page(h)}
        return Piece("clicks", 0, "", "", item)

    def _page(self, h: Happening) -> str:
        """The page somebody first came to, with what stands in its address."""
        said = {
            "google": f"gclid=Cj0KCQ{self.salt:05d}{h.message}",
            "meta": f"utm_source=facebook&utm_content={self.ad(h.ad)}&fbclid=IwAR{self.salt:08d}",
            "fbclid": f"fbclid=IwAR{self.salt:05d}{h.message}00",
            "utm": "utm_source=newsletter&utm_medium=email",
        }
        return f"https://www.example.com/p?{said.get(h.what, '')}"

    def _exclusion(self, h: Happening) -> Piece:
        item = {
            "phone": self.phone(h.who),
            "user_id": None if h.who.phone is not None else self.bsuid(h.who),
            "reason": "staff",
            "declared_at": (START + timedelta(seconds=h.at)).isoformat(),
            "excluded": h.what != "taken back",
        }
        item = {name: value for name, value in item.items() if value is not None}
        return Piece("exclusions", 0, "", "", item)

    def _consent(self, h: Happening) -> Piece:
        """By the person's own switch in WhatsApp, or as a CRM posts it."""
        if h.what in ("stop", "resume"):
            item: dict[str, Any] = {
                "wa_id": self.phone(h.who),
                "user_id": self.bsuid(h.who),
                "category": "marketing_messages",
                "value": h.what,
                "timestamp": int(_stamp(h.at)),
            }
            item = {name: value for name, value in item.items() if value is not None}
            return Piece("whatsapp", h.number, "user_preferences", "user_preferences", item)
        item = {
            "phone": self.phone(h.who),
            "user_id": self.bsuid(h.who),
            "email": f"P{h.other.phone}.{self.salt:05d}@x.br" if h.other else None,
            "given": h.what == "given",
            "declared_at": (START + timedelta(seconds=h.at)).isoformat(),
        }
        item = {name: value for name, value in item.items() if value is not None}
        return Piece("consents", 0, "", "", item)


_RENDER = {
    "message": Cast._message,
    "echo": Cast._echo,
    "history": Cast._history,
    "status": Cast._status,
    "number_change": Cast._number_change,
    "id_change": Cast._id_change,
    "id_update": Cast._id_update,
    "contact_book": Cast._contact_book,
    "outcome": Cast._outcome,
    "exclusion": Cast._exclusion,
    "consent": Cast._consent,
    "form": Cast._form,
    "click": Cast._click,
}


def _stamp(at: int) -> str:
    return str(int((START + timedelta(seconds=at)).timestamp()))


def envelope(pieces: Iterable[Piece]) -> tuple[str, bytes]:
    """Source and body of one request that carries these pieces, all of one source."""
    found = list(pieces)
    source = found[0].source
    assert all(piece.source == source for piece in found)
    if source != "whatsapp":
        return source, json.dumps([piece.item for piece in found]).encode()
    values: list[tuple[Piece, dict[str, Any]]] = []
    for piece in found:
        value = next((v for p, v in values if p.place == piece.place and _fits(v, piece)), None)
        if value is None:
            values.append((piece, value := _value(piece)))
        value.setdefault(piece.part, []).append(piece.item)
        if piece.contact and piece.contact not in value.setdefault("contacts", []):
            value["contacts"].append(piece.contact)
    entries = [
        {"id": NUMBERS[p.business][0], "changes": [{"field": p.field, "value": _whole(p, value)}]}
        for p, value in values
    ]
    body = {"object": "whatsapp_business_account", "entry": entries}
    return source, json.dumps(body).encode()


def _value(piece: Piece) -> dict[str, Any]:
    return {"messaging_product": "whatsapp", "metadata": _metadata(piece.business)}


def _whole(piece: Piece, value: dict[str, Any]) -> dict[str, Any]:
    """The value as its field has it: the lists of `standby` stand in an object of that name."""
    if piece.field != "standby":
        return value
    outer = {"messaging_product": value["messaging_product"], "metadata": value["metadata"]}
    return outer | {"standby": {k: v for k, v in value.items() if k not in outer}}


def _metadata(number: int) -> dict[str, str]:
    _, phone_number_id, shown = NUMBERS[number]
    return {"phone_number_id": phone_number_id, "display_phone_number": shown}


def _fits(value: dict[str, Any], piece: Piece) -> bool:
    """Meta gives each person of a list one contact: people who are there already need their own."""
    return not _ids([*value[piece.part], *value.get("contacts", [])]) & _ids(
        [piece.item, piece.contact]
    )


def _ids(items: list[Any]) -> set[str]:
    """Phones and user ids named anywhere in these."""
    found: set[str] = set()
    for item in items:
        if isinstance(item, dict):
            found |= _ids(list(item.values()))
        elif isinstance(item, list):
            found |= _ids(item)
        elif isinstance(item, str) and item.startswith(("5511", "BR.")):
            # In all spellings: the match key is what the parser looks contacts up by.
            found.add(item[:4] + item[-8:] if item.startswith("5511") else item)
    return found
