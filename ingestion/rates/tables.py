"""Where exchange rates lie in the lake."""

from __future__ import annotations

import pyarrow as pa

DATASET = "exchange_rates"
TABLE = "ecb_rates"

ECB_RATES = pa.schema(
    [
        pa.field("rate_date", pa.date32(), nullable=False),
        pa.field("currency", pa.string(), nullable=False),  # ISO 4217
        # Units of the currency for one euro, as the ECB quotes.
        pa.field("rate_per_eur", pa.decimal128(18, 8), nullable=False),
        # Rises by one with each read that landed; of a corrected rate the newest counts.
        pa.field("read_no", pa.int64(), nullable=False),
        pa.field("read_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
EXCHANGE_RATES: dict[str, pa.Schema] = {TABLE: ECB_RATES}
"""Table to columns, as they lie in `<lake>/exchange_rates/<table>/*.parquet`; append only."""
