"""Rule R3: any order, any duplication, any number of runs gives the same rows as one full run."""

from __future__ import annotations

import random
from collections.abc import Callable
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
    "+int_identities__resolved",
    "+int_messages__with_person",
    "+int_conversations__built",
    "+int_touches__evidenced",
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
            world.build("+int_leads__sourced", "+int_outcomes__deduplicated", tests=False)
        else:  # with every data test: the worlds are nasty enough to prove them
            world.build(*people_models(), tests=tests)
    return snapshot(world)


NARROW = {
    "CTWA_LEAD_SCOPE": "brand",
    "CTWA_LEAD_CYCLE_DAYS": "20",
    "CTWA_FIRST_TOUCH": "paid",
}
"""Settings under which a person is several leads, and the source may be a later touch."""


@pytest.mark.parametrize(("seed", "settings"), [(1, {}), (2, {}), (3, NARROW)])
def test_any_split_and_order_equals_one_full_run(
    make_world: MakeWorld, seed: int, settings: dict[str, str]
) -> None:
    history = random_history(seed)
    rng = random.Random(seed * 1000)
    runs = rng.randint(3, 5)

    pieces = make_world("pieces", **settings)
    incremental = in_many_runs(pieces, history, rng, runs)
    full = in_one_run(make_world("full", **settings), history)

    assert differences(incremental, full) == {}
    pieces.build(*people_models(), tests=False, full_refresh=True)
    assert differences(snapshot(pieces), full) == {}


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_splits_equal_one_full_run(make_world: MakeWorld, seed: int) -> None:
    history = random_history(seed, people=40)
    rng = random.Random(seed)
    settings = NARROW if seed % 2 else {}

    pieces = make_world("pieces", **settings)
    incremental = in_many_runs(pieces, history, rng, rng.randint(2, 15))

    full = in_one_run(make_world("full", **settings), history)
    assert differences(incremental, full) == {}


def test_known_bad_event_time_watermark_is_caught(make_world: MakeWorld) -> None:
    history = random_history(1)
    bad = make_world("bad")
    bad.changed_code["int_messages__deduplicated"] = (
        "where seq > {{ own_highest('read_seq') }}",
        "where sent_at > (select max(sent_at) from {{ this }})",
    )

    incremental = in_many_runs(bad, history, random.Random(1), 4, tests=False)

    found = differences(incremental, in_one_run(make_world("full"), history))
    assert "marts.fct_leads" in found
    with pytest.raises(DbtFailedError, match="messages_are_conserved"):
        bad.build(*people_models())


def test_portable_connected_components_find_the_same_people(make_world: MakeWorld) -> None:
    history = random_history(5)
    portable = make_world("portable")
    portable.changed_code["duckdb__connected_components"] = ("target.name == 'lint'", "true")

    found = in_many_runs(portable, history, random.Random(5), 3)

    assert differences(found, in_one_run(make_world("own"), history)) == {}


def test_a_run_with_nothing_new_changes_no_row(dbt_world: DbtWorld) -> None:
    before = in_one_run(dbt_world, random_history(4))
    stamps = (
        "select message_key, changed_seq, read_seq from intermediate.int_messages__deduplicated"
    )
    stamped = dbt_world.query(f"{stamps} order by 1")

    result = dbt_world.build(*people_models(), tests=False)

    assert snapshot(dbt_world) == before
    assert dbt_world.query(f"{stamps} order by 1") == stamped
    assert result.success


def test_empty_lake_builds_and_fills_later(dbt_world: DbtWorld) -> None:
    dbt_world.build(*people_models())
    assert dbt_world.rows("marts.fct_leads") == []

    Inbox(dbt_world).deliver(message("2026-05-03 14:02", phone="ana"))
    dbt_world.build(*people_models())

    assert dbt_world.one("marts.fct_leads")["basis"] == "direct"


def test_another_gap_setting_rebuilds_without_a_full_refresh(make_world: MakeWorld) -> None:
    world = make_world("gap", CTWA_CONVERSATION_GAP_DAYS="30")
    Inbox(world).deliver(
        message("2026-05-01 12:00", phone="ana"), message("2026-05-11 12:00", phone="ana")
    )
    world.build(*people_models(), tests=False)
    assert len(world.rows("marts.fct_conversations")) == 1

    again = make_world("gap", CTWA_CONVERSATION_GAP_DAYS="7")
    again.build(*people_models(), tests=False)

    assert len(again.rows("marts.fct_conversations")) == 2
    assert len(again.rows("marts.fct_touches")) == 2


def test_failed_run_is_made_good_by_the_next(dbt_world: DbtWorld) -> None:
    inbox = Inbox(dbt_world)
    inbox.deliver(message("2026-05-03 14:02", phone="ana"))
    dbt_world.build(*people_models(), tests=False)
    inbox.deliver(message("2026-05-01 10:00", phone="ana", **referral("120")))
    dbt_world.changed_code["int_touches__evidenced"] = ("with", "this is no SQL")
    with pytest.raises(DbtFailedError, match="int_touches__evidenced"):
        dbt_world.build(*people_models(), tests=False)
    assert dbt_world.one("marts.fct_leads")["basis"] == "direct"

    dbt_world.changed_code.clear()
    inbox.deliver(message("2026-05-09 10:00", phone="bia"))
    dbt_world.build(*people_models())

    assert dbt_world.one("marts.fct_leads", "ad_id = '120'")["touches"] == 1
    assert len(dbt_world.rows("marts.fct_leads")) == 2
