"""Real `ctwa refresh` processes: under the eyes of BI readers, twice at once, twice, and killed.

One company, two nights. The second night is the interesting one: it is incremental, restates spend
and repairs people. Kills at named points of landing, dbt and publishing are in the tests of those
parts; here the whole process dies at any moment.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from publishing.marts import versions
from simulator.delivery import deliveries
from simulator.world import World, build_world
from tests.e2e import bi_reader
from tests.e2e.installation import Installation, installed, now, receive
from tests.support.prints import Prints, differing, prints

pytestmark = pytest.mark.timeout(600)  # the first test pays for two nights

WORLD: World = build_world(3, leads=1)  # every story once
FIRST, SECOND = WORLD.today - timedelta(days=1), WORLD.today

READ_TIMES = {
    # When Meta was asked is a fact about the run, not about the company.
    "dim_ad_names": ("valid_from", "valid_to"),
    "fct_ad_spend": ("read_at",),
    "spend_reconciliation": ("read_at",),
    # Meta signs the address of a picture anew at each request, and it ages within days.
    "dim_ads": ("thumbnail_url",),
    "ad_performance": ("thumbnail_url",),
    "creative_board": ("thumbnail_url",),
}
"""The only columns of marts in which two runs over the same things may differ."""


DBT_NODES = 140
"""Fewer than a build has, so that a kill at the end of the way is one within dbt."""


@dataclass
class Night:
    """The second night, undisturbed: what was seen of it from outside."""

    exit_code: int
    seconds: float
    other_exit_code: int
    other_seconds: float
    other_said: str
    first_version: str
    looks: dict[str, list[dict[str, Any]]]
    """Kind of reader -> what it saw, in order."""


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """After its first night; what the second brings lies in the vault and in Meta's API."""
    with installed(tmp_path_factory.mktemp("company") / "data", WORLD) as company:
        receive(company.settings, deliveries(WORLD, night=1), now())
        company.refresh(FIRST)
        receive(company.settings, deliveries(WORLD, night=2), now())
        company.show_night(2)
        yield company


@pytest.fixture(scope="module")
def evening(company: Installation) -> Path:
    """A copy of the data folder before the second night."""
    return company.save()


@pytest.fixture(scope="module")
def night(company: Installation, evening: Path) -> Night:
    """The second night's refresh, with readers all the while and a second start amidst."""
    first = bi_reader.look(company.settings.marts_path)["version"]
    with _readers(company.settings.marts_path) as looks:
        started = time.monotonic()
        run = company.start_refresh(SECOND)
        _await_lock(company)
        before = time.monotonic()
        other = company.start_refresh(SECOND)
        other_code = other.process.wait(60)
        other_seconds = time.monotonic() - before
        code = run.process.wait(300)
        seconds = time.monotonic() - started
        time.sleep(1)  # they see the new publication, too
    assert code == 0, run.said()[-3_000:]
    return Night(code, seconds, other_code, other_seconds, other.said(), first, looks)


@contextmanager
def _readers(marts: Path) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """A reader process of each kind; what they saw is complete after the block."""
    command = [sys.executable, "-m", "tests.e2e.bi_reader", str(marts)]
    root = Path(__file__).parents[2]
    looks: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        readers = {
            kind: stack.enter_context(
                subprocess.Popen([*command, kind], stdout=subprocess.PIPE, text=True, cwd=root)
            )
            for kind in ("file", "parquet", "held")
        }
        try:
            for kind, reader in readers.items():
                assert reader.stdout is not None
                looks[kind] = [json.loads(reader.stdout.readline())]
            yield looks
        finally:
            for kind, reader in readers.items():
                reader.terminate()
                assert reader.stdout is not None
                looks[kind] += [json.loads(line) for line in reader.stdout if line.endswith("}\n")]


def _await_lock(company: Installation) -> None:
    """Until the refresh says who it is; no test of ours may take the lock from it."""
    lock, deadline = company.settings.lock_path, time.monotonic() + 60
    written = lock.stat().st_mtime_ns
    while lock.stat().st_mtime_ns == written:
        assert time.monotonic() < deadline, "the refresh did not take the lock"
        time.sleep(0.01)


def marts(company: Installation) -> Prints:
    """Fingerprints of the published marts, without `publication`, which tells of the run."""
    path = company.settings.marts_path
    columns = READ_TIMES | {"publication": ("version", "published_at")}
    return prints(path, "main", without=columns)


# ---- readers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "parquet"])
def test_a_reader_sees_no_error_and_whole_publications_only(night: Night, kind: str) -> None:
    seen = night.looks[kind]

    assert [look for look in seen if "error" in look or look["wrong"]] == []
    found = list(dict.fromkeys((look["version"], look["rows"]) for look in seen))
    assert len(found) == 2, "one publication before and one after, never back again"
    assert found[0][0] == night.first_version
    assert found[0][1] != found[1][1], "both nights look alike: a mixture would not be seen"
    assert len(seen) > 10


