"""Further processes that parse, so that a long landing uses all cores.

`in_processes` gives the same rows in the same order as one `Parser`: each batch is a range of
`seq`, and batches share nothing. Over its pipes, which nobody else can read, a helper gets the key
of the hashes and then batches of envelopes, and returns their tables, as Arrow streams, each after
its length. It ends when its input ends, so it never outlives a process that was killed.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

import pyarrow as pa

from ctwa.pseudonym import Pseudonymizer
from ingestion.parser.chat_rules import NO_RULES, ChatRules
from ingestion.parser.envelopes import Parser
from ingestion.parser.schema import EVENT_LOG

Tables = dict[str, pa.Table]

_QUEUED = 2
"""Batches that each helper has before this process parses one itself."""
_PIPE_BYTES = 2**20
"""Where the system can; more is not allowed without privileges."""
_UNREAD = 4
"""Parsed batches that wait for an earlier one, for each helper; limits memory."""


def in_processes(
    batches: Iterable[pa.RecordBatch],
    key: bytes,
    country: str,
    site_id: str,
    chat_rules: ChatRules = NO_RULES,
    *,
    helpers: int = 1,
) -> Iterator[Tables]:
    """The tables of every batch, in order; see `Parser`.

    If a helper ends early, the others and this process parse what is left.
    """
    parser = Parser(Pseudonymizer(key), country, site_id, chat_rules)
    start = {"key": key.hex(), "country": country, "site_id": site_id, "rules": chat_rules.entries}
    with ExitStack() as stack:
        lanes = [stack.enter_context(_lane(start)) for _ in range(helpers)]
        waiting: deque[tuple[pa.RecordBatch, Future[Tables | None]]] = deque()

        def first() -> Tables:
            batch, tables = waiting.popleft()
            return tables.result() or parser.parse(batch)

        for batch in batches:
            lane = min(lanes, key=lambda one: one.queued)
            if lane.queued < _QUEUED:
                waiting.append((batch, lane.ask(batch)))
            else:
                own: Future[Tables | None] = Future()
                own.set_result(parser.parse(batch))
                waiting.append((batch, own))
            while waiting and (waiting[0][1].done() or len(waiting) > _UNREAD * helpers):
                yield first()
        while waiting:
            yield first()


class _Lane:
    """One helper, and the thread that talks to it."""

    def __init__(self, helper: subprocess.Popen[bytes], thread: ThreadPoolExecutor) -> None:
        self._helper, self._thread = helper, thread
        self._is_ready = thread.submit(_received, helper.stdout).done  # its imports take a second
        self._is_lost = False
        self._asked: list[Future[Tables | None]] = []

    @property
    def queued(self) -> int:
        """Batches that it has; as many as it may have while it takes none."""
        self._asked = [tables for tables in self._asked if not tables.done()]
        return _QUEUED if self._is_lost or not self._is_ready() else len(self._asked)

    def ask(self, batch: pa.RecordBatch) -> Future[Tables | None]:
        """Its tables; None if the helper cannot give them."""
        self._asked.append(self._thread.submit(self._tables, batch))
        return self._asked[-1]

    def _tables(self, batch: pa.RecordBatch) -> Tables | None:
        try:
            return _asked(self._helper, batch)
        except (OSError, ValueError, pa.ArrowException):
            self._is_lost = True
            self._helper.kill()  # what is left of this answer must not be taken for the next one
            return None


@contextmanager
def _lane(start: dict[str, Any]) -> Iterator[_Lane]:
    with _helper(start) as helper, ThreadPoolExecutor(1) as thread:
        yield _Lane(helper, thread)


@contextmanager
def _helper(start: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "ingestion.parser.helper"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    # Our thread that reads waits for the interpreter after each pipeful, so pipes are large.
    pipes |= {"stderr": subprocess.DEVNULL, "pipesize": _PIPE_BYTES}
    with subprocess.Popen(command, **pipes) as process:
        try:
            with suppress(OSError):  # it has ended: the first batch will show that
                _send(process.stdin, json.dumps(start).encode())
            yield process
        finally:
            process.kill()  # nothing is lost: it keeps nothing
            with suppress(OSError):
                process.communicate()


def _asked(helper: subprocess.Popen[bytes], batch: pa.RecordBatch) -> Tables:
    _send(helper.stdin, _written(pa.Table.from_batches([batch])))
    return {name: _read(helper.stdout, schema) for name, schema in EVENT_LOG.items()}


def _send(stream: IO[bytes] | None, content: Any) -> None:
    if stream is None:
        raise OSError("no pipe")
    stream.write(len(content).to_bytes(8, "big"))
    stream.write(content)
    stream.flush()


def _received(stream: IO[bytes] | None) -> bytes:
    """What `_send` sent; empty at the end of the stream."""
    head = stream.read(8) if stream is not None else b""
    size = int.from_bytes(head, "big")
    content = stream.read(size) if stream is not None and size else b""
    if len(content) != size:
        raise OSError("the other process has ended")
    return content


def _written(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _read(stream: IO[bytes] | None, schema: pa.Schema) -> pa.Table:
    content = _received(stream)
    if not content:
        raise OSError("the helper has ended")
    table = pa.ipc.open_stream(content).read_all()
    return table if table.num_rows else schema.empty_table()


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks decides
    start = json.loads(_received(sys.stdin.buffer))
    names = Pseudonymizer(bytes.fromhex(start["key"]))
    rules = ChatRules(tuple(start["rules"]))
    parser = Parser(names, start["country"], start["site_id"], rules)
    _send(sys.stdout.buffer, b"ready")
    while content := _received(sys.stdin.buffer):
        for batch in pa.ipc.open_stream(content):
            for table in parser.parse(batch).values():
                _send(sys.stdout.buffer, _written(table))


if __name__ == "__main__":
    _main()
