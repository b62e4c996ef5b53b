"""The plan against `dbt build`: the same tables, definitions and verdicts, run after run."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ctwa.settings import Settings, load_settings
from ingestion.identity.update import land_identity
from orchestration.plan import marks_of, run_values
from orchestration.plan_run import run_plan
from simulator.delivery import deliveries
from simulator.world import build_world
from tests.support.plans import compiled_whole, plan_for
from tests.support.prints import Prints, differing, prints
from tests.support.warehouse import manifest_of, run_dbt
from tests.support.worlds import WorldRun, playing

SCHEMAS = ("seeds", "staging", "intermediate", "activation", "marts", "checks")


Verdicts = dict[str, tuple[str, int | None]]
"""Id of a node or check -> how it ended, and rows found by a check."""


def by_dbt(run: WorldRun, settings: Settings, night: int, *, full: bool, tests: bool) -> Verdicts:
    left_out = ["unit_test"] if tests else ["unit_test", "test"]
    arguments = ["build", *(x for kind in left_out for x in ("--exclude-resource-type", kind))]
    arguments += ["--full-refresh"] if full else []
    done: Any = run_dbt(
        settings, arguments, as_of=run.world.day(night), manifest=manifest_of(settings)
    ).result
    return {
        r.node.unique_id: (str(r.status), r.failures)
        for r in done
        if r.node.resource_type in ("model", "seed", "test")
    }


def by_plan(run: WorldRun, settings: Settings, night: int, *, full: bool) -> Verdicts:
    values = run_values(settings, run.world.day(night))
    done = run_plan(plan_for(settings), settings.warehouse_path, values, full=full)
    assert [r.message for r in done.failures] == []
    return {r.unique_id: (r.status, r.failures) for r in done.results}


def left(settings: Settings, *, tests: bool) -> tuple[Prints, dict[str, str]]:
    """Rows and definitions of all tables and views; without tests also without what they keep."""
    schemas = SCHEMAS if tests else tuple(name for name in SCHEMAS if name != "checks")
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        found = connection.execute(
            "select schema_name || '.' || table_name, sql from duckdb_tables()"
            " union all select schema_name || '.' || view_name, sql from duckdb_views()"
            " where not internal"
        ).fetchall()
    texts = {n: " ".join(sql.split()) for n, sql in found if tests or not n.startswith("checks.")}
    return prints(settings.warehouse_path, *schemas), texts


def beside(run: WorldRun, name: str) -> Settings:
    """The same installation with another warehouse of the same file name: views name it."""
    path = run.settings.data_dir.with_name(name) / run.settings.warehouse_path.name
    path.parent.mkdir(exist_ok=True)
    return run.settings.model_copy(update={"warehouse_path": path})


def test_the_rows_of_spend_do_not_depend_on_the_day(settings: Settings) -> None:
    """They are the most rows there are: a night that brings nothing but a day leaves them alone."""
    plan = plan_for(settings)
    (spend,) = (node.unique_id for node in plan.nodes if node.table == "fct_ad_spend")
    of_spend = [n for n in plan.nodes if n.unique_id in plan.ancestors[spend] | {spend}]
    assert len(of_spend) > 10
    texts = {node.table: (*node.full, *node.continued) for node in of_spend}
    assert [t for t, found in texts.items() if any("as_of" in marks_of(x) for x in found)] == []


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "seed", [14, *(pytest.param(seed, marks=pytest.mark.deep) for seed in range(15, 19))]
)
def test_plan_and_dbt_leave_the_same_after_any_nights(tmp_path: Path, seed: int) -> None:
    """Landings of any size, or none; whole builds and continued ones; each after the other's. Both
    give verdicts in the first night, which is a whole build, and in the last."""
    with playing(tmp_path / "company", build_world(seed, leads=1, count=5)) as world:
        the_nights_are_equal(world, random.Random(seed))


def the_nights_are_equal(world: WorldRun, rng: random.Random) -> None:
    planned, built = beside(world, "planned"), beside(world, "built")
    world.show(1)
    world.land(world.world.day(1) - timedelta(days=1))
    last = len(world.world.nights)
    for night in range(1, last + 1):
        bodies = deliveries(world.world, night, night=night, largest=rng.choice([3, 12, 40]))
        if rng.random() < 0.8:  # some nights bring nothing
            world.receive(bodies, world.world.day(night))
            world.show(night)
            world.land(world.world.day(night))
        land_identity(world.settings)
        full = night == 1 or rng.random() < 0.2
        if rng.random() < 0.4:  # each goes on from what the other left
            planned, built = built, planned
        tests = night in (1, last)
        verdicts = by_plan(world, planned, night, full=full)

        by_both = by_dbt(world, built, night, full=full, tests=tests)
        assert by_both == {n: v for n, v in verdicts.items() if tests or not n.startswith("test.")}
        (rows, texts), (their_rows, their_texts) = (
            left(settings, tests=tests) for settings in (planned, built)
        )
        assert differing(rows, their_rows) == {}, f"night {night}, full {full}"
        assert texts == their_texts, f"night {night}, full {full}"
    assert rows["fct_leads"][0] > 10


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "rules",
    [
        {"conversation_gap_days": 7},
        {"lead_scope": "brand", "lead_cycle_days": 20, "first_touch": "paid"},
        {"exchange_rates": "ecb", "reporting_currency": "EUR", "reporting_timezone": "UTC"},
        {"recycled_number_days": 3, "shared_identifier_degree": 2, "link_code_days": 1},
    ],
)
def test_a_plan_that_the_tests_make_of_another_is_the_one_that_dbt_makes(
    tmp_path: Path, rules: dict[str, Any]
) -> None:
    settings = load_settings(_env_file=None, data_dir=tmp_path, **rules)
    assert plan_for(settings) == compiled_whole(settings)
