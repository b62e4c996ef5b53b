"""The simulated company under other rules: moves are shown, and add up to the marts' difference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from comparison.credit import causes_of_rules, compare
from comparison.sides import differing_rules, in_words, parse_rules
from comparison.tables import CreditDifference
from simulator.delivery import deliveries
from simulator.world import build_world
from tests.support.people import Inbox, echo, message, referral
from tests.support.worlds import WorldRun, playing

pytestmark = pytest.mark.timeout(600)

RULES = {"gap": "conversation_gap_days=7", "paid": "first_touch=paid"}

# Chats whose reading the gap changes; the company's own stories hardly depend on it.
CHATS = [
    echo("2026-10-01 10:00", phone="answered-late", id="w1"),
    message("2026-10-11 10:00", phone="answered-late", id="w2"),
    echo("2026-10-01 10:00", phone="answered-soon", id="w3"),
    message("2026-10-03 10:00", phone="answered-soon", id="w4"),
    message("2026-10-01 10:00", phone="organic-first", id="w5"),
    message("2026-10-05 10:00", phone="organic-first", id="w6", **referral("1", clid="c")),
]


class Sides:
    """The same lake built under several rules."""

    def __init__(self, run: WorldRun, folder: Path) -> None:
        self.run, self.folder = run, folder
        self.current = run.settings

    def build(self, name: str, spec: str) -> Path:
        # dbt calls the catalog by the file's name, and the manifest is parsed once for all.
        path = self.folder / name / "warehouse.duckdb"
        path.parent.mkdir()
        rules = parse_rules(spec, self.current)
        self.run.settings = rules.settings.model_copy(update={"warehouse_path": path})
        self.run.build_marts(self.run.world.today)
        return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    folder = tmp_path_factory.mktemp("rules")
    world = build_world(7, leads=1)  # every story once
    with playing(folder, world) as run:
        run.show(1)
        run.land(world.today - timedelta(days=1))
        run.receive(deliveries(world), world.today)
        run.show(len(world.nights))
        run.land(world.today)
        Inbox(run, last_seq=10**6).deliver(*CHATS)
        sides = Sides(run, folder)
        yield {n: sides.build(n, spec) for n, spec in {"current": "current", **RULES}.items()}


@pytest.fixture(scope="module", params=RULES)
def case(
    request: pytest.FixtureRequest, built: dict[str, Path]
) -> tuple[str, CreditDifference, Path, Path]:
    from ctwa.settings import load_settings

    settings = load_settings(_env_file=None)
    name = request.param
    differing = differing_rules(*(parse_rules(s, settings) for s in ("current", RULES[name])))
    found = compare(
        built["current"],
        built[name],
        causes=causes_of_rules(differing),
        prefix=f"{in_words(differing)}: ",
    )
    return name, found, built["current"], built[name]


Case = tuple[str, CreditDifference, Path, Path]


def by(path: Path, sql: str) -> dict[Any, tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return {tuple(row[:-1]): row[-1] for row in connection.execute(sql).fetchall()}


def difference(before: Path, after: Path, sql: str) -> dict[Any, Any]:
    a, b = by(before, sql), by(after, sql)
    deltas = {key: b.get(key, 0) - a.get(key, 0) for key in {*a, *b}}  # type: ignore[operator]
    return {key: delta for key, delta in deltas.items() if delta}


def test_the_moves_are_shown(case: Case) -> None:
    name, found, _, _ = case
    rows = found.leads.to_pylist()
    moved = [r for r in rows if r["change"] == "moved"]
    assert {r["cause"] for r in rows} == {RULES[name].partition("=")[0]}
    if name == "gap":
        late = next(r for r in moved if "answered-late" in r["lead_id"])
        assert (late["channel_a"], late["channel_b"]) == ("outbound", "direct")
        assert late["because"] == (
            "Conversation gap 7 instead of 30 days: the source is still the touch of 11 October "
            "2026, but it now counts as no ad (they wrote on their own initiative), before: a "
            "message that we sent first"
        )
    else:
        paid = next(r for r in moved if "organic-first" in r["lead_id"])
        assert (paid["channel_a"], paid["channel_b"]) == ("direct", "click_to_whatsapp")
        assert "another of the same touches is the source" in paid["because"]
    assert not [r for r in rows if "answered-soon" in r["lead_id"]]


def test_their_sum_is_the_difference_of_the_two_marts(case: Case) -> None:
    _, found, before, after = case
    for column in ("leads", "qualified_leads"):
        report = (
            f"select report_date, platform, campaign_id, {column} from marts.campaign_performance"
        )
        moves: Counter[Any] = Counter()
        for row in found.leads.to_pylist():
            for side, sign in (("a", -1), ("b", 1)):
                if row[f"platform_{side}"] is not None and not row[f"is_excluded_{side}"]:
                    key = tuple(
                        row[f"{n}_{side}"] for n in ("first_touch_date", "platform", "campaign_id")
                    )
                    moves[key] += sign * (column == "leads" or row[f"is_qualified_{side}"])
        moved = {key: delta for key, delta in moves.items() if delta}
        assert moved == difference(before, after, report)
        days: Counter[Any] = Counter()
        for row in found.days.to_pylist():
            if row["platform"] is not None:
                days[row["report_date"], row["platform"], row["campaign_id"]] += row[
                    f"{column}_delta"
                ]
        assert {key: delta for key, delta in days.items() if delta} == moved
    assert "other" not in found.days["cause"].to_pylist()


def test_channels_reconcile_too(case: Case) -> None:
    _, found, before, after = case
    report = "select report_date, channel, leads from marts.channel_performance"
    moves: Counter[Any] = Counter()
    for row in found.leads.to_pylist():
        for side, sign in (("a", -1), ("b", 1)):
            if row[f"channel_{side}"] is not None and not row[f"is_excluded_{side}"]:
                moves[row[f"first_touch_date_{side}"], row[f"channel_{side}"]] += sign
    assert {key: delta for key, delta in moves.items() if delta} == difference(
        before, after, report
    )


def test_no_money_moves(case: Case) -> None:
    _, found, _, _ = case
    assert not any(found.days["spend_delta"].to_pylist())
    assert not any(row["spend_reporting_delta"] for row in found.campaigns.to_pylist())
