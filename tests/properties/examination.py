"""The states that the properties compare, each built once for all histories of an examination."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.properties.company import HALF_WAY, Cases, Company, disordered, one_by_one
from tests.properties.histories import RUNS, History, gather
from tests.properties.shrinking import shrink, told
from tests.properties.states import DELIVERIES, State, difference, differing, state_of

Compare = Callable[["Examination"], tuple[State, State]]
STRANGER_SALT = 50_000


@dataclass
class Examination:
    """Histories of one seed under one set of rules. States are built when first asked for.

    `changed_code` puts known-bad code into the worlds that are compared, never into `whole`.
    """

    root: Path
    histories: Sequence[History]
    seed: int = 0
    rules: dict[str, str] = field(default_factory=dict)
    changed_code: dict[str, tuple[str, str]] = field(default_factory=dict)
    built: dict[str, Company] = field(default_factory=dict)

    @cached_property
    def cases(self) -> Cases:
        """The histories, each with its salt."""
        return Cases.of(self.histories)

    @cached_property
    def strangers(self) -> Cases:
        """Unrelated people: the same histories in other order, with other ids."""
        return Cases.of(self.histories[::-1], STRANGER_SALT)

    def _company(self, name: str, *, is_compared: bool = True) -> Company:
        company = self.built[name] = Company(self.root / name, **self.rules)
        company.changed_code = self.changed_code if is_compared else {}
        return company

    @cached_property
    def whole_company(self) -> Company:
        """Each thing delivered once, in the order in which it is told, in one run."""
        company = self._company("whole", is_compared=False)
        company.receive(one_by_one(self.cases.pieces()))
        company.read(self.cases.read_rows())
        company.night()
        return company

    @cached_property
    def whole(self) -> State:
        """What one full run gives."""
        return state_of(self.whole_company, self.cases)

    @cached_property
    def whole_but_deliveries(self) -> State:
        """The same without columns that count deliveries."""
        return state_of(self.whole_company, self.cases, without=DELIVERIES)

    @cached_property
    def disordered(self) -> State:
        """Any order, many repeats, any batches; one run."""
        company = self._company("disordered")
        company.receive(disordered(self.cases.pieces(), random.Random(self.seed)))
        company.read(self.cases.read_rows())
        company.night()
        return state_of(company, self.cases, without=DELIVERIES)

    @cached_property
    def _in_runs(self) -> tuple[State, State]:
        company, rng = self._company("in-runs"), random.Random(self.seed)
        first = None
        for run in range(RUNS):
            bodies = one_by_one(self.cases.pieces(run))
            rng.shuffle(bodies)
            company.receive(bodies)
            company.read(self.cases.read_rows(run))
            stops = [rng.choice(HALF_WAY)] if run == 1 else []
            company.night(*stops, nights_to_come=RUNS - 1 - run)
            first = first or state_of(company, self.cases)
        assert first is not None
        return first, state_of(company, self.cases)

    @property
    def after_first_run(self) -> State:
        """After the first run: what is known before identities or touches that come later."""
        return self._in_runs[0]

    @property
    def in_runs(self) -> State:
        """The same things in several runs, one of which stopped half-way."""
        return self._in_runs[1]

    @cached_property
    def among_strangers(self) -> State:
        """As many unrelated people in the same world, from the first run on."""
        company = self._company("among-strangers")
        everybody = self.cases | self.strangers
        company.receive(one_by_one(everybody.pieces()))
        company.read(everybody.read_rows())
        company.night()
        return state_of(company, everybody)


def assert_same(examination: Examination, compare: Compare, *, is_closed: bool = True) -> None:
    """Both states hold the same; if not, tell of the first history that differs, made small.

    `is_closed`: rows of no single history must be the same, too.
    """
    left, right = compare(examination)
    assert not left.mixed, f"rows of two histories: {left.mixed}"
    assert not right.mixed, f"rows of two histories: {right.mixed}"
    bad = differing(left, right, examination.cases.by_salt)
    if bad:
        pytest.fail(_report(examination, compare, bad, left, right), pytrace=False)
    if is_closed:
        assert difference(left, right, None) == ""


def _report(
    examination: Examination, compare: Compare, bad: list[int], left: State, right: State
) -> str:
    numbers = itertools.count(1)

    def again(found: Sequence[History]) -> tuple[Examination, list[int], State, State]:
        other = Examination(
            examination.root / f"smaller-{next(numbers)}",
            found,
            examination.seed,
            examination.rules,
            examination.changed_code,
        )
        one, two = compare(other)
        return other, differing(one, two, other.cases.by_salt), one, two

    def fails(found: Sequence[History]) -> list[bool]:
        # Among others, as it failed: some faults are about whom a history travels with.
        salts = set(again([*found, *company])[1])
        return [place in salts for place in range(len(found))]

    company = examination.histories[:40]
    first = examination.cases.by_salt[bad[0]]
    small = shrink(first, fails)
    _, salts, one, two = again([*[small] * 10, *company])
    told_difference = difference(one, two, salts[0]) if salts else difference(left, right, bad[0])
    return (
        f"{len(bad)} of {len(examination.histories)} histories differ: {bad[:20]}\n"
        f"The first of them, made small:\n{told(small)}\n{small!r}\n"
        f"What differs:\n{told_difference[:6_000]}"
    )


def examine(root: Path, count: int, seed: int, **rules: Any) -> Examination:
    """An examination of about `count` generated histories, the same for the same seed."""
    return Examination(root, gather(count, seed), seed, rules)
