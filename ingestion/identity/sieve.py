"""What landing leaves out: rows of people who were erased (`ingestion.identity.erased`).

Meta delivers again for up to seven days, and files can be replayed at any time. A row of an erased
identity is dropped if its own time is before the erasure; a row that names an erased message is
dropped whatever its time. Someone who writes after the erasure is a new person. Of a phone that the
person held only for a time (E28), rows of that time are dropped; other holders' rows stay.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ctwa.pseudonym import Pseudonymizer
from ingestion.identity.erased import Ledger, Period, marker
from ingestion.vault.vault import microseconds

IDENTITY_COLUMNS: dict[str, tuple[str, ...]] = {
    "messages": ("phone_key", "bsuid_key"),
    "statuses": ("phone_key", "bsuid_key"),
    "outcomes": ("phone_key", "bsuid_key", "email_key", "web_lead_key", "crm_record_key"),
    "chat_signals": ("phone_key", "bsuid_key"),
    "web_leads": ("phone_key", "email_key", "web_lead_key"),
    "form_notices": ("web_lead_key",),
    "exclusions": ("identity_key",),
    "consents": ("phone_key", "bsuid_key", "email_key"),
    "handovers": ("phone_key", "bsuid_key"),
    "identity_links": ("left_key", "right_key"),
}
"""Tables of the event log with rows about people, and their columns of identity keys."""

CLICKS = "link_clicks"
"""A click names nobody, but its code appears in somebody's message."""

TIME_COLUMNS = {
    "messages": "sent_at",
    "statuses": "status_at",
    "outcomes": "occurred_at",
    "chat_signals": "said_at",
    "web_leads": "submitted_at",
    "form_notices": "created_at",
    "link_clicks": "clicked_at",
    "exclusions": "declared_at",
    "consents": "declared_at",
    "handovers": "occurred_at",
    "identity_links": "observed_at",
}
_COUNTS = {
    "messages": ("messages", "message_elements"),
    "statuses": ("statuses",),
    "outcomes": ("outcomes",),
    "web_leads": ("web_leads",),
    "link_clicks": ("link_clicks",),
}
_NEVER, _ALWAYS = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_Integers = npt.NDArray[np.int64]


