"""Order, batches, repeats and nights of the deliveries change no row of any mart (rule R3).

From the bodies of signed webhooks on: vault, parser, lake, dbt, as each night runs them. What the
parser's rows do under shuffles is in `tests/dbt/test_incremental.py`; this is the whole way.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ingestion.ads.google.source import land_google_ads
from ingestion.ads.meta.source import land_meta_ads
from ingestion.ads.meta.spend import land_insights
from ingestion.event_log.source import land_event_log
from simulator.company import ADS, PAGE_ID, SITE_ID
from simulator.delivery import Delivery, deliveries
from simulator.lead_forms_api import LEAD_FIELDS
from simulator.world import build_world
from tests.conftest import PII_KEY
from tests.e2e.installation import installed, receive
from tests.support.people import people_models
from tests.support.prints import Prints, differing, print_of, prints
from tests.support.warehouse import DbtWorld

WORLD = build_world(3, leads=1)  # every story once

DELIVERY = {
    # How often bodies came, and on which day: facts about the deliveries themselves (rule R1).
    "attribution_health": (
        "envelopes", "last_envelope_at", "quarantined_envelopes", "quarantined_elements", "repeats",
    ),
}  # fmt: skip
"""The only columns of marts that may depend on how the same things were delivered."""
OF_DELIVERY = ("envelopes_missing", "quarantine", "silent_sources")
"""Alarms that speak of deliveries."""

MODELS = ("+path:dbt_project/models/marts",)


class Company(DbtWorld):
    """The world's lake and warehouse, filled night by night."""

    def __init__(self, root: Path, meta: Path) -> None:
        super().__init__(root, as_of=WORLD.today, CTWA_PII_KEY=PII_KEY, CTWA_SITE_ID=SITE_ID)
        self.models: tuple[str, ...] = MODELS
        for dataset in ("meta_ads", "google_ads"):
            shutil.copytree(meta / dataset, self.lake / dataset, dirs_exist_ok=True)

    def night(self, bodies: Sequence[Delivery], nights_to_come: int = 0) -> None:
        """Receive, land, build; the last night's day is the world's last.

        Received after all of it happened: what says to be of later than its receipt is put there.
        """
        day = WORLD.today - timedelta(days=nights_to_come)
        receive(self.settings, bodies, datetime.combine(WORLD.today, time(3), UTC))
        assert land_event_log(self.settings).envelopes == len(bodies)
        self.build(*self.models, tests=False, as_of=day)

    def nights(self, bodies: Sequence[Delivery], count: int, rng: random.Random) -> Company:
        """The bodies in `count` nights, cut anywhere."""
        cuts = [0, *sorted(rng.sample(range(1, len(bodies)), count - 1)), len(bodies)]
        for night, (begin, end) in enumerate(pairwise(cuts), 1):
            self.night(bodies[begin:end], count - night)
        return self

    def marts(self) -> Prints:
        """Fingerprints of all marts, without what speaks of the deliveries."""
        found = prints(self.settings.warehouse_path, "marts", without=DELIVERY)
        days = self.rows("marts.attribution_health", "report_date")
        found["attribution_health"] = print_of([d for row in days if (d := _happened(row))])
        alarms = self.rows("marts.health_alarms", "alarm")
        found["health_alarms"] = print_of([a for a in alarms if a["alarm"] not in OF_DELIVERY])
        # It has no targets, and no ad of it has shown enough for a budget to be moved.
        empty = {mart for mart, (rows, _) in found.items() if not rows}
        assert empty <= {"budget_shift", "target_pacing"}, found
        return found


def _happened(day: dict[str, Any]) -> dict[str, Any]:
    """The day without its deliveries; empty where nothing else happened on it."""
    left = {c: v for c, v in day.items() if c not in DELIVERY["attribution_health"]}
    return left if any(v for v in left.values() if type(v) is int) else {}


MakeCompany = Callable[[], Company]


@pytest.fixture(scope="module")
def meta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lake's parts of the ads APIs after both nights, the same for every company."""
    with installed(tmp_path_factory.mktemp("meta") / "data", WORLD) as installation:
        for night in (1, 2):
            installation.show_night(night)
            land_meta_ads(installation.settings, {ad.ad_id for ad in ADS})
            land_insights(installation.settings)
            land_google_ads(installation.settings)
        return Path(installation.settings.lake_url)


@pytest.fixture
def company(tmp_path: Path, meta: Path) -> MakeCompany:
    """Makes companies that nothing has been delivered to yet."""
    made: list[Company] = []

    def make() -> Company:
        made.append(Company(tmp_path / f"{len(made)}", meta))
        return made[-1]

    return make


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory, meta: Path) -> Prints:
    """Each thing delivered once, in the order in which it happened, in one night."""
    whole = Company(tmp_path_factory.mktemp("at-once"), meta)
    whole.night(in_order())
    return whole.marts()


def in_order() -> list[Delivery]:
    """Without repeats, batches and delays: as if webhooks were a log."""
    bodies = deliveries(WORLD, seed=0, largest=1, duplicates=0)
    happened = (
        WORLD.events, WORLD.outcomes, WORLD.exclusions, WORLD.forms, WORLD.notices, WORLD.clicks,
        WORLD.junk,
    )  # fmt: skip
    assert len(bodies) == sum(map(len, happened))
    return bodies + leads_read()


def leads_read() -> list[Delivery]:
    """Leads of instant forms as they are read into the vault."""
    header = {"page_id": PAGE_ID, "read_at": WORLD.end.isoformat()}
    bodies = [
        header | {"is_test": lead.is_test, "lead": lead.body(LEAD_FIELDS)}
        for lead in WORLD.instant_leads
    ]
    return [Delivery("meta_lead_forms", json.dumps(body).encode()) for body in bodies]


def shuffled(seed: int, rng: random.Random) -> list[Delivery]:
    """Other batches, many repeats, and an order that says nothing any more."""
    bodies = deliveries(WORLD, seed, largest=rng.choice([2, 12, 60]), duplicates=0.4)
    assert len({b.body for b in bodies}) < len(bodies), "nothing is repeated"
    bodies += leads_read() + rng.sample(leads_read(), 3)
    rng.shuffle(bodies)
    return bodies


def test_no_order_batch_repeat_or_night_changes_a_mart(
    company: MakeCompany, at_once: Prints
) -> None:
    """Everything together; more of each is below (`deep`) and in `test_thirty_nights`."""
    rng = random.Random(2)

    found = company().nights(shuffled(2, rng), 2, rng).marts()

    assert differing(found, at_once) == {}


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_orders_and_nights_change_no_mart(
    company: MakeCompany, at_once: Prints, seed: int
) -> None:
    rng = random.Random(seed)

    found = company().nights(shuffled(seed, rng), rng.randint(1, 8), rng).marts()

    assert differing(found, at_once) == {}


def test_known_bad_the_order_of_arrival_is_caught(company: MakeCompany, at_once: Prints) -> None:
    """Conversations in the order in which nights brought their messages."""
    bad = company()
    bad.models = people_models()
    bad.changed_code["int_messages__in_conversations"] = (
        "order by sent_at, case",
        "order by changed_seq, sent_at, case",
    )
    rng = random.Random(2)

    bad.nights(shuffled(2, rng), 2, rng)

    found = prints(bad.settings.warehouse_path, "marts")
    for mart in ("fct_touches", "fct_leads"):
        assert found[mart] != at_once[mart], f"{mart} knows nothing of the order"
