"""A stand-in of the Conversions API, and an installation that sends to it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from activation.conversions import ConversionCounts, Patience, send_conversions
from activation.conversions_api import EventsApi
from ctwa.settings import Settings
from simulator.ads_faults import Fault, FaultScript
from simulator.conversions_api import ConversionsApi, serve_conversions_api
from tests.support.outbox import DATASET, NOW, WABA, told, write_outbox

START = NOW - timedelta(hours=1)
"""When the installation of `Meta` was switched on."""


@dataclass
class Meta:
    """An installation and the Meta it sends to. `at`: its clock."""

    api: ConversionsApi
    make_settings: Callable[..., Settings]
    at: datetime = NOW
    options: dict[str, Any] = field(default_factory=dict)
    slept: list[float] = field(default_factory=list)
    answer_seconds: float = 20.0
    """How long the client waits for an answer."""

    @property
    def settings(self) -> Settings:
        """Settings of a live installation, unless `options` say otherwise."""
        values = {
            "meta_graph_url": self.api.url,
            "meta_access_token": self.api.token,
            "meta_dataset_ids": f"{WABA}:{DATASET}",
            "meta_conversions_mode": "live",
        }
        return self.make_settings(**(values | self.options))

    def switch_on(self) -> None:
        """A first run, with an empty outbox, at `START`."""
        write_outbox(self.settings, [])
        send_conversions(self.settings, now=lambda: START)

    def send(
        self, rows: Sequence[dict[str, Any]] | None = None, *, patience: float = 300.0
    ) -> ConversionCounts:
        """One run; `rows` become the outbox first."""
        settings = self.settings
        if rows is not None:
            write_outbox(settings, rows)
        api = EventsApi.from_settings(settings, answer_seconds=self.answer_seconds)
        return send_conversions(
            settings,
            now=lambda: self.at,
            sleep=self.slept.append,
            patience=Patience(total=patience),
            api=api,
        )

    def fail(self, *faults: Fault) -> None:
        """The next requests fail so."""
        self.api.faults = FaultScript(faults)

    def told(self) -> dict[str, tuple[str, str | None]]:
        """Event id to (status, reason), as the marts read them."""
        return told(self.settings)


@pytest.fixture
def meta(make_settings: Callable[..., Settings]) -> Iterator[Meta]:
    """An installation that was switched on an hour ago, with nothing in its outbox yet."""
    datasets = {DATASET: {WABA}, "770000000000002": {"100000000000002"}}
    with serve_conversions_api(datasets, clock=lambda: NOW.timestamp()) as api:
        found = Meta(api, make_settings)
        api.clock = lambda: found.at.timestamp()
        found.switch_on()
        yield found
        assert api.wrong == []
        assert all(times == 1 for times in api.times_accepted().values()) or found.options.get(
            "meta_conversions_on_unknown"
        )


@pytest.fixture
def hold_lock() -> Iterator[Callable[[Settings], None]]:
    """Another process that holds the refresh lock until the test ends."""
    held: list[int] = []

    def hold(settings: Settings) -> None:
        settings.lock_path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(settings.lock_path, os.O_CREAT | os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX)
        held.append(fd)

    yield hold
    for fd in held:
        os.close(fd)
