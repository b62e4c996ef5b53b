"""Who was erased: the ledger of erasures, and what it keeps out of the lake at landing.

`<data>/erasures.json` holds, for each erasure, its time, its state and marks: keyed hashes of the
person's identity keys, message id keys and body keys. A mark cannot be joined with anything; it
only answers whether a given key was erased, so the ledger itself names nobody. A phone
that the person held only for a time (E28) is listed separately, with those times.

pending  the person may still be in the lake or the vault; the next landing finishes it
erased   gone from both; publications made before may still show the person
done     gone from everything this installation holds

Meta delivers again for up to seven days, and files can be replayed at any time. A row of an erased
identity is dropped if its own time is before the erasure; a row that names an erased message is
dropped whatever its time. Someone who writes after the erasure is a new person. Of a phone that the
person held only for a time (E28), rows of that time are dropped; other holders' rows stay.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ctwa.files import write_durably
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.source import SourceError
from ingestion.vault.vault import microseconds

FILE = "erasures.json"
State = Literal["pending", "erased", "done"]
_VERSION = 1


class LedgerError(SourceError):
    """The ledger cannot be read. Continuing without it could bring an erased person back."""


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` (None: from the beginning) to just before `until` (None: still open)."""

    since: datetime | None = None
    until: datetime | None = None

    def covers(self, at: datetime) -> bool:
        """Whether a moment is part of the period."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True)
class Erasure:
    """One person's erasure. `at`: what was sent before it must not come back."""

    id: str
    at: datetime
    state: State
    marks: frozenset[str]
    phones: Mapping[str, tuple[Period, ...]] = field(default_factory=dict)
    """Marks of phones that other people held at other times, and when this person held them."""


@dataclass(slots=True)
class Ledger:
    """Every erasure of an installation, and the envelopes whose bodies still have to be emptied."""

    path: Path
    erasures: dict[str, Erasure] = field(default_factory=dict)
    bodies: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, settings: Settings) -> Ledger:
        """The installation's ledger; empty if nobody was ever erased."""
        return cls.read(settings.data_dir / FILE)

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read a ledger file. Raises `LedgerError` if it is damaged."""
        if not path.exists():
            return cls(path)
        try:
            data = json.loads(path.read_text())
            if data["version"] != _VERSION:
                raise LedgerError(
                    f"{path} was written by another version of ctwa-attribution "
                    f"({data['version']}); update the code"
                )
            erasures = {
                e["id"]: Erasure(
                    e["id"],
                    datetime.fromisoformat(e["at"]),
                    cast(State, e["state"]),
                    frozenset(e["marks"]),
                    {m: _periods(times) for m, times in e.get("phones", {}).items()},
                )
                for e in data["erasures"]
            }
            return cls(path, erasures, set(data["bodies"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LedgerError(
                f"{path} cannot be read ({type(error).__name__}): it says who was erased. Restore "
                f"it from the newest backup, where it has the same name"
            ) from None

    def save(self) -> None:
        """Write the whole ledger durably, readable by its owner only."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps(
            {
                "version": _VERSION,
                "erasures": [
                    {
                        "id": e.id,
                        "at": e.at.isoformat(),
                        "state": e.state,
                        "marks": sorted(e.marks),
                        "phones": {m: _texts(e.phones[m]) for m in sorted(e.phones)},
                    }
                    for e in self.erasures.values()
                ],
                "bodies": sorted(self.bodies),
            },
            indent=1,
        )
        write_durably(self.path, content, mode=0o600)

    def put(self, erasure: Erasure) -> None:
        """Add an erasure, or replace the one with the same id; durable on return."""
        self.erasures[erasure.id] = erasure
        self.save()

    def in_state(self, state: State) -> list[Erasure]:
        """The erasures in a state, oldest first."""
        return sorted((e for e in self.erasures.values() if e.state == state), key=lambda e: e.at)

    def move(self, old: State, new: State) -> int:
        """Move every erasure in one state to another; returns how many there were."""
        moved = self.in_state(old)
        for erasure in moved:
            self.erasures[erasure.id] = replace(erasure, state=new)
        if moved:
            self.save()
        return len(moved)

    def covering(self, marks: Iterable[str], phones: Iterable[str]) -> Erasure | None:
        """The latest erasure with all these marks, and a period for each of these phones."""
        wanted, held = set(marks), set(phones)
        found = [e for e in self.erasures.values() if wanted <= e.marks and held <= e.phones.keys()]
        return max(found, key=lambda e: e.at, default=None)

    def learn(self, others: Iterable[Ledger]) -> int:
        """Add what other ledgers know and this one does not, as pending; returns how many.

        For a restored backup: its own ledger fits its lake; later erasures must be repeated.
        """
        learned = 0
        for other in others:
            for erasure in other.erasures.values():
                own = self.erasures.get(erasure.id)
                if own is None or own.at < erasure.at:
                    self.erasures[erasure.id] = replace(erasure, state="pending")
                    learned += 1
        return learned


def _periods(times: list[list[str | None]]) -> tuple[Period, ...]:
    def moment(text: str | None) -> datetime | None:
        return None if text is None else datetime.fromisoformat(text)

    return tuple(Period(moment(since), moment(until)) for since, until in times)


def _texts(periods: Iterable[Period]) -> list[list[str | None]]:
    ends = ((period.since, period.until) for period in periods)
    return [[None if end is None else end.isoformat() for end in pair] for pair in ends]


def marker(names: Pseudonymizer) -> Callable[[str], str]:
    """A cached function from an identity key or message id key to its mark."""

    @lru_cache(1 << 16)
    def mark(key: str) -> str:
        return names.digest("erased", key)

    return mark


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
