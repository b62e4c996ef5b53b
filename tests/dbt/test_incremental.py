"""Rule R3: any order, any duplication, any number of runs gives the same rows as one full run."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.people import (
    Envelope,
    Inbox,
    echo,
    exclusion,
    link,
    message,
    outcome,
    people_models,
    referral,
    shuffled,
    status,
    withheld,
)
from tests.support.warehouse import DbtFailedError, DbtWorld

MakeWorld = Callable[..., DbtWorld]
Snapshot = dict[str, list[tuple[Any, ...]]]

# Selections that leave the models at different watermarks, like runs that failed there.
HALF_WAY = (
    "+int_messages__deduplicated",
    "+int_messages__with_person",
    "+int_conversations__built",
    "+int_touches__classified",
)


def random_history(seed: int, people: int = 14) -> list[Envelope]:
    """Everything that may happen to `people` persons in 100 days, some of it twice."""
    rng = random.Random(seed)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    found: list[Envelope] = []
    for person in range(people):
        ids = [{"phone": f"{person}"}, {"bsuid": f"{person}"}]
        both = {"phone": f"{person}", "bsuid": f"{person}"}
        number = rng.choice(["551", "552"])
        for place in range(rng.randint(1, 6)):
            # Few different moments, so that ties and gaps at the limit do occur.
            at = start + timedelta(days=rng.randint(0, 100), hours=rng.choice([0, 0, 6, 12]))
            who = rng.choice([*ids, *ids, both])
            found += _talk(rng, f"{person}-{place}", at, who, number)
        if rng.random() < 0.4:
            other = rng.randrange(people)
            found.append(link(start, f"phone:{person}", f"phone:{other}"))
        if rng.random() < 0.5:
            found += _crm(rng, person, start)
        if rng.random() < 0.3:  # left out, and perhaps counted again (E20)
            found.append(exclusion(start, phone=f"{person}"))
            found.append(
                exclusion(start, f"r{rng.randint(0, 1)}", off=rng.random() < 0.5, phone=f"{person}")
            )
    return found + [rng.choice(found) for _ in range(len(found) // 5)]


def _talk(
    rng: random.Random, name: str, at: datetime, who: dict[str, str], number: str
) -> list[Envelope]:
    common: dict[str, Any] = {**who, "id": name, "number": number}
    kind = rng.randrange(8)
    if kind == 0:
        return [message(at, **common, **referral(rng.choice(["120", "121", None])))]
    if kind == 1:  # two copies, the better one may come much later, and from somebody else
        sender = rng.choice([who, {"bsuid": f"of {name}"}])
        better = {**sender, "id": name, "number": number, **referral("122", clid=None)}
        return [message(at, **common), message(at, **better)]
    if kind == 2:
        return [message(at, **common, **withheld())]
    if kind == 3:
        return [echo(at, **common), status(at + timedelta(seconds=9), **common)]
    if kind == 4:
        later = at + timedelta(hours=rng.choice([1, 80]))
        return [
            status(at, **common, status="failed"),
            status(later, **common, pricing_type="free_entry_point", status="delivered"),
        ]
    if kind == 5:
        return [message(at, **common, type="reaction")]
    return [message(at, **common)]


def _crm(rng: random.Random, person: int, start: datetime) -> list[Envelope]:
    at = start + timedelta(days=rng.randint(0, 120))
    stage = rng.choice(["qualified", "won", "disqualified", "unheard of"])
    who = rng.choice([{"phone": f"{person}"}, {"phone": f"{person}", "email": f"{person % 3}@x"}])
    return [
        outcome(at, stage, f"e{person}", value="10.5", currency="BRL", **who),
        outcome(at + timedelta(days=1), "lead", f"e{person}", bsuid=f"{person}"),
        outcome(at, "new", f"m{person}", message_id=f"{person}-0"),
    ]


def snapshot(world: DbtWorld) -> Snapshot:
    people = {
        name: rows
        for name, rows in world.snapshot().items()
        if not name.startswith("intermediate.int_referral")
    }
    assert people["marts.fct_leads"], "a world without leads proves nothing"
    return people


def differences(left: Snapshot, right: Snapshot) -> dict[str, Any]:
    """Table -> rows on one side only."""
    assert left.keys() == right.keys()
    return {
        name: (
            [row for row in left[name] if row not in right[name]],
            [row for row in right[name] if row not in left[name]],
            len(left[name]),
            len(right[name]),
        )
        for name in left
        if left[name] != right[name]
    }


def in_one_run(world: DbtWorld, envelopes: list[Envelope]) -> Snapshot:
    Inbox(world).deliver(*envelopes)
    world.build(*people_models(), tests=False)
    return snapshot(world)


def in_many_runs(
    world: DbtWorld,
    envelopes: list[Envelope],
    rng: random.Random,
    runs: int,
    *,
    tests: bool = True,
) -> Snapshot:
    """Shuffle, cut into `runs` pieces, build after each; now and then a run stops half-way."""
    pending = shuffled(envelopes, rng)
    cuts = sorted(rng.sample(range(1, len(pending)), runs - 1))
    inbox = Inbox(world)
    for begin, end in zip([0, *cuts], [*cuts, len(pending)], strict=True):
        inbox.deliver(*pending[begin:end])
        if end < len(pending) and rng.random() < 0.4:
            world.build(rng.choice(HALF_WAY), tests=False)
        elif end < len(pending):
            world.build("+int_leads__sourced", tests=False)
        else:  # with every data test: the worlds are nasty enough to prove them
            world.build(*people_models(), tests=tests)
    return snapshot(world)


NARROW = {
    "CTWA_LEAD_SCOPE": "brand",
    "CTWA_LEAD_CYCLE_DAYS": "20",
    "CTWA_FIRST_TOUCH": "paid",
}
"""Settings under which a person is several leads, and the source may be a later touch."""


@dataclass(frozen=True)
class Full:
    """A history, the world that was built from all of it at once, and its rows."""

    history: list[Envelope]
    world: DbtWorld
    rows: Snapshot


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Full:
    """One history under the default rules, in one run."""
    history = random_history(5, people=40)
    world = DbtWorld(tmp_path_factory.mktemp("full"))
    return Full(history, world, in_one_run(world, history))


@pytest.mark.deep
def test_any_split_and_order_equals_one_full_run_under_other_rules(make_world: MakeWorld) -> None:
    """Under the default rules `tests/properties` examines it; here with every data test, too."""
    history = random_history(3, people=40)

    pieces = make_world("pieces", **NARROW)
    incremental = in_many_runs(pieces, history, random.Random(3000), 4)
    full = in_one_run(make_world("full", **NARROW), history)

    assert differences(incremental, full) == {}
    pieces.build(*people_models(), tests=False, full_refresh=True)
    assert differences(snapshot(pieces), full) == {}


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(100, 108))
def test_many_splits_equal_one_full_run(make_world: MakeWorld, seed: int) -> None:
    """More runs than a history of `tests/properties` has."""
    history = random_history(seed, people=100)
    rng = random.Random(seed)
    settings = NARROW if seed % 2 else {}

    pieces = make_world("pieces", **settings)
    incremental = in_many_runs(pieces, history, rng, rng.randint(5, 15))

    full = in_one_run(make_world("full", **settings), history)
    assert differences(incremental, full) == {}


def test_known_bad_event_time_watermark_is_caught(full: Full, make_world: MakeWorld) -> None:
    bad = make_world("bad")
    bad.changed_code["int_messages__deduplicated"] = (
        "where seq > {{ own_highest('read_seq') }}",
        "where sent_at > (select max(sent_at) from {{ this }})",
    )

    incremental = in_many_runs(bad, full.history, random.Random(1), 2, tests=False)

    assert "marts.fct_leads" in differences(incremental, full.rows)
    with pytest.raises(DbtFailedError, match="messages_are_conserved"):
        bad.build(*people_models())


def test_a_run_with_nothing_new_changes_no_row(full: Full) -> None:
    stamps = (
        "select message_key, changed_seq, read_seq from intermediate.int_messages__deduplicated"
    )
    stamped = full.world.query(f"{stamps} order by 1")

    full.world.build(*people_models(), tests=False)

    assert snapshot(full.world) == full.rows
    assert full.world.query(f"{stamps} order by 1") == stamped


@dataclass(frozen=True)
class Beginning:
    """The first nights of a company: table -> rows after each of them."""

    nights: list[dict[str, list[dict[str, Any]]]]

    def lead(self, night: int, person: str) -> dict[str, Any]:
        """The only lead of a person after a night."""
        (found,) = [r for r in self.nights[night]["fct_leads"] if r["lead_id"] == f"phone:{person}"]
        return found


EMPTY, FILLED, FAILED, MADE_GOOD, OTHER_SETTING = range(5)


@pytest.fixture(scope="module")
def beginning(tmp_path_factory: pytest.TempPathFactory) -> Beginning:
    """An empty lake, first rows, a run that failed, the next one, and another setting."""
    folder = tmp_path_factory.mktemp("beginning")
    world = DbtWorld(folder, CTWA_CONVERSATION_GAP_DAYS="30")
    inbox, nights = Inbox(world), []

    def told(of: DbtWorld) -> dict[str, list[dict[str, Any]]]:
        return {
            name: of.rows(f"marts.{name}")
            for name in ("fct_leads", "fct_conversations", "fct_touches")
        }

    world.build(*people_models())
    nights.append(told(world))
    inbox.deliver(
        message("2026-05-03 14:02", phone="ana"),
        message("2026-05-01 12:00", phone="eva"),
        message("2026-05-11 12:00", phone="eva"),
    )
    world.build(*people_models())
    nights.append(told(world))
    inbox.deliver(message("2026-05-01 10:00", phone="ana", **referral("120")))
    world.changed_code["int_touches__classified"] = ("with", "this is no SQL")
    with pytest.raises(DbtFailedError, match="int_touches__classified"):
        # By dbt: it keeps what came before the fault, and the plan goes on from there.
        world.dbt("run", "--select", *people_models())
    nights.append(told(world))
    world.changed_code.clear()
    inbox.deliver(message("2026-05-09 10:00", phone="bia"))
    world.build(*people_models())
    nights.append(told(world))
    again = DbtWorld(folder, CTWA_CONVERSATION_GAP_DAYS="7")
    again.build(*people_models(), tests=False)
    return Beginning([*nights, told(again)])


def test_empty_lake_builds_and_fills_later(beginning: Beginning) -> None:
    assert beginning.nights[EMPTY]["fct_leads"] == []
    assert beginning.lead(FILLED, "ana")["basis"] == "direct"


def test_failed_run_is_made_good_by_the_next(beginning: Beginning) -> None:
    assert beginning.lead(FAILED, "ana")["basis"] == "direct"

    ana = beginning.lead(MADE_GOOD, "ana")
    assert (ana["ad_id"], ana["touches"]) == ("120", 1)
    leads = beginning.nights[MADE_GOOD]["fct_leads"]
    assert {row["lead_id"] for row in leads} == {"phone:ana", "phone:bia", "phone:eva"}


def test_another_gap_setting_rebuilds_without_a_full_refresh(beginning: Beginning) -> None:
    def counts(night: int) -> list[int]:
        tables = beginning.nights[night]
        return [
            sum(row["lead_id"] == "phone:eva" for row in tables[name])
            for name in ("fct_conversations", "fct_touches")
        ]

    assert counts(MADE_GOOD) == [1, 1]
    assert counts(OTHER_SETTING) == [2, 2]
