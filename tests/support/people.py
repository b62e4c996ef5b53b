"""What people and CRMs do, as rows of the event log; delivered in any order, any number of times.

Each function makes one `Envelope`; an `Inbox` gives it the next `seq` and writes it to a world's
lake. Keys are plain texts here (`phone="ana"` gives the key `phone:ana`): the models never look
inside a key. Times are texts, `2026-05-03 14:02`, in UTC.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tests.support.lake import utc
from tests.support.warehouse import DbtWorld

NUMBER = "5511400000001"
"""The business number that everybody writes to unless a test says otherwise."""

WABA = "waba"
"""The WhatsApp business account of everything that WhatsApp shows unless a test says otherwise."""


@dataclass(frozen=True)
class Envelope:
    """One request body, parsed: table -> rows without `seq`, `ordinal` and `received_at`."""

    rows: Mapping[str, list[dict[str, Any]]]
    quarantined_messages: int = 0
    source: str = "whatsapp"
    received_at: datetime | None = None


@dataclass
class Inbox:
    """The vault and the landing in one: gives envelopes their `seq` and puts them in the lake."""

    world: DbtWorld
    last_seq: int = field(default=0)

    def deliver(self, *envelopes: Envelope) -> None:
        """Land these envelopes, in this order."""
        tables: dict[str, list[dict[str, Any]]] = {}
        for envelope in envelopes:
            self.last_seq += 1
            for table, rows in envelope.rows.items():
                for row in rows:
                    tables.setdefault(table, []).append(
                        {"seq": self.last_seq, **_receipt(envelope), **row}
                    )
            tables.setdefault("envelopes", []).append(self._counts(envelope))
        for table, rows in tables.items():
            self.world.write(f"event_log.{table}", rows)

    def _counts(self, envelope: Envelope) -> dict[str, Any]:
        messages = len(envelope.rows.get("messages", []))
        return {
            "seq": self.last_seq,
            **_receipt(envelope),
            "source": envelope.source,
            "messages": messages,
            "quarantined_messages": envelope.quarantined_messages,
            "message_elements": messages + envelope.quarantined_messages,
            "statuses": len(envelope.rows.get("statuses", [])),
            "outcomes": len(envelope.rows.get("outcomes", [])),
            "web_leads": len(envelope.rows.get("web_leads", [])),
            "link_clicks": len(envelope.rows.get("link_clicks", [])),
        }


def received(envelope: Envelope, at: str | datetime, source: str = "whatsapp") -> Envelope:
    """The same envelope with its time of receipt and its way in."""
    return replace(envelope, received_at=utc(at), source=source)


def _receipt(envelope: Envelope) -> dict[str, Any]:
    return {} if envelope.received_at is None else {"received_at": envelope.received_at}


def message(
    at: str | datetime,
    *,
    phone: str | None = None,
    bsuid: str | None = None,
    id: str | None = None,
    number: str = NUMBER,
    **columns: Any,
) -> Envelope:
    """A message of somebody; both identities in it are evidence that they are one person."""
    row = {
        **_person(phone, bsuid),
        "waba_id": WABA,
        "business_number_id": number,
        "sent_at": utc(at),
        "type": "text",
        "country": "BR",
        **columns,
    }
    name = id or _digest(row)[:12]
    row |= {"message_key": f"{number}/{name}", "message_id_key": name}
    row["content_key"] = _digest(row)
    rows = {"messages": [row]}
    if phone and bsuid:
        rows["identity_links"] = [
            _link(f"phone:{phone}", f"bsuid:{bsuid}", "message", utc(at), row["waba_id"])
        ]
    return Envelope(rows)


def referral(
    ad_id: str | None, *, clid: str | None = "clid", source_type: str | None = "ad", **more: Any
) -> dict[str, Any]:
    """Columns of a message that carries a referral: `message(..., **referral("120"))`."""
    return {
        "has_referral": True,
        "referral_source_type": source_type,
        "referral_source_id": ad_id,
        "ctwa_clid": clid,
        "referral_headline": "Headline",
        **more,
    }


def withheld() -> dict[str, Any]:
    """Columns of a first message that Meta keeps back (E6)."""
    return {"type": "unsupported", "error_code": 131060}


def echo(at: str | datetime, **columns: Any) -> Envelope:
    """A message that the business wrote on its own phone."""
    return message(at, origin="echo", direction="outbound", **columns)


def status(
    at: str | datetime,
    *,
    id: str,
    phone: str | None = None,
    bsuid: str | None = None,
    number: str = NUMBER,
    **columns: Any,
) -> Envelope:
    """A status of a message of ours; `pricing_type="free_entry_point"` betrays an ad."""
    row = {
        **_person(phone, bsuid),
        "waba_id": WABA,
        "business_number_id": number,
        "message_key": f"{number}/{id}",
        "message_id_key": id,
        "status_at": utc(at),
        "status": "sent",
        **columns,
    }
    row["content_key"] = _digest(row)
    rows = {"statuses": [row]}
    if phone and bsuid:
        rows["identity_links"] = [
            _link(f"phone:{phone}", f"bsuid:{bsuid}", "status", utc(at), row["waba_id"])
        ]
    return Envelope(rows)


def link(
    at: str | datetime,
    left: str,
    right: str,
    kind: str = "number_change",
    *,
    waba_id: str | None = WABA,
) -> Envelope:
    """Evidence that two identities (`phone:ana`, `bsuid:1` ...) are one person's."""
    return Envelope({"identity_links": [_link(left, right, kind, utc(at), waba_id)]})


