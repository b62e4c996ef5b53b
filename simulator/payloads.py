"""Webhook JSON in the shapes Meta documents, one function for each element.

Only shapes: who does what is told in the stories, how it travels in `simulator.delivery`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from simulator.names import HOSTILE, Names

if TYPE_CHECKING:
    from simulator.company import AdRef, BusinessNumber
    from simulator.people import Person


def stamp(at: datetime) -> str:
    """Unix seconds as text, the way WhatsApp sends time."""
    return str(int(at.timestamp()))


def contact(person: Person, ids: str) -> dict[str, Any] | None:
    """`contacts[]` element with the ids this person shows; None where they are swapped."""
    row: dict[str, Any] = {"profile": {"name": person.name}}
    if ids in ("both", "phone"):
        row["wa_id"] = person.wa_id
    if ids in ("both", "bsuid"):
        row["user_id"] = person.bsuid
    if ids == "bsuid":
        row["profile"]["username"] = f"@user{person.bsuid[-6:]}"
    if ids == "swapped":
        row["wa_id"] = person.bsuid
    return row


def ad_referral(ad: AdRef, click_id: str | None, names: Names = HOSTILE) -> dict[str, Any]:
    """Referral of an ad tap; `click_id` None is an ad in WhatsApp Status (E7)."""
    headline, body = names.of_ad(ad.headline, ad.body)
    row: dict[str, Any] = {
        "source_url": f"https://fb.me/{ad.headline.replace(' ', '')}",
        "source_type": "ad",
        "source_id": ad.ad_id,
        "headline": headline,
        "body": body,
        "media_type": ad.media_type,
    }
    if ad.media_type == "image":
        row["image_url"] = "https://scontent.example/v/t45/1.jpg?oh=00_A&oe=6619"
    else:
        row["video_url"] = "https://video.example/v/t42/1.mp4?oh=00_A&oe=6619"
        row["thumbnail_url"] = "https://scontent.example/v/t15/1.jpg?oh=00_A&oe=6619"
    if click_id is not None:
        row["ctwa_clid"] = click_id
        row["welcome_message"] = {"text": "Olá! Como podemos ajudar? 😊"}
    return row


def post_referral(post_id: str | None) -> dict[str, Any]:
    """Referral of an organic post; one collected sample has no id at all."""
    row = {
        "source_url": "https://www.facebook.com/aurora/posts/1",
        "source_type": "post",
        "headline": "Antes e depois",
        "body": "Resultados reais",
    }
    return row if post_id is None else {**row, "source_id": post_id}


def message(
    person: Person,
    wamid: str,
    at: datetime,
    *,
    ids: str = "both",
    kind: str = "text",
    text: str = "",
    referral: dict[str, Any] | None = None,
    error: int | None = None,
    group: str | None = None,
    content: Any = None,
    numeric_time: bool = False,
    extra: dict[str, Any] | None = None,
    without: tuple[str, ...] = (),
) -> dict[str, Any]:
    """`messages[]` element. `content` replaces the object named like the type."""
    row: dict[str, Any] = {"id": wamid, "timestamp": stamp(at), "type": kind}
    if numeric_time:
        row["timestamp"] = int(at.timestamp())
    if ids in ("both", "phone"):
        row["from"] = person.wa_id
    if ids in ("both", "bsuid"):
        row["from_user_id"] = person.bsuid
    if ids == "swapped":
        row["from"] = person.bsuid
    body = content if content is not None else _content(kind, text, person)
    if body is not None:
        row[kind] = body
    if referral is not None:
        row["referral"] = referral
    if error is not None:
        row["errors"] = [
            {
                "code": error,
                "title": "Message type unknown",
                "message": "Message type unknown",
                "error_data": {"details": "Message type is currently not supported."},
            }
        ]
    if group is not None:
        row["group_id"] = group
    row.update(extra or {})
    return {k: v for k, v in row.items() if k not in without}


def _content(kind: str, text: str, person: Person) -> Any:
    match kind:
        case "text":
            return {"body": text}
        case "audio":
            return {"id": "190000000000001", "mime_type": "audio/ogg; codecs=opus", "voice": True}
        case "image" | "video" | "sticker":
            return {"id": "190000000000002", "mime_type": f"{kind}/any", "sha256": "AA=="}
        case "location":
            return {"latitude": -23.561, "longitude": -46.656, "name": "Av. Paulista"}
        case "button":
            return {"text": "Quero!", "payload": "yes"}
        case "interactive":
            return {"type": "button_reply", "button_reply": {"id": "1", "title": "Sim"}}
        case "reaction":
            return {"message_id": "wamid.OTHER", "emoji": "👍"}
        case "contacts":
            return [card(person.name, person.wa_id)]
        case "unsupported":
            return {"type": "unknown"}
    return None  # request_welcome, and any future type: no content object


def card(name: str, phone: str) -> dict[str, Any]:
    """A shared contact, with the phone in the digits WhatsApp knows."""
    return {
        "name": {"formatted_name": name, "first_name": name},
        "phones": [{"phone": f"+{phone}", "wa_id": phone, "type": "CELL"}],
    }


def status(
    person: Person, wamid: str, at: datetime, name: str, *, billing: str, ids: str
) -> dict[str, Any]:
    """`statuses[]` element of a message we sent; `billing` is `pricing.type`."""
    row: dict[str, Any] = {"id": wamid, "status": name, "timestamp": stamp(at)}
    if ids in ("both", "phone"):
        row["recipient_id"] = person.wa_id
    if ids in ("both", "bsuid"):
        row["recipient_user_id"] = person.bsuid
    if name == "failed":
        row["errors"] = [{"code": 131026, "title": "Message undeliverable"}]
        return row
    if name in ("sent", "delivered"):
        is_entry, is_template = billing == "free_entry_point", billing == "regular"
        template = ("marketing", "utility")[sum(wamid.encode()) % 2]
        row["pricing"] = {
            "billable": is_template,
            "pricing_model": "PMP",
            "type": billing,
            "category": "referral_conversion"
            if is_entry
            else template
            if is_template
            else "service",
        }
        if is_entry:
            row["conversation"] = {
                "id": f"c{wamid[-12:]}",
                "expiration_timestamp": stamp(at),
                "origin": {"type": "referral_conversion"},
            }
    return row


def echo(
    person: Person,
    number: BusinessNumber,
    wamid: str,
    at: datetime,
    text: str = "Olá, aqui é da clínica",
) -> dict[str, Any]:
    """`message_echoes[]` element: written in the WhatsApp Business app."""
    return {
        "from": number.display,
        "to": person.wa_id,
        "to_user_id": person.bsuid,
        "id": wamid,
        "timestamp": stamp(at),
        "type": "text",
        "text": {"body": text},
    }


def revised(echo: dict[str, Any], original: str, text: str | None) -> dict[str, Any]:
    """The echo of a change to an earlier message: its new text, or None: it was deleted."""
    kind = "revoke" if text is None else "edit"
    change: dict[str, Any] = {"original_message_id": original}
    if text is not None:
        change["message"] = {"type": "text", "text": {"body": text}}
    return {k: v for k, v in echo.items() if k != "text"} | {"type": kind, kind: change}


def standby_echo(
    person: Person, number: BusinessNumber, wamid: str, at: datetime, *, ids: str = "phone"
) -> dict[str, Any]:
    """Element of `standby.message_echoes[]`: what another responder asked WhatsApp to send."""
    whom = {"recipient": person.bsuid} if ids == "bsuid" else {"to": person.wa_id}
    sent: dict[str, Any] = {"messaging_product": "whatsapp", "recipient_type": "individual"} | whom
    sent |= {"type": "text", "text": {"body": "Olá! Sou a assistente da clínica 🤖"}}
    return {"id": wamid, "timestamp": stamp(at), "message": sent}


def handover(
    person: Person,
    number: BusinessNumber,
    at: datetime,
    event: str,
    previous: str | None,
    new: str | None,
) -> dict[str, Any]:
    """The value of a `messaging_handovers` change: roles only, never names."""
    roles = {"previous_owner_role": previous, "new_owner_role": new}
    told: dict[str, Any] = {name: role for name, role in roles.items() if role}
    if event == "control_passed":
        told["metadata"] = "quer falar com uma pessoa"
        told["conversation_context"] = {"type": "summary", "summary": {"text": "pediu preço"}}
    return {
        "messaging_product": "whatsapp",
        "recipient": {
            "display_phone_number": number.display,
            "phone_number_id": number.phone_number_id,
        },
        "sender": {"phone_number": person.wa_id},
        "type": event,
        "timestamp": stamp(at),
        event: told,
    }


def history(
    person: Person, number: BusinessNumber, rows: list[tuple[str, datetime, bool]]
) -> dict[str, Any]:
    """`history[]` element with one thread; rows are (message id, time, is inbound)."""
    messages = []
    for wamid, at, inbound in rows:
        row = {"from": person.wa_id if inbound else number.display, "id": wamid}
        if not inbound:
            row["to"] = person.wa_id
        status_name = "READ" if inbound else "DELIVERED"
        messages.append(
            {
                **row,
                "timestamp": stamp(at),
                "type": "text",
                "text": {"body": "antes da API"},
                "history_context": {"status": status_name},
            }
        )
    thread = {"id": person.wa_id, "messages": messages}
    return {"metadata": {"phase": 1, "chunk_order": 1, "progress": 55}, "threads": [thread]}


def number_change(person: Person, wamid: str, at: datetime, new_phone: str) -> dict[str, Any]:
    """System notice: the person has a new number."""
    return {
        "from": person.wa_id,
        "id": wamid,
        "timestamp": stamp(at),
        "type": "system",
        "system": {
            "body": f"User changed from {person.wa_id} to {new_phone}",
            "wa_id": new_phone,
            "type": "user_changed_number",
        },
    }


def id_change(person: Person, wamid: str, at: datetime, new_id: str) -> dict[str, Any]:
    """System notice: the person has a new BSUID; the old one is in `from_user_id`."""
    return {
        "from_user_id": person.bsuid,
        "id": wamid,
        "timestamp": stamp(at),
        "type": "system",
        "system": {
            "body": f"User {person.name} changed from {person.bsuid} to {new_id}",
            "user_id": new_id,
            "type": "user_changed_user_id",
        },
    }


def new_number(person: Person, new: Person, wamid: str, at: datetime) -> dict[str, Any]:
    """The same notice from the new number: the old one is only in the sentence (E81)."""
    element = number_change(person, wamid, at, new.wa_id)
    return {**element, "from": new.wa_id}


def ids_replaced(person: Person, new: Person, wamid: str, at: datetime) -> dict[str, Any]:
    """A new user id as Meta reports it since August 2026: no sender, and no id in the sentence."""
    return {
        "id": wamid,
        "timestamp": stamp(at),
        "type": "system",
        "system": {
            "body": "User...",
            "user_id": new.bsuid,
            "previous_user_id": person.bsuid,
            "type": "user_changed_user_id",
        },
    }


def id_update(person: Person, at: datetime, new_id: str) -> dict[str, Any]:
    """`user_id_update[]` element: the same news in its own webhook field."""
    return {
        "wa_id": person.wa_id,
        "detail": "User changed their id",
        "user_id": {"previous": person.bsuid, "current": new_id},
        "timestamp": stamp(at),
    }
