"""Real `ctwa refresh` processes, twice with the same things, and killed.

One company, two nights. The second night is the interesting one: it is incremental, restates spend
and repairs people. Kills at named points of landing and publishing are in the tests of those
parts; here the whole process dies at any moment. Readers and a second start: `test_demo`.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest

from ctwa.lease import holder
from ctwa.pseudonym import KEY_FILE
from ingestion.event_log.adoption import adopt_vault
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from simulator.delivery import deliveries
from simulator.world import World, build_world
from tests.e2e import bi_reader
from tests.e2e.installation import Installation, Refresh, installed, now, receive
from tests.support.plans import prepare
from tests.support.prints import Prints, differing, prints

pytestmark = [pytest.mark.deep, pytest.mark.timeout(600)]  # the first test pays for two nights

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
    # Hours since the last webhook, at the moment of looking.
    "health_alarms": ("measured",),
}
"""The only columns of marts in which two runs over the same things may differ."""


FROM_ADS = {
    "fct_leads": (
        *(
            "account_id",
            "campaign_id",
            "campaign_name",
            "adset_id",
            "adset_name",
            "ad_id",
            "ad_name",
        ),
        *("ad_name_at_touch", "resolution", "why"),
    ),
    "fct_touches": ("ad_id", "adset_id", "campaign_id", "resolution"),
}
OF_ADS = {
    *("ad_performance", "campaign_performance", "campaign_cash_performance", "channel_performance"),
    *("adset_board", "campaign_board", "creative_board", "cohort_forecast", "fct_ad_spend"),
    *("dim_account_history", "dim_accounts", "dim_ad_names", "dim_ads", "dim_campaigns"),
    *("restatements", "spend_reconciliation", "attribution_health", "health_alarms"),
    "publication",  # how many rows it has
}
"""What a host that begins anew has otherwise: ads, names and spend that the APIs give no more, with
the columns of leads and touches that tell of them, and what is reckoned from it."""

BUILD_SECONDS = 2.0
"""CPU seconds from the opening of the warehouse on: the build, and a little of what comes after."""


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
def night(company: Installation, evening: Path) -> None:
    """The second night's refresh, undisturbed."""
    company.refresh(SECOND)


def marts(company: Installation) -> Prints:
    """Fingerprints of the published marts, without `publication`, which tells of the run."""
    path = company.settings.marts_path
    columns = READ_TIMES | {"publication": ("version", "published_at")}
    return prints(path, "main", without=columns)


# ---- nothing new ---------------------------------------------------------------------------------


def test_a_refresh_with_nothing_new_changes_no_row_and_lands_no_file(
    company: Installation, night: None
) -> None:
    """But for the lake's notes that sources were asked once more, whose answers were the same, and
    that alarms were looked for."""

    def all_rows() -> Prints:
        return prints(company.settings.warehouse_path, "intermediate", "marts")

    rows, published, files = all_rows(), marts(company), company.lake_files()

    company.refresh(SECOND)

    assert len(rows) > 30
    # The view of such notes, and how long ago the last webhook came; nothing else is built of what
    # says the same again.
    looked_at = {"int_spend_reads__read", "int_alarms__observed", "health_alarms"}
    assert differing(all_rows(), rows).keys() <= looked_at
    assert differing(marts(company), published) == {}
    landed = dict(company.lake_files().items() ^ files.items())
    tables = {"/".join(file.split("/")[:2]) for file in landed}
    reads = {"meta_ads/spend_reads", "google_ads/spend_reads", "hubspot/reads"}
    assert {table for table in tables if not table.endswith("/_commits")} == reads | {
        "alarms/observations"
    }


# ---- killed --------------------------------------------------------------------------------------


def kill_at(company: Installation, as_of: date, place: float) -> None:
    """Start a refresh and `kill -9` it at a place of its way, 0 to 1, however fast it goes.

    The first quarter is up to the end of landing; then so much of the build is done.
    """
    before = company.settings.lock_path.stat().st_mtime_ns
    kill_run_at(company, company.start_refresh(as_of), place, before)