def record(
    name: str, read_at: str | datetime, *identities: str, merged: tuple[str, ...] = ()
) -> Envelope:
    """A CRM's record as it was read: its identities (`phone:ana` ...), and records that went
    into it. It was made on the first day of 2026."""
    own = f"crm_record:{name}"
    made = utc("2026-01-01 00:00")
    rows = [_link(own, other, "crm_record", made, None) for other in identities]
    rows += [_link(own, f"crm_record:{m}", "crm_merge", made, None) for m in merged]
    rows = rows or [_link(own, own, "crm_record", made, None)]
    return Envelope({"identity_links": [row | {"recorded_at": utc(read_at)} for row in rows]})


def outcome(
    at: str | datetime, stage: str, event_id: str, *, source: str = "crm", **columns: Any
) -> Envelope:
    """What a CRM says; name the person by `phone`, `bsuid`, `email`, `web_lead`, `crm_record`,
    `message_id`."""
    identities = {
        f"{kind}_key": f"{kind}:{columns.pop(kind)}"
        for kind in ("phone", "bsuid", "email", "web_lead", "crm_record")
        if kind in columns
    }
    if "message_id" in columns:
        identities["message_id_key"] = columns.pop("message_id")
    row = {
        "source": source,
        "event_id": event_id,
        "stage": stage,
        "occurred_at": utc(at),
        **identities,
        **columns,
    }
    row["content_key"] = _digest(row)
    keys = sorted(v for k, v in identities.items() if k != "message_id_key")
    links = [_link(keys[0], other, "outcome", utc(at), None) for other in keys[1:]]
    return Envelope({"outcomes": [row], **({"identity_links": links} if links else {})})


def form(
    at: str | datetime,
    lead_id: str,
    *,
    phone: str | None = None,
    email: str | None = None,
    **columns: Any,
) -> Envelope:
    """A web form; `columns` are those of its page, such as `gclid` or `utm_source`."""
    row = {
        "form_key": f"form:{lead_id}",
        "web_lead_key": f"web_lead:{lead_id}",
        "phone_key": f"phone:{phone}" if phone else None,
        "email_key": f"email:{email}" if email else None,
        "submitted_at": utc(at),
        **columns,
    }
    row["content_key"] = _digest(row)
    known = [k for k in (row["phone_key"], row["email_key"]) if k]
    links = [_link(row["web_lead_key"], other, "web_lead", utc(at), None) for other in known]
    return Envelope({"web_leads": [row], **({"identity_links": links} if links else {})})


def click(at: str | datetime, code: str, **columns: Any) -> Envelope:
    """A click on the site's WhatsApp button; `columns` are those of the page."""
    row = {"link_code_key": f"code:{code}", "clicked_at": utc(at), **columns}
    return Envelope({"link_clicks": [row | {"content_key": _digest(row)}]})


def coded(code: str, state: str = "fit") -> dict[str, Any]:
    """Columns of a message with the code of a coded link: `message(..., **coded("A"))`."""
    return {"link_code_key": f"code:{code}" if state == "fit" else None, "link_code_state": state}


def exclusion(
    at: str | datetime, reason: str = "staff", *, off: bool = False, **target: str
) -> Envelope:
    """Somebody (`phone`, `bsuid`, `email`) or a `number` does not count; `off`: does again."""
    ((kind, name),) = target.items()
    row = {
        "identity_key": None if kind == "number" else f"{kind}:{name}",
        "identity_kind": None if kind == "number" else kind,
        "business_number_id": name if kind == "number" else None,
        "reason": reason,
        "is_excluded": not off,
        "declared_at": utc(at),
    }
    return Envelope({"exclusions": [row | {"content_key": _digest(row)}]})


def consent(at: str | datetime, *, given: bool = False, **identities: str) -> Envelope:
    """Somebody (`phone`, `bsuid`, `email`, one or more) withdraws consent, or gives it again."""
    row = {
        **{f"{kind}_key": f"{kind}:{name}" for kind, name in identities.items()},
        "purpose": "marketing",
        "is_given": given,
        "declared_at": utc(at),
        "source": "whatsapp_user_preferences",
    }
    return Envelope({"consents": [row | {"content_key": _digest(row)}]})


def quarantined(count: int = 1) -> Envelope:
    """An envelope whose messages could not be read."""
    rows = [{"source": "whatsapp", "element": "message", "reason": "not an object"}] * count
    return Envelope({"quarantine": rows}, quarantined_messages=count)


def people_models() -> tuple[str, ...]:
    """The selection of dbt that builds everything about people and nothing else."""
    return ("+path:dbt_project/models/marts/leads",)


def activation_models() -> tuple[str, ...]:
    """The selection of dbt that builds what goes out, and what became of it."""
    return ("+path:dbt_project/models/activation", "+path:dbt_project/models/marts/activation")


def _person(phone: str | None, bsuid: str | None) -> dict[str, Any]:
    return {
        "phone_key": f"phone:{phone}" if phone else None,
        "bsuid_key": f"bsuid:{bsuid}" if bsuid else None,
    }


def _link(left: str, right: str, kind: str, at: datetime, waba_id: str | None) -> dict[str, Any]:
    return {
        "waba_id": waba_id,
        "left_key": left,
        "left_kind": left.split(":")[0],
        "right_key": right,
        "right_kind": right.split(":")[0],
        "link_kind": kind,
        "observed_at": at,
    }


def _digest(row: Mapping[str, Any]) -> str:
    return hashlib.sha256(repr(sorted(row.items())).encode()).hexdigest()[:32]


def shuffled(envelopes: Iterable[Envelope], rng: Any) -> list[Envelope]:
    """The same envelopes in another order."""
    copy = list(envelopes)
    rng.shuffle(copy)
    return copy
