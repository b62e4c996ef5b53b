"""Group commit: requests queue, one commit keeps all that waits, each is answered after its own.

A commit takes whatever is queued when the last one has ended and never waits for company. A lone
request is committed in the event loop itself: handing it to a thread and back costs more than the
commit. Several at once, a slow disk, a locked file or a network go to the writer's thread, so the
loop keeps reading requests meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from ingestion.webhook.metrics import ReceiverMetrics
from ingestion.webhook.vault import NewEnvelope, Vault, VaultUnavailableError

log = logging.getLogger(__name__)

QUICK_SECONDS = 0.02
"""A commit in the loop may hold it up this long; after a slower one commits go to the thread."""
ANSWER_SECONDS = 10.0
"""A request whose commit takes longer is answered 503 (and may be stored all the same)."""


class Store(Protocol):
    """What a committer needs of a vault."""

    def append(self, items: Sequence[NewEnvelope]) -> None: ...

    def append_nowait(self, items: Sequence[NewEnvelope]) -> bool: ...


class QueueFullError(RuntimeError):
    """More waits than the limits allow; the sender is to come again."""


class _Batch:
    __slots__ = ("_late", "durable", "items", "size")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.items: list[NewEnvelope] = []
        self.size = 0
        self.durable: asyncio.Future[bool] = loop.create_future()
        # From the first request on, so that waiting behind a hanging commit counts too.
        self._late = loop.call_later(ANSWER_SECONDS, self.answer, False)

    def answer(self, durable: bool) -> None:
        self._late.cancel()
        if not self.durable.done():
            self.durable.set_result(durable)


class GroupCommitter:
    """Use from one event loop. `submit` never blocks; `drain` before the store is closed."""

    def __init__(
        self,
        store: Store,
        metrics: ReceiverMetrics,
        *,
        max_rows: int = 2_000,
        max_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vault-writer")
        self._next: _Batch | None = None
        self._busy = False  # a flush is scheduled or a commit is under way
        self._quick = True
        self._failed_at = -float("inf")
        metrics.queue_depth.set_function(self.waiting)

    def waiting(self) -> int:
        """Envelopes queued behind the commit that is under way."""
        return len(self._next.items) if self._next else 0

    @property
    def failed_lately(self) -> bool:
        """Whether a commit has failed in the last 10 seconds and none has succeeded since."""
        return time.monotonic() - self._failed_at < 10

    def submit(self, item: NewEnvelope) -> asyncio.Future[bool]:
        """Queue `item`. The future, shared by a batch, says whether its commit is durable."""
        batch = self._next
        if batch is None:
            batch = self._next = _Batch(self._loop)
            if not self._busy:
                self._busy = True
                # Not at once: the other requests of this turn of the loop join in.
                self._loop.call_soon(self._flush)
        elif (
            batch.durable.done()  # given up behind a commit that hangs
            or len(batch.items) >= self._max_rows
            or batch.size + len(item.body) > self._max_bytes
        ):
            raise QueueFullError
        batch.items.append(item)
        batch.size += len(item.body)
        return batch.durable

    async def drain(self) -> None:
        """Wait until nothing is queued and no commit is under way."""
        while self._busy:
            await asyncio.sleep(0.005)
        self._thread.shutdown(wait=True)

    def _flush(self) -> None:
        batch, self._next = self._next, None
        assert batch is not None
        started = time.perf_counter()
        if len(batch.items) == 1 and self._quick:
            try:
                done = self._store.append_nowait(batch.items)
            except Exception as error:  # noqa: BLE001 - whatever it is, the answer is 503
                self._finish(batch, started, error)
                return
            if done:
                self._finish(batch, started, None)
                return
        future = self._loop.run_in_executor(self._thread, self._store.append, batch.items)
        future.add_done_callback(partial(self._committed, batch, started))

    def _committed(self, batch: _Batch, started: float, future: asyncio.Future[None]) -> None:
        self._finish(batch, started, future.exception())

    def _finish(self, batch: _Batch, started: float, error: BaseException | None) -> None:
        elapsed = time.perf_counter() - started
        self._quick = elapsed < QUICK_SECONDS
        if error is None:
            self._failed_at = -float("inf")
            self._metrics.committed(batch.items, elapsed)
        else:
            self._failed_at = time.monotonic()
            self._metrics.commit_failures.inc()
            _log_failure(error, len(batch.items))
        batch.answer(error is None)
        # No await since the commit ended: nothing can slip in between this test and `_busy`.
        if self._next is not None:
            self._loop.call_soon(self._flush)
        else:
            self._busy = False


def _log_failure(error: BaseException, count: int) -> None:
    # Texts of our own errors hold no values; of others only the kind is safe to print.
    said = str(error) if isinstance(error, VaultUnavailableError) else type(error).__name__
    log.error("%d envelopes not stored, answered 503: %s", count, said)


class LateVault:
    """A vault that is opened at first use, and again after every failure to open it.

    So the receiver starts while the database is down and works as soon as it is up.
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

    def close(self) -> None:
        """Close the vault if it was ever opened."""
        if self._vault is not None:
            self._vault.close()
