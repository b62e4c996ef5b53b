"""Take every look, and land what was found in the lake; the caller holds the lock.

| looked at | lake | disposition |
|---|---|---|
| vault and event log by the clock; `debug_token` | `alarms/observations` | append, a row a look |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime

import pyarrow as pa

from ctwa.settings import Settings
from ingestion.lake import Lake
from ingestion.watch import Observation, envelopes, tokens
from ingestion.watch.schema import ALARMS

DATASET, TABLE = "alarms", "observations"

Clock = Callable[[], datetime]


def land_observations(
    settings: Settings, *, now: Clock = lambda: datetime.now(UTC)
) -> list[Observation]:
    """One row for each thing looked at, under the next `read_no`; what was found."""
    at = now()
    found = [*envelopes.look(settings, at), tokens.look(settings, at)]
    lake = Lake.from_settings(settings)
    lake.ensure(DATASET, ALARMS)
    lake.sweep(DATASET)
    lake.compact(DATASET, ALARMS)  # one small file a night
    read = {"read_no": 1 + lake.max_value(DATASET, TABLE, "read_no"), "read_at": at}
    rows = [{**read, **asdict(observation)} for observation in found]
    with lake.commit(DATASET) as commit:
        commit.write(TABLE, pa.Table.from_pylist(rows, schema=ALARMS[TABLE]))
    return found
