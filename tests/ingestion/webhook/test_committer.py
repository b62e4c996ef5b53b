"""Group commit against a store that the test holds up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from ingestion.vault.vault import NewEnvelope, VaultUnavailableError
from ingestion.webhook import committer as committer_module
from ingestion.webhook.committer import (
    UNSIGNED_QUEUE,
    UNSIGNED_ROWS,
    GroupCommitter,
    QueueFullError,
)
from ingestion.webhook.telemetry import ReceiverMetrics


class GatedStore:
    """Commits when the gate opens; notes the size of every commit."""

    def __init__(self, *, lone_inline: bool = False) -> None:
        self.gate = threading.Event()
        self.commits: list[int] = []
        self.sources: list[list[str]] = []
        self.fail = False
        self.lone_inline = lone_inline

    def append(self, items: Sequence[NewEnvelope]) -> None:
        assert self.gate.wait(10)
        if self.fail:
            raise VaultUnavailableError("vault x: disk full")
        self.commits.append(len(items))
        self.sources.append([item.source for item in items])

    def append_nowait(self, items: Sequence[NewEnvelope]) -> bool:
        if self.lone_inline:
            self.append(items)
        return self.lone_inline


ITEM = NewEnvelope(0, "whatsapp", b"0123456789")


def test_what_queues_during_a_commit_shares_the_next_one() -> None:
    async def scenario() -> None:
        store = GatedStore()
        committer = GroupCommitter(store, ReceiverMetrics())
        first = committer.submit(ITEM)
        await asyncio.sleep(0.05)  # its commit is under way
        later = [committer.submit(ITEM) for _ in range(50)]
        await asyncio.sleep(0.05)
        assert not first.done()
        assert not any(future.done() for future in later)
        assert committer.waiting() == 50
        store.gate.set()
        assert await first
        assert all(await asyncio.gather(*later))
        assert store.commits == [1, 50]
        await committer.drain()

    asyncio.run(scenario())


def test_a_lone_request_is_committed_without_a_thread() -> None:
    async def scenario() -> None:
        store = GatedStore(lone_inline=True)
        store.gate.set()
        committer = GroupCommitter(store, ReceiverMetrics())
        for _ in range(3):
            assert await committer.submit(ITEM)
        assert store.commits == [1, 1, 1]
        assert threading.active_count() == 1 or not any(
            thread.name.startswith("vault-writer") for thread in threading.enumerate()
        )
        await committer.drain()

    asyncio.run(scenario())


@pytest.mark.parametrize(("rows", "size"), [(3, 1_000_000), (1_000, 30)])
def test_a_full_queue_refuses_at_once_and_empties_again(rows: int, size: int) -> None:
    async def scenario() -> None:
        store = GatedStore()
        committer = GroupCommitter(store, ReceiverMetrics(), max_rows=rows, max_bytes=size)
        waiting = [committer.submit(ITEM)]
        await asyncio.sleep(0.05)
        waiting += [committer.submit(ITEM) for _ in range(3)]
        with pytest.raises(QueueFullError):
            committer.submit(ITEM)
        store.gate.set()
        assert all(await asyncio.gather(*waiting))
        assert await committer.submit(ITEM)
        await committer.drain()

    asyncio.run(scenario())


@pytest.mark.parametrize("lone_inline", [False, True])
def test_a_failed_commit_fails_its_batch_only(lone_inline: bool) -> None:
    async def scenario() -> None:
        store = GatedStore(lone_inline=lone_inline)
        store.gate.set()
        store.fail = True
        committer = GroupCommitter(store, ReceiverMetrics())
        assert await committer.submit(ITEM) is False
        assert committer.failed_lately
        store.fail = False
        assert await committer.submit(ITEM) is True
        assert not committer.failed_lately
        await committer.drain()

    asyncio.run(scenario())


def test_a_commit_that_hangs_is_answered_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "ANSWER_SECONDS", 0.1)

    async def scenario() -> None:
        store = GatedStore()
        committer = GroupCommitter(store, ReceiverMetrics())
        first = committer.submit(ITEM)
        await asyncio.sleep(0.05)
        second = committer.submit(ITEM)  # waits behind the commit that hangs
        assert await asyncio.wait_for(first, 1) is False
        assert await asyncio.wait_for(second, 1) is False
        with pytest.raises(QueueFullError):
            committer.submit(ITEM)  # no more is queued behind what was given up
        store.gate.set()
        await asyncio.sleep(0.1)
        assert await committer.submit(ITEM) is True
        await committer.drain()

    asyncio.run(scenario())


CLICK = NewEnvelope(0, "clicks", b"0123456789")


def test_e97_what_is_signed_is_never_behind_what_is_not() -> None:
    """However many clicks wait: what is signed is in the next commit, and that is no longer."""

    async def scenario() -> None:
        store = GatedStore()
        committer = GroupCommitter(store, ReceiverMetrics(), max_rows=200)
        first = committer.submit(ITEM)
        await asyncio.sleep(0.05)  # its commit is under way
        clicks = [committer.submit_unsigned(CLICK) for _ in range(UNSIGNED_QUEUE)]
        with pytest.raises(QueueFullError):
            committer.submit_unsigned(CLICK)
        signed = [committer.submit(ITEM) for _ in range(200)]  # its own queue: whole
        store.gate.set()
        assert await first
        assert all(await asyncio.gather(*signed))
        assert store.commits == [1, 200 + UNSIGNED_ROWS]
        assert store.sources[1] == ["whatsapp"] * 200 + ["clicks"] * UNSIGNED_ROWS
        again = committer.submit(ITEM)
        assert await again
        assert store.commits[2:] == [1 + UNSIGNED_ROWS]
        assert all(await asyncio.gather(*clicks))  # those come by themselves
        assert sum(store.commits) == 202 + UNSIGNED_QUEUE
        assert max(store.commits[3:]) == UNSIGNED_ROWS
        await committer.drain()

    asyncio.run(scenario())


def test_e97_what_is_unsigned_shares_few_commits() -> None:
    async def scenario() -> None:
        store = GatedStore(lone_inline=True)
        store.gate.set()
        committer = GroupCommitter(store, ReceiverMetrics())
        waiting = []
        for _ in range(20):  # one after the other, each in a turn of the loop of its own
            waiting.append(committer.submit_unsigned(CLICK))
            await asyncio.sleep(0)
        assert store.commits == []
        assert all(await asyncio.gather(*waiting))
        assert store.commits == [20]
        last = committer.submit_unsigned(CLICK)
        await committer.drain()  # does not wait for company
        assert await last
        assert store.commits == [20, 1]

    asyncio.run(scenario())
