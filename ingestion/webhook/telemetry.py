"""What the receiver reports about itself: counters for `/metrics`, and a log without repetition.

Nothing is personal: labels and lines hold endpoints, outcomes and sources only; no query (it
contains the verify token), no body, no address. Logging every request would cost more than
answering it, and anything that can be made to repeat (a wrong signature, a full disk, a lost
connection) could fill the disk, so repeated lines are logged less and less often, with their count.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ctwa.live_state import LiveState
from ingestion.vault.vault import NewEnvelope

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class ReceiverMetrics:
    """Metrics of one app, in a registry of its own (tests start several apps in one process)."""

    content_type = CONTENT_TYPE_LATEST.encode()

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._requests = Counter(
            "ctwa_receiver_requests",
            "Answers by endpoint and outcome (stored, bad_signature, too_large, ...).",
            ["endpoint", "outcome"],
            registry=self.registry,
        )
        self._children: dict[tuple[str, str], Counter] = {}
        self.commit_failures = Counter(
            "ctwa_vault_commit_failures",
            "Commits that failed; their requests were answered 503.",
            registry=self.registry,
        )
        self._commit_seconds = Histogram(
            "ctwa_vault_commit_seconds",
            "Time of a commit, hand-over included.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._commit_rows = Histogram(
            "ctwa_vault_commit_rows",
            "Envelopes in a commit.",
            buckets=_ROWS,
            registry=self.registry,
        )
        self._stored_bytes = Counter(
            "ctwa_vault_stored_bytes", "Bytes of stored bodies.", registry=self.registry
        )
        self.queue_depth = Gauge(
            "ctwa_vault_queue_depth", "Envelopes waiting for a commit.", registry=self.registry
        )
        self.clicks_left = Gauge(
            "ctwa_clicks_left_today",
            "Clicks of /clicks that CTWA_CLICKS_PER_DAY still allows today (UTC); NaN where off.",
            registry=self.registry,
        )
        self.clicks_left.set(float("nan"))
        self.vault_damaged = Gauge(
            "ctwa_vault_damaged",
            "1 while the vault is known to be damaged and stores nothing.",
            registry=self.registry,
        )
        self.live_lag = Gauge(
            "ctwa_live_lag_seconds",
            "For how long the oldest envelope that `ctwa live` has not published waits; 0 if none, "
            "NaN where it never ran.",
            registry=self.registry,
        )
        self.live_heartbeat_age = Gauge(
            "ctwa_live_heartbeat_age_seconds",
            "Age of the last sign of life of `ctwa live`; NaN where it never ran.",
            registry=self.registry,
        )
        for gauge in (self.live_lag, self.live_heartbeat_age):
            gauge.set(float("nan"))
        # Lost webhooks appear as silence (E74): alert on the age of this.
        self._last_envelope = Gauge(
            "ctwa_last_envelope_timestamp_seconds",
            "Receipt of the newest stored envelope, Unix time.",
            ["source"],
            registry=self.registry,
        )

    def answered(self, endpoint: str, outcome: str) -> None:
        """Count one answer."""
        child = self._children.get((endpoint, outcome))
        if child is None:
            child = self._requests.labels(endpoint, outcome)
            self._children[endpoint, outcome] = child
        child.inc()

    def committed(self, items: Sequence[NewEnvelope], seconds: float) -> None:
        """Record one durable commit of `items`."""
        self._commit_seconds.observe(seconds)
        self._commit_rows.observe(len(items))
        self._stored_bytes.inc(sum(len(item.body) for item in items))
        for source, received_at_us in {i.source: i.received_at_us for i in items}.items():
            self._last_envelope.labels(source).set(received_at_us / 1_000_000)

    def live(self, state: LiveState | None) -> None:
        """Show what the worker said last."""
        self.live_lag.set(state.lag_seconds if state else float("nan"))
        self.live_heartbeat_age.set(state.age_seconds if state else float("nan"))

    def exposition(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)


FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0
"""Pause between two lines of a kind: doubled while they continue, up to a minute."""
MAX_KINDS = 1_000
"""Kinds are places in the code, never client input; this only limits the effect of a bug."""


class LogBrake:
    """Logs the first line of each kind at once, later ones less and less often, with a count."""

    def __init__(self, log: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._kinds: dict[object, _Kind] = {}

    def say(self, kind: object, level: int, text: str, *values: object) -> None:
        """Log a line of `kind`, or count it. `text % values` as in logging."""
        more = self.passed(kind)
        if more is not None:
            self._log.log(level, text + _repeated(more), *values)

    def passed(self, kind: object) -> int | None:
        """None: log nothing now. Otherwise log; the number is how many lines were suppressed."""
        now = self._clock()
        found = self._kinds.get(kind)
        if found is None:
            if len(self._kinds) >= MAX_KINDS:
                self._kinds.clear()
            found = self._kinds[kind] = _Kind()
        elif now - found.at < found.pause:
            found.silent += 1
            return None
        continues = found.silent and now - found.at < 2 * found.pause
        found.pause = min(found.pause * 2, LONGEST_SECONDS) if continues else FIRST_SECONDS
        more, found.silent, found.at = found.silent, 0, now
        return more

    def refused(self, endpoint: str, status: int, outcome: str) -> None:
        """Log a refusal. `endpoint` is one of our routes or `other`, never client input."""
        kind = endpoint, status, outcome
        self.say(kind, logging.WARNING, "%s answered %d (%s)", endpoint, status, outcome)


class _Kind:
    __slots__ = ("at", "pause", "silent")

    def __init__(self) -> None:
        self.at, self.pause, self.silent = float("-inf"), FIRST_SECONDS, 0


class BrakeFilter(logging.Filter):
    """The same for loggers of libraries (uvicorn, asyncio)."""

    def __init__(self) -> None:
        super().__init__()
        self._brake = LogBrake(logging.getLogger(__name__))

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this record is logged; a traceback is reduced to the kind of error."""
        error = record.exc_info[0] if record.exc_info else None
        # Error texts may quote data; `asyncio` prints objects after its first line.
        text = str(record.msg).partition("\n")[0]
        more = self._brake.passed((record.name, record.levelno, text, error))
        if more is None:
            return False
        if error is not None:
            text += f" ({error.__name__})"
        record.msg, record.exc_info, record.exc_text = text + _repeated(more), None, None
        return True


def _repeated(more: int) -> str:
    return f", repeated {more} times since the last line" if more else ""
