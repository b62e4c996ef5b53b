"""Bodies about two people who share envelopes, and what a data folder holds of one of them."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.lake.lake import Lake
from ingestion.parser.schema import EVENT_LOG
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope

ANA, ANA_SECOND, BIA = "5511987654321", "5521976543210", "5511912345687"
ANA_ID, BIA_ID = "BR.1A2B3C4D5E6F7G8H", "BR.9Z8Y7X6W5V4U3T2S"
ANA_MAIL = "ana.souza@example.com"
ANA_CLICK, BIA_CLICK = "AfcAnaAnaAnaAnaAnaAnaAna", "AfcBiaBiaBiaBiaBiaBiaBia"
ANA_FORM = "form-of-ana-1f3c"
ANA_GCLID, BIA_GCLID = "Cj0KCQ-AnaAnaAnaAna", "Cj0KCQ-BiaBiaBiaBia"
AT = 1_780_000_000
"""Time of the first message, seconds since 1970."""

Json = dict[str, Any]


def wamid(phone: str, n: int) -> str:
    """A message id as WhatsApp makes them: the phone number is in it."""
    raw = b"\x1d\x0b" + phone.encode() + b"\x15\x02\x00\x12\x18" + n.to_bytes(8, "big")
    return f"wamid.{base64.b64encode(raw).decode()}"


def message(phone: str, n: int, *, ad: str | None = None, clid: str | None = None) -> Json:
    """A text of somebody, `n` minutes after `AT`; with an ad, its referral."""
    element: Json = {
        "from": phone,
        "id": wamid(phone, n),
        "timestamp": str(AT + 60 * n),
        "type": "text",
        "text": {"body": f"oi {n}"},
    }
    if ad:
        element["referral"] = {
            "source_id": ad,
            "source_type": "ad",
            "source_url": f"https://fb.me/{ad}?who={phone}",
            "headline": "Apartamento em Santos",
            "ctwa_clid": clid,
        }
    return element


def status(phone: str, n: int, word: str = "delivered", at: int = AT) -> Json:
    """A status of our answer number `n` to somebody."""
    return {
        "id": wamid(phone, 10_000 + n),
        "status": word,
        "timestamp": str(at + 60 * n + 30),
        "recipient_id": phone,
    }


def webhook(*, contacts: Sequence[tuple[str, str]] = (), **lists: list[Json]) -> bytes:
    """A WhatsApp body; `contacts` are (phone, BSUID)."""
    value: Json = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "551140000000", "phone_number_id": "1"},
        **lists,
    }
    if contacts:
        value["contacts"] = [
            {"wa_id": p, "user_id": b, "profile": {"name": "x"}} for p, b in contacts
        ]
    change = {"field": "messages", "value": value}
    return orjson.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "2", "changes": [change]}]}
    )


def handover(phone: str) -> bytes:
    """A notice that Meta's agent took somebody's chat."""
    value: Json = {
        "recipient": {"display_phone_number": "551140000000", "phone_number_id": "1"},
        "sender": {"phone_number": phone},
        "type": "control_taken",
        "timestamp": str(AT + 90),
        "control_taken": {"new_owner_role": "ai_agent", "metadata": f"about {phone}"},
    }
    change = {"field": "messaging_handovers", "value": value}
    return orjson.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "2", "changes": [change]}]}
    )


def outcomes(*rows: Json) -> bytes:
    """A body of CRM outcomes."""
    return orjson.dumps(list(rows))


def exclusions(*rows: Json) -> bytes:
    """A body that says who does not count."""
    declared = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(AT))
    return orjson.dumps([{**row, "declared_at": declared} for row in rows])


def consents(*rows: Json) -> bytes:
    """A body of words of consent, of `AT` where they do not say when."""
    declared = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(AT))
    return orjson.dumps([{"declared_at": declared, **row} for row in rows])


def won(event_id: str, **identities: str) -> Json:
    """A sale an hour after `AT`."""
    occurred = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(AT + 3_600))
    return {"event_id": event_id, "stage": "won", "occurred_at": occurred, "value": 10,
            "currency": "BRL", **identities}  # fmt: skip


def outcome(event_id: str, day: int, stage: str = "won", **identities: str) -> Json:
    """What a CRM says, some days after `AT`."""
    occurred = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(AT + day * 86_400))
    return {**won(event_id, **identities), "stage": stage, "occurred_at": occurred}


def web_lead(lead_id: str, **fields: str) -> Json:
    """A form an hour after `AT`, from a page with a click id."""
    submitted = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(AT + 3_600))
    return {"lead_id": lead_id, "submitted_at": submitted, **fields}


def click(code: str, gclid: str) -> bytes:
    """A click on the WhatsApp button just before `AT`."""
    clicked = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(AT - 10))
    return orjson.dumps({"code": code, "page_url": page_of(gclid), "clicked_at": clicked})


def two_holders(phone: str, old: str, new: str, ad: str) -> list[bytes]:
    """A number that goes from one person to another after seventy days (E28)."""
    day = 24 * 60
    return [
        webhook(contacts=[(phone, old)], messages=[message(phone, 0, ad=ad, clid="Old")]),
        webhook(messages=[message(phone, 2 * day)]),
        webhook(contacts=[(phone, new)], messages=[message(phone, 70 * day, ad=f"{ad}9")]),
        webhook(messages=[message(phone, 72 * day)], statuses=[status(phone, 73 * day)]),
        outcomes(
            outcome(f"{phone}-old", 10, "qualified", phone=phone),
            outcome(f"{phone}-new", 80, phone=phone),
        ),
    ]


def shared_envelopes() -> list[bytes]:
    """Ana and Bia in the same bodies: a click each, answers, a changed number, outcomes."""
    changed = {
        "from": ANA, "id": wamid(ANA, 50), "timestamp": str(AT + 3_000), "type": "system",
        "system": {"type": "user_changed_number", "wa_id": ANA_SECOND, "body": "changed"},
    }  # fmt: skip
    both = [(ANA, ANA_ID), (BIA, BIA_ID)]
    first = webhook(
        contacts=both,
        messages=[
            message(ANA, 0, ad="120", clid=ANA_CLICK),
            message(BIA, 1, ad="121", clid=BIA_CLICK),
        ],
    )
    return [
        first,
        webhook(messages=[message(ANA, 0), message(ANA, 2), message(BIA, 3)]),
        webhook(statuses=[status(ANA, 4), status(BIA, 4), status(ANA, 5, "read")]),
        webhook(contacts=[(ANA, ANA_ID)], messages=[changed]),
        webhook(messages=[message(ANA_SECOND, 60)]),
        outcomes(
            won("crm-1", phone="+55 11 98765-4321", email=ANA_MAIL),
            won("crm-2", phone=BIA),
            won("crm-3", email=ANA_MAIL.upper()),
            won("crm-4", message_id=wamid(ANA, 0)),
        ),
        exclusions(
            {"phone": "+55 11 98765-4321", "reason": f"staff: {ANA_MAIL}"},
            {"phone": BIA, "reason": "agency"},
        ),
        orjson.dumps(
            [
                web_lead(ANA_FORM, phone="(11) 98765-4321", page_url=page_of(ANA_GCLID)),
                web_lead("form-2", email=ANA_MAIL, page_url=page_of(ANA_GCLID)),
                web_lead("form-3", phone=BIA, page_url=page_of(BIA_GCLID)),
            ]
        ),
        # Quarantined, and a number in somebody else's text: rows of Ana come of neither.
        webhook(messages=[{"from": ANA, "timestamp": "1"}]),
        webhook(messages=[message(BIA, 61) | {"text": {"body": "call +55 (11) 98765-4321"}}]),
        first,
    ]


def page_of(gclid: str) -> str:
    """A landing page that a click on an ad of Google's leads to."""
    return (
        f"https://www.example.com/ola/{gclid}?utm_source=google&utm_medium=cpc"
        f"&gad_campaignid=20765432109&gclid={gclid}"
    )


