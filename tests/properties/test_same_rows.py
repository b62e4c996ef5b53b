"""Rules R1 to R5, R12: what must not change a row of any model, changes none.

Not the order, the repeats or the batches of deliveries; not the runs in which they come; not
people who have nothing to do with one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.properties.examination import Examination, assert_same, examine
from tests.properties.states import State


def in_another_order(examination: Examination) -> tuple[State, State]:
    return examination.whole_but_deliveries, examination.disordered


def in_several_runs(examination: Examination) -> tuple[State, State]:
    return examination.whole, examination.in_runs


def with_strangers(examination: Examination) -> tuple[State, State]:
    return examination.whole, examination.among_strangers


def test_e01_e12_order_repeats_and_batches_change_no_row(examined: Examination) -> None:
    assert_same(examined, in_another_order)


def test_e24_e40_any_sequence_of_runs_equals_one_full_run(examined: Examination) -> None:
    assert_same(examined, in_several_runs)


def test_unrelated_people_change_no_row_of_anybody_else(examined: Examination) -> None:
    assert_same(examined, with_strangers, is_closed=False)


@pytest.mark.deep
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(100, 105))
@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"CTWA_LEAD_SCOPE": "brand", "CTWA_LEAD_CYCLE_DAYS": "30"},
        {
            "CTWA_FIRST_TOUCH": "paid",
            "CTWA_RECYCLED_NUMBER_DAYS": "3",
            "CTWA_SHARED_IDENTIFIER_DEGREE": "2",
        },
        {"CTWA_CONVERSATION_GAP_DAYS": "1", "CTWA_LEAD_CYCLE_DAYS": "1"},
    ],
    ids=["default", "brand-cycles", "paid-recycled-shared", "short"],
)
def test_many_histories_under_many_rules(tmp_path: Path, rules: dict[str, str], seed: int) -> None:
    many = examine(tmp_path, 600, seed, **rules)
    assert_same(many, in_several_runs)
    assert_same(many, with_strangers, is_closed=False)
    assert_same(many, in_another_order)
