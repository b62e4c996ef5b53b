"""Errors of sources, for people: each text says what happened and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class SourceError(RuntimeError):
    """A source could not be read. What had been landed before stays as it is."""


class SourceIncompleteError(SourceError):
    """Some accounts of a source failed; the others were read and have landed.

    `counts`: what landed. `failures`: account id to the reason.
    """

    def __init__(self, source: str, counts: Any, failures: Mapping[str, str]) -> None:
        self.source, self.counts, self.failures = source, counts, dict(failures)
        reasons = "; ".join(f"{name}: {reason}" for name, reason in self.failures.items())
        super().__init__(
            f"{source}: {len(self.failures)} part(s) could not be read, the others have landed. "
            f"{reasons}"
        )
