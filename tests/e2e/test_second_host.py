"""The host of the nightly work is lost: another one, with an empty folder, makes the same marts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ctwa.settings import Settings, load_settings
from simulator.delivery import deliveries
from simulator.installation import only_settings
from tests.conftest import PII_KEY
from tests.e2e.installation import installed, now, receive
from tests.e2e.test_refresh import FIRST, SECOND, WORLD, marts
from tests.support.plans import prepare
from tests.support.prints import differing

pytestmark = [pytest.mark.deep, pytest.mark.timeout(1_200)]

ONLY_THE_FIRST_SAW: set[str] = set()
"""What the sources no longer tell on the second night, or what is known of publications."""


def on_host(settings: Settings, folder: Path, vault_url: str) -> Settings:
    """The same `.env` on a host with this data folder."""
    with only_settings(settings):
        os.environ |= {"CTWA_DATA_DIR": str(folder), "CTWA_VAULT_URL": vault_url}
        os.environ |= {"CTWA_PII_KEY": PII_KEY}
        os.environ |= dict.fromkeys(("CTWA_LAKE_URL", "CTWA_WAREHOUSE_PATH", "CTWA_MARTS_PATH"), "")
        return prepare(load_settings(_env_file=None))


def test_a_host_with_an_empty_folder_takes_over_and_the_first_comes_back(
    tmp_path: Path, postgres_url: str
) -> None:
    with installed(tmp_path / "demo", WORLD) as company:
        first = on_host(company.settings, tmp_path / "first", postgres_url)
        second = on_host(company.settings, tmp_path / "second", postgres_url)
        company.settings = first
        receive(first, deliveries(WORLD, night=1), now())
        company.refresh(FIRST)
        receive(first, deliveries(WORLD, night=2), now())
        company.show_night(2)

        company.settings = second
        company.refresh(SECOND)
        there = marts(company)
        company.settings = first
        company.refresh(SECOND)
        here = marts(company)

    assert len(here) > 30
    assert there["fct_leads"] == here["fct_leads"]
    assert there["campaign_performance"] == here["campaign_performance"]
    assert differing(there, here).keys() == ONLY_THE_FIRST_SAW
