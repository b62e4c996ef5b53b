"""A month of nights, each with late webhooks and restated spend, ends where one run would.

Every night brings what the day before left, some of it days late, some of it again; Meta restates,
withdraws and gives back spend of the weeks before. After nights of incremental builds the marts
are compared with one full refresh over the same lake, every column of every row, and with what
really happened.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from simulator.delivery import Delivery, deliveries
from simulator.world import build_world
from tests.support.prints import Prints, differing, prints
from tests.support.worlds import WorldRun, playing


def rebuilt(run: WorldRun, night: int) -> Prints:
    """The marts of one full build over the lake as it is, beside the run's own warehouse."""
    own = run.settings
    # Of the same name: dbt calls the catalog by it.
    aside = own.data_dir.with_name(f"full-{night}") / own.warehouse_path.name
    aside.parent.mkdir()
    run.settings = own.model_copy(update={"warehouse_path": aside})
    try:
        run.build_marts(run.world.day(night), full_refresh=True)
        return marts(run)
    finally:
        run.settings = own


def marts(run: WorldRun) -> Prints:
    """Fingerprints of all marts, whole."""
    return prints(run.settings.warehouse_path, "marts")


def play(run: WorldRun, looks: set[int]) -> None:
    """Night after night; in the nights of `looks` and the last, compared with a full build."""
    world, rng = run.world, random.Random(f"{run.world.seed}:nights")
    before: list[Delivery] = []
    for night in range(1, len(world.nights) + 1):
        bodies = deliveries(world, night, night=night, largest=rng.choice([3, 12, 40]))
        assert bodies, f"night {night} brings nothing"
        # Meta delivers for days what it is not sure of.
        run.night(bodies + before[::9], night, world.day(night))
        before = bodies
        if night in looks or night == len(world.nights):
            assert differing(marts(run), rebuilt(run, night)) == {}, f"after night {night}"


@pytest.mark.deep
def test_five_nights_equal_one_run_and_the_truth(tmp_path: Path) -> None:
    with playing(tmp_path, build_world(21, leads=400, count=5)) as run:
        play(run, looks=set())
        found = run.compare()

    assert found.differences == []
    assert found.is_equal


@pytest.mark.deep
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("seed", [22, 23])
def test_thirty_nights_equal_one_run_and_the_truth(tmp_path: Path, seed: int) -> None:
    with playing(tmp_path, build_world(seed, leads=2_000, count=30)) as run:
        play(run, looks={2, 9, 17, 26})
        found = run.compare()

    assert found.differences == []
    assert found.is_equal
