"""Checks on the lake: each is seen to fire, and to keep quiet."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ctwa.settings import Settings
from ingestion.lake import Lake
from ingestion.sources.event_log import land_event_log
from ingestion.webhook.vault import NewEnvelope, Vault
from orchestration.checks import build_checks


def _receive(settings: Settings, count: int) -> None:
    vault = Vault.open(settings.vault_url)
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
    vault = Vault.open(settings.vault_url)
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
