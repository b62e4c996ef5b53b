"""One log line a second for each kind of refusal, however many there are.

An access log of everything costs more than the work and is a way to fill the disk; answers of 200
are counted in /metrics. A line holds the endpoint and the answer: no query (it carries the verify
token), no body, no address.
"""

from __future__ import annotations

import logging
import time


class RefusalLog:
    """Notes refusals and prints the first of each kind at once, then sums."""

    def __init__(self, log: logging.Logger, *, every_seconds: float = 1.0) -> None:
        self._log = log
        self._every = every_seconds
        self._printed_at: dict[tuple[str, int, str], float] = {}
        self._silent: dict[tuple[str, int, str], int] = {}

    def note(self, endpoint: str, status: int, outcome: str) -> None:
        """One refusal. `endpoint` is a route of ours or `other`, never what the client wrote."""
        key = endpoint, status, outcome
        now = time.monotonic()
        if now - self._printed_at.get(key, -self._every) < self._every:
            self._silent[key] = self._silent.get(key, 0) + 1
            return
        self._printed_at[key] = now
        more = self._silent.pop(key, 0)
        self._log.warning(
            "%s answered %d (%s)%s",
            endpoint,
            status,
            outcome,
            f", {more} more since the last line" if more else "",
        )
