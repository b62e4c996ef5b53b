"""What `ctwa live` says about itself, for other processes: `<data>/live.json`.

Written at least every `HEARTBEAT_SECONDS`, also when there is nothing to do. So a state that is
older than `FRESH_SECONDS` means that the worker does not run, or stands still.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ctwa.files import replacing
from ctwa.settings import Settings

FILE = "live.json"
STOPPED = "stopped"
HEARTBEAT_SECONDS = 10.0
FRESH_SECONDS = 60.0
STUCK_SECONDS = 120.0
"""Envelopes that wait for longer are an alarm."""


@dataclass(frozen=True)
class LiveState:
    """Times are seconds since 1970, 0 if there was none."""

    pid: int
    started_at: float
    heartbeat_at: float
    doing: str = "waiting"
    """`waiting`, `preparing`, `working`, `rebuilding`, `waiting for the lock`, `trying again
    later`, or `STOPPED`."""
    cycles: int = 0
    """Completed since the start."""
    envelopes: int = 0
    """Landed since the start."""
    last_cycle_at: float = 0.0
    """End of the last complete cycle."""
    last_cycle_seconds: float = 0.0
    last_cycle_envelopes: int = 0
    last_lag_seconds: float = 0.0
    """From the receipt of the oldest envelope of that cycle to its publication."""
    published_seq: int = 0
    """Highest envelope that the published marts show."""
    is_behind: bool = False
    """Whether the marts that need not follow each message lack some of the last ones."""
    waiting_since: float = 0.0
    """Receipt of the oldest envelope that is not published yet."""
    error: str = ""
    """Why the last cycle was not completed; empty if it was."""

    @property
    def age_seconds(self) -> float:
        """How old this state is."""
        return max(0.0, time.time() - self.heartbeat_at)

    @property
    def is_fresh(self) -> bool:
        """Whether the worker was alive a moment ago."""
        return self.doing != STOPPED and self.age_seconds <= FRESH_SECONDS

    @property
    def lag_seconds(self) -> float:
        """For how long the oldest envelope that is not in the marts has waited; 0 if none."""
        return max(0.0, time.time() - self.waiting_since) if self.waiting_since else 0.0

    def save(self, data_dir: Path) -> None:
        """Replace the file. Raises `OSError`."""
        with replacing(data_dir / FILE, mode=0o600, durably=False) as draft:
            draft.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, data_dir: Path) -> LiveState | None:
        """The last state; None if the worker never ran here or the file cannot be read."""
        known = {field.name for field in fields(cls)}
        try:
            found = json.loads((data_dir / FILE).read_text())
            return cls(**{name: value for name, value in found.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError):
            return None


def takes_envelopes(settings: Settings) -> LiveState | None:
    """The state of a worker that runs now; None if new envelopes are left to others."""
    state = LiveState.read(settings.data_dir)
    return state if state is not None and state.is_fresh else None
