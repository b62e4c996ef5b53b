"""The tables of who is one person: continued night by night, they equal those made at once."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.identity import tables, update
from ingestion.identity.persons import Persons, find_persons
from ingestion.identity.tables import DATASET, IDENTITY, PersonsError, Rules
from ingestion.identity.update import (
    IdentityCounts,
    bring_up_to_date,
    drop,
    lake_for_rules,
)
from ingestion.lake.commit import Commit
from ingestion.lake.lake import Lake
from tests.dbt.test_identity_properties import SILENCE, claims, history
from tests.support.lake import write_rows
from tests.support.people import Envelope, form, message

DAY = "2026-05-04 12:00"
RULES = Rules(SILENCE, 5)
_WHEN_MADE = {"changed_seq", "component_key"}


class World:
    """A lake whose event log takes envelopes, one `seq` each."""

    def __init__(self, root: Path) -> None:
        self.root = root / "lake"
        self.lake = Lake(str(self.root))
        self.seq = 0

    def land(self, *envelopes: Envelope) -> None:
        landed: dict[str, list[dict[str, Any]]] = {}
        for envelope in envelopes:
            self.seq += 1
            landed.setdefault("envelopes", []).append({"seq": self.seq})
            for table, found in envelope.rows.items():
                landed.setdefault(table, []).extend({"seq": self.seq, **row} for row in found)
        for table, found in landed.items():
            write_rows(self.root, "event_log", table, found)

    def run(self, rules: Rules = RULES, *, full: bool = False) -> IdentityCounts:
        return bring_up_to_date(self.lake, rules, full=full)

    def persons(self) -> dict[str, str]:
        return {row["identity_key"]: row["person_key"] for row in rows(self.lake, "identities")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def rows(lake: Lake, table: str) -> list[dict[str, Any]]:
    """Rows as readers find them, without the columns that say when they were made."""
    sql = update._CURRENT if table == "identities" else f"select * from {{{table}}}"
    if table == "links":
        sql = update._ONCE % sql
    found = lake.query(sql, **stored_tables()).to_pylist()
    kept = [{k: v for k, v in row.items() if k not in _WHEN_MADE} for row in found]
    return sorted(kept, key=lambda row: [str(value) for value in row.values()])


def assert_as_from_all(world: World, tmp: Path) -> None:
    """The tables are those that one run over everything makes."""
    fresh = Lake(str(tmp / f"fresh{world.seq}"))
    bring_up_to_date(world.lake, RULES, home=fresh)
    for table in ("identities", "phones_seen", "phones_held", "refused", "links"):
        assert rows(world.lake, table) == rows(fresh, table), table


@settings(max_examples=10, deadline=None, derandomize=True,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(st.integers(0, 2**32))
def test_r4_any_order_and_any_pieces_end_as_one_run(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng, tmp = random.Random(seed), tmp_path_factory.mktemp("pieces")
    told = [e for n in range(4) for e in (*history(rng, f"h{n}"), *claims(rng, f"c{n}"))]
    told += rng.sample(told, len(told) // 8)
    monkeypatch.setattr(tables, "_PART_LINKS", rng.choice([10, 5_000_000]))
    rng.shuffle(told)
    cuts = [0, *sorted(rng.sample(range(1, len(told)), 4)), len(told)]
    world = World(tmp)
    for begin, end in pairwise(cuts):
        world.land(*told[begin:end])
        done = world.run()
        assert done.whole == (begin == 0)
    monkeypatch.setattr(tables, "_PART_LINKS", 5_000_000)
    assert_as_from_all(world, tmp)


def both(day: str, name: str, phone: str) -> Envelope:
    return message(day, phone=phone, bsuid=name)


def test_only_what_new_links_touch_is_judged(world: World) -> None:
    world.land(*(both(DAY, f"p{n}", f"{n}") for n in range(50)))
    assert world.run() == IdentityCounts(True, 50, 100, 100)
    assert world.run() == IdentityCounts()
    world.land(form(DAY, "w", phone="7", email="e"), both(DAY, "p51", "51"))
    done = world.run()
    # Two of phone 7, the form, its e-mail, and two of somebody new.
    assert (done.whole, done.judged) == (False, 6)
    stored = world.lake.query(update._CURRENT, **stored_tables()).to_pylist()
    changed = {row["identity_key"] for row in stored if row["changed_seq"] == world.seq}
    assert changed == {"web_lead:w", "email:e", "phone:51", "bsuid:p51"}


def stored_tables() -> dict[str, str]:
    return {name: f"{DATASET}/{name}" for name in IDENTITY}


def test_people_of_whom_only_the_component_grew_are_not_changed(world: World) -> None:
    """A shared identifier connects components, but joins nobody."""
    world.land(*(form(DAY, f"w{n}", phone="office", email=f"e{n}") for n in range(6)))
    world.run()
    world.land(form(DAY, "a", phone="office", email="a"))
    done = world.run()
    assert done.judged == 15
    assert done.changed <= 15
    stored = world.lake.query(update._CURRENT, **stored_tables()).to_pylist()
    changed = {row["identity_key"] for row in stored if row["changed_seq"] == world.seq}
    assert changed == {"web_lead:a", "email:a"}


@pytest.mark.parametrize(
    "rules",
    [Rules(SILENCE, 7), Rules(timedelta(days=20), 5)],
    ids=["degree", "silence"],
)
def test_other_rules_make_the_tables_again(world: World, rules: Rules) -> None:
    world.land(*(form(DAY, f"w{n}", phone="office", email=f"e{n}") for n in range(5)))
    world.land(both("2026-01-01", "a", "1"), both("2026-02-01", "b", "1"))
    world.run()
    before = world.persons()
    assert world.run(rules).whole
    assert world.persons() != before
    assert world.run(RULES).whole
    assert world.persons() == before


def test_other_code_makes_the_tables_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.land(both(DAY, "a", "1"))
    world.run()
    monkeypatch.setattr(update, "_code", lambda: "another version")
    assert world.run().whole


def test_rules_to_compare_have_tables_of_their_own(world: World, tmp_path: Path) -> None:
    world.land(*(form(DAY, f"w{n}", phone="office", email=f"e{n}") for n in range(5)))
    world.run()
    before = world.persons()
    elsewhere = Lake(str(tmp_path / "side"))
    assert lake_for_rules(world.lake, RULES, elsewhere) is world.lake
    assert not (tmp_path / "side").exists()
    found = lake_for_rules(world.lake, Rules(SILENCE, 6), elsewhere)
    side = {row["identity_key"]: row["person_key"] for row in rows(found, "identities")}
    assert found is elsewhere
    assert len({side[f"email:e{n}"] for n in range(5)}) == 1
    assert world.persons() == before
    assert world.run() == IdentityCounts()


def test_a_killed_run_leaves_the_former_tables(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.land(both(DAY, "a", "1"))
    world.run()
    before = {table: rows(world.lake, table) for table in IDENTITY}
    world.land(form(DAY, "w", phone="1", email="e"))

    class Killed(BaseException):
        pass

    def killed(self: Commit) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Commit, "finish", killed)
        patch.setattr(Commit, "abandon", lambda self: None)
        with pytest.raises(Killed):
            world.run()
    world.lake.sweep(DATASET)
    assert {table: rows(world.lake, table) for table in IDENTITY} == before
    assert world.run().judged == 4
    assert world.persons()["email:e"] == world.persons()["phone:1"]


@pytest.mark.parametrize("how", ["lost", "cut off", "no record"])
def test_damaged_tables_are_made_again(world: World, how: str) -> None:
    world.land(both(DAY, "a", "1"), form(DAY, "w", phone="1", email="e"))
    world.run()
    before = world.persons()
    (file,) = (f for f in (world.root / DATASET / "identities").glob("*") if "schema" not in f.name)
    if how == "lost":
        file.unlink()
    elif how == "cut off":
        file.write_bytes(file.read_bytes()[:-20])
    else:
        for record in (world.root / DATASET / "_commits").glob("*.json"):
            record.write_text("{")
    assert world.run().whole
    assert world.persons() == before


def test_changed_identities_go_among_the_others_once_they_are_many(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "_FEW", 4)
    for night in range(5):
        world.land(*(both(DAY, f"p{night}.{n}", f"{night}.{n}") for n in range(1 + night % 2)))
        world.run()
    assert_as_from_all(world, tmp_path)
    count = "select count(*) as n from {t}"
    beside = world.lake.query(count, t=f"{DATASET}/identities_changed")["n"][0].as_py()
    assert beside <= 4
    assert world.lake.query(count, t=f"{DATASET}/identities")["n"][0].as_py() + beside == 14


def test_links_that_are_seen_over_and_over_are_put_together(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "_FEW", 4)
    for day in range(1, 10):
        world.land(both(f"2026-05-0{day}", "a", "1"), both(f"2026-05-0{day}", "b", "2"))
        world.run()
    stored = world.lake.query("select count(*) as n from {t}", t=f"{DATASET}/links")["n"][0].as_py()
    assert stored <= 8
    assert_as_from_all(world, tmp_path)


def test_dropped_tables_leave_no_file(world: World) -> None:
    world.land(both(DAY, "a", "1"))
    world.run()
    drop(world.lake)
    assert not (world.root / DATASET).exists()
    drop(world.lake)
    assert world.run().whole


def test_a_row_without_a_required_value_is_not_published(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.land(both(DAY, "a", "1"))
    world.run()
    before = world.persons()
    world.land(both(DAY, "b", "2"))
    nameless = update._DIFFERING.replace("judged.person_key,", "null as person_key,", 1)
    monkeypatch.setattr(update, "_DIFFERING", nameless)
    with pytest.raises(pa.ArrowException, match="person_key"):
        world.run()
    assert world.persons() == before


@pytest.mark.parametrize("place", range(4))
def test_persons_that_contradict_a_link_are_not_published(
    world: World, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """One identity of four that are one person, said to be somebody of its own."""
    world.land(both(DAY, "a", "1"))
    world.run()
    before = world.persons()
    world.land(form(DAY, "w", phone="1", email="e"))

    def wrong(*given: Any) -> Persons:
        found = find_persons(*given)
        found.person[place] = (found.person[place] + 1) % 4
        return found

    monkeypatch.setattr(tables, "find_persons", wrong)
    with pytest.raises(PersonsError, match="found to be two people"):
        world.run()
    assert world.persons() == before
