"""A company with HubSpot: the stand-in, landings against it, and what they leave in the lake."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from ctwa.pseudonym import Pseudonymizer
from ctwa.settings import Settings
from ingestion.crm.hubspot.client import HubspotClient
from ingestion.crm.hubspot.source import HubspotCounts, land_hubspot
from ingestion.lake.lake import Lake
from keeping.erasure.steps import land as land_events
from simulator.hubspot_api import HubspotApi, serve_hubspot_api
from simulator.hubspot_state import HubspotState

BEGIN = datetime(2026, 5, 11, 9, tzinfo=UTC)
TOKEN = "pat-na1-11112222-3333-4444-5555-666677778888"

Row = dict[str, Any]


@dataclass
class Clock:
    """Time that passes only in sleep."""

    at: float = 1_000.0
    slept: list[float] = field(default_factory=list)

    def time(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


@dataclass
class Crm:
    """`state` is the account, whose clock is everybody's."""

    state: HubspotState
    api: HubspotApi
    settings: Settings
    clock: Clock

    def client(self, token: str = TOKEN) -> HubspotClient:
        return HubspotClient(
            self.api.url, token, sleep=self.clock.sleep, clock=self.clock.time, seed=1
        )

    def land(self, **later: float) -> HubspotCounts:
        """HubSpot into the vault, some time later (an hour, if nothing is said)."""
        self.wait(**later)
        return land_hubspot(self.settings, now=lambda: self.state.now, client=self.client())

    def night(self, **later: float) -> HubspotCounts:
        """That, and the vault into the event log."""
        counts = self.land(**later)
        land_events(self.settings)
        return counts

    def wait(self, **later: float) -> None:
        self.state.now += timedelta(**(later or {"hours": 1}))

    # ---- what came of it -----------------------------------------------------------------

    def rows(self, table: str, order: str = "seq, ordinal") -> list[Row]:
        sql = f"select * from {{t}} order by {order}"
        found: list[Row] = Lake.from_settings(self.settings).query(sql, t=table).to_pylist()
        return found

    def outcomes(self) -> dict[str, Row]:
        """Each outcome as the models keep it: of its copies the one recorded last."""
        rows = self.rows("event_log/outcomes", "recorded_at, content_key")
        return {row["event_id"]: row for row in rows}

    def links(self, kind: str) -> set[frozenset[str]]:
        return {
            frozenset((row["left_key"], row["right_key"]))
            for row in self.rows("event_log/identity_links")
            if row["link_kind"] == kind
        }

    def reads(self) -> list[Row]:
        return self.rows("hubspot/reads", "read_no")

    def bodies(self) -> list[Row]:
        """Every body in the vault, read as JSON."""
        path = self.settings.vault_url.removeprefix("sqlite:///")
        with sqlite3.connect(path) as vault:
            sql = "select body from envelopes where body is not null order by seq"
            return [orjson.loads(body) for (body,) in vault.execute(sql)]

    @property
    def names(self) -> Pseudonymizer:
        return Pseudonymizer.from_settings(self.settings)

    def contact_key(self, record_id: int) -> str:
        return self.names.crm_record("hubspot", f"contact:{record_id}")

    def phone_key(self, phone: str) -> str:
        key = self.names.phone(phone)
        assert key is not None
        return key


@contextmanager
def crm(make_settings: Callable[..., Settings], **options: Any) -> Iterator[Crm]:
    """A new account, served; `options` are attributes of the stand-in."""
    state, clock = HubspotState(BEGIN), Clock()
    with serve_hubspot_api(state, token=TOKEN, clock=clock.time, **options) as api:
        yield Crm(state, api, make_settings(hubspot_url=api.url, hubspot_token=TOKEN), clock)
