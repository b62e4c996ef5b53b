"""Gupshup's webhooks in Meta's format (their version 3), with the little they add to it.

Their own format (version 2) is not read: it names the app but not the business number, so that a
chat could not be told from one of another number, and no ad in front of a message is documented.
"""

from __future__ import annotations

from typing import Any

from ingestion.parser.limits import read_body
from ingestion.parser.rows import Rows
from ingestion.parser.values import children
from ingestion.parser.whatsapp import WhatsApp

OWN_FORMAT = "gupshup_own_format: expected Meta's format, set the subscription's version to 3"


class Gupshup:
    """Reads envelopes of source `gupshup` by `whatsapp`."""

    def __init__(self, rows: Rows, whatsapp: WhatsApp) -> None:
        self._rows, self._whatsapp = rows, whatsapp

    def read(self, body: bytes) -> None:
        """Add the rows of one body; raises `Reject` where it is not JSON."""
        value, suspicious = read_body(body)
        if type(value) is dict and "entry" not in value and "payload" in value:
            element = "message" if value.get("type") == "message" else "envelope"
            self._rows.take(element, value, (), lambda _item, _path: None, OWN_FORMAT)
            return
        _leave_out_their_own(value)
        self._whatsapp.read_value(value, suspicious)


def _leave_out_their_own(value: Any) -> None:
    """Take away lists of statuses that Meta knows nothing of: the sign of a new subscription, and
    that a message waits at Gupshup."""
    for entry in children(value, "entry") if type(value) is dict else ():
        for change in children(entry, "changes") if type(entry) is dict else ():
            inner = change.get("value") if type(change) is dict else None
            if type(inner) is not dict:
                continue
            statuses = children(inner, "statuses")
            if statuses and all(_is_their_own(status) for status in statuses):
                del inner["statuses"]


def _is_their_own(status: Any) -> bool:
    if type(status) is not dict:
        return False
    return status.get("status") == "enqueued" or status.get("type") == "set-callback"
