"""What the lake remembers about reading instant forms: tables in `<lake>/meta_lead_forms/`.

The leads are envelopes in the vault (source `meta_lead_forms`), because they hold personal data.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pyarrow as pa

from ctwa.pseudonym import Pseudonymizer
from ingestion.lake.lake import Lake
from ingestion.parser.lead_forms import SOURCE

Row = dict[str, Any]

DATASET = SOURCE

TS = pa.timestamp("us", tz="UTC")

# One row each time a form was read to the end: the next read continues from there.
READS = pa.schema(
    [
        pa.field("read_no", pa.int64(), nullable=False),
        pa.field("read_at", TS, nullable=False),
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("form_id", pa.string(), nullable=False),
        pa.field("since", TS, nullable=False),
        pa.field("until", TS, nullable=False),
        pa.field("leads", pa.int64(), nullable=False),
    ]
)

FORMS = pa.schema(
    [
        pa.field("read_no", pa.int64(), nullable=False),
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("form_id", pa.string(), nullable=False),
        pa.field("form_name", pa.string()),
        # ACTIVE ARCHIVED DRAFT DELETED, and GONE: it has left the page's list.
        pa.field("status", pa.string()),
    ]
)

LEADS = pa.schema(
    [
        pa.field("read_no", pa.int64(), nullable=False),
        # A keyed hash that is used nowhere else: it leads to no person in the event log, and an
        # erased lead is not read again.
        pa.field("lead_key", pa.string(), nullable=False),
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("form_id", pa.string()),
        pa.field("found_by", pa.string(), nullable=False),  # bulk | notice
        pa.field("state", pa.string(), nullable=False),  # read | refused
    ]
)

LEAD_FORMS: dict[str, pa.Schema] = {"reads": READS, "forms": FORMS, "leads": LEADS}
"""Table name to columns, as they lie in `<lake>/meta_lead_forms/<table>/*.parquet`."""


class Known:
    """What earlier reads found. Rows that are to land are collected in `new`, by table."""

    def __init__(self, lake: Lake, names: Pseudonymizer) -> None:
        self._lake, self._names = lake, names
        found = lake.query("select distinct lead_key, state from {t}", t=f"{DATASET}/leads")
        pairs = [*zip(found["lead_key"].to_pylist(), found["state"].to_pylist(), strict=True)]
        self._read = {key for key, state in pairs if state == "read"}
        self._refused = {key for key, state in pairs if state == "refused"}
        forms = lake.query(
            "select form_id, arg_max(page_id, read_no) as page_id, "
            "arg_max(form_name, read_no) as form_name, arg_max(status, read_no) as status "
            "from {t} group by form_id",
            t=f"{DATASET}/forms",
        ).to_pylist()
        self._forms = {row["form_id"]: row for row in forms}
        reads = lake.query(
            "select page_id, form_id, max(until) as until from {t} group by page_id, form_id",
            t=f"{DATASET}/reads",
        ).to_pylist()
        self.read_until: dict[str, datetime] = {row["form_id"]: row["until"] for row in reads}
        self._page_read_at: dict[str, datetime] = {}
        for row in sorted(reads, key=lambda row: row["until"]):
            self._page_read_at[row["page_id"]] = row["until"]
        self.new: dict[str, list[Row]] = {table: [] for table in LEAD_FORMS}

    def is_read(self, leadgen_id: str) -> bool:
        """Whether this lead is in the vault, or was and somebody was erased."""
        return self._key(leadgen_id) in self._read

    def is_refused(self, leadgen_id: str) -> bool:
        """Whether Meta has refused this lead before."""
        return self._key(leadgen_id) in self._refused

    def page_read_at(self, page_id: str) -> datetime | None:
        """When a form of the page was last read to the end."""
        return self._page_read_at.get(page_id)

    def take_lead(self, leadgen_id: str, state: str, **where: str | None) -> None:
        """Note that a lead was read, or refused for the first time."""
        key, known = self._key(leadgen_id), self._read if state == "read" else self._refused
        if key not in known:
            known.add(key)
            self.new["leads"].append({"lead_key": key, "state": state, **where})

    def take_read(self, **row: Any) -> None:
        """Note that a form was read to the end."""
        self.new["reads"].append(row)

    def take_form(self, page_id: str, form_id: str, form_name: str | None, status: str) -> None:
        """Note a form as it is now, if anything differs."""
        row = {"page_id": page_id, "form_id": form_id, "form_name": form_name, "status": status}
        if self._forms.get(form_id) != row:
            self._forms[form_id] = row
            self.new["forms"].append(row)

    def left(self, page_id: str, listed: Iterable[str]) -> list[Row]:
        """Forms of the page that are no longer listed and were when last read."""
        gone = self._forms.keys() - set(listed)
        rows = (self._forms[form_id] for form_id in sorted(gone))
        return [r for r in rows if r["page_id"] == page_id and r["status"] != "GONE"]

    def load(self) -> dict[str, int]:
        """Land `new` in one commit; returns rows by table."""
        if not any(self.new.values()):
            return dict.fromkeys(LEAD_FORMS, 0)
        read_no = 1 + max(self._lake.max_value(DATASET, table, "read_no") for table in LEAD_FORMS)
        tables = {
            name: pa.Table.from_pylist(
                [{**row, "read_no": read_no} for row in rows], LEAD_FORMS[name]
            )
            for name, rows in self.new.items()
        }
        self.new = {table: [] for table in LEAD_FORMS}
        return dict(self._lake.load(DATASET, [tables], LEAD_FORMS))

    def _key(self, leadgen_id: str) -> str:
        return self._names.digest("meta_lead", leadgen_id)
