"""What the lake remembers about reading HubSpot: tables in `<lake>/hubspot/`, and their readers.

Records themselves are envelopes in the vault (source `hubspot`), because they hold personal data;
the parser makes outcomes and identity links of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from ctwa.pseudonym import Pseudonymizer
from ingestion.lake.lake import Lake

if TYPE_CHECKING:
    from ingestion.crm.hubspot.client import Row

DATASET = "hubspot"

TS = pa.timestamp("us", tz="UTC")

# One row each time a kind of record was read to the end: the next read continues from there.
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
# every visit to a page as a change of the contact; such contacts must not go to the vault again.
RECORDS = pa.schema(
    [
        pa.field("read_no", pa.int64(), nullable=False),
        # Keyed hashes that are used nowhere else: neither leads to a person in the event log.
        pa.field("record_key", pa.string(), nullable=False),
        pa.field("content_key", pa.string(), nullable=False),
        pa.field("is_archived", pa.bool_(), nullable=False),
    ]
)

# One row per stage and read that found it new or with another label. An archived pipeline leaves
# HubSpot's list, while the history of its deals still names its stages (E91).
STAGES = pa.schema(
    [
        pa.field("read_no", pa.int64(), nullable=False),
        pa.field("object_type", pa.string(), nullable=False),  # contacts | deals
        pa.field("stage_id", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),  # as it goes into outcomes
    ]
)

HUBSPOT: dict[str, pa.Schema] = {"reads": READS, "records": RECORDS, "stages": STAGES}
"""Table name to columns, as they lie in `<lake>/hubspot/<table>/*.parquet`."""


class KnownRecords:
    """Every record as it was when last read. `new`: rows of `records` that are to land."""

    def __init__(self, lake: Lake, names: Pseudonymizer) -> None:
        self.new: list[Row] = []
        self._names = names
        found = lake.query(
            "select record_key, arg_max(content_key, read_no) as content_key, "
            "arg_max(is_archived, read_no) as is_archived from {records} group by record_key",
            records=f"{DATASET}/records",
        )
        columns = (found[n].to_pylist() for n in ("record_key", "content_key", "is_archived"))
        self._last = {key: (content, gone) for key, content, gone in zip(*columns, strict=True)}

    def take(self, kind: str, record: Row) -> bool:
        """Note a record as it is now; returns whether it differs from the last read.

        A record that was deleted and has been restored gets the time of that: `restored_at`.
        """
        content = {name: value for name, value in record.items() if name != "updated_at"}
        text = json.dumps(content, sort_keys=True)
        # Hashes of a kind of their own, so that they lead to nobody in the event log.
        content_key = self._names.digest("hubspot_content", text)
        record_key = _record_key(self._names, kind, record["id"])
        is_archived = "archived_at" in record
        before = self._last.get(record_key)
        if before == (content_key, is_archived):
            return False
        if before and before[1] and not is_archived:
            record["restored_at"] = record["updated_at"]
        self._last[record_key] = (content_key, is_archived)
        row = {"record_key": record_key, "content_key": content_key, "is_archived": is_archived}
        self.new.append(row)
        return True


def never_read(lake: Lake, names: Pseudonymizer, kind: str, ids: Iterable[str]) -> set[str]:
    """Which of these records no read has found yet."""
    keys = {_record_key(names, kind, record_id): record_id for record_id in ids}
    known = lake.query(
        "select distinct record_key from {records} "
        "where record_key in (select record_key from {asked})",
        records=f"{DATASET}/records",
        asked=pa.table({"record_key": pa.array(keys, pa.string())}),
    )
    return set(keys.values()) - {keys[key] for key in known["record_key"].to_pylist()}


def _record_key(names: Pseudonymizer, kind: str, record_id: str) -> str:
    return names.digest("hubspot_record", f"{kind}:{record_id}")


def with_known_stages(
    lake: Lake, kind: str, listed: Mapping[str, str]
) -> tuple[dict[str, str], list[Row], list[str]]:
    """Labels by stage, also of stages that HubSpot no longer lists, e.g. of an archived pipeline
    (E91); rows of `stages` for new ones; and the labels of those that are no longer listed."""
    found = lake.query(
        "select stage_id, arg_max(label, read_no) as label from {stages} "  # noqa: S608 - our words
        f"where object_type = '{kind}' group by stage_id",
        stages=f"{DATASET}/stages",
    ).to_pylist()
    known = {row["stage_id"]: row["label"] for row in found}
    new = [
        {"object_type": kind, "stage_id": stage, "label": label}
        for stage, label in listed.items()
        if known.get(stage) != label
    ]
    left = sorted(label for stage, label in known.items() if stage not in listed)
    return known | dict(listed), new, left


def people_of(lake: Lake, deal_ids: Iterable[str]) -> dict[str, str]:
    """Deal id to the key of the contact that its outcomes were matched by so far."""
    found = lake.query(
        "select split_part(event_id, ':', 2) as deal_id, "
        "arg_max(crm_record_key, seq) as person_key from {outcomes} "
        "where source = 'hubspot_deals' and recorded_at is not null group by all",
        outcomes="event_log/outcomes",
    )
    known = dict(zip(found["deal_id"].to_pylist(), found["person_key"].to_pylist(), strict=True))
    return {i: known[i] for i in deal_ids if i in known}