def kill_run_at(company: Installation, run: Refresh, place: float, before: int = 0) -> None:
    """`before`: when the lock was last written before the run."""
    pid = run.process.pid
    opened_at: float | None = None
    deadline = time.monotonic() + 200
    while run.process.poll() is None and time.monotonic() < deadline:
        if place < 0.25 and company.settings.lock_path.stat().st_mtime_ns != before:
            time.sleep(place * 12)  # of twelve seconds or more that the whole run takes
            break
        if opened_at is None and company.settings.warehouse_path in _open_files(pid):
            opened_at = _cpu_seconds(pid)
        done = 0 if opened_at is None else _cpu_seconds(pid) - opened_at
        if place >= 0.25 and opened_at and done >= (place - 0.25) / 0.75 * BUILD_SECONDS:
            break
        time.sleep(0.02)
    run.process.kill()
    code = run.process.wait()
    assert code == -signal.SIGKILL, f"ended before {place}: {run.said()[-3_000:]}"


def _open_files(pid: int) -> list[Path]:
    with suppress(FileNotFoundError):
        return [fd.readlink() for fd in Path(f"/proc/{pid}/fd").iterdir()]
    return []


def _cpu_seconds(pid: int) -> float:
    """Of the process so far, however slow the machine is."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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


def test_e73_killed_at_any_moment_the_next_refresh_converges(
    company: Installation, night: None, evening: Path
) -> None:
    # Another moment at each run of the tests: while it lands, or while it builds.
    luck = random.SystemRandom()
    place = luck.choice([luck.uniform(0, 0.25), luck.uniform(0.25, 0.95)])
    killed_nights_end_like_the_undisturbed_one(company, evening, [place])


@pytest.mark.parametrize("seed", range(8))
def test_e73_killed_many_times_the_next_refresh_converges(
    company: Installation, night: None, evening: Path, seed: int
) -> None:
    luck = random.Random(seed)
    places = [luck.uniform(0, 0.95) for _ in range(4)]
    killed_nights_end_like_the_undisturbed_one(company, evening, places)


# ---- on a second host ----------------------------------------------------------------------------


def test_a_second_host_with_an_empty_folder_ends_the_night_of_one_that_was_killed(
    company: Installation, night: None, evening: Path, tmp_path: Path, postgres_url: str
) -> None:
    """What it publishes of leads is what one host has that was never killed; only what the APIs
    give no more is another."""
    undisturbed = marts(company)
    first = company.on_host(tmp_path / "first", postgres_url)
    shutil.copytree(evening, first.settings.data_dir, symlinks=True)
    with (
        closing(open_vault(company.settings.vault_url)) as one,
        closing(open_vault(postgres_url)) as shared,
    ):
        for row in (row for batch in one.read_batches(0) for row in batch.to_pylist()):
            at = int(row["received_at"].timestamp() * 1_000_000)
            shared.append([NewEnvelope(at, row["source"], row["body"])])
    adopt_vault(first.settings)
    second = company.on_host(tmp_path / "second", postgres_url)
    prepare(second.settings)
    shutil.copy(first.settings.data_dir / KEY_FILE, second.settings.data_dir)

    run = first.start_refresh(SECOND, host="first-host")
    while not holder(postgres_url, "refresh.lock"):
        assert run.process.poll() is None, run.said()[-3_000:]
        time.sleep(0.1)
    refused = second.start_refresh(SECOND)
    assert refused.process.wait() == 75
    assert f"process {run.process.pid} on first-host" in " ".join(refused.said().split())
    kill_run_at(first, run, 0.5)
    taken_over = second.start_refresh(SECOND)
    taken_over.process.wait()
    said = " ".join(taken_over.said().split())
    assert "published nevertheless" in said, said[-3_000:]

    assert f"process {run.process.pid} on first-host has" in said
    assert bi_reader.look(second.settings.marts_path)["wrong"] == []
    assert differing(marts(second), undisturbed).keys() <= OF_ADS | FROM_ADS.keys()
    with duckdb.connect() as both:
        for name, path in (
            ("one", company.settings.marts_path),
            ("two", second.settings.marts_path),
        ):
            both.execute(f"attach '{path}' as {name} (read_only)")
        for table, columns in FROM_ADS.items():
            for a, b in (("one", "two"), ("two", "one")):
                rows = f"select * exclude ({', '.join(columns)}) from {{}}.{table}"
                only = f"{rows.format(a)} except all {rows.format(b)}"
                assert both.execute(only).fetchall() == [], table
        # By another ad is only who came from an account that was taken away between the nights.
        others = both.execute(
            "select a.account_id from one.fct_leads as a join two.fct_leads as b using (lead_id)"
            " where a.ad_id is distinct from b.ad_id"
        ).fetchall()
        known = both.execute("select account_id from two.dim_accounts").fetchall()
        assert len(others) == 1
        assert not set(others) & set(known)
