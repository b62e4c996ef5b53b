"""The ledger of erasures: who must not come back, kept so that the ledger itself names nobody.

`<data>/erasures.json` holds, for each erasure, its time, its state and marks: keyed hashes of the
person's identity keys, message id keys and body keys. A mark cannot be joined with anything; it
only answers whether a key that is at hand was erased. A phone that was the person's for a time
only (E28) stands apart, with those times.

pending  the person may still be in the lake or the vault; the next landing finishes it
erased   gone from both; publications made before may still show the person
done     gone from everything this installation holds
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.erasure.people import Period
from ingestion.errors import SourceError

FILE = "erasures.json"
State = Literal["pending", "erased", "done"]
_VERSION = 1


class LedgerError(SourceError):
    """The ledger cannot be read. Going on without it could bring an erased person back."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """One person's erasure. `at`: what was sent before it must not come back."""

    id: str
    at: datetime
    state: State
    marks: frozenset[str]
    phones: Mapping[str, tuple[Period, ...]] = field(default_factory=dict)
    """Marks of phones that other people hold at other times, and when they were this person's."""


@dataclass(slots=True)
class Ledger:
    """Every erasure of an installation, and the envelopes whose bodies are still to be emptied."""

    path: Path
    erasures: dict[str, Erasure] = field(default_factory=dict)
    bodies: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, settings: Settings) -> Ledger:
        """The installation's ledger; empty where nobody was ever erased."""
        return cls.read(settings.data_dir / FILE)

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read a ledger file. Raises `LedgerError` where it is damaged."""
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
                f"{path} cannot be read ({type(error).__name__}): it says who was erased. Put it "
                f"back from the newest backup, where it has the same name"
            ) from None

    def save(self) -> None:
        """Write it whole and durable, readable by its owner only."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.tmp")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(
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
                file,
                indent=1,
            )
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def put(self, erasure: Erasure) -> None:
        """Add an erasure, or replace the one of the same id; durable on return."""
        self.erasures[erasure.id] = erasure
        self.save()

    def in_state(self, state: State) -> list[Erasure]:
        """The erasures in a state, oldest first."""
        return sorted((e for e in self.erasures.values() if e.state == state), key=lambda e: e.at)

    def move(self, old: State, new: State) -> int:
        """Bring every erasure of one state to another; how many there were."""
        moved = self.in_state(old)
        for erasure in moved:
            self.erasures[erasure.id] = replace(erasure, state=new)
        if moved:
            self.save()
        return len(moved)

    def covering(self, marks: Iterable[str], phones: Iterable[str]) -> Erasure | None:
        """The latest erasure that has all these marks, and some time of all these phones."""
        wanted, held = set(marks), set(phones)
        found = [e for e in self.erasures.values() if wanted <= e.marks and held <= e.phones.keys()]
        return max(found, key=lambda e: e.at, default=None)

    def learn(self, others: Iterable[Ledger]) -> int:
        """Take over what other ledgers know and this one does not, as pending; how many.

        For a restored backup: its own ledger fits its lake, later erasures must be done again.
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
    """The function from an identity key or message id key to its mark, with a cache."""

    @lru_cache(1 << 16)
    def mark(key: str) -> str:
        return names.digest("erased", key)

    return mark


__all__ = ["FILE", "Erasure", "Ledger", "LedgerError", "State", "marker"]
