"""One event of the outbox as Meta's Conversions API for business messaging takes it.

Meta refuses a whole request for one bad event, so each is looked at before it is sent. Shape and
limits: Meta's documentation of September 2026 (business messaging, channel WhatsApp).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ctwa.settings import CONVERSION_NAMES

MAX_AGE_SECONDS = 7 * 86_400
"""Older events make Meta refuse the whole request (100/2804003)."""

AGE_MARGIN_SECONDS = 900
"""How much earlier we call an event too old: clocks differ, and a run may wait for minutes."""

MAX_CLICK_BYTES = 1024

_CURRENCY = re.compile(r"[A-Z]{3}")
_ID = re.compile(r"\d{1,32}")


@dataclass(frozen=True, slots=True)
class Event:
    """What is told of one outcome; the click id as WhatsApp gave it."""

    event_id: str
    event_name: str
    event_time: int
    """Seconds since 1970, UTC."""
    waba_id: str
    ctwa_clid: str
    value: Decimal | None = None
    currency: str | None = None

    def body(self) -> dict[str, Any]:
        """The JSON object in `data` of a request."""
        body: dict[str, Any] = {
            "event_name": self.event_name,
            "event_time": self.event_time,
            "action_source": "business_messaging",
            "messaging_channel": "whatsapp",
            "user_data": {
                "whatsapp_business_account_id": self.waba_id,
                "ctwa_clid": self.ctwa_clid,
            },
        }
        if self.value is not None and self.currency is not None:
            body["custom_data"] = {"currency": self.currency, "value": _number(self.value)}
        return body | {"event_id": self.event_id}

    def fault(self) -> str | None:
        """Why Meta would refuse it whenever it came; None where nothing is wrong with it."""
        if self.event_name not in CONVERSION_NAMES:
            return "invalid_name"
        if not 1 <= len(self.ctwa_clid.encode("utf-8", "surrogatepass")) <= MAX_CLICK_BYTES or (
            not self.ctwa_clid.isprintable()
        ):
            return "invalid_click_id"
        if not _ID.fullmatch(self.waba_id):
            return "invalid_waba"
        if self.value is not None and not (self.value.is_finite() and self.value >= 0):
            return "invalid_value"
        if self.currency is not None and not _CURRENCY.fullmatch(self.currency):
            return "invalid_currency"
        if self.event_name == "Purchase" and (self.value is None or self.currency is None):
            return "no_value"
        return None

    def is_too_old(self, now_us: int) -> bool:
        """Whether Meta would refuse it for its age, soon at the latest."""
        return self.event_time < now_us // 1_000_000 - MAX_AGE_SECONDS + AGE_MARGIN_SECONDS


def _number(value: Decimal) -> int | float:
    """A JSON number: whole amounts as Meta's examples show them."""
    return int(value) if value == value.to_integral_value() else float(value)


__all__ = ["AGE_MARGIN_SECONDS", "MAX_AGE_SECONDS", "Event"]
