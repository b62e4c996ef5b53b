"""Whole companies of many seeds, delivered in many ways: every row of every mart as it must be.

What must come out was stated by whoever wrote the stories (`simulator.truth`), so an error of the
SQL cannot be made twice. How the webhooks travel (batches, repeats, order, nights) is drawn anew
for each seed.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, time
from pathlib import Path

import pytest

from keeping.erasure.steps import land
from simulator.company import FORM_AD, FORM_ID, PAGE_ID
from simulator.delivery import Delivery, deliveries, meta_json
from simulator.lead_forms_api import Lead
from simulator.names import HOSTILE, LANGUAGES, Names
from simulator.truth_unread import Silence
from simulator.world import build_world
from tests.support.worlds import WorldRun, playing

LEADS = 2_000


def play(root: Path, seed: int, leads: int = LEADS) -> None:
    """One company, delivered as its seed has it; every difference from the truth is told."""
    rng = random.Random(f"how {seed} is delivered")
    count = rng.choice([2, 2, 3, 4])
    # Every third is an ordinary company, with the names and people of `ctwa demo`.
    names = Names.of(LANGUAGES[seed // 3 % 3]) if seed % 3 == 0 else HOSTILE
    world = build_world(seed, leads, count=count, names=names)
    with playing(root, world) as run:
        if len(world.nights) == 2 and rng.random() < 0.5:
            run.whole(seed)
        else:
            _in_nights(run, rng)
        found = run.compare()

    assert found.differences == [], f"seed {seed}: {found.summary()}"
    assert found.is_equal
    assert found.leads_compared == len(world.leads) >= leads


def refused_lead(run: WorldRun) -> str:
    """A page's webhook about a lead that its id does not give; returns the id."""
    day = run.world.day(4)
    at = datetime.combine(day, time(), UTC)
    lead = Lead("29999999999999999", FORM_ID, at, {}, ad_id=FORM_AD.ad_id)
    run.receive([Delivery("/webhooks/messenger", meta_json(lead.notice(PAGE_ID)))], day)
    return lead.lead_id


def _in_nights(run: WorldRun, rng: random.Random) -> None:
    """Night by night, each with batches, repeats and an order of its own."""
    again: list[int] = []
    for night in range(1, len(run.world.nights) + 1):
        bodies = deliveries(
            run.world,
            rng.randrange(1_000),
            night=night,
            largest=rng.choice([1, 3, 12, 60]),
            duplicates=rng.choice([0, 0.08, 0.4]),
        )
        if rng.random() < 0.5:
            rng.shuffle(bodies)
        run.night(bodies, night, run.world.day(night))
        again.append(len(bodies))
    assert all(again), f"a night brought nothing: {again}"


@pytest.mark.deep
def test_a_company_of_2000_leads_comes_out_as_it_happened(tmp_path: Path) -> None:
    play(tmp_path, seed=11)


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(20))
def test_twenty_companies_come_out_as_they_happened(tmp_path: Path, seed: int) -> None:
    play(tmp_path, seed)


@pytest.mark.deep
def test_known_bad_webhooks_alone_miss_leads_of_instant_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestion.crm.lead_forms.source._Pull._is_due", lambda *_: False)
    with playing(tmp_path, build_world(5, leads=1)) as run:
        run.whole()
        differences = run.compare().differences

    missed = [line for line in differences if line.startswith("fct_leads ") and "missing" in line]
    assert any("lead_form" in line for line in missed), differences


def test_e87_an_account_that_falls_silent_makes_nothing_cheap(tmp_path: Path) -> None:
    """Its insights are refused from the third of five nights on; then everything is read again, and
    every body parsed again. Meta refuses a lead that it announced in the fourth night (E181)."""
    world = build_world(5, count=5)
    account = world.account_ids[2]  # of whose ads none was deleted
    with playing(tmp_path, world) as run:
        for night in range(1, 6):
            bodies = deliveries(world, 5, night=night)
            silent = account if night > 2 else ""
            run.receive(bodies, world.day(night))
            if night == 4:
                run.refused.add(refused_lead(run))
            run.show(night)
            run.land(world.day(night), silent)
        run.build_marts(tests=True)
        quiet = run.compare(Silence(account, 2))
        stale = run.query("select account_id from checks.spend_is_stale")
        run.land(world.today)
        land(run.settings, reparse=True)
        run.build_marts()
        again = run.compare()

    assert quiet.differences == []
    assert quiet.compared["unread"] == 2
    assert [row["account_id"] for row in stale] == [account]
    assert again.differences == []
