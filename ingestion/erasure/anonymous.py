"""The edit that makes rows of the event log nobody's: keys, click ids, and what may name somebody.

Keys of the person become one random key; keys of their messages, forms, events and contents become
random ones that sort as the old ones did.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingestion.erasure.people import Person
from ingestion.erasure.sieve import CLICKS, IDENTITY_COLUMNS, TIME_COLUMNS

ERASED_CLICK = "erased"
"""In place of a click id: that there was one is part of the lead's basis (R6)."""

ERASED_REASON = "erased"
"""In place of an exclusion's reason: that the leads do not count stays so (E20)."""

_ALIASED = ("message_key", "message_id_key", "form_key", "link_code_key")
_CLICK_IDS = ("gclid", "gbraid", "wbraid", "fbclid", "msclkid")

Row = dict[str, Any]


@dataclass(slots=True)
class Found:
    """One person in the lake. `rows`: table to (seq, ordinal) to the row's keys."""

    person: Person
    rows: dict[str, dict[tuple[int, int], Row]] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    """Keys of messages and codes, and `source|event id`, that rows of others have, too."""
    bodies: set[int] = field(default_factory=set)
    """Envelopes whose bodies name the person, with or without rows of theirs."""

    @property
    def seqs(self) -> set[int]:
        """Envelopes that hold rows of the person."""
        return {seq for places in self.rows.values() for seq, _ in places}

    @property
    def message_ids(self) -> set[str]:
        """Message id keys that are this person's alone."""
        ids = {
            row["message_id_key"]
            for table in ("messages", "statuses")
            for row in self.rows.get(table, {}).values()
        }
        return ids - self.shared

    @property
    def link_codes(self) -> set[str]:
        """Keys of codes that stand in this person's messages alone."""
        codes = {row["link_code_key"] for row in self.rows.get("messages", {}).values()}
        return codes - self.shared - {None}

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        return {table: len(self.rows.get(table, {})) for table in (*IDENTITY_COLUMNS, CLICKS)}


class Anonymous:
    """Replaces keys, each by the same random one wherever it stands."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._person = secrets.token_hex(16)
        rows = [row for places in found.rows.values() for row in places.values()]
        self._alias: dict[str, dict[str, str]] = {
            column: _aliases({r[column] for r in rows if r.get(column)} - found.shared)
            for column in (*_ALIASED, "content_key")
        }
        events = {event_of(r) for r in found.rows.get("outcomes", {}).values()} - found.shared
        self._alias["event_id"] = _aliases(events)
        self._blurred_keys: dict[str, str] = {}

    def table(self, table: str, rows: pa.Table, seqs: npt.NDArray[np.int64]) -> pa.Table:
        """`rows` with the person's among them changed (of `identity_links`: left out)."""
        near = np.isin(rows["seq"].to_numpy(), seqs)
        if not near.any():
            return rows
        if table == "envelopes":
            return self._blurred(rows, near)
        places = zip(rows["seq"].to_pylist(), rows["ordinal"].to_pylist(), strict=True)
        theirs = np.array([place in self._found.rows[table] for place in places])
        kept = rows.filter(pa.array(~theirs))
        if table == "identity_links":
            return kept
        changed = [self._changed(table, r) for r in rows.filter(pa.array(theirs)).to_pylist()]
        both = pa.concat_tables([kept, pa.Table.from_pylist(changed, schema=rows.schema)])
        return both.sort_by([("seq", "ascending"), ("ordinal", "ascending")])

    def _changed(self, table: str, row: Row) -> Row:
        for column in _ALIASED:
            if row.get(column):
                row[column] = self._alias[column].get(row[column], row[column])
        if table == CLICKS:  # it names nobody; a message of the person led to it
            return row | self._content(row) | _blurred_page(row)
        named = [c for c in IDENTITY_COLUMNS[table] if row[c]]
        at, person = row[TIME_COLUMNS[table]], self._found.person
        theirs = [c for c in named if person.has(row[c], at)]
        if named and not theirs:
            return row  # an outcome that names another person beside a message of this one
        # These may name the holder of a phone beside an address of the one before (E28).
        is_mixed = table in ("outcomes", "web_leads", "consents")
        row |= dict.fromkeys(theirs if is_mixed else named, self._person)
        row |= {"country": None} | self._content(row)
        if table == "messages":
            row |= {"context_message_id_key": None, "referral_extra": None}
            row["ctwa_clid"] = ERASED_CLICK if row["ctwa_clid"] else row["ctwa_clid"]
            url = row["referral_source_url"]
            row["referral_source_url"] = url and url.partition("?")[0]
        elif table == "exclusions":
            row["reason"] = ERASED_REASON  # what somebody typed may name the person
        elif table == "web_leads":
            row |= _blurred_page(row)
        elif table == "outcomes":
            row["event_id"] = self._alias["event_id"].get(event_of(row), row["event_id"])
        return row

    def _content(self, row: Row) -> Row:
        return {"content_key": self._alias["content_key"][row["content_key"]]}

    def _blurred(self, rows: pa.Table, near: npt.NDArray[np.bool_]) -> pa.Table:
        index, known = rows.column_names.index("body_key"), self._blurred_keys
        keys = rows["body_key"].to_pylist()
        blurred = [
            known.setdefault(k, secrets.token_hex(16)) if n else k
            for k, n in zip(keys, near, strict=True)
        ]
        return rows.set_column(index, rows.schema.field(index), pa.array(blurred))


def _blurred_page(row: Row) -> Row:
    """How a page was come by stays; which click it was, and the page itself, may name somebody."""
    clicks = {column: ERASED_CLICK for column in _CLICK_IDS if row[column]}
    return {"page_path": None, "referrer_host": None} | clicks


def _aliases(values: Iterable[str]) -> dict[str, str]:
    """A random key for each value; the keys sort as the values do."""
    ordered = sorted(values)
    return dict(zip(ordered, sorted(secrets.token_hex(16) for _ in ordered), strict=True))


def event_of(row: Mapping[str, Any]) -> str:
    """What an outcome is known by: copies and corrections share it."""
    return f"{row['source']}|{row['event_id']}"


__all__ = ["ERASED_CLICK", "ERASED_REASON", "Anonymous", "Found", "Row", "event_of"]
