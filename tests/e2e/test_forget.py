"""`ctwa forget` on a whole company: real processes, the marts before and after, every byte."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest

from ctwa.pseudonym import Pseudonymizer
from publishing.marts import parquet_folder, publish_marts, versions
from simulator.delivery import deliveries
from simulator.installation import only_settings
from simulator.people import Event
from simulator.world import World, build_world
from tests.e2e.installation import Installation, installed, now, receive
from tests.support.erasure import files_with

pytestmark = pytest.mark.timeout(600)

WORLD: World = build_world(3, leads=1)  # every story once
AS_OF = datetime.now(ZoneInfo("America/Sao_Paulo")).date()
"""The day `ctwa forget` builds the marts for, too."""

COUNTS = {
    "campaigns": "select * from marts.campaign_performance order by all",
    "ads": "select * from marts.ad_performance order by all",
    "channels": "select * from marts.channel_performance order by all",
    "leads": "select count(*), count(distinct person) from (select lead_id as person from "
    "marts.fct_leads)",
    "sources": "select basis, channel, ad_id, is_qualified, is_won, count(*) from marts.fct_leads "
    "group by all order by all",
    "conversations": "select count(*) from marts.fct_conversations",
    "outcomes": "select stage, lead_id is null, count(*) from marts.fct_outcomes "
    "group by all order by all",
}


def _forget(company: Installation, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "commands.cli", "forget", *options]
    with only_settings(company.settings):
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def _read(marts: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(marts), read_only=True) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """With two publications that hold everybody."""
    with installed(tmp_path_factory.mktemp("forget") / "data", WORLD) as company:
        company.show_night(2)
        receive(company.settings, deliveries(WORLD), now())
        company.refresh(AS_OF)
        publish_marts(company.settings, as_of=AS_OF)
        yield company


def _somebody(company: Installation) -> tuple[str, str, str]:
    """Phone, lead id and click id of a qualified lead from an ad whose messages show the phone."""
    names = Pseudonymizer.from_settings(company.settings)
    qualified = {
        lead
        for (lead,) in _read(
            company.settings.marts_path,
            "select lead_id from marts.fct_leads where is_qualified and basis = 'ctwa_click'",
        )
    }
    for event in WORLD.events:
        if not isinstance(event, Event) or type(event.element) is not dict:
            continue
        phone = event.element.get("from")
        click = (event.element.get("referral") or {}).get("ctwa_clid")
        if type(phone) is str and click and (lead := names.phone(phone)) in qualified:
            return phone, str(lead), click
    raise AssertionError("the world has no such lead")


@pytest.mark.deep
def test_one_lead_is_forgotten_and_every_report_stays(company: Installation) -> None:
    settings = company.settings
    phone, lead, click = _somebody(company)
    traces = [phone.encode(), lead.encode(), click.encode()]
    places = {
        place.partition(":")[0].split("/")[0] for place in files_with(settings.data_dir, traces)
    }
    assert {"vault.db", "lake", "warehouse.duckdb", "marts.duckdb"} <= places
    before = {name: _read(settings.marts_path, sql) for name, sql in COUNTS.items()}
    assert len(versions(settings.marts_path)) == 2

    done = _forget(company, "--phone", f"+{phone}")

    assert done.returncode == 0, done.stderr[-3_000:]
    assert "erased one person with" in done.stdout
    assert phone not in done.stdout + done.stderr
    assert files_with(settings.data_dir, traces) == []
    after = {name: _read(settings.marts_path, sql) for name, sql in COUNTS.items()}
    assert after == before
    assert len(versions(settings.marts_path)) == 1
    assert (
        len([p for p in parquet_folder(settings.marts_path).iterdir() if not p.is_symlink()]) == 1
    )

    version = versions(settings.marts_path)
    again = _forget(company, "--phone", f"+{phone}")
    assert again.returncode == 0, again.stderr[-3_000:]
    assert "nothing of this person was found" in again.stdout
    assert versions(settings.marts_path) == version  # no refresh for nothing


@pytest.mark.deep
def test_a_wrong_number_is_refused_by_name(company: Installation) -> None:
    done = _forget(company, "--phone", "12")
    assert done.returncode == 2
    assert "--phone: expected a full number with its country code" in done.stderr
