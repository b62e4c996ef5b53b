"""Columns of what is remembered of reading HubSpot, as it lies in `<lake>/hubspot/`.

Records themselves are envelopes in the vault (source `hubspot`), because they hold personal data;
the parser makes outcomes and identity links of them.
"""

from __future__ import annotations

import pyarrow as pa

TS = pa.timestamp("us", tz="UTC")

# One row each time a kind of record was read to the end: where the next read goes on.
READS = pa.schema(
    [
        pa.field("read_no", pa.int64(), nullable=False),
        pa.field("read_at", TS, nullable=False),
        pa.field("object_type", pa.string(), nullable=False),  # contacts | deals
        pa.field("is_archived", pa.bool_(), nullable=False),  # the list of deleted records
        pa.field("since", TS),  # null: from the beginning
        pa.field("until", TS, nullable=False),
        pa.field("records", pa.int64(), nullable=False),
    ]
)

# One row per record and read that found it new or changed in what we use of it. HubSpot counts
# every visit to a page as a change of the contact; those must not come to the vault again.
RECORDS = pa.schema(
    [
        pa.field("read_no", pa.int64(), nullable=False),
        # Keyed hashes that stand nowhere else: neither leads to a person of the event log.
        pa.field("record_key", pa.string(), nullable=False),
        pa.field("content_key", pa.string(), nullable=False),
        pa.field("is_archived", pa.bool_(), nullable=False),
    ]
)

HUBSPOT: dict[str, pa.Schema] = {"reads": READS, "records": RECORDS}
"""Table name to columns, as they lie in `<lake>/hubspot/<table>/*.parquet`."""