def test_a_reader_that_holds_the_file_open_goes_on_and_disturbs_nobody(night: Night) -> None:
    seen = night.looks["held"]

    assert night.exit_code == 0
    assert {json.dumps(look) for look in seen} == {json.dumps(seen[0])}, "it saw a change"
    assert seen[0]["version"] == night.first_version
    assert seen[0]["wrong"] == []


@pytest.mark.parametrize("kind", ["rows of another publication", "a mart that lacks a row"])
def test_known_bad_a_half_made_publication_would_be_seen(
    company: Installation, night: Night, tmp_path: Path, kind: str
) -> None:
    torn = tmp_path / "marts.duckdb"
    shutil.copyfile(company.settings.marts_path, torn)
    with duckdb.connect(str(torn)) as connection:
        if kind == "a mart that lacks a row":
            connection.execute("delete from fct_touches where is_first_touch and rowid % 50 = 1")
        else:
            kept = versions(company.settings.marts_path)
            (old,) = [path for path in kept if night.first_version in path.name]
            connection.execute(f"attach '{old}' as old (read_only)")
            connection.execute("create or replace table fct_leads as from old.main.fct_leads")

    assert bi_reader.look(torn)["wrong"] != []


# ---- two at once, and nothing new ----------------------------------------------------------------


def test_e73_a_second_refresh_says_at_once_that_one_is_running(night: Night) -> None:
    assert night.other_exit_code == 75
    assert "another refresh is running" in night.other_said
    assert night.other_seconds < night.seconds / 2


@pytest.mark.deep
def test_a_refresh_with_nothing_new_changes_no_row_and_lands_no_file(
    company: Installation, night: Night
) -> None:
    """But for the lake's notes that sources were asked once more; their answers were the same."""

    def all_rows() -> Prints:
        return prints(company.settings.warehouse_path, "intermediate", "marts")

    rows, published, files = all_rows(), marts(company), company.lake_files()

    company.refresh(SECOND)

    assert len(rows) > 30
    # The view of such notes; nothing is built of what says the same again.
    assert differing(all_rows(), rows).keys() <= {"int_spend_reads__read"}
    assert differing(marts(company), published) == {}
    landed = dict(company.lake_files().items() ^ files.items())
    tables = {"/".join(file.split("/")[:2]) for file in landed}
    notes = {"meta_ads/insight_reads", "google_ads/cost_reads", "hubspot/reads"}
    assert {table for table in tables if not table.endswith("/_dlt_loads")} == notes


# ---- killed --------------------------------------------------------------------------------------


def kill_at(company: Installation, as_of: date, place: float) -> None:
    """Start a refresh and `kill -9` it at a place of its way, 0 to 1, however fast it goes.

    The first quarter is up to the end of landing; then so much of the nodes of dbt is done.
    """
    dbt_log = company.settings.dbt_target_dir / "run" / "dbt.log"
    dbt_log.unlink(missing_ok=True)
    before = company.settings.lock_path.stat().st_mtime_ns
    run = company.start_refresh(as_of)
    deadline = time.monotonic() + 200
    while run.process.poll() is None and time.monotonic() < deadline:
        if place < 0.25 and company.settings.lock_path.stat().st_mtime_ns != before:
            time.sleep(place * 12)  # of twelve seconds or more that the whole run takes
            break
        if place >= 0.25 and _nodes_done(dbt_log) >= (place - 0.25) / 0.75 * DBT_NODES:
            break
        time.sleep(0.02)
    run.process.kill()
    code = run.process.wait()
    assert code == -signal.SIGKILL, f"ended before {place}: {run.said()[-3_000:]}"


def _nodes_done(dbt_log: Path) -> int:
    return dbt_log.read_bytes().count(b'"name": "NodeFinished"') if dbt_log.exists() else -1


def killed_nights_end_like_the_undisturbed_one(
    company: Installation, evening: Path, places: list[float]
) -> None:
    undisturbed = marts(company)
    with company.as_saved(evening):
        assert "fct_leads" in differing(marts(company), undisturbed), "the nights do not differ"

        for place in places:
            kill_at(company, SECOND, place)

        look = bi_reader.look(company.settings.marts_path)
        assert look["wrong"] == [], "readers see half of a killed refresh"
        company.refresh(SECOND)
        assert differing(marts(company), undisturbed) == {}, f"killed at {places}"


@pytest.mark.deep
def test_e73_killed_at_any_moment_the_next_refresh_converges(
    company: Installation, night: Night, evening: Path
) -> None:
    # Another moment at each run of the tests: while it lands, or while dbt is at work.
    luck = random.SystemRandom()
    place = luck.choice([luck.uniform(0, 0.25), luck.uniform(0.25, 0.95)])
    killed_nights_end_like_the_undisturbed_one(company, evening, [place])


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(8))
def test_e73_killed_many_times_the_next_refresh_converges(
    company: Installation, night: Night, evening: Path, seed: int
) -> None:
    luck = random.Random(seed)
    places = [luck.uniform(0, 0.95) for _ in range(4)]
    killed_nights_end_like_the_undisturbed_one(company, evening, places)
