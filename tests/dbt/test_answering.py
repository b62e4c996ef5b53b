"""Does it help to answer soon? Worlds of leads with a true effect, without one, and with one that
is only there because the good ads are answered first; on the very SQL that ships.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from orchestration.plan import filled_in, run_values
from tests.support.plans import plan_for
from tests.support.warehouse import DbtWorld

AS_OF = date(2026, 11, 20)
MATURE = date(2026, 10, 20)
ADS = tuple((f"ad {n}", 0.08 + 0.04 * n) for n in range(8))
"""Ads, and how many of their leads qualify whatever happens."""

SCHEMA = pa.schema(
    [
        *((n, pa.string()) for n in ("platform", "account_id", "campaign_id", "ad_id", "channel")),
        ("first_touch_at", pa.timestamp("us", "UTC")), ("first_touch_date", pa.date32()),
        ("first_response_seconds", pa.int64()), ("answered_by", pa.string()),
        *((n, pa.bool_()) for n in ("is_qualified_30d", "is_excluded", "is_test")),
    ]
)  # fmt: skip

Lead = tuple[str, int, int | None, str, bool]
"""Ad, hour of day, seconds to the first answer, who holds the chat, whether it qualified."""


class Answering:
    """The mart on leads of a test's own."""

    def __init__(self, folder: Path) -> None:
        world = DbtWorld(folder, as_of=AS_OF)
        plan = plan_for(world.settings)
        (node,) = (n for n in plan.nodes if n.table == "answer_performance")
        values = {**run_values(world.settings, AS_OF), "database": "memory"}
        self._statements = [filled_in(sql, values) for sql in node.full]
        self.connection = duckdb.connect()
        self.connection.execute("set timezone = 'UTC'")
        self.connection.execute(
            "create schema marts; create table marts.dim_campaigns as select 'meta' as platform,"
            " 'c' as campaign_id, 'Outono' as campaign_name"
        )

    def read(self, leads: list[Lead], day: date = MATURE, **more: Any) -> dict[str, dict[str, Any]]:
        """Group -> its row, in the scope of all leads; both comparisons have names of their own."""
        # São Paulo is three hours behind UTC.
        midnight = datetime(day.year, day.month, day.day, 3, tzinfo=UTC)
        table = pa.Table.from_pylist(
            [
                {
                    "platform": "meta", "account_id": "1", "campaign_id": "c", "ad_id": ad,
                    "channel": "click_to_whatsapp",
                    "first_touch_at": midnight + timedelta(hours=hour), "first_touch_date": day,
                    "first_response_seconds": seconds, "answered_by": holder,
                    "is_qualified_30d": qualified, "is_excluded": False, "is_test": False, **more,
                }
                for ad, hour, seconds, holder, qualified in leads
            ],
            SCHEMA,
        )  # fmt: skip
        self.connection.register("leads", table)
        self.connection.execute("create or replace table marts.fct_leads as from leads")
        for sql in self._statements:
            self.connection.execute(sql)
        return {row["answer_group"]: row for row in self.rows("scope = 'all'")}

    def rows(self, where: str) -> list[dict[str, Any]]:
        cursor = self.connection.execute(f"from marts.answer_performance where {where}")
        names = [c[0] for c in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Answering:
    return Answering(tmp_path_factory.mktemp("answering"))


def leads(seed: int, count: int, *, effect: float, confounded: bool = False) -> Iterator[Lead]:
    """`effect`: points that an answer after an hour costs. `confounded`: good ads are answered
    first, and at night, when people are less in earnest, nobody is there."""
    rng = random.Random(seed)
    for _ in range(count):
        ad, rate = rng.choice(ADS)
        hour = rng.randrange(24)
        night = hour < 7
        late = 0.5
        if confounded:
            late = min(0.95, 0.15 + (0.4 - rate) * 1.5 + 0.4 * night)
            rate -= 0.05 * night
        is_late = rng.random() < late
        seconds = rng.randrange(3600, 80_000) if is_late else rng.randrange(5, 300)
        yield ad, hour, seconds, "own", rng.random() < rate - effect * is_late


def test_e147_a_true_effect_is_found_and_its_interval_holds_it(answering: Answering) -> None:
    held = 0
    for seed in range(25):
        row = answering.read([*leads(seed, 3_000, effect=0.08)])["1h_to_24h"]
        assert (row["verdict_code"], row["caution_code"]) == ("lower", "observational"), seed
        held += row["rate_difference_low"] <= -0.08 <= row["rate_difference_high"]
    assert held >= 21


def test_e147_without_an_effect_none_is_found(answering: Answering) -> None:
    rows = [answering.read([*leads(seed, 800, effect=0)])["1h_to_24h"] for seed in range(25)]
    assert sum(row["verdict_code"] == "no_difference" for row in rows) >= 21


def test_e148_a_difference_that_ads_and_hours_explain_is_told_apart(answering: Answering) -> None:
    """The control, the crude difference, is fooled every time."""
    rows = [
        answering.read([*leads(seed, 3_000, effect=0, confounded=True)])["1h_to_24h"]
        for seed in range(25)
    ]
    assert sum(row["verdict_code"] == "no_difference" for row in rows) >= 21
    assert all(row["crude_difference"] < -0.03 for row in rows)  # twice its standard error
    real = answering.read([*leads(1, 3_000, effect=0.08, confounded=True)])["1h_to_24h"]
    assert real["verdict_code"] == "lower"
    assert real["rate_difference_low"] <= -0.08 <= real["rate_difference_high"]


def test_the_difference_and_its_interval_are_those_of_mantel_haenszel_and_sato(
    answering: Answering,
) -> None:
    made = [*leads(3, 400, effect=0.1)]
    strata: dict[tuple[str, int], list[float]] = {}
    for ad, hour, seconds, _, qualified in made:
        n1, y1, n0, y0 = strata.setdefault((ad, hour), [0, 0, 0, 0])
        late = seconds is not None and seconds >= 3600
        strata[ad, hour] = [
            n1 + late, y1 + (late and qualified), n0 + (not late),
            y0 + (not late and qualified),
        ]  # fmt: skip
    w = d = p = q = 0.0
    for n1, y1, n0, y0 in strata.values():
        if n1 and n0:
            n = n1 + n0
            w += n1 * n0 / n
            d += (y1 * n0 - y0 * n1) / n
            p += (n1**2 * y0 - n0**2 * y1 + n1 * n0 * (n0 - n1) / 2) / n**2
            q += (y1 * (n0 - y0) + y0 * (n1 - y1)) / (2 * n)
    margin = 1.959964 * math.sqrt(d / w * p + q) / w
    row = answering.read(made)["1h_to_24h"]
    assert float(row["rate_difference"]) == pytest.approx(d / w, abs=1e-6)
    assert float(row["rate_difference_low"]) == pytest.approx(d / w - margin, abs=1e-6)
    assert float(row["rate_difference_high"]) == pytest.approx(d / w + margin, abs=1e-6)


def test_e149_too_few_and_unanswered_leads_are_not_compared(answering: Answering) -> None:
    made: list[Lead] = [("ad 1", 9, 60, "own", n < 5) for n in range(40)]
    made += [("ad 1", 9, 7_000, "ai_agent", False)] * 29
    made += [("ad 2", 9, 600, "other", True)] * 40  # nobody of the same ad was answered sooner
    made += [("ad 1", 9, None, "unknown", False)] * 50
    rows = answering.read(made)
    said = {name: (r["verdict_code"], r["caution_code"]) for name, r in rows.items()}
    assert said == {
        "under_5m": ("reference", "reference"),
        "5m_to_1h": ("too_few", "too_few"),
        "1h_to_24h": ("too_few", "too_few"),
        "unanswered": ("not_compared", "unanswered"),
        "own": ("reference", "reference"),
        "ai_agent": ("too_few", "too_few"),
        "other": ("too_few", "too_few"),
        "unknown": ("lower", "observational"),
    }
    assert rows["5m_to_1h"]["rate_difference"] is None
    assert (rows["5m_to_1h"]["compared_leads"], rows["1h_to_24h"]["compared_leads"]) == (0, 29)
    assert rows["unanswered"]["median_response_seconds"] is None
    assert rows["unanswered"]["crude_difference"] is None
    campaign = answering.rows("scope = 'campaign' and answer_group = 'under_5m'")
    assert [(r["campaign_name"], r["leads"]) for r in campaign] == [("Outono", 40)]
    assert [r["account_id"] for r in answering.rows("scope = 'account'")] == ["1"] * 8


def test_young_excluded_and_test_leads_and_forms_are_left_out(answering: Answering) -> None:
    made: list[Lead] = [("ad 1", 9, 60, "own", False)] * 30
    assert answering.read(made, MATURE + timedelta(days=1)) == {}
    assert answering.read(made, is_excluded=True) == answering.read(made, is_test=True) == {}
    assert answering.read([("ad 1", 9, None, None, True)] * 30) == {}  # type: ignore[list-item]
    assert answering.read(made)["own"]["leads"] == 30
