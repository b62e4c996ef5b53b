"""Errors of sources, for people: each text says what happened and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SourceError(RuntimeError):
    """A source could not be read. What had been landed before stays as it is."""

    is_transient = False
    """Whether the same attempt, some minutes later, may well succeed."""


class SourceIncompleteError(SourceError):
    """Some accounts of a source failed; the others were read and have landed.

    `counts`: what landed. `failures`: account id to the reason. `is_transient`: all of them are
    outages that usually pass, so trying again soon makes sense.
    """

    def __init__(self, source: str, counts: Any, failures: Mapping[str, SourceError]) -> None:
        self.source, self.counts = source, counts
        self.failures = {name: str(error) for name, error in failures.items()}
        self.is_transient = all(error.is_transient for error in failures.values())
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.failures.items())
        super().__init__(
            f"{source}: {len(self.failures)} part(s) could not be read, the others have landed. "
            f"{reasons}"
        )