def _source_of(body: bytes) -> str:
    if b'"submitted_at"' in body:
        return "leads"
    if b'"clicked_at"' in body:
        return "clicks"
    if b'"given"' in body:
        return "consents"
    if b'"declared_at"' in body:
        return "exclusions"
    return "outcomes" if body[:1] == b"[" else "whatsapp"


def receive(settings: Settings, bodies: Iterable[bytes], at: float | None = None) -> None:
    """Into the vault, as the receiver does."""
    now = int((time.time() if at is None else at) * 1_000_000)
    vault = open_vault(settings.vault_url)
    try:
        vault.append([NewEnvelope(now, _source_of(b), b) for b in bodies])
    finally:
        vault.close()


def traces(settings: Settings) -> list[bytes]:
    """Everything that names Ana: plain, in message ids, and as keys."""
    names = Pseudonymizer.from_settings(settings)
    keys = [names.phone(ANA), names.phone(ANA_SECOND), names.bsuid(ANA_ID), names.email(ANA_MAIL)]
    keys += [names.web_lead(ANA_FORM), names.web_form(ANA_FORM)]
    keys += [names.message_id(wamid(ANA, n)) for n in (0, 2, 50, 10_004, 10_005)]
    encoded = [wamid(p, 0).removeprefix("wamid.")[4:20] for p in (ANA, ANA_SECOND)]
    plain = [ANA, ANA_SECOND, "98765-4321", ANA_ID, ANA_MAIL, ANA_MAIL.upper(), ANA_CLICK,
             ANA_FORM, ANA_GCLID]  # fmt: skip
    return [text.encode() for text in (*plain, *encoded, *map(str, keys))]


def files_with(root: Path, wanted: Iterable[bytes], *, without: Sequence[str] = ()) -> list[str]:
    """Files below `root` that hold one of the texts; Parquet is looked into, page by page."""
    import pyarrow.parquet as pq

    wanted = list(wanted)
    found = []
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.name not in without):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += repr(pq.read_table(path).to_pylist()).encode()
        found += [f"{path.relative_to(root)}: {text!r}" for text in wanted if text in data]
    return found


def rows(settings: Settings, table: str) -> list[Json]:
    """Every row of a table of the event log, in order."""
    order = "seq" if table == "envelopes" else "seq, ordinal"
    lake = Lake.from_settings(settings)
    return lake.query(f"select * from {{t}} order by {order}", t=f"event_log/{table}").to_pylist()


def all_rows(settings: Settings) -> dict[str, list[Json]]:
    """Every table of the event log."""
    return {table: rows(settings, table) for table in EVENT_LOG}


def bodies(settings: Settings) -> dict[int, bytes]:
    """What the vault still holds."""
    vault = open_vault(settings.vault_url)
    try:
        return {
            seq: body
            for batch in vault.read_batches(0)
            for seq, body in zip(
                batch.column("seq").to_pylist(), batch.column("body").to_pylist(), strict=True
            )
        }
    finally:
        vault.close()
