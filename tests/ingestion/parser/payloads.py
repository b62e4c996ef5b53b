"""Synthetic WhatsApp payloads, and the parser run over them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from ctwa.pseudonym import Pseudonymizer
from ingestion.parser import Parser

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "tests" / "fixtures" / "whatsapp"
SAMPLES = ROOT.parent / "shared" / "samples"

NAMES = Pseudonymizer(bytes(range(32)))
RECEIVED = datetime(2026, 6, 20, 12, tzinfo=UTC)
SENT = 1_781_000_000  # 2026-06-09
BUSINESS = "5511400012345"
PHONE = "5531987650001"
OTHER_PHONE = "5531987650002"
BSUID = "BR.20000000000000000001"
OTHER_BSUID = "BR.20000000000000000002"
PARENT = "BR.ENT.30000000000000000001"

BATCH = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("received_at", pa.timestamp("us", tz="UTC")),
        pa.field("source", pa.string()),
        pa.field("body", pa.binary()),
    ]
)

Rows = dict[str, list[dict[str, Any]]]


def message(number: int = 1, **extra: Any) -> dict[str, Any]:
    """An inbound text; `None` takes a key away."""
    found: dict[str, Any] = {
        "from": PHONE,
        "id": f"wamid.TEST{number}",
        "timestamp": str(SENT + number),
        "type": "text",
        "text": {"body": "Oi"},
    }
    found.update(extra)
    return {key: value for key, value in found.items() if value is not None}


def referral(**extra: Any) -> dict[str, Any]:
    """An ad's referral; `None` takes a key away."""
    found: dict[str, Any] = {
        "source_type": "ad",
        "source_id": "120299990000000001",
        "source_url": "https://fb.me/x",
        "ctwa_clid": "AfClick",
    }
    found.update(extra)
    return {key: value for key, value in found.items() if value is not None}


def envelope(*messages: Any, field: str = "messages", **value: Any) -> dict[str, Any]:
    """One change; lists other than `messages` by keyword."""
    inner: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": BUSINESS, "phone_number_id": "31"},
    }
    if messages:
        inner["messages"] = list(messages)
    inner.update(value)
    entry = {"id": "41", "changes": [{"field": field, "value": inner}]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


def encode(body: Any) -> bytes:
    """Bytes as they are; anything else as JSON the way Meta writes it."""
    if isinstance(body, bytes):
        return body
    return json.dumps(body, separators=(",", ":")).replace("/", "\\/").encode()


def batch_of(bodies: Sequence[Any], source: str = "whatsapp", first_seq: int = 1) -> pa.RecordBatch:
    """Envelopes as the vault gives them."""
    raw = [encode(b) for b in bodies]
    columns = [
        list(range(first_seq, first_seq + len(raw))),
        [RECEIVED] * len(raw),
        [source] * len(raw),
        raw,
    ]
    return pa.RecordBatch.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, BATCH, strict=True)], schema=BATCH
    )


def parse(*bodies: Any, source: str = "whatsapp") -> Rows:
    """Rows of all tables."""
    tables = Parser(NAMES).parse(batch_of(bodies, source))
    return {name: table.to_pylist() for name, table in tables.items()}


def reasons(rows: Rows) -> list[str]:
    """Codes of what was quarantined, without the expectation."""
    return [row["reason"].partition(":")[0] for row in rows["quarantine"]]


def links(rows: Rows) -> set[tuple[str, str, str]]:
    """Identity links as (left, right, kind)."""
    return {(r["left_key"], r["right_key"], r["link_kind"]) for r in rows["identity_links"]}


def fixture(name: str) -> bytes:
    """The bytes of an own synthetic payload."""
    return (FIXTURES / f"{name}.json").read_bytes()


def own_payloads() -> dict[str, bytes]:
    """All own payloads by name."""
    return {path.stem: path.read_bytes() for path in sorted(FIXTURES.glob("*.json"))}


def public_samples() -> dict[str, bytes]:
    """The public sample payloads beside the checkout, where they are."""
    return {
        f"{path.parent.name}/{path.stem}": path.read_bytes()
        for path in sorted(SAMPLES.glob("wa_*/*.json"))
    }
