"""What is kept out at landing: rows of erased people from messages sent before the erasure.

Meta delivers again for up to seven days, and files can be replayed for ever. A row of an erased
identity is dropped when its own time is before the erasure; one that names an erased message is
dropped whatever its time. Who writes after the erasure is a new person. Of a phone that was
theirs for a time only (E28), rows of that time are dropped: other holders' come and go as ever.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ctwa.pseudonym import Pseudonymizer
from ingestion.erasure.ledger import Ledger, marker
from ingestion.erasure.people import Period
from ingestion.webhook.vault import microseconds

IDENTITY_COLUMNS: dict[str, tuple[str, ...]] = {
    "messages": ("phone_key", "bsuid_key"),
    "statuses": ("phone_key", "bsuid_key"),
    "outcomes": ("phone_key", "bsuid_key", "email_key", "web_lead_key", "crm_record_key"),
    "web_leads": ("phone_key", "email_key", "web_lead_key"),
    "exclusions": ("identity_key",),
    "consents": ("phone_key", "bsuid_key", "email_key"),
    "identity_links": ("left_key", "right_key"),
}
"""Tables of the event log that speak of people, and their columns of identity keys."""

CLICKS = "link_clicks"
"""Names nobody; but its code stands in somebody's message."""

TIME_COLUMNS = {
    "messages": "sent_at",
    "statuses": "status_at",
    "outcomes": "occurred_at",
    "web_leads": "submitted_at",
    "link_clicks": "clicked_at",
    "exclusions": "declared_at",
    "consents": "declared_at",
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
    """Drops rows of the erased from parsed batches. Pending erasures are not its business: their
    rows are landed and then made anonymous with the others of their person."""

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

    def strain(self, parsed: Mapping[str, pa.Table]) -> tuple[Mapping[str, pa.Table], set[int]]:
        """The batch without rows of the erased, and the `seq` of the envelopes whose bodies go:
        those that had such rows, and those that repeat an emptied body byte by byte.

        Counts in `envelopes` speak of what is kept, so that rule R1 adds up.
        """
        kept = dict(parsed)
        repeats = self._limits(parsed["envelopes"]["body_key"], self._if_known) == _ALWAYS
        seqs: set[int] = set(parsed["envelopes"]["seq"].to_numpy()[repeats].tolist())
        for table in (*IDENTITY_COLUMNS, CLICKS):
            rows = parsed[table]
            if not rows.num_rows:
                continue
            doomed = self._used(rows) if table == CLICKS else self._doomed(table, rows)
            if not doomed.any():
                continue
            kept[table] = rows.filter(pa.array(~doomed))
            gone = rows["seq"].to_numpy()[doomed]
            seqs.update(gone.tolist())
            for column in _COUNTS.get(table, ()):
                kept["envelopes"] = _less(kept["envelopes"], column, gone)
        if seqs:
            kept["envelopes"] = _blurred(kept["envelopes"], seqs)
        return kept, seqs

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
        """Phones of a time only among the values, each with its times."""
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
        """`of(value)` for each row; `_NEVER` for null. Each different value is looked at once."""
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
    """Microseconds of its ends, those of all time where it has none."""
    since, until = period.since, period.until
    return (
        _NEVER if since is None else microseconds(since),
        _ALWAYS if until is None else microseconds(until),
    )


def _micros(column: pa.ChunkedArray) -> _Integers:
    numbers: _Integers = column.cast(pa.int64()).to_numpy()
    return numbers


def _blurred(envelopes: pa.Table, seqs: set[int]) -> pa.Table:
    """Without the hashes of these bodies: random ones in their place."""
    index = envelopes.column_names.index("body_key")
    pairs = zip(envelopes["seq"].to_pylist(), envelopes["body_key"].to_pylist(), strict=True)
    keys = pa.array([secrets.token_hex(16) if seq in seqs else key for seq, key in pairs])
    return envelopes.set_column(index, envelopes.schema.field(index), keys)


def _less(envelopes: pa.Table, column: str, gone: npt.NDArray[np.int64]) -> pa.Table:
    """Each envelope's count without the rows dropped from it."""
    seqs, counts = np.unique(gone, return_counts=True)
    lost = dict(zip(seqs.tolist(), counts.tolist(), strict=True))
    index = envelopes.column_names.index(column)
    minus = pa.array([lost.get(s, 0) for s in envelopes["seq"].to_pylist()], pa.int32())
    left = pc.subtract(envelopes[column], minus)
    return envelopes.set_column(index, envelopes.schema.field(index), left)


__all__ = ["CLICKS", "IDENTITY_COLUMNS", "TIME_COLUMNS", "Sieve", "span"]
