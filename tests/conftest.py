"""Fixtures for all tests: settings on a temporary folder, no environment, no network."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ctwa.settings import Settings, load_settings

PII_KEY = "00112233445566778899aabbccddeeff" * 2


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests may leak in."""
    for name in list(os.environ):
        if name.startswith(("CTWA_", "META_", "DAGSTER_", "DBT_", "GOOGLE_ADS_", "HUBSPOT_")):
            monkeypatch.delenv(name)
    for name in ("RUNTIME__DLTHUB_TELEMETRY", "DO_NOT_TRACK", "DBT_SEND_ANONYMOUS_USAGE_STATS"):
        monkeypatch.setenv(name, "1" if name == "DO_NOT_TRACK" else "false")


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings on this test's folder; keyword arguments are field names of `Settings`."""

    def make(**overrides: Any) -> Settings:
        values: dict[str, Any] = {"data_dir": tmp_path / "data", "pii_key": PII_KEY}
        return load_settings(_env_file=None, **(values | overrides))

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """Plain settings: everything in the test's own folder, all sources off."""
    return make_settings()
