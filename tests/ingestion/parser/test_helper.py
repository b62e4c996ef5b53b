"""Several processes parse as one does, whatever happens to the others."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from ctwa.pseudonym import Pseudonymizer
from ingestion.parser import Parser, helper
from ingestion.parser.helper import in_processes
from tests.ingestion.parser.payloads import batch_of, envelope, message, own_payloads

KEY = bytes(range(32))


def batch(n: int) -> pa.RecordBatch:
    """Good, bad and repeated bodies."""
    bodies = [envelope(message(n)), b"not json", *own_payloads().values()]
    return batch_of(bodies, first_seq=1 + n * len(bodies))


class Watched:
    """Batches until the helper has answered twice, and two more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[pa.RecordBatch] = []
        self.answers = 0
        self.processes: list[subprocess.Popen[bytes]] = []
        asked, popen = helper._asked, subprocess.Popen

        def counted(*of_it: Any) -> Any:
            tables = asked(*of_it)
            self.answers += 1
            return tables

        def noted(*of_it: Any, **more: Any) -> Any:
            self.processes.append(popen(*of_it, **more))
            return self.processes[-1]

        monkeypatch.setattr(helper, "_asked", counted)
        monkeypatch.setattr(helper.subprocess, "Popen", noted)

    def batches(self, *, kill: bool) -> Iterator[pa.RecordBatch]:
        end = time.monotonic() + 120
        while self.answers < 2 and time.monotonic() < end:
            yield self._next()
        if kill:
            self.processes[0].kill()
        for _ in range(6):
            yield self._next()

    def _next(self) -> pa.RecordBatch:
        self.sent.append(batch(len(self.sent)))
        return self.sent[-1]


@pytest.mark.parametrize(("kill", "helpers"), [(False, 1), (True, 1), (True, 3)])
def test_several_processes_give_the_rows_of_one_in_the_same_order(
    monkeypatch: pytest.MonkeyPatch, kill: bool, helpers: int
) -> None:
    """Also if a helper is killed: the others and this process parse the rest."""
    watched = Watched(monkeypatch)
    found = list(in_processes(watched.batches(kill=kill), KEY, "BR", "s", helpers=helpers))
    assert watched.answers >= 2
    parser = Parser(Pseudonymizer(KEY), "BR", "s")
    assert found == [parser.parse(sent) for sent in watched.sent]
    assert len(watched.processes) == helpers
    assert all(process.poll() is not None for process in watched.processes)


def test_a_damaged_answer_is_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its other tables must not count as those of the next batch."""
    watched, read, damaged = Watched(monkeypatch), helper._read, []

    def once(stream: Any, schema: pa.Schema) -> pa.Table:
        table = read(stream, schema)
        if watched.answers == 1 and not damaged:
            damaged.append(table)
            raise pa.ArrowInvalid("not a stream")
        return table

    monkeypatch.setattr(helper, "_read", once)

    def batches() -> Iterator[pa.RecordBatch]:
        end = time.monotonic() + 120
        while not damaged and time.monotonic() < end:
            yield watched._next()
        for _ in range(6):
            yield watched._next()

    found = list(in_processes(batches(), KEY, "BR", "s"))
    parser = Parser(Pseudonymizer(KEY), "BR", "s")
    assert damaged
    assert found == [parser.parse(sent) for sent in watched.sent]


def test_a_helper_that_cannot_run_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper.sys, "executable", "/bin/false")
    parser = Parser(Pseudonymizer(KEY), "BR", "")
    found = list(in_processes(map(batch, range(3)), KEY, "BR", ""))
    assert found == [parser.parse(batch(n)) for n in range(3)]


def test_what_the_batches_raise_is_raised() -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield batch(0)
        raise RuntimeError("the vault")

    with pytest.raises(RuntimeError, match="the vault"):
        list(in_processes(failing(), KEY, "BR", ""))
