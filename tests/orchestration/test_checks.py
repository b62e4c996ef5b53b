"""Checks on the lake: each is seen to fire, and to keep quiet."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ctwa.settings import Settings
from ingestion.event_log.source import VaultDamageError, land_event_log
from ingestion.lake.lake import Lake
from ingestion.source import Landed
from ingestion.vault import open_vault
from ingestion.vault.vault import NewEnvelope
from orchestration.checks import build_checks
from orchestration.faults import describe


def _receive(settings: Settings, count: int) -> None:
    vault = open_vault(settings.vault_url)
    vault.append([NewEnvelope(1_780_000_000_000_000 + n, "whatsapp", b"{}") for n in range(count)])
    vault.close()


def _check(settings: Settings, name: str) -> Callable[[], object]:
    return {next(iter(c.check_keys)).name: c for c in build_checks(settings)}[name]


def test_an_older_lake_after_a_purge_is_no_silent_loss(settings: Settings) -> None:
    lake, older = Path(settings.lake_url), settings.data_dir / "older"
    _receive(settings, 2)
    land_event_log(settings)
    shutil.copytree(lake, older)
    _receive(settings, 3)
    land_event_log(settings)
    vault = open_vault(settings.vault_url)
    assert vault.purge_bodies(datetime.now(UTC) + timedelta(days=1), 5) == 5
    vault.close()
    passed = _check(settings, "every_envelope_landed")()
    assert passed.passed  # type: ignore[attr-defined]

    shutil.rmtree(lake)
    shutil.copytree(older, lake)
    _receive(settings, 1)
    land_event_log(settings)

    assert Lake.from_settings(settings).max_value("event_log", "envelopes", "seq") == 6
    failed = _check(settings, "every_envelope_landed")()
    assert not failed.passed  # type: ignore[attr-defined]
    assert failed.description.startswith("3 envelopes of the vault are not")  # type: ignore[attr-defined]


def test_an_empty_installation_is_quiet(settings: Settings) -> None:
    land_event_log(settings)
    assert _check(settings, "every_envelope_landed")().passed  # type: ignore[attr-defined]


def test_e99_a_damaged_vault_is_told_and_what_landed_of_it_counts(settings: Settings) -> None:
    _receive(settings, 2_000)
    path = settings.data_dir / "vault.db"
    with path.open("r+b") as file:  # a page in the middle of the rows
        file.seek(16_384 * (path.stat().st_size // 16_384 // 2))
        file.write(bytes(16_384))
    with pytest.raises(VaultDamageError) as caught:
        land_event_log(settings)
    rows = Landed.of(caught.value.counts).rows  # type: ignore[attr-defined]
    assert rows["envelopes"] == 2_000
    told = describe(caught.value)
    assert "envelopes of the vault could not be read" in told
    assert "`ctwa mend-vault`" in told
    failed = _check(settings, "every_envelope_landed")()
    assert not failed.passed  # type: ignore[attr-defined]
    assert "is damaged" in failed.description  # type: ignore[attr-defined]


def test_e97_a_day_of_nearly_all_clicks_that_are_allowed_warns(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings(clicks_per_day=10)
    day = 1_780_272_000_000_000  # midnight UTC
    vault = open_vault(settings.vault_url)
    vault.append([NewEnvelope(day + n, "clicks", b"{}") for n in range(8)])
    vault.append([NewEnvelope(day + n, "whatsapp", b"{}") for n in range(50)])
    land_event_log(settings)
    assert _check(settings, "clicks_within_budget")().passed  # type: ignore[attr-defined]
    vault.append([NewEnvelope(day + 9, "clicks", b"{}")])
    land_event_log(settings)
    failed = _check(settings, "clicks_within_budget")()
    assert not failed.passed  # type: ignore[attr-defined]
    assert "9 clicks in a day, of 10" in failed.description  # type: ignore[attr-defined]
    vault.append([NewEnvelope(day + 5 * 86_400_000_000, "whatsapp", b"{}")])
    land_event_log(settings)
    vault.close()
    assert _check(settings, "clicks_within_budget")().passed  # type: ignore[attr-defined]
