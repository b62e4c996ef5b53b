"""R26: no event is accepted twice, and each is accepted or explained, whatever happens when."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activation import delivery
from activation.conversions import ConversionsError
from ctwa.settings import load_settings
from simulator.ads_faults import Fault, FaultScript
from simulator.conversions_api import ConversionsApi, EventsFault, serve_conversions_api
from tests.activation.conftest import Meta
from tests.activation.send_crash import calls_of_a_run, send_and_die
from tests.conftest import PII_KEY
from tests.support.outbox import (
    DATASET,
    NOW,
    PAGE,
    WABA,
    due,
    form_stage,
    ledger_rows,
    write_outbox,
)

KILLS = 60
BUSY = pytest.mark.timeout(1200)
"""Many short runs: on a machine that is busy with other things they take minutes."""
OTHER_WABA, OTHER_PAGE, OTHER_DATASET = "100000000000002", "516540200", "770000000000002"
FORM_STAGES = ("lead", "qualified", "opportunity", "won")
DATASETS = {DATASET: {WABA}, OTHER_DATASET: {OTHER_WABA}}
EVENTS = "POST /[0-9]+/events"

FAULTS: dict[str, Callable[[], Fault]] = {
    "none": lambda: EventsFault(EVENTS, kind="no_messages"),
    "429": lambda: Fault(EVENTS, status=429, code=4),
    "500 in Meta's words": lambda: Fault(EVENTS, status=500, code=1),
    "an error page": lambda: EventsFault(EVENTS, kind="html", status=502),
    "an error page, taken": lambda: EventsFault(EVENTS, kind="html", status=502, takes=True),
    "cut": lambda: EventsFault(EVENTS, kind="drop"),
    "cut, taken": lambda: EventsFault(EVENTS, kind="drop", takes=True),
    "cut within the answer": lambda: EventsFault(EVENTS, kind="cut"),
    "unreadable": lambda: EventsFault(EVENTS, kind="truncated"),
    "another number": lambda: EventsFault(
        EVENTS, kind="body", status=200, body={"events_received": 0}, takes=True
    ),
    "refused": lambda: Fault(EVENTS, code=100, subcode=2804016),
    "the name refused": lambda: Fault(EVENTS, code=100, subcode=2804066),
    "no permission": lambda: Fault(EVENTS, code=200, status=403),
}

REFUSALS = {"refused", "the name refused", "no permission"}


def _explained(meta: Meta) -> dict[str, str]:
    """State of each event, after looking whether it is true."""
    accepted = meta.api.times_accepted()
    assert not [one for one, times in accepted.items() if times > 1]
    rows = ledger_rows(meta.settings)
    assert accepted.keys() <= rows.keys()
    for name, row in rows.items():
        if row.state == "sent":
            assert accepted[name] == 1
        if row.state in ("pending", "rejected"):
            assert accepted[name] == 0, row
    return {name: row.state for name, row in rows.items()}


@pytest.fixture(scope="module")
def served() -> Iterator[ConversionsApi]:
    with serve_conversions_api(DATASETS) as api:
        yield api


def _installation(api: ConversionsApi, folder: Path, **options: Any) -> Meta:
    def make(**values: Any) -> Any:
        given = {"data_dir": folder / "data", "pii_key": PII_KEY} | values
        return load_settings(_env_file=None, **given)

    meta = Meta(api, make, options=options)
    meta.options["meta_dataset_ids"] = (
        f"{WABA}:{DATASET},{OTHER_WABA}:{OTHER_DATASET},"
        f"{PAGE}:{DATASET},{OTHER_PAGE}:{OTHER_DATASET}"
    )
    api.accepted, api.poison, api.faults = [], set(), FaultScript()
    api.clock = lambda: meta.at.timestamp()
    meta.switch_on()
    return meta


def _of_chats(count: int) -> list[dict[str, Any]]:
    """Two stages and two datasets, in turn."""
    return [
        due(n, stage=("qualified", "won")[n % 2], waba_id=(WABA, OTHER_WABA)[n // 2 % 2])
        for n in range(count)
    ]


def _of_forms(count: int) -> list[dict[str, Any]]:
    """All stages of each lead, of two pages in turn."""
    return [
        form_stage(10_000 + n // 4, FORM_STAGES[n % 4], page_id=(PAGE, OTHER_PAGE)[n // 4 % 2])
        for n in range(count)
    ]


@dataclass
class Hosts:
    """An installation that is killed, and started again where it was or on another host."""

    meta: Meta
    rows: list[dict[str, Any]]
    others: bool
    """Whether each start is on a new host: an empty data folder beside the same database."""
    starts: int = 0

    @classmethod
    def of(cls, kind: str, served: ConversionsApi, folder: Path, postgres_url: str) -> Hosts:
        """`files`, `database`, or `new hosts`."""
        meta = _installation(
            served, folder, **({} if kind == "files" else {"vault_url": postgres_url})
        )
        return cls(meta, _due_by_and_by(meta), kind == "new hosts")

    def next(self) -> dict[str, Any]:
        """The settings with which the next process starts."""
        if self.others:
            self.starts += 1
            folder = self.meta.settings.data_dir.with_name(f"host {self.starts}")
            self.meta.options["data_dir"] = folder
            write_outbox(self.meta.settings, self.rows)
        return _values(self.meta)


@BUSY
@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("files", KILLS),
        ("new hosts", KILLS // 4),
        pytest.param("database", KILLS, marks=pytest.mark.deep),
        pytest.param("new hosts", KILLS, marks=pytest.mark.deep),
    ],
)
def test_r26_killed_at_any_moment_no_event_is_sent_twice(
    served: ConversionsApi, tmp_path: Path, postgres_url: str, kind: str, most: int
) -> None:
    chance = random.Random(5)
    hosts = Hosts.of(kind, served, tmp_path, postgres_url)
    meta, report = hosts.meta, tmp_path / "calls"
    whole = calls_of_a_run(hosts.next(), meta.at, report, late=False)
    meta.at += timedelta(minutes=1)
    late = calls_of_a_run(hosts.next(), meta.at, report, late=True)
    kills = 0
    pool = [make() for name, make in FAULTS.items() if name not in REFUSALS]
    while kills < most:
        meta.at += timedelta(minutes=1)
        served.faults = FaultScript(share=0.2, seed=kills, in_a_row=2, pool=pool)
        is_late = kills % 4 > 0  # most moments of a run come before anything is sent
        moment = chance.randint(1, late if is_late else whole)
        kills += send_and_die(hosts.next(), meta.at, moment, late=is_late)
        _explained_without_those_in_flight(meta)
    served.faults = FaultScript()
    hosts.next()
    meta.send()
    states = _explained(meta)
    assert states.keys() == {
        row["conversion_event_id"] for row in hosts.rows if row["occurred_at"] <= meta.at
    }
    assert set(states.values()) == {"sent", "unknown"}
    interrupted = [r for r in ledger_rows(meta.settings).values() if r.reason == "interrupted"]
    assert interrupted, "some kill came while a request was out"
    assert len({row.tried_at_us for row in interrupted}) <= kills
    kinds = {event["action_source"] for event in served.accepted}
    assert kinds == {"business_messaging", "system_generated"}


@BUSY
@pytest.mark.parametrize("kind", ["files", "new hosts"])
def test_r26_known_bad_what_is_noted_only_after_the_answer_is_sent_twice(
    served: ConversionsApi, tmp_path: Path, postgres_url: str, kind: str
) -> None:
    chance = random.Random(5)
    hosts = Hosts.of(kind, served, tmp_path, postgres_url)
    meta = hosts.meta
    late = calls_of_a_run(hosts.next(), meta.at, tmp_path / "calls", late=True)
    for _ in range(KILLS):
        meta.at += timedelta(minutes=1)
        send_and_die(hosts.next(), meta.at, chance.randint(1, late), late=True, is_bad=True)
        twice = {one for one, times in served.times_accepted().items() if times > 1}
        if twice:
            break
    assert twice


def _values(meta: Meta) -> dict[str, Any]:
    """Settings for a process of its own."""
    return {
        **{"data_dir": meta.settings.data_dir, "pii_key": PII_KEY, **meta.options},
        **{"meta_graph_url": meta.api.url, "meta_access_token": meta.api.token},
        "meta_conversions_mode": "live",
    }


def _due_by_and_by(meta: Meta) -> list[dict[str, Any]]:
    """Eight events become due with each run, half of them stages of forms."""
    rows = [one for pair in zip(_of_chats(500), _of_forms(500), strict=True) for one in pair]
    rows = [row | {"occurred_at": NOW + timedelta(minutes=n // 8)} for n, row in enumerate(rows)]
    write_outbox(meta.settings, rows)
    return rows


def _explained_without_those_in_flight(meta: Meta) -> None:
    accepted = meta.api.times_accepted()
    assert not [one for one, times in accepted.items() if times > 1]
    for name, row in ledger_rows(meta.settings).items():
        assert (row.state != "sent") or accepted[name] == 1
        assert (row.state not in ("pending", "rejected")) or accepted[name] == 0


@BUSY
@pytest.mark.parametrize("make", [_of_chats, _of_forms])
@settings(
    max_examples=20, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    count=st.integers(1, 40),
    poison=st.sets(st.integers(0, 39), max_size=4),
    wrong=st.sets(st.integers(0, 39), max_size=2),
    nights=st.lists(st.lists(st.sampled_from(sorted(FAULTS)), max_size=12), max_size=3),
)
def test_r26_whatever_meta_answers_no_event_is_accepted_twice_and_each_is_explained(
    served: ConversionsApi,
    make: Callable[[int], list[dict[str, Any]]],
    count: int,
    poison: set[int],
    wrong: set[int],
    nights: list[list[str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(delivery, "MAX_EVENTS", 8):
        meta = _installation(served, Path(folder))
        rows = make(count)
        for n in wrong & set(range(count)):
            rows[n] |= (
                {"ctwa_clid": f"{n:02}" * 1000} if make is _of_chats else {"leadgen_id": str(n)}
            )
        served.poison = {rows[n]["conversion_event_id"] for n in poison & set(range(count))}
        write_outbox(meta.settings, rows)
        for night in nights:
            meta.fail(*(FAULTS[name]() for name in night))
            with suppress(ConversionsError):
                meta.send(patience=6)
            _explained(meta)
            meta.at += timedelta(minutes=1)
        meta.fail()
        meta.send()
        states = _explained(meta)
        assert states.keys() == {row["conversion_event_id"] for row in rows}
        assert set(states.values()) <= {"sent", "rejected", "unknown"}
        rejected = {r.reason for r in ledger_rows(meta.settings).values() if r.state == "rejected"}
        ends = {"name_refused", "invalid_click_id"}
        if make is _of_forms:  # they have one name only
            ends = {"refused_100_2804066", "invalid_lead_id"}
        assert rejected <= {"refused_100_2804016", *ends}
        if not nights:
            bad = {rows[n]["conversion_event_id"] for n in (poison | wrong) & set(range(count))}
            assert {one for one, state in states.items() if state == "rejected"} == bad
            assert set(states.values()) <= {"sent", "rejected"}
