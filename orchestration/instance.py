"""DAGSTER_HOME of an installation: `<data>/dagster`, with the project's `dagster.yaml`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from ctwa.settings import PROJECT_DIR, Settings

TEMPLATE = PROJECT_DIR / ".dagster_home" / "dagster.yaml"


def prepare_home(settings: Settings) -> Path:
    """Make `DAGSTER_HOME` and set the variable; an existing `dagster.yaml` is kept as it is."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    config = home / "dagster.yaml"
    if not config.exists():
        draft = config.with_name(f"dagster.yaml.{os.getpid()}")
        draft.write_text(TEMPLATE.read_text())
        draft.replace(config)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance that the UI shows, so that a headless refresh is seen there too."""
    home = prepare_home(settings)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance
