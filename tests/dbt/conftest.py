"""Fixtures of the dbt scenarios: rows in the lake in, rows of the marts out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.warehouse import DbtWorld


@pytest.fixture
def dbt_world(tmp_path: Path) -> DbtWorld:
    """An empty lake and a warehouse of its own, with default settings."""
    return DbtWorld(tmp_path)


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[..., DbtWorld]:
    """Several worlds, or one with settings of its own: `make_world("a", CTWA_...="7")`."""

    def make(name: str = "world", **overrides: object) -> DbtWorld:
        return DbtWorld(tmp_path / name, **overrides)  # type: ignore[arg-type]

    return make
