"""Who was erased: the ledger of erasures.

`<data>/erasures.json` holds, for each erasure, its time, its state and marks: keyed hashes of the
person's identity keys, message id keys and body keys. A mark cannot be joined with anything; it
only answers whether a given key was erased, so the ledger itself names nobody. A phone
that the person held only for a time (E28) is listed separately, with those times.

pending  the person may still be in the lake or the vault; the next landing finishes it
erased   gone from both; publications made before may still show the person
done     gone from everything this installation holds

What it keeps out of the lake is in `ingestion.identity.sieve`.

With the vault in PostgreSQL the ledger is in its database, for all hosts. The file is then this
host's copy, which says how far this data folder is: what another host has erased is pending here
until this folder's lake, warehouse and marts are clean as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

from ctwa.files import write_durably
from ctwa.lock import database_of, lease_of
from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ctwa.shared import note_of, set_note
from ingestion.source import SourceError

FILE = "erasures.json"
State = Literal["pending", "erased", "done"]
_STATES: tuple[State, ...] = ("pending", "erased", "done")
_VERSION = 1
_NOTE = "erasures"  # its name among what is noted for all hosts


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
    settings: Settings | None = None  # set where the ledger is in the database of all hosts

    @classmethod
    def of(cls, settings: Settings) -> Ledger:
        """The installation's ledger; empty if nobody was ever erased."""
        own = cls.read(settings.data_dir / FILE)
        return _of_all_hosts(settings, own) if database_of(settings) else own

    @classmethod
    def read(cls, path: Path, content: str | None = None) -> Ledger:
        """Read a ledger file, or its `content`. Raises `LedgerError` if it is damaged."""
        if content is None and not path.exists():
            return cls(path)
        try:
            data = json.loads(path.read_text() if content is None else content)
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
        """Write the whole ledger durably; the file is readable by its owner only."""
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
        if self.settings is not None:
            set_note(self.settings, _NOTE, content)
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


def _of_all_hosts(settings: Settings, own: Ledger) -> Ledger:
    """The ledger in the database, as far as this host's copy is; saved where they differ.

    Where there is none yet, the copy is the ledger. What only the copy knows is pending, because
    the database was restored since.
    """
    content = note_of(settings, _NOTE)
    found = own if content is None else Ledger.read(own.path, content)
    found.settings = settings
    is_new = not own.path.exists() and not _holds_people(settings)
    learned = 0 if content is None else found.learn([own])
    is_behind = learned > 0 or own.path.exists() == (content is None)
    for erasure in list(found.erasures.values()):
        known = own.erasures.get(erasure.id)
        here: State = "done" if is_new else "pending"
        if known is not None and known.at >= erasure.at:
            here = known.state
        if _STATES.index(here) < _STATES.index(erasure.state):
            found.erasures[erasure.id] = replace(erasure, state=here)
            is_behind = True
    if is_behind and lease_of(settings) is not None:
        found.save()
    return found


def _holds_people(settings: Settings) -> bool:
    """Whether this data folder may hold anything of a person: more than an empty one does."""
    lake = settings.lake_url.removeprefix("file://")
    own = [] if "://" in lake else Path(lake, "event_log").glob("[a-z]*/[!0]*.parquet")
    return settings.warehouse_path.exists() or settings.marts_path.exists() or any(own)


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
