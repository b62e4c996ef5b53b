"""What became of each conversion event, as a file that the marts read.

`<data>/activation/conversions.parquet`, one row per event that the ledger knows of. The view
`marts.conversion_events` reads it when it is published, which is after sending. The ledger is the
record of truth: the file may be deleted, and is whole again after the next sending.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ctwa.settings import Settings
from ingestion.dlt_runtime import fsync_files

FILE = "conversions.parquet"

_TS = pa.timestamp("us", tz="UTC")

STATES = pa.schema(
    [
        pa.field("conversion_event_id", pa.string(), nullable=False),
        pa.field("lead_id", pa.string()),
        pa.field("funnel_stage", pa.string(), nullable=False),
        pa.field("event_name", pa.string()),  # as it was or will be sent; null where never
        pa.field("dataset_id", pa.string()),
        pa.field("status", pa.string(), nullable=False),  # pending sent rejected unknown skipped
        pa.field("reason", pa.string()),
        pa.field("occurred_at", _TS, nullable=False),
        pa.field("sent_at", _TS),
        pa.field("value", pa.decimal128(18, 6)),
        pa.field("currency", pa.string()),
    ]
)
"""Columns of the file; one row per `conversion_event_id`."""


def states_path(settings: Settings) -> Path:
    """Where the file lies."""
    return settings.activation_dir / FILE


def ensure_states(settings: Settings) -> None:
    """Make an empty file where there is none: the marts are built before anything is sent."""
    if not states_path(settings).exists():
        write_states(settings, STATES.empty_table())


def write_states(settings: Settings, table: pa.Table) -> None:
    """Put `table` in the place of the file, whole or not at all; the caller holds the lock.

    Raises `ValueError` where the columns are not those of `STATES`.
    """
    if table.schema != STATES:
        raise ValueError(f"states have the columns {table.schema}, expected {STATES}")
    final = states_path(settings)
    final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = final.with_suffix(".tmp")
    pq.write_table(table, draft)
    fsync_files([draft])
    draft.replace(final)
    fsync_files([final])


__all__ = ["FILE", "STATES", "ensure_states", "states_path", "write_states"]
