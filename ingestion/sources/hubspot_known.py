"""What the lake knows of HubSpot's records: whether one has changed, whose a deleted deal was."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ctwa.pseudonym import Pseudonymizer
from ingestion.hubspot_api import Row
from ingestion.lake import Lake

DATASET = "hubspot"


class Known:
    """What every record was when it was read last. `new`: rows of `records` to be landed."""

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
        """Note a record as it is now; whether it differs from what was read last.

        One that was deleted and is back gets the time from when: `restored_at`.
        """
        content = {name: value for name, value in record.items() if name != "updated_at"}
        text = json.dumps(content, sort_keys=True)
        # Kinds of their own: what is kept here leads to nobody in the event log.
        content_key = self._names.digest("hubspot_content", text)
        record_key = self._names.digest("hubspot_record", f"{kind}:{record['id']}")
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


__all__ = ["Known", "people_of"]
