"""Group commit: requests queue, one commit stores all that are waiting, then each is answered.

A commit takes whatever is queued when the previous one has ended and never waits for more. A single
request is committed in the event loop itself: handing it to a thread and back costs more than the
commit. Several requests at once, or a commit that may wait for a slow disk, a locked file or a
network, go to the writer's thread, so that the loop keeps reading requests meanwhile.

Unsigned requests wait in a queue of their own. A few of them join each commit of signed ones; if
there are none, they are committed together a few times a second. So a flood of unsigned requests
neither fills the queue of signed ones nor adds more than `UNSIGNED_ROWS` to their commits.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from ctwa.errors import CtwaError
from ingestion.vault.vault import NewEnvelope, Vault, VaultError
from ingestion.webhook.telemetry import LogBrake, ReceiverMetrics

log = logging.getLogger(__name__)

QUICK_SECONDS = 0.02
"""A commit may block the loop this long; after a slower one, commits go to the thread."""
UNSIGNED_ROWS, UNSIGNED_QUEUE = 50, 500
"""How many unsigned envelopes one commit takes, and how many may wait; further ones are refused."""
UNSIGNED_SECONDS = 0.1
"""How long unsigned envelopes wait for more of them if no signed request arrives to join."""
ANSWER_SECONDS = 10.0
"""A request whose commit takes longer is answered 503 (and may be stored nevertheless)."""


Done = Callable[[BaseException | None], None]


class Store(Protocol):
    """What a committer needs from a vault."""

    def append(self, items: Sequence[NewEnvelope]) -> None: ...

    def append_nowait(self, items: Sequence[NewEnvelope]) -> bool: ...


class QueueFullError(CtwaError):
    """More requests are waiting than the limits allow; the sender should try again."""


class _Batch:
    __slots__ = ("_late", "durable", "items", "size")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.items: list[NewEnvelope] = []
        self.size = 0
        self.durable: asyncio.Future[bool] = loop.create_future()
        # Starts with the first request, so that waiting behind a hanging commit counts too.
        self._late = loop.call_later(ANSWER_SECONDS, self.answer, False)

    def answer(self, durable: bool) -> None:
        self._late.cancel()
        if not self.durable.done():
            self.durable.set_result(durable)


class _Writer:
    """A thread that stores what it is given, in order. An executor with its two kinds of futures
    costs three times as much per commit."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._store, self._loop = store, loop
        self._work: SimpleQueue[tuple[Sequence[NewEnvelope], Done] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def append(self, items: Sequence[NewEnvelope], done: Done) -> None:
        """Store `items`, then call `done` in the loop, with the error if they were not stored."""
        if self._thread is None:
            # Ends with the process: what it has not stored then was not acknowledged either.
            self._thread = threading.Thread(target=self._run, name="vault-writer", daemon=True)
            self._thread.start()
        self._work.put((items, done))

    def end(self) -> None:
        """Wait until everything is stored."""
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            items, done = work
            error: BaseException | None = None
            try:
                self._store.append(items)
            except BaseException as caught:  # noqa: BLE001 - any failure is answered 503
                error = caught
            self._loop.call_soon_threadsafe(done, error)


class GroupCommitter:
    """For use from one event loop. `submit` never blocks; call `drain` before closing the store."""

    def __init__(
        self,
        store: Store,
        metrics: ReceiverMetrics,
        brake: LogBrake | None = None,
        *,
        max_rows: int = 2_000,
        max_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._brake = brake or LogBrake(log)
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._writer = _Writer(store, self._loop)
        self._next: _Batch | None = None
        self._unsigned: deque[_Batch] = deque()
        self._later: asyncio.TimerHandle | None = None
        self._busy = False  # a flush is scheduled or a commit is running
        self._quick = True
        self._failed_at = -float("inf")
        metrics.queue_depth.set_function(self.waiting)

    def waiting(self) -> int:
        """How many envelopes are queued behind the running commit."""
        return (len(self._next.items) if self._next else 0) + self._waiting_unsigned()

    def _waiting_unsigned(self) -> int:
        return sum(len(batch.items) for batch in self._unsigned)

    @property
    def failed_lately(self) -> bool:
        """Whether a commit has failed in the last 10 seconds and none has succeeded since."""
        return time.monotonic() - self._failed_at < 10

    def submit(self, item: NewEnvelope) -> asyncio.Future[bool]:
        """Queue `item`. The future, shared by its batch, says whether the commit is durable."""
        batch = self._next
        if batch is None:
            batch = self._next = _Batch(self._loop)
            if not self._busy:
                self._busy = True
                # Not immediately, so that other requests of this turn of the loop can join.
                self._loop.call_soon(self._flush)
        elif (
            batch.durable.done()  # it timed out behind a commit that hangs
            or len(batch.items) >= self._max_rows
            or batch.size + len(item.body) > self._max_bytes
        ):
            raise QueueFullError
        batch.items.append(item)
        batch.size += len(item.body)
        return batch.durable

    def submit_unsigned(self, item: NewEnvelope) -> asyncio.Future[bool]:
        """`submit` for unsigned requests, which never delay signed ones."""
        if self._waiting_unsigned() >= UNSIGNED_QUEUE:
            raise QueueFullError
        batch = self._unsigned[-1] if self._unsigned else None
        if batch is None or batch.durable.done() or len(batch.items) >= UNSIGNED_ROWS:
            batch = _Batch(self._loop)
            self._unsigned.append(batch)
        batch.items.append(item)
        self._schedule_unsigned()
        return batch.durable

    def _schedule_unsigned(self) -> None:
        if self._unsigned and not self._busy and self._later is None:
            self._later = self._loop.call_later(UNSIGNED_SECONDS, self._flush_unsigned)

    def _flush_unsigned(self) -> None:
        self._later = None
        if self._unsigned and not self._busy:
            self._busy = True
            self._flush()

    async def drain(self) -> None:
        """Wait until nothing is queued and no commit is running."""
        while self._busy or self._unsigned:
            self._flush_unsigned()
            await asyncio.sleep(0.005)
        self._writer.end()

    def _flush(self) -> None:
        batches = [self._next] if self._next is not None else []
        self._next = None
        while self._unsigned:
            batch = self._unsigned.popleft()
            if not batch.durable.done():  # else it timed out and the sender has its answer
                batches.append(batch)
                break
        items = [item for batch in batches for item in batch.items]
        started = time.perf_counter()
        if not items:
            self._continue()
            return
        if len(items) == 1 and self._quick:
            try:
                done = self._store.append_nowait(items)
            except Exception as error:  # noqa: BLE001 - any failure is answered 503
                self._finish(batches, items, started, error)
                return
            if done:
                self._finish(batches, items, started, None)
                return
        self._writer.append(items, partial(self._finish, batches, items, started))

    def _finish(
        self,
        batches: Sequence[_Batch],
        items: Sequence[NewEnvelope],
        started: float,
        error: BaseException | None,
    ) -> None:
        elapsed = time.perf_counter() - started
        self._quick = elapsed < QUICK_SECONDS
        if error is None:
            self._failed_at = -float("inf")
            self._metrics.committed(items, elapsed)
        else:
            self._failed_at = time.monotonic()
            self._metrics.commit_failures.inc()
            self._say_failure(error, len(items))
        for batch in batches:
            batch.answer(error is None)
        self._continue()

    def _continue(self) -> None:
        # No await since the commit ended: nothing can slip in between this test and `_busy`.
        if self._next is not None:
            self._loop.call_soon(self._flush)
        else:
            self._busy = False
            self._schedule_unsigned()

    def _say_failure(self, error: BaseException, count: int) -> None:
        # Texts of our own errors hold no values; of other errors only the kind is safe to log.
        reason = str(error) if isinstance(error, VaultError) else type(error).__name__
        self._brake.say(
            ("commit", type(error)),
            logging.ERROR,
            "%d envelopes not stored, answered 503: %s",
            count,
            reason,
        )


class LateVault:
    """A vault that is opened at first use; each later use tries again until it opens.

    So the receiver can start while the database is down, and works as soon as it is up.
    """

    def __init__(self, open_vault: Callable[[], Vault]) -> None:
        self._open = open_vault
        self._vault: Vault | None = None
        self._lock = threading.Lock()

    def vault(self) -> Vault:
        """The vault; raises `VaultUnavailableError` while it cannot be opened."""
        with self._lock:
            if self._vault is None:
                self._vault = self._open()
            return self._vault

    def append(self, items: Sequence[NewEnvelope]) -> None:
        """See `Vault.append`."""
        self.vault().append(items)

    def append_nowait(self, items: Sequence[NewEnvelope]) -> bool:
        """See `Vault.append_nowait`; False while the vault is not open."""
        return self._vault is not None and self._vault.append_nowait(items)

    def ping(self) -> None:
        """See `Vault.ping`."""
        self.vault().ping()

    def described(self) -> str:
        """Which vault this is and since when a body has been waiting in it, for `/readyz`."""
        vault = self.vault()
        identity, waiting = vault.identity(), vault.waiting_since()
        since = f"waiting_since {waiting.isoformat(timespec='seconds')}\n" if waiting else ""
        return f"vault {identity}\n{since}"

    def close(self) -> None:
        """Close the vault if it was ever opened."""
        if self._vault is not None:
            self._vault.close()
