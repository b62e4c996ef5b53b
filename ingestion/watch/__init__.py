"""What only a clock or an API can tell of the set-up's health, looked at in each nightly run.

Models never read the clock (rule R3), so these looks are taken here and land in the lake, from
where `health_alarms` shows them beside the alarms that it works out itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

ENVELOPES_MISSING = "envelopes_missing"
META_TOKEN = "meta_token"  # noqa: S105 - the name of an alarm


@dataclass(frozen=True, slots=True)
class Observation:
    """One look: the columns of `alarms/observations` beside when it was. `mend`: for `warn`."""

    alarm: str
    status: Literal["ok", "warn", "off"]
    message: str
    subject: str = ""
    mend: str | None = None
    measured: Decimal | None = None
    expected_low: Decimal | None = None
    expected_high: Decimal | None = None
