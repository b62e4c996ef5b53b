"""The receiver on a loopback port, and clients that can misbehave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ctwa.settings import Settings
from tests.ingestion.webhook.clients import APP_SECRET, INTAKE_SECRET, VERIFY_TOKEN


@pytest.fixture
def signed_settings(make_settings: Callable[..., Settings]) -> Settings:
    """Settings with both secrets and the verify token."""
    return make_settings(
        meta_app_secret=f"retired-secret, {APP_SECRET}",
        meta_verify_token=VERIFY_TOKEN,
        intake_secret=INTAKE_SECRET,
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def vault_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new vault of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'vault.db'}"
    return str(request.getfixturevalue("postgres_url"))
