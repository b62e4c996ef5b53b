"""Columns of what was looked at beside the data, as it lies in `<lake>/alarms/observations/`."""

from __future__ import annotations

import pyarrow as pa

_FIGURE = pa.decimal128(18, 6)

OBSERVATIONS = pa.schema(
    [
        pa.field("read_no", pa.int64(), nullable=False),
        pa.field("read_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("alarm", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),  # a way in, a token; '': there is one
        pa.field("status", pa.string(), nullable=False),  # ok | warn | off
        pa.field("measured", _FIGURE),
        pa.field("expected_low", _FIGURE),
        pa.field("expected_high", _FIGURE),
        pa.field("message", pa.string(), nullable=False),
        pa.field("mend", pa.string()),
    ]
)

ALARMS: dict[str, pa.Schema] = {"observations": OBSERVATIONS}
"""Table name to columns."""
