"""Payloads of other providers, and the parser run over them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from tests.ingestion.parser.payloads import ROOT, SAMPLES, Rows, parse

FIXTURES = ROOT / "tests" / "fixtures"
FOLDERS = {
    "twilio": "twilio", "messenger": "messenger", "dialog360": "dialog360", "gupshup": "gupshup",
}  # fmt: skip
"""Source to folder."""

AD_ID = "120299990000000001"
PAGE = "1000000000000001"
PSID = "2000000000000001"
SENT_MS = 1_781_000_000_123


def body(source: str, name: str) -> bytes:
    """The bytes of an own payload; `name` without its suffix."""
    (path,) = (FIXTURES / FOLDERS[source]).glob(f"{name}.*")
    return path.read_bytes().rstrip(b"\n")


def payloads(source: str) -> dict[str, bytes]:
    """All own payloads of a source by name."""
    paths = sorted((FIXTURES / FOLDERS[source]).iterdir())
    return {path.stem: body(source, path.stem) for path in paths}


def parsed(source: str, *names: str) -> Rows:
    """Rows of own payloads, by their names."""
    return parse(*(body(source, name) for name in names), source=source)


def form(**fields: str | None) -> bytes:
    """A WhatsApp message as Twilio posts it; `None` takes a field away."""
    found: dict[str, str | None] = {
        "MessageSid": "SM1",
        "SmsStatus": "received",
        "From": "whatsapp:+5531987650001",
        "To": "whatsapp:+5511400012345",
        "Body": "Oi",
        "NumMedia": "0",
    }
    found.update(fields)
    return urlencode({k: v for k, v in found.items() if v is not None}).encode()


def event(number: int = 1, **content: Any) -> dict[str, Any]:
    """One event of a chat on Messenger or Instagram."""
    ends = {"sender": {"id": PSID}, "recipient": {"id": PAGE}}
    return {**ends, "timestamp": SENT_MS + number * 1_000, **content}


def text_event(number: int = 1, **extra: Any) -> dict[str, Any]:
    """An inbound text."""
    return event(number, message={"mid": f"m_{number}", "text": "Oi", **extra})


def chats(*events: Any, app: str = "page") -> dict[str, Any]:
    """An envelope of Messenger (`page`) or Instagram."""
    return {"object": app, "entry": [{"id": PAGE, "time": SENT_MS, "messaging": list(events)}]}


def messenger_samples() -> dict[str, Any]:
    """Public sample events beside the checkout, where they are."""
    paths = sorted((SAMPLES / "messenger_ig").glob("*.json"))
    return {path.stem: json.loads(path.read_bytes()) for path in paths}