class Sieve:
    """Drops rows of erased people from parsed batches. Pending erasures are ignored here: their
    rows land and are then made anonymous along with the person's other rows."""

    def __init__(self, ledger: Ledger, names: Pseudonymizer) -> None:
        self._mark = marker(names)
        self._until: dict[str, int] = {}
        self._times: dict[str, list[tuple[int, int, int]]] = {}
        """Mark of a phone -> from, until, and the time of the erasure."""
        for erasure in ledger.erasures.values():
            if erasure.state != "pending":
                at_us = microseconds(erasure.at)
                for mark in erasure.marks:
                    self._until[mark] = max(at_us, self._until.get(mark, _NEVER))
                for mark, periods in erasure.phones.items():
                    self._times.setdefault(mark, []).extend((*span(p), at_us) for p in periods)

    def __bool__(self) -> bool:
        return bool(self._until or self._times)

    def without_erased(
        self, parsed: Mapping[str, pa.Table]
    ) -> tuple[Mapping[str, pa.Table], set[int]]:
        """The batch without rows of erased people, and the `seq` of envelopes whose bodies must go:
        those that had such rows, and those that repeat an emptied body byte for byte.

        Counts in `envelopes` are of the remaining rows, so that rule R1 adds up.
        """
        left = dict(parsed)
        self._learn_spellings(parsed["identity_links"])
        repeats = self._limits(parsed["envelopes"]["body_key"], self._if_known) == _ALWAYS
        seqs: set[int] = set(parsed["envelopes"]["seq"].to_numpy()[repeats].tolist())
        for table in (*IDENTITY_COLUMNS, CLICKS):
            rows = parsed[table]
            if not rows.num_rows:
                continue
            doomed = self._used(rows) if table == CLICKS else self._doomed(table, rows)
            if not doomed.any():
                continue
            left[table] = rows.filter(pa.array(~doomed))
            gone = rows["seq"].to_numpy()[doomed]
            seqs.update(gone.tolist())
            for column in _COUNTS.get(table, ()):
                left["envelopes"] = _with_fewer(left["envelopes"], column, gone)
        if seqs:
            left["envelopes"] = _with_random_keys(left["envelopes"], seqs)
        return left, seqs

    def _learn_spellings(self, links: pa.Table) -> None:
        """An erasure made before a numbering plan was known has the older spelling of its numbers;
        the batch says which they are (E82)."""
        plans = links.filter(pc.equal(links["link_kind"], "number_plan"))
        pairs = zip(plans["left_key"].to_pylist(), plans["right_key"].to_pylist(), strict=True)
        for key, older_key in set(pairs):
            mark, older_mark = self._mark(key), self._mark(older_key)
            if older_mark in self._until:
                known = self._until.get(mark, _NEVER)
                self._until[mark] = max(known, self._until[older_mark])
            if older_mark in self._times:
                self._times.setdefault(mark, self._times[older_mark])

    def _doomed(self, table: str, rows: pa.Table) -> npt.NDArray[np.bool_]:
        until = np.full(rows.num_rows, _NEVER)
        for column in IDENTITY_COLUMNS[table]:
            until = np.maximum(until, self._limits(rows[column], self._until_of))
        own_times = _micros(rows[TIME_COLUMNS[table]])
        times = np.minimum(own_times, _micros(rows["received_at"]))
        doomed: npt.NDArray[np.bool_] = times < until
        for column in IDENTITY_COLUMNS[table]:
            for key, (since, to, at) in self._periods_in(rows[column]):
                has_key = pc.fill_null(pc.equal(rows[column], key), False).to_numpy()
                doomed |= has_key & (own_times >= since) & (own_times < to) & (times < at)
        if "message_id_key" in rows.column_names:
            named = self._limits(rows["message_id_key"], self._if_known)
            doomed |= named == _ALWAYS
        return doomed

    def _used(self, clicks: pa.Table) -> npt.NDArray[np.bool_]:
        """Clicks whose code an erased person's message had used."""
        used: npt.NDArray[np.bool_] = (
            self._limits(clicks["link_code_key"], self._if_known) == _ALWAYS
        )
        return used

    def _periods_in(self, column: pa.ChunkedArray) -> Iterator[tuple[str, tuple[int, int, int]]]:
        """Phones among the values that are erased for a time only, each with its times."""
        if not self._times:
            return
        for key in pc.unique(column.drop_null()).to_pylist():
            for times in self._times.get(self._mark(key), ()):
                yield key, times

    def _until_of(self, key: str) -> int:
        return self._until.get(self._mark(key), _NEVER)

    def _if_known(self, key: str) -> int:
        return _ALWAYS if self._mark(key) in self._until else _NEVER

    @staticmethod
    def _limits(column: pa.ChunkedArray, of: object) -> _Integers:
        """`of(value)` for each row; `_NEVER` for null. `of` is called once per distinct value."""
        assert callable(of)
        encoded = column.combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        values = encoded.dictionary.to_pylist()
        limits = np.array([*(of(v) for v in values), _NEVER], dtype=np.int64)
        places = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
        found: _Integers = limits[places]
        return found


def span(period: Period) -> tuple[int, int]:
    """Start and end in microseconds; the limits of time where it has none."""
    since, until = period.since, period.until
    return (
        _NEVER if since is None else microseconds(since),
        _ALWAYS if until is None else microseconds(until),
    )


def _micros(column: pa.ChunkedArray) -> _Integers:
    numbers: _Integers = column.cast(pa.int64()).to_numpy()
    return numbers


def _with_random_keys(envelopes: pa.Table, seqs: set[int]) -> pa.Table:
    """The envelopes with random hashes in place of those of these bodies."""
    index = envelopes.column_names.index("body_key")
    pairs = zip(envelopes["seq"].to_pylist(), envelopes["body_key"].to_pylist(), strict=True)
    keys = pa.array([secrets.token_hex(16) if seq in seqs else key for seq, key in pairs])
    return envelopes.set_column(index, envelopes.schema.field(index), keys)


def _with_fewer(envelopes: pa.Table, column: str, gone: npt.NDArray[np.int64]) -> pa.Table:
    """The envelopes with the dropped rows subtracted from a column of counts."""
    seqs, counts = np.unique(gone, return_counts=True)
    lost = dict(zip(seqs.tolist(), counts.tolist(), strict=True))
    index = envelopes.column_names.index(column)
    minus = pa.array([lost.get(s, 0) for s in envelopes["seq"].to_pylist()], pa.int32())
    left = pc.subtract(envelopes[column], minus)
    return envelopes.set_column(index, envelopes.schema.field(index), left)
